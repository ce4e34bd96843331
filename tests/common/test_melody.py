"""The 38 events: what each means, and that notes and events say the same."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.melody import (
    NO_EVENT,
    NOTE_OFF,
    Note,
    Span,
    canonical,
    decode_events,
    encode_notes,
    fit_range,
    quantise,
)

EVENTS = st.lists(st.one_of(st.sampled_from([NOTE_OFF, NO_EVENT]), st.integers(0, 37)), max_size=60)


def test_each_event_is_a_pitch():
    for event in range(2, 38):
        assert decode_events([event]) == [Note(0, 1, event + 46)]
        assert encode_notes([Note(0, 1, event + 46)], 1).tolist() == [event]


@pytest.mark.parametrize(
    ("events", "notes"),
    [
        ([], []),
        ([0, 1, 0], []),
        ([2, 1, 1], [Note(0, 3, 48)]),
        ([2, 1, 0, 1], [Note(0, 2, 48)]),
        ([2, 0, 0, 3], [Note(0, 1, 48), Note(3, 1, 49)]),
        ([1, 37, 37, 1], [Note(1, 1, 83), Note(2, 2, 83)]),
    ],
)
def test_what_events_mean(events, notes):
    assert decode_events(events) == notes


def test_silence_is_written_in_one_way():
    assert canonical([0, 1, 0, 14, 0, 0, 1, 16]).tolist() == [1, 1, 1, 14, 0, 1, 1, 16]
    assert canonical([14, 1, 16, 0]).tolist() == [14, 1, 16, 0]


@given(EVENTS)
def test_notes_and_events_are_inverse(events):
    notes = decode_events(events)
    again = encode_notes(notes, len(events))
    assert again.dtype == np.int32
    assert decode_events(again) == notes
    assert np.array_equal(again, canonical(events))
    differing = np.flatnonzero(again != np.asarray(events, np.int32))
    assert {events[position] for position in differing} <= {NOTE_OFF}


@pytest.mark.parametrize("event", [-1, 38])
def test_what_is_no_event_is_refused(event):
    with pytest.raises(ValueError, match=f"event {event} at position 2 is outside 0..37"):
        decode_events([1, 1, event])


@pytest.mark.parametrize(
    "notes",
    [
        [Note(0, 1, 47)],
        [Note(0, 1, 84)],
        [Note(0, 0, 60)],
        [Note(0, 9, 60)],
        [Note(-1, 2, 60)],
        [Note(0, 3, 60), Note(2, 1, 62)],
        [Note(2, 1, 60), Note(0, 1, 62)],
    ],
)
def test_notes_that_are_no_melody_are_refused(notes):
    with pytest.raises(ValueError, match=r"Note\(start="):
        encode_notes(notes, 8)


def test_quantise_moves_to_the_nearest_sixteenth():
    third = Fraction(4, 3)
    triplet = [Span(i * third, (i + 1) * third, 60 + i) for i in range(3)]
    assert quantise(triplet) == [Note(0, 1, 60), Note(1, 2, 61), Note(3, 1, 62)]
    assert quantise([Span(0.5, 0.6, 60), Span(1.6, 2.2, 62)]) == [Note(1, 1, 60), Note(2, 1, 62)]
    staccato = [Span(0, 0.3, 60), Span(4, 4.3, 60)]
    assert quantise(staccato) == [Note(0, 1, 60), Note(4, 1, 60)]
    assert quantise([Span(0, 0.5, 60), Span(0.25, 1, 62)]) is None


@given(st.lists(st.integers(0, 127), min_size=1, max_size=5), st.sampled_from([1, 12]))
def test_fit_range_moves_no_further_than_it_must(pitches, step):
    notes = [Note(place, 1, pitch) for place, pitch in enumerate(pitches)]
    fitted = fit_range(notes, step)
    possible = [
        shift
        for shift in range(-132, 133, step)
        if all(48 <= pitch + shift <= 83 for pitch in pitches)
    ]
    if not possible:
        assert fitted is None
        return
    shift = min(possible, key=abs)
    assert fitted == [note._replace(pitch=note.pitch + shift) for note in notes]
