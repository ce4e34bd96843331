"""Composing from a policy: events, and what is said of each, against networks unrolled by hand."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learner_case import (
    EVENTS,
    assert_same_bits,
    log_softmax,
    make_lstm,
    make_table,
    table_of,
    unroll_with,
    walk,
    with_table,
)
from scipy.special import rel_entr
from scipy.stats import chisquare

from common.config import override
from common.error import ConfigError
from common.melody import NUM_EVENTS
from tutor import evaluation
from tutor.actor import Environment
from tutor.config import COLDEST, CompositionConfig
from tutor.evaluation import Composer, Policy
from tutor.music import theory
from tutor.music.theory import DEFAULT, score_composition

MUSIC = Environment(theory.reset, theory.step_env, DEFAULT)
PRIMER = np.array([14, 1, 16, 0, 19], np.int32)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # a network compiled in two ways rounds differently


@cache
def melodies():
    """A composer of melodies, and the policy that tilts one random network by another."""
    graph, prior = make_lstm(NUM_EVENTS, seed=1)
    _, params = make_lstm(NUM_EVENTS, seed=2)
    return Composer(graph, "g", MUSIC, DEFAULT.length), Policy(params, prior)


@cache
def composed(primer_length):
    composer, policy = melodies()
    primer = PRIMER[:primer_length] if primer_length else None
    return composer.compose(policy, jax.random.key(1), 6, primer=primer)


def walker(method, length=7):
    graph, prior = make_table()
    return Composer(graph, method, walk(), length), prior


def directly(composer, policy, heard, count):
    """log π and log p [N, count, A] before the last `count` of the events heard [N, T]."""
    value, logits = (
        np.float64(unroll_with(composer.graph, params, jnp.asarray(heard)))[:, -count - 1 : -1]
        for params in policy
    )
    log_prior = log_softmax(logits)
    tilt = log_prior if composer.method.tilts_prior else 0
    return log_softmax(value + tilt), log_prior


def assert_told(made, log_policy, log_prior):
    policy = np.exp(log_policy)
    picked = np.take_along_axis(log_prior, made.events[..., None], axis=2)[..., 0]
    np.testing.assert_allclose(made.log_prior, picked, **CLOSE)
    np.testing.assert_allclose(made.kl, rel_entr(policy, np.exp(log_prior)).sum(-1), **CLOSE)
    np.testing.assert_allclose(made.entropy, -(policy * log_policy).sum(-1), **CLOSE)


@pytest.mark.parametrize("primer_length", [1, 5])
def test_what_is_said_of_each_event_is_what_the_unrolled_networks_say(primer_length):
    """The states go on from the primer's, whose events aren't part of the composition."""
    composer, policy = melodies()
    made = composed(primer_length)
    assert all(array.shape == (6, DEFAULT.length) for array in made)
    assert made.events.dtype == np.int32
    heard = np.concatenate([np.tile(PRIMER[:primer_length], (6, 1)), made.events], axis=1)
    assert_told(made, *directly(composer, policy, heard, DEFAULT.length))
    assert made.kl.min() > 1e-3
    # Without the primer's first events, the states would be others.
    if primer_length > 1:
        log_policy, log_prior = directly(composer, policy, heard[:, 4:], DEFAULT.length)
        with pytest.raises(AssertionError):
            assert_told(made, log_policy, log_prior)


@pytest.mark.parametrize("primer_length", [0, 5])
def test_the_reward_is_the_compositions_score(primer_length):
    """The environment hears neither the primer nor its own first observation."""
    made = composed(primer_length)
    expected = score_composition(jnp.asarray(made.events))["total"]
    np.testing.assert_allclose(made.reward, expected, atol=1e-4)
    assert made.reward.any()


def test_the_first_observation_is_no_part_of_a_composition():
    """A walk begins at event 0: the first event is what the network says after 0."""
    composer, prior = walker("q", length=3)
    sure = with_table(prior, 200.0 * np.eye(EVENTS)[[2, 0, 3, 1]])  # 0 → 2 → 3 → 1
    made = composer.compose(Policy(sure, prior), jax.random.key(0), 5)
    np.testing.assert_array_equal(made.events, np.tile([2, 3, 1], (5, 1)))
    log_prior, reward = log_softmax(table_of(prior)), np.asarray(walk().params.reward)
    where = [0, 2, 3], [2, 3, 1]
    np.testing.assert_allclose(made.log_prior, np.tile(log_prior[where], (5, 1)), **CLOSE)
    np.testing.assert_array_equal(made.reward, np.tile(reward[where], (5, 1)))
    np.testing.assert_array_equal(made.entropy, 0)
    np.testing.assert_allclose(made.kl, -made.log_prior, **CLOSE)

    primed = composer.compose(Policy(sure, prior), jax.random.key(0), 5, primer=np.array([0, 3]))
    np.testing.assert_array_equal(primed.events, np.tile([1, 0, 2], (5, 1)))


def test_a_policy_that_is_the_prior_has_no_divergence():
    """The prior itself, to the bit; and G that has no preferences, but for rounding."""
    composer, prior = walker("q")
    as_prior = composer.compose(Policy(prior, prior), jax.random.key(2), 50)
    np.testing.assert_array_equal(as_prior.kl, 0)
    composer, _ = walker("g")
    nothing = with_table(prior, np.zeros((EVENTS, EVENTS)))
    tilted = composer.compose(Policy(nothing, prior), jax.random.key(2), 50)
    np.testing.assert_allclose(tilted.kl, 0, atol=1e-6)
    np.testing.assert_array_equal(tilted.events, as_prior.events)
    assert tilted.metrics("eval")["eval/kl_policy_prior"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("method", ["psi", "g"])
def test_events_are_drawn_from_the_policy(method):
    composer, prior = walker(method, length=50)
    values = np.random.default_rng(3).normal(size=(EVENTS, EVENTS))
    made = composer.compose(Policy(with_table(prior, values), prior), jax.random.key(3), 100)
    latest = np.concatenate([np.zeros((100, 1), int), made.events[:, :-1]], axis=1)
    log_prior = log_softmax(table_of(prior))
    policy = np.exp(log_softmax(values + (log_prior if method == "g" else 0)))
    for event in range(EVENTS):
        often = np.bincount(made.events[latest == event], minlength=EVENTS)
        assert chisquare(often, often.sum() * policy[event]).pvalue > 0.01


def test_the_same_key_composes_the_same_and_another_key_anew():
    composer, policy = melodies()
    assert_same_bits(composer.compose(policy, jax.random.key(1), 6), composed(0))
    other = composer.compose(policy, jax.random.key(2), 6)
    assert (other.events != composed(0).events).any(axis=1).all()


def test_any_number_of_compositions(monkeypatch):
    """Whether or not it is a number of chunks; each is another, and `tick` is called for each."""
    monkeypatch.setattr(evaluation, "CHUNK", 8)
    composer, prior = walker("q", length=30)
    policy, ticks = Policy(prior, prior), []
    made = composer.compose(policy, jax.random.key(4), 20, tick=lambda: ticks.append(1))
    assert all(array.shape == (20, 30) for array in made)
    assert len(np.unique(made.events, axis=0)) == 20
    assert len(ticks) == 3
    fewer = composer.compose(policy, jax.random.key(4), 5)
    assert fewer.events.shape == (5, 30)

    def stop():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        composer.compose(policy, jax.random.key(4), 20, tick=stop)


def test_metrics_are_means_over_all_events():
    made = composed(0)
    assert made.metrics("eval") == {
        "eval/reward": pytest.approx(made.reward.mean(), rel=1e-6),
        "eval/log_prior": pytest.approx(made.log_prior.mean(), rel=1e-6),
        "eval/kl_policy_prior": pytest.approx(made.kl.mean(), rel=1e-6),
        "eval/entropy": pytest.approx(made.entropy.mean(), rel=1e-6),
    }


@pytest.mark.parametrize("count", [0, -1])
def test_no_sequence_can_not_be_composed(count):
    composer, prior = walker("q")
    with pytest.raises(ValueError, match=f"must be positive, not {count}"):
        composer.compose(Policy(prior, prior), jax.random.key(0), count)


def test_the_coldest_policy_takes_the_best_event():
    graph, prior = make_table()
    scores = 1e4 * np.random.default_rng(0).normal(size=(EVENTS, EVENTS))
    best = int(np.argmax(scores[0]))  # a walk begins at event 0
    cold = Composer(graph, "q", walk(), 1, temperature=COLDEST)
    made = cold.compose(Policy(with_table(prior, scores), prior), jax.random.key(0), 20)
    np.testing.assert_array_equal(made.events, best)
    np.testing.assert_array_equal(made.entropy, 0)
    np.testing.assert_allclose(made.kl, -log_softmax(table_of(prior))[0, best], **CLOSE)


@pytest.mark.parametrize("temperature", [1e-40, 0.0, -1.0, np.inf, np.nan])
def test_what_is_no_temperature_is_refused(temperature):
    graph, _ = make_table()
    with pytest.raises(ConfigError, match=r"temperature=.*: choose one from 1e-06 on"):
        Composer(graph, "q", walk(), 1, temperature=temperature)
    with pytest.raises(ConfigError, match=r"^temperature="):
        override(CompositionConfig(), [f"temperature={temperature}"])
