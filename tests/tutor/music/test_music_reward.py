"""The reward against the plain Python of `music_plain`, and its two paths against each other.

A component that is one number of the table must be that number in float32. Others are sums: the
motif's 3 + 0.3·(u − 3) is at most 1 ulp off (5e-7), the autocorrelation's sum of three quotients
times 3, at most 9, a few ulp (4e-6). A total goes through values around −100 with up to nine
rounded additions of 4e-6 each.
"""

from functools import partial

import jax
import jax.numpy as jnp
import music_compositions
import music_plain
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutor.music import theory
from tutor.music.history import MAX_LENGTH, autocorrelation, extend_history, start_history
from tutor.music.theory import DEFAULT, MusicParams, score_composition

TOLERANCE = dict.fromkeys(music_plain.components([], 0), 0.0) | {
    "motif": 5e-7,
    "penalize_autocorrelation": 4e-6,
    "total": 4e-5,
}


def assert_equal_scores(actual, expected):
    assert actual.keys() == expected.keys() == TOLERANCE.keys()
    for name, tolerance in TOLERANCE.items():
        values = np.asarray(actual[name])
        assert values.dtype == np.float32
        wrong = np.abs(values - np.asarray(expected[name], np.float32)) > tolerance
        assert not wrong.any(), (name, np.argwhere(wrong)[:5])


def plain_scores(pieces, length=32):
    scores = [music_plain.score(piece.tolist(), length) for piece in pieces]
    return {name: np.array([score[name] for score in scores]) for name in TOLERANCE}


def test_every_component_of_every_event_equals_plain_python(pieces, scores):
    assert len(pieces) > 2000
    assert music_compositions.has_tie(pieces).sum() >= 100
    expected = plain_scores(pieces)
    for name, values in expected.items():  # all of them were at work
        assert (values != 0).sum() > 100, name
    assert_equal_scores(scores, expected)


def walk(params, pieces, step):
    """Rewards and states on the way through pieces [N, T] by an environment's step function."""

    def advance(state, action):
        obs, after, reward, done, info = step(state, action)
        return after, (obs, reward, done, info)

    def one(piece):
        return jax.lax.scan(advance, start_history(params.length), piece)[1]

    return jax.jit(jax.vmap(one))(pieces)


def test_all_actions_after_every_beginning_equal_plain_python():
    pieces = music_compositions.everything(seed=2, n=480)[::16]
    env_step = partial(theory.step_env, jax.random.key(0), params=DEFAULT)

    def try_all(state, action):
        _, _, reward, _, info = jax.vmap(env_step, (None, 0))(state, jnp.arange(38))
        obs, after, _, done, _ = env_step(state, action)
        return obs, after, reward, done, info

    _, totals, _, info = walk(DEFAULT, pieces, try_all)

    expected = {name: np.empty((len(pieces), 32, 38)) for name in TOLERANCE}
    outcomes = np.empty((len(pieces), 32, 38), int)
    for i, piece in enumerate(pieces.tolist()):
        for t in range(32):
            leap = music_plain.leap_state(piece[:t])
            for a in range(38):
                for name, value in music_plain.components(piece[:t], a).items():
                    expected[name][i, t, a] = value
                outcomes[i, t, a] = music_plain.leap_step(leap, piece[:t], a)[1]
    assert_equal_scores({**info["components"], "total": totals}, expected)
    np.testing.assert_array_equal(info["leap_outcome"], outcomes)
    assert set(np.unique(outcomes)) == {-1, 0, 1}


def test_stepwise_environment_and_whole_composition_agree_to_the_bit(pieces, scores):
    step = partial(theory.step, jax.random.key(0), params=DEFAULT)
    _, rewards, done, info = walk(DEFAULT, pieces, step)
    found = {**info["components"], "total": rewards}
    assert found.keys() == scores.keys()
    for name, values in found.items():
        np.testing.assert_array_equal(values, scores[name], err_msg=name)
    np.testing.assert_array_equal(done, np.broadcast_to(np.arange(32) == 31, done.shape))


