"""Priors side by side that learn at rates of their own, which their optimisers' states hold."""

from functools import partial

import jax
import numpy as np
import optax
import pytest

from common.lstm import LSTM
from common.population import Population, take_member
from tutor.config import PriorConfig
from tutor.prior import PriorLearner

RATES = {0: 0.125, 1: 0.5}
EVENTS = 5


def make_learner():
    def core(size, rngs):
        return LSTM(size, 4, initial_range=0.1, forget_bias=1.0, rngs=rngs)

    config = PriorConfig(batch_size=4, steps=6, masked=2, learning_rate=0.01)
    data = [np.arange(start, start + 12) % EVENTS for start in range(EVENTS)]
    return PriorLearner(config, EVENTS, core, data, initial_range=0.1)


@pytest.fixture(scope="module")
def learner():
    """One whose optimiser keeps the rate in its state."""
    learner = make_learner()
    learner.optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.inject_hyperparams(optax.adam)(learning_rate=1.0)
    )
    return learner


def member(learner, seed):
    state = learner.initial_state(seed)
    return state._replace(optimizer=optax.tree.set(state.optimizer, learning_rate=RATES[seed]))


@pytest.mark.slow  # tests/highway/test_highway_rates.py has the short form
def test_metrics_report_the_rate_of_each_member(learner):
    population = Population(learner, (0, 1), data=(learner.windows,))
    state = population.advance(population.initial_state(partial(member, learner)), 4)
    for place, seed in enumerate(RATES):
        alone = learner.advance(member(learner, seed), 4)
        params = take_member(state.seeds.params, place)
        close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
        jax.tree.map(close, params, alone.params)
    for _ in range(2):  # and again when the totals have begun anew
        state, metrics = population.collect(state)
        rates = {seed: metrics[f"seed{seed}/train/learning_rate"] for seed in RATES}
        assert rates == RATES
        state = population.advance(state, int(state.step) + 2)


def test_a_model_by_itself_reports_its_own_rate_too(learner):
    state = learner.advance(member(learner, 1), 2)
    for stop in (3, 4):
        state, metrics = learner.collect(state)
        assert metrics["train/learning_rate"] == RATES[1]
        state = learner.advance(state, stop)


def test_the_configured_rate_is_reported_where_no_state_holds_one():
    learner = make_learner()
    start = learner.initial_state(0)
    # As checkpoints know them.
    fields = ("loss", "correct", "predictions", "gradient_norm", "updates")
    assert start.totals._fields == fields
    _, metrics = learner.collect(learner.advance(start, 1))
    assert metrics["train/learning_rate"] == pytest.approx(0.01)
