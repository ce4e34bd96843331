"""The settings of the music-theory reward, rules of a user's own, and the environment around it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.error import ConfigError
from common.melody import FIRST_NOTE, NOTE_OFF
from tutor.music import theory
from tutor.music.key import Key
from tutor.music.theory import DEFAULT, MusicParams, Rule, score_composition


def no_long_rest(move, params):
    """The rule that the docstring of `tutor.music.theory` shows."""
    return jnp.where((move.action == NOTE_OFF) & (move.before.events[0] == NOTE_OFF), -1.0, 0.0)


def two_octaves_at_the_end(move, params):
    """A rule of the whole: an integer, at the last event only."""
    low, high = move.after.extremes.low, move.after.extremes.high
    return ((move.after.beat == params.length) & (high - low == 24)).astype(int)


def test_rules_of_a_users_own(pieces, scores):
    params = DEFAULT.with_rule("no_long_rest", no_long_rest, weight=0.5)
    params = params.with_rule("two_octaves", two_octaves_at_the_end)
    found = score_composition(pieces, params)
    rests = np.zeros(pieces.shape)
    rests[:, 1:] = -0.5 * ((pieces[:, 1:] == 0) & (pieces[:, :-1] == 0))
    lowest = np.where(pieces < 2, 99, pieces).min(axis=1)
    octaves = np.zeros(pieces.shape)
    octaves[:, -1] = pieces.max(axis=1) - lowest == 24
    assert rests.any()
    assert octaves.any()
    np.testing.assert_array_equal(found["no_long_rest"], rests)
    np.testing.assert_array_equal(found["two_octaves"], octaves)
    assert found["two_octaves"].dtype == np.float32
    np.testing.assert_allclose(found["total"], scores["total"] + rests + octaves, atol=4e-5)
    np.testing.assert_array_equal(found["motif"], scores["motif"])


def test_rules_off_and_rules_alone(pieces, scores):
    found = score_composition(pieces, DEFAULT.weighted(tonic=5.0).without("motif", "tonic"))
    assert scores.keys() - found.keys() == {"motif", "tonic"}
    expected = scores["total"] - scores["motif"] - scores["tonic"]
    np.testing.assert_allclose(found["total"], expected, atol=4e-5)

    alone = score_composition(pieces, MusicParams(rules=(Rule("x", no_long_rest),)))
    assert alone.keys() == {"x", "total"}
    np.testing.assert_array_equal(alone["x"], alone["total"])
    nothing = score_composition(pieces, MusicParams(rules=()))
    assert not nothing["total"].any()


def test_weights_scale_their_rule_and_can_be_mapped_over(pieces, scores):
    weights = jnp.array([0.0, 1.0, 4.0])
    params = jax.vmap(lambda w: DEFAULT.weighted(motif=w, key=2.0))(weights)
    found = jax.jit(jax.vmap(score_composition, (None, 0)))(pieces[:50], params)
    for i, weight in enumerate(weights):
        np.testing.assert_array_equal(found["motif"][i], weight * scores["motif"][:50])
        np.testing.assert_array_equal(found["key"][i], 2 * scores["key"][:50])
        np.testing.assert_array_equal(found["tonic"][i], scores["tonic"][:50])
        total = scores["total"] + (weight - 1) * scores["motif"] + scores["key"]
        np.testing.assert_allclose(found["total"][i], total[:50], atol=6e-5)


def test_a_transposed_piece_in_the_transposed_key_scores_the_same(pieces, scores):
    fits = pieces.max(axis=1) <= 35
    assert fits.sum() > 100
    moved = np.where((pieces >= FIRST_NOTE) & fits[:, None], pieces + 2, pieces)
    found = score_composition(moved, MusicParams(key=Key(tonic=16)))
    for name, values in scores.items():
        if name not in ("penalize_autocorrelation", "total"):  # rests and holds aren't transposed
            np.testing.assert_array_equal(found[name][fits], values[fits], err_msg=name)
    assert (score_composition(moved)["key"] != scores["key"]).any()


def test_another_scale():
    minor = Key(tonic=11, scale=(0, 2, 3, 5, 7, 8, 10), third=3)
    events = np.array([[11, 15, 14, 18, 12, 23, 0]])
    found = score_composition(events, MusicParams(key=minor))
    assert found["key"].tolist() == [[0, -1, 0, 0, -1, 0, 0]]  # A, C♯, C, E, B♭, A, rest
    assert found["tonic"].tolist() == [[3, 0, 0, 0, 0, 0, 0]]
    # A-C♯ major third from the tonic, C-E from the third, B♭-A a seventh, a rest after the tonic
    expected = [[0, 0.75, 0, 0.75, 0, -1.5, 0.75]]
    np.testing.assert_array_equal(found["preferred_intervals"], np.float32(expected))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Key(tonic=1), "note"),
        (lambda: Key(tonic=38), "note"),
        (lambda: Key(scale=(0, 12)), r"\[12\]"),
        (lambda: Key(fifth=-5), r"\[-5\]"),
        (lambda: MusicParams(length=7), "8 to 184"),
        (lambda: MusicParams(length=185), "8 to 184"),
        (lambda: MusicParams(primers=0), "primers"),
        (lambda: MusicParams(primers=39), "primers"),
        (lambda: MusicParams(weights={"motive": 1.0}), "motive"),
        (lambda: DEFAULT.weighted(motive=2.0), "motive"),
        (lambda: DEFAULT.without("motive"), "motive"),
        (lambda: DEFAULT.with_rule("motif", no_long_rest), "names of their own"),
        (lambda: DEFAULT.with_rule("total", no_long_rest), "names of their own"),
    ],
)
def test_settings_that_make_no_sense(wrong, said):
    with pytest.raises(ConfigError, match=said):
        wrong()


def test_compositions_that_make_no_sense():
    with pytest.raises(TypeError, match="integers"):
        score_composition(np.zeros((2, 32)))
    with pytest.raises(ValueError, match="at most 32"):
        score_composition(np.zeros((2, 33), int))
    with pytest.raises(ValueError, match="shape"):
        score_composition(np.int32(3))


def test_reset_draws_primers_uniformly_and_starts_empty():
    keys = jax.random.split(jax.random.key(0), 4000)
    obs, state = jax.jit(jax.vmap(theory.reset, (0, None)))(keys, DEFAULT)
    counts = np.bincount(np.asarray(obs), minlength=38)
    assert counts[37] == 0
    assert 60 < counts[:37].min() <= counts.max() < 160  # 108 expected
    assert not state.beat.any()
    few = MusicParams(primers=1)
    assert theory.reset(keys[0], few)[0] == 0


def test_environment_begins_anew_after_the_last_event():
    """Batched, scanned over three compositions, each environment with keys of its own."""
    actions = np.random.default_rng(7).integers(0, 38, (96, 5)).astype(np.int32)
    reset, step = jax.vmap(theory.reset), jax.vmap(theory.step)

    def advance(state, step_and_action):
        number, action = step_and_action
        keys = jax.random.split(jax.random.fold_in(jax.random.key(1), number), 5)
        obs, state, reward, done, _ = step(keys, state, action)
        primer, _ = reset(keys)
        return state, (obs, reward, done, primer, state.beat)

    @jax.jit
    def run():
        _, start = reset(jax.random.split(jax.random.key(0), 5))
        return jax.lax.scan(advance, start, (jnp.arange(96), actions))

    state, (obs, rewards, done, primer, beat) = jax.device_get(run())
    last = np.isin(np.arange(96), [31, 63, 95])[:, None]
    np.testing.assert_array_equal(done, np.tile(last, 5))
    np.testing.assert_array_equal(obs, np.where(last, primer, actions))
    np.testing.assert_array_equal(beat, np.tile((np.arange(1, 97) % 32)[:, None], 5))
    assert len(np.unique(primer[last[:, 0]])) > 5
    found = score_composition(actions.reshape(3, 32, 5).swapaxes(1, 2))["total"]
    np.testing.assert_array_equal(rewards.reshape(3, 32, 5).swapaxes(1, 2), found)
    assert (state.events == -1).all()


def test_settings_can_be_replaced_as_of_any_dataclass():
    params = dataclasses.replace(DEFAULT, length=16)
    leaves, tree = jax.tree.flatten(params.weighted(key=3.0))
    assert leaves == [3.0]
    assert jax.tree.unflatten(tree, leaves) == params.weighted(key=3.0)
    assert tree != jax.tree.structure(DEFAULT.weighted(key=3.0))
