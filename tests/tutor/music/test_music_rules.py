"""Each rule on small cases worked out by hand from docs/music_theory.md.

Events: 0 rest, 1 hold, 14 middle C, 16 D, 18 E, 19 F, 21 G, 23 A, 25 B, 26 the next C, 2 the C an
octave below.
"""

import numpy as np
import pytest

from common.melody import NO_EVENT
from tutor.music.theory import score_composition


def reward(rule, events, at=-1):
    """The rule's reward of the event at one place of a composition's beginning."""
    padded = np.full((1, 32), NO_EVENT)
    padded[0, : len(events)] = events
    return float(score_composition(padded)[rule][0, range(len(events))[at]])


@pytest.mark.parametrize("event", range(38))
def test_key(event):
    white = {2, 4, 6, 7, 9, 11, 13, 14, 16, 18, 19, 21, 23, 25, 26, 28, 30, 31, 33, 35, 37}
    assert reward("key", [event]) == (0 if event in {0, 1} | white else -1)


@pytest.mark.parametrize(
    ("beat", "paid"), [(0, {14}), (28, {14}), (29, {1}), (30, {0, 1}), (31, {0, 1})]
)
def test_tonic_at_the_places_that_count(beat, paid):
    for event in (0, 1, 2, 13, 14, 15, 26):
        assert reward("tonic", [14] * beat + [event]) == (3 if event in paid else 0)


@pytest.mark.parametrize("beat", [1, 15, 16, 27])
def test_tonic_elsewhere(beat):
    assert all(reward("tonic", [14] * beat + [event]) == 0 for event in (0, 1, 14))


@pytest.mark.parametrize(
    ("before", "event", "punished"),
    [
        ([14] * 4, 14, False),
        ([14] * 5, 14, True),  # the sixth in a row
        ([14] * 5, 16, False),
        ([16, 14, 14, 14, 14, 14], 14, True),
        ([14, 16, 14, 14, 14, 14], 14, False),  # counted from the other note on only
        ([14, 14, 14, 1, 14, 14], 14, False),
        ([14, 14, 14, 1, 14, 14, 14], 14, False),
        ([14, 14, 14, 1, 14, 14, 14, 14], 14, True),  # the eighth with a hold between
        ([14, 14, 14, 0, 14, 14, 14, 14], 14, True),
        ([1, 14, 14, 14, 14, 14], 14, False),  # a hold before the first still relaxes the limit
        ([16, 1, 14, 14, 14, 14, 14], 14, False),
        ([1, 16, 14, 14, 14, 14, 14], 14, True),  # but not one before another note
        ([0], 0, False),
        ([0, 0], 0, True),  # the third rest
        ([14, 0, 1, 0, 1], 0, True),  # holds between don't matter
        ([0, 14, 0], 0, False),  # a note does
        ([14, 1, 1, 1, 1], 1, False),
        ([14, 1, 1, 1, 1, 1], 1, True),  # the sixth hold
        ([14, 0, 1, 1, 1, 1, 1], 1, False),
        ([14, 1, 1, 1, 0, 1, 1, 1], 1, False),
        ([14, 1, 1, 1, 0, 1, 1, 1, 1], 1, True),
        ([1, 1, 14, 1, 1, 1], 1, False),
    ],
)
def test_penalize_repeating(before, event, punished):
    assert reward("penalize_repeating", [*before, event]) == (-100 if punished else 0)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([14], 0),
        ([14, 14], 0),  # no variance
        ([14, 16], -1.5),  # one coefficient, −0.5, whatever the two are
        ([0, 1], -1.5),
        # d = −3, 1, 1, 1 over den 12: lag 1 (−3 + 1 + 1) = −1/12; lag 2 −2/12; lag 3 −3/12
        ([13, 14, 14, 14], -3 * (2 / 12 + 3 / 12)),
        ([0, 37, 0, 37], -3 * (3 / 4 + 2 / 4 + 1 / 4)),
        # d ∝ ± 1, ten of each: 1/20, 2/20 and exactly −3/20, which isn't more than 0.15
        ([3, 3, 2, 3, 2, 2, 3, 3, 3, 3, 3, 2, 2, 2, 3, 2, 3, 2, 2, 2], 0),
    ],
)
def test_penalize_autocorrelation(events, expected):
    assert reward("penalize_autocorrelation", events) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([14, 16, 18, 1, 1, 1, 1], 0),  # 7 events
        ([14, 16, 18, 1, 1, 1, 1, 1], 3),
        ([14, 16, 14, 16, 14, 16, 1, 0], 0),  # two notes
        ([14, 16, 18, 19, 1, 1, 1, 0], 3.3),
        ([14, 16, 18, 19, 21, 23, 25, 26], 4.5),
        ([14, 16, 18, 1, 1, 1, 1, 1, 1], 0),  # the first note has left the window
        ([1, 14, 16, 18, 1, 1, 1, 1, 1], 3),
    ],
)
def test_motif(events, expected):
    assert reward("motif", events) == pytest.approx(expected, abs=5e-7)