def test_without_jit_the_rewards_are_the_same(pieces, scores):
    state, last = start_history(32), len(pieces) - 1
    for t in range(10):
        action = int(pieces[last, t])
        obs, state, reward, done, info = theory.step_env(jax.random.key(0), state, action)
        found = {**info["components"], "total": reward}
        assert (obs, done) == (action, False)
        for name, value in found.items():
            expected = scores[name][last, t]
            assert value == pytest.approx(expected, abs=TOLERANCE[name]), name


def test_leading_axes_are_kept_and_beginnings_can_be_scored(pieces, scores):
    found = score_composition(pieces[:6, :20].reshape(2, 3, 20).astype(np.int8))
    for name, values in scores.items():
        assert found[name].shape == (2, 3, 20)
        np.testing.assert_array_equal(found[name].reshape(6, 20), values[:6, :20])


events = st.one_of(
    st.integers(0, 37), st.integers(0, 3), st.sampled_from([0, 1, 14, 16, 21, 26]), st.just(14)
)
blocks = st.lists(events, min_size=1, max_size=9)
compositions = st.one_of(
    st.lists(events, min_size=32, max_size=32),
    st.builds(
        lambda start, block, end: (start + block * 32)[: 32 - len(end)] + end,
        *(blocks, blocks, blocks),
    ),
)


@settings(max_examples=300)
@given(compositions)
def test_any_composition_equals_plain_python(piece):
    actual = score_composition(np.array([piece], np.int32))
    assert_equal_scores(actual, plain_scores(np.array([piece])))


@pytest.mark.parametrize("length", [8, 45])
def test_other_lengths_equal_plain_python(length):
    params = MusicParams(length=length)
    pieces = music_compositions.everything(seed=3, n=600)[::12]
    pieces = np.concatenate([pieces, pieces[::-1]], axis=1)[:, :length]
    assert_equal_scores(score_composition(pieces, params), plain_scores(pieces, length))


def exact_autocorrelation(pieces, length):
    """Numerators [N, T, 3], denominators [N, T], whether over 0.15, and coefficients."""

    def advance(history, action):
        after = extend_history(history, action)
        found = autocorrelation(after)
        return after, (*found, found.exceeds(), found.coefficients())

    def one(piece):
        return jax.lax.scan(advance, start_history(length), piece)[1]

    return jax.device_get(jax.jit(jax.vmap(one))(pieces))


def test_autocorrelation_is_exact_up_to_the_greatest_length():
    random = np.random.default_rng(4)
    loud = np.repeat([[0, 37]], MAX_LENGTH // 2, axis=1)  # the greatest variance there is
    pieces = np.concatenate(
        [
            loud,
            np.tile([0, 37], MAX_LENGTH // 2)[None],
            np.where(np.arange(MAX_LENGTH) < 92, 37, 36)[None],
            music_compositions.uniform(random, 40, length=MAX_LENGTH),
            music_compositions.uniform(random, 40, 0, 3, length=MAX_LENGTH),
        ]
    ).astype(np.int32)
    numerators, denominators, over, coefficients = exact_autocorrelation(pieces, MAX_LENGTH)
    assert 2**31 - int(denominators.max()) < 2e7
    for lag in (1, 2, 3):
        num, den = music_compositions.fractions(pieces, lag)
        np.testing.assert_array_equal(numerators[:, :, lag - 1], num)
        np.testing.assert_array_equal(denominators, den)
        np.testing.assert_array_equal(over[:, :, lag - 1], 20 * abs(num) > 3 * den)
        expected = num / np.maximum(den, 1)
        np.testing.assert_allclose(coefficients[:, :, lag - 1], expected, rtol=3e-7)


def test_a_coefficient_of_exactly_the_threshold_costs_nothing():
    pieces = music_compositions.tied(np.random.default_rng(5), 200).astype(np.int32)
    _, _, over, _ = exact_autocorrelation(pieces, 32)
    ties = 0
    for lag in (1, 2, 3):
        num, den = music_compositions.fractions(pieces, lag)
        tie = (20 * abs(num) == 3 * den) & (den > 0)
        assert not over[:, :, lag - 1][tie].any()
        ties += tie.sum()
    assert ties >= 200
