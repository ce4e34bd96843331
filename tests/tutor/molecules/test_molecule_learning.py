"""Tuning on molecules, with a reward in Python: what is remembered, and that it learns."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from common.error import ConfigError
from common.lstm import LSTM
from common.molecule import BEGIN, END, MOSES
from common.population import Population
from tutor.config import LearnConfig, PolicyGradientConfig
from tutor.evaluation import Composer, Policy
from tutor.learner import TutorLearner
from tutor.molecules.environment import make_environment
from tutor.policy_gradient import PolicyGradientLearner, Sequences
from tutor.sequence_model import make_model

LENGTH, WIDTH = 6, 8
CARBON, OXYGEN = (int(MOSES.encode(token)[1]) for token in "CO")
LEARN = LearnConfig(
    method="psi", iterations=12_800, environments=WIDTH, update_every=8, replay_capacity=1_600,
    batch_size=32, discount=1.0, target_rate=0.1, c=0.5, exploration="boltzmann",
    bootstrap_at_end=False, learning_rate=3e-3,
)  # fmt: skip
GRADIENT = PolicyGradientConfig(
    iterations=4_800, environments=16, sequence_steps=3, learning_rate=1e-2, c=0.5
)


def judge(molecules):
    """A point for each oxygen."""
    return np.array([one.count("O") for one in molecules], np.float32)


@pytest.fixture(scope="module")
def model():
    """Structure and parameters of a prior that writes C, O and END only."""

    def core(width, rngs):
        return LSTM(width, 12, initial_range=0.1, forget_bias=1.0, rngs=rngs)

    graph, params = make_model(len(MOSES), core, jax.random.key(1), initial_range=0.1)
    bias = np.full(len(MOSES), -20.0, np.float32)
    bias[[CARBON, OXYGEN, END]] = 0.0
    return graph, {**params, "output_bias": jnp.array(bias)}


ENVIRONMENT = make_environment(MOSES, LENGTH, judge)
BASELINE = 1.25


def tuned(learner, prior, seed: int = 0, stop: int | None = None):
    population = Population(learner, (seed,))
    state = population.initial_state(lambda seed: learner.initial_state(prior, seed))
    (member,) = population.members(
        population.advance(state, learner.config.iterations if stop is None else stop)
    )
    return member


def mean_reward(graph, member, method: str) -> float:
    composer = Composer(graph, method, ENVIRONMENT, LENGTH)
    made = composer.compose(Policy(member.params, member.prior), jax.random.key(9), 400)
    return float(np.sum(made.reward, where=made.counted) / 400)


def test_only_steps_of_molecules_are_remembered_and_nothing_follows_an_end(model):
    graph, prior = model
    learner = TutorLearner(LEARN, graph, len(MOSES), ENVIRONMENT, baseline=BASELINE)
    learner = learner.divided(None)  # has all that it was made with
    stop = 4 * learner.round_steps
    member = jax.device_get(tuned(learner, prior, stop=stop))
    rows, gained = member.replay.rows, 0.0
    assert stop <= LEARN.replay_capacity
    of = {name: getattr(rows, name)[:stop].reshape(-1, WIDTH) for name in (
        "observation", "action", "next_observation", "reward", "discount",
    )}  # fmt: skip
    for e in range(WIDTH):
        text: list[int] = []
        for t in range(stop // WIDTH):
            seen = of["observation"][t, e]
            assert seen == (text[-1] if text else BEGIN)  # no step beyond an end
            text.append(int(of["action"][t, e]))
            assert of["next_observation"][t, e] == text[-1]
            if text[-1] == END or len(text) == LENGTH:
                assert of["discount"][t, e] == 0.0
                reward = judge([MOSES.decode(text)])[0]
                assert of["reward"][t, e] == (reward - BASELINE) / LEARN.c
                gained += reward
                text = []
            else:
                assert (of["discount"][t, e], of["reward"][t, e]) == (1.0, 0.0)
    assert np.sum(of["discount"] == 0) > 10
    told = learner.metrics(member.totals, stop)["train/reward"]
    assert told == pytest.approx(gained / stop)  # the reward itself, without the baseline


@pytest.mark.slow
def test_values_learn_a_reward_that_comes_at_the_end(model):
    graph, prior = model
    learner = TutorLearner(LEARN, graph, len(MOSES), ENVIRONMENT)
    before = mean_reward(graph, Policy(prior, prior), "psi")
    assert mean_reward(graph, tuned(learner, prior), "psi") > before + 0.7


def test_a_policy_gradient_learns_it_too(model):
    graph, prior = model
    learner = PolicyGradientLearner(GRADIENT, graph, ENVIRONMENT, LENGTH)
    before = mean_reward(graph, Policy(prior, prior), "q")
    member = tuned(learner, prior)
    assert mean_reward(graph, member, "q") > before + 0.7
    for old, kept in zip(jax.tree.leaves(prior), jax.tree.leaves(member.prior), strict=True):
        np.testing.assert_array_equal(old, kept)


def test_the_seed_reaches_the_policy_gradient(model):
    graph, prior = model
    learner = PolicyGradientLearner(GRADIENT, graph, ENVIRONMENT, LENGTH)
    first, again, other = (
        tuned(learner, prior, seed, stop=5 * learner.round_steps).params["output_bias"]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_loss_of_augmented_likelihood(model):
    """By hand, in NumPy; what follows an end counts nowhere."""
    graph, prior = model
    learner = PolicyGradientLearner(GRADIENT, graph, ENVIRONMENT, LENGTH, baseline=BASELINE)
    learner = learner.divided(None)  # has all that it was made with
    drawn = jax.device_get(learner.draw(prior, prior, jax.random.key(3)))
    # An agent that isn't the prior.
    agent = {**prior, "output_bias": prior["output_bias"].at[OXYGEN].add(0.7)}
    inputs = np.concatenate(
        [np.full((GRADIENT.environments, 1), BEGIN, np.int32), drawn.events[:, :-1]], axis=1
    )
    log_prior, log_agent = (
        np.asarray(jax.nn.log_softmax(_logits(graph, params, inputs))) for params in (prior, agent)
    )
    losses = []
    for row in range(GRADIENT.environments):
        length = int(drawn.counted[row].sum())
        events = drawn.events[row]
        assert length == LENGTH or events[length - 1] == END
        reward = float(judge([MOSES.decode(events[:length])])[0])
        assert drawn.reward[row].sum() == reward
        logs = [
            sum(float(log_p[row, t, events[t]]) for t in range(length))
            for log_p in (log_prior, log_agent)
        ]
        losses.append((logs[0] + (reward - BASELINE) / GRADIENT.c - logs[1]) ** 2)
    found = learner.loss(agent, jax.tree.map(jnp.asarray, drawn))
    np.testing.assert_allclose(found, np.mean(losses), rtol=1e-4)
    changed = Sequences(*drawn)._replace(
        events=np.where(drawn.counted, drawn.events, CARBON),
        reward=np.where(drawn.counted, drawn.reward, 9.0),
        log_prior=np.where(drawn.counted, drawn.log_prior, -5.0),
    )
    np.testing.assert_array_equal(learner.loss(agent, changed), found)


def _logits(graph, params, inputs):
    def unroll(params, inputs):
        model = nnx.merge(graph, params)
        return model.unroll(model.initial_state(len(inputs)), inputs)[1]

    return jax.jit(unroll)(params, inputs)


@pytest.mark.slow
def test_an_update_that_is_not_finite_is_not_applied(model):
    graph, prior = model
    environment = make_environment(MOSES, LENGTH, lambda rows: np.full(len(rows), np.inf, "f4"))
    learner = PolicyGradientLearner(GRADIENT, graph, environment, LENGTH)
    member = tuned(learner, prior)
    assert int(member.diverged_at) == 0
    for old, kept in zip(jax.tree.leaves(prior), jax.tree.leaves(member.params), strict=True):
        np.testing.assert_array_equal(old, kept)


def test_iterations_of_the_policy_gradient_are_whole_updates(model):
    with pytest.raises(ConfigError, match="is no multiple of 48"):
        PolicyGradientLearner(replace(GRADIENT, iterations=50), model[0], ENVIRONMENT, LENGTH)