BLOCK = [14, 16, 18, 1, 1, 19, 1, 0]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (BLOCK + BLOCK, 5),  # four notes
        ([*BLOCK, 21, *BLOCK], 5),  # any alignment
        ([9, *BLOCK, 21, 21, 21, *BLOCK], 5),
        ([14, 16, 18, 1] * 4, 4),
        ([14, 16, 18, 1] * 3, 0),  # 12 events: the copies overlap
        ([*BLOCK[:-1]] * 2 + [14], 0),  # 15 events: still by one
        ([*BLOCK[:-1], 1, *BLOCK], 0),  # one event is different
        ([1, *BLOCK[1:], *BLOCK], 0),
        ([14, 16, 14, 16, 1, 1, 1, 1] * 2, 0),  # not a motif
    ],
)
def test_repeated_motif(events, expected):
    assert reward("repeated_motif", events) == expected


@pytest.mark.parametrize(
    ("before", "event", "expected"),
    [
        ([], 14, 0),
        ([], 0, 0),
        ([0, 1], 14, 0),  # no note yet
        ([0], 1, 0),
        ([14], 0, 0.75),
        ([21], 0, 0.75),
        ([16], 0, 0.25),
        ([2], 1, 1.5),  # any C
        ([33], 1, 1.5),  # any G
        ([18], 1, 0.375),
        ([14, 1, 1], 1, 1.5),  # every hold is paid
        ([14, 0], 16, 0.4),  # a rest between doesn't matter
        ([14], 14, 0),
        ([14], 15, 0),
        ([14], 16, 0.4),
        ([14], 17, 0),
        ([14], 18, 0.75),
        ([18], 14, 0.75),
        ([19], 23, 0.45),
        ([21], 25, 0.45),  # from G a third isn't preferred
        ([14], 19, 0.35),
        ([14], 20, 0),
        ([14], 21, 0.5),
        ([21], 14, 0.5),
        ([14], 7, 0.5),
        ([16], 23, 0.1),
        ([18], 25, 0.1),  # from E a fifth isn't
        ([14], 22, 0),
        ([14], 23, 0.25),
        ([14], 24, 0),
        ([14], 25, -1.5),
        ([14], 26, 0),  # an octave
        ([14], 27, -5),
        ([37], 2, -5),
    ],
)
def test_preferred_intervals(before, event, expected):
    assert reward("preferred_intervals", [*before, event]) == np.float32(expected)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([14, 21], 0),  # the leap itself
        ([14, 21, 28], -5),  # up again
        ([14, 21, 28, 35], -5),  # and again
        ([14, 21, 28, 22, 17, 14], 5),  # the first leap stays open: back where it came from
        ([14, 21, 28, 22, 17, 15], 0),
        ([21, 14, 7], -5),  # down again
        ([14, 21, 14], 0),  # back by a leap, too early
        ([14, 21, 14, 21], 0),  # which isn't a new leap, but closes the old one
        ([14, 21, 14, 7], 0),
        ([14, 21, 14, 21, 28], -5),
        ([14, 21, 20, 15], 0),
        ([14, 21, 20, 15, 14], 5),  # to the note it came from
        ([14, 21, 20, 15, 13], 5),  # past it
        ([21, 14, 15, 20, 21], 5),  # and downward
        ([21, 14, 15, 20, 22], 5),
        ([21, 14, 15, 20, 20], 0),
        ([14, 21, 20, 15, 14, 13], 0),  # resolved only once
        ([14, 20], 0),
        ([14, 20, 26], 0),  # six semitones aren't a leap
        ([16, 23, 30], -5),  # fifths are, whatever the key says
        ([14, 26, 37], -5),  # octaves too
        ([14, 1, 21, 0, 1, 28], -5),  # rests and holds between don't matter
        ([14, 21, 1, 1, 1, 1, 1, 1, 14], 0),  # back after 6 events
        ([14, 21, 1, 1, 1, 1, 1, 1, 1, 14], 5),  # back after 7
        ([14, 21, 1, 1, 1, 28, 1, 1, 1, 1, 1, 1, 21], 0),  # counted from the last leap
        ([14, 21, 1, 1, 1, 28, 1, 1, 1, 1, 1, 1, 1, 21], 5),
        ([0, 14], 0),
        ([1, 1, 14, 21, 28], -5),
    ],
)
def test_leap_up_back(events, expected):
    assert reward("leap_up_back", events) == expected


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([14] * 30 + [16, 2], 6),
        ([14] * 30 + [16, 16], 0),
        ([14] * 30 + [16, 14], 3),
        ([14, 14, *([2, 18] * 15)], 0),
        ([2] + [14] * 31, 3),  # only the lowest is unique
        ([0] * 31 + [1], 3),  # the highest event may be a hold; there is no note
        ([1] * 31 + [0], 0),
        ([1] * 31 + [9], 6),  # one note is both
        ([0, 0] + [14] * 29 + [2], 3),  # rests aren't low notes
    ],
)
def test_high_low_unique(events, expected):
    assert reward("high_low_unique", events) == expected
    assert all(reward("high_low_unique", events[:t]) == 0 for t in (1, 20, 31))
