"""The statistics against the plain Python of `music_plain`, and their intervals."""

import math

import jax
import music_plain
import numpy as np
import pytest

from tutor.music.key import Key
from tutor.music.statistics import (
    CHUNK,
    count_statistics,
    summarize_counts,
)
from tutor.music.theory import MusicParams


@pytest.fixture(scope="module")
def counts(pieces):
    """Of more than one chunk, and not a whole number of them."""
    assert CHUNK < len(pieces) < 2 * CHUNK
    return jax.device_get(count_statistics(pieces))


@pytest.fixture(scope="module")
def plain(pieces):
    """A quarter of the pieces and those where two chunks meet, and their counts."""
    chosen = [*range(0, len(pieces), 4), *range(CHUNK - 50, CHUNK + 50)]
    return chosen, [music_plain.counts(pieces[i].tolist()) for i in chosen]


def test_every_count_of_every_composition_equals_plain_python(counts, plain):
    chosen, expected = plain
    assert counts.keys() - {"num_notes"} == expected[0].keys()
    assert (counts["num_notes"] == 32).all()
    for name, actual in counts.items():
        if name == "num_notes":
            continue
        values = np.array([found[name] for found in expected])
        if name.startswith("autocorrelation"):
            assert actual.dtype == np.float32
            np.testing.assert_allclose(actual[chosen], values, rtol=3e-7, err_msg=name)
        else:
            assert actual.dtype == np.int32
            assert values.any(), name
            np.testing.assert_array_equal(actual[chosen], values, err_msg=name)


def test_counters_agree_with_the_rewards(scores, counts):
    for counter, rule in {
        "notes_not_in_key": "key",
        "notes_in_motif": "motif",
        "notes_in_repeated_motif": "repeated_motif",
        "num_repeated_notes": "penalize_repeating",
    }.items():
        np.testing.assert_array_equal(counts[counter], (scores[rule] != 0).sum(axis=1))
    leaps = counts["num_resolved_leaps"] - counts["num_leap_twice"]
    np.testing.assert_array_equal(5.0 * leaps, scores["leap_up_back"].sum(axis=1))
    unique = counts["num_high_unique"] + counts["num_low_unique"]
    np.testing.assert_array_equal(3.0 * unique, scores["high_low_unique"].sum(axis=1))


def test_summary_equals_plain_python(pieces, counts, plain):
    chosen, _ = plain
    chosen = chosen[::3]
    expected = music_plain.summary(pieces[chosen].tolist())
    actual = summarize_counts({name: values[chosen] for name, values in counts.items()})
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].value == pytest.approx(value, rel=1e-6), name
        assert actual[name].low <= actual[name].value <= actual[name].high
        assert actual[name].low < actual[name].high


def test_counts_of_parts_can_be_joined(counts):
    halves = [{n: v[s] for n, v in counts.items()} for s in (slice(900), slice(900, None))]
    joined = {name: np.concatenate([half[name] for half in halves]) for name in counts}
    assert summarize_counts(joined) == summarize_counts(counts)


def test_counts_depend_on_the_key_but_not_on_rules_and_weights(pieces, counts):
    params = MusicParams(key=Key(tonic=19)).without("motif").weighted(key=7.0)
    found = count_statistics(pieces.astype(np.int8), params)
    np.testing.assert_array_equal(found["num_starting_tonic"], pieces[:, 0] == 19)
    by_key = {"num_starting_tonic", "notes_not_in_key", "num_rest_intervals", "num_thirds"}
    by_key |= {"num_special_rest_intervals", "num_fifths", "num_in_key_preferred_intervals"}
    for name, values in found.items():
        same = np.array_equal(values, counts[name], equal_nan=True)
        assert same == (name not in by_key), name


def test_nothing_to_count_is_nan():
    constant = summarize_counts(count_statistics(np.full((3, 32), 14)))
    for name in ("leaps_resolved", "mean_autocorrelation1"):
        assert all(map(math.isnan, constant[name])), name
    assert constant["notes_excessively_repeated"].value == 100 * 27 / 32
    assert constant["compositions_starting_with_tonic"].value == 100
    none = summarize_counts(count_statistics(np.zeros((0, 32), int)))
    assert all(math.isnan(end) for estimate in none.values() for end in estimate)


def test_compositions_that_make_no_sense():
    with pytest.raises(TypeError, match="integers"):
        count_statistics(np.zeros((2, 32)))
    with pytest.raises(ValueError, match="at most 32"):
        count_statistics(np.zeros((2, 33), int))
    with pytest.raises(ValueError, match=r"\[N, T\]"):
        count_statistics(np.zeros(32, int))
