"""Members of a population that learn at rates of their own, which their optimisers' states hold."""

from functools import partial

import jax
import numpy as np
import optax
import pytest
from highway_case import experiment, tokens_of

from common.population import Population, take_member
from common.window import make_windows
from highway.learner import LanguageModelLearner, learning_rate

RATES = {0: 0.25, 1: 0.5}


def make_learner():
    config, vocabulary = experiment(units=4, depth=1)
    train = config.train
    windows = make_windows(tokens_of(vocabulary, 200), train.batch_size, train.steps, split="train")
    return LanguageModelLearner(config, vocabulary, windows)


@pytest.fixture(scope="module")
def learner():
    """One whose optimiser keeps the rate in its state."""
    learner = make_learner()
    learner.optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=1.0)
    return learner


def member(learner, seed):
    state = learner.initial_state(seed)
    return state._replace(optimizer=optax.tree.set(state.optimizer, learning_rate=RATES[seed]))


def test_metrics_report_the_rate_of_each_member(learner):
    population = Population(learner, (0, 1), data=(learner.windows,))
    state = population.advance(population.initial_state(partial(member, learner)), 4)
    for place, seed in enumerate(RATES):
        alone = learner.advance(member(learner, seed), 4)
        params = take_member(state.seeds.params, place)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), params, alone.params)
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
    assert start.totals._fields == ("loss", "gradient_norm", "updates")  # as checkpoints know them
    _, metrics = learner.collect(learner.advance(start, 1))
    assert metrics["train/learning_rate"] == float(learning_rate(learner.config.train, 0))
