"""Keys of melodies, melodies moved to C, and melodies played slower, from notes written by hand."""

import numpy as np
import pytest

from common.key import MelodyKey, estimate_key, move_to_c, stretch, stretch_factors, transpose
from common.melody import NO_EVENT, NOTE_OFF, PITCH_OFFSET

C_MAJOR = [60, 62, 64, 65, 67, 69, 71, 72]
A_MINOR = [57, 59, 60, 62, 64, 65, 68, 69]


def melody(*pitches: int) -> np.ndarray:
    """Notes of two sixteenths each, a rest in the end."""
    events = [event for pitch in pitches for event in (pitch - PITCH_OFFSET, NO_EVENT)]
    return np.array([*events, NOTE_OFF], np.int32)


def pitches(events: np.ndarray) -> list[int]:
    return [int(event) + PITCH_OFFSET for event in events if event > NO_EVENT]


@pytest.mark.parametrize("up", range(12))
def test_a_scale_in_every_key_is_known(up):
    for scale, tonic, mode in ((C_MAJOR, 0, "major"), (A_MINOR, 9, "minor")):
        key = estimate_key(transpose(melody(*scale), up))
        assert key == MelodyKey((tonic + up) % 12, mode)
        assert key.major == up  # A minor has the signature of C


def test_of_scales_with_as_many_notes_the_triad_then_the_last_note_decides():
    # c d e g a lie in C, F and G major: of the triads C's has three of them, F's and G's two each.
    assert estimate_key(melody(60, 62, 64, 67, 69)) == MelodyKey(0, "major")
    # Now F's triad has six notes (four a, two c), C's four (two c, e, g).
    assert estimate_key(melody(60, 69, 69, 69, 62, 64, 67, 60, 69)) == MelodyKey(5, "major")
    # d alone is in the triads of D, G and B flat major and of D, G and B minor; it is D's tonic.
    assert estimate_key(melody(62)) == MelodyKey(2, "major")


def test_what_has_no_key():
    assert estimate_key(np.array([NOTE_OFF, NO_EVENT], np.int32)) is None
    assert estimate_key(melody(*range(60, 72))) is None  # 7 of 12 notes in any scale
    assert estimate_key(melody(*C_MAJOR, 61, 66)) == MelodyKey(0, "major")  # 8 of 10
    assert estimate_key(melody(*C_MAJOR, 61, 66, 68)) is None  # 8 of 11


def test_melodies_come_to_c_in_the_octave_nearest_the_middle():
    d_major = transpose(melody(*C_MAJOR), 2)  # 62..74: down 2 its middle is 66, up 10 it is 78
    low = transpose(melody(*C_MAJOR), -11)  # C# at 49..61: down 1 is 48..60 around 54, up 11 is 66
    b_minor = transpose(melody(*A_MINOR), 2)
    moved = move_to_c([d_major, low, b_minor])
    assert [pitches(one) for one in moved.melodies] == [C_MAJOR, C_MAJOR, A_MINOR]
    assert moved.counts == {"major": 2, "minor": 1, "without a key": 0, "too wide": 0}
    assert np.array_equal(moved.melodies[0][1::2], d_major[1::2])  # holds stay where they were


def test_what_can_not_be_moved_stays_and_is_counted():
    keyless = melody(*range(60, 72))
    wide = melody(49, 53, 56, 61, 73, 80, 83 - 1, 84 - 1)  # C# major over 34 semitones
    moved = move_to_c([keyless, wide])
    assert moved.counts == {"major": 0, "minor": 0, "without a key": 1, "too wide": 1}
    assert np.array_equal(moved.melodies[0], keyless)
    assert np.array_equal(moved.melodies[1], wide)


def test_a_stretched_melody_holds_its_events_longer():
    assert stretch(np.array([14, NO_EVENT, NOTE_OFF, 20]), 3).tolist() == [
        14, 1, 1, 1, 1, 1, 0, 1, 1, 20, 1, 1,
    ]  # fmt: skip
    assert stretch(np.array([14, 0]), 1).tolist() == [14, 0]


def test_factors_depend_on_the_number_alone_and_have_their_shares():
    shares = ((1, 0.4), (2, 0.2), (4, 0.4))
    # Fractional parts of 0.618 k: .618 .236 .854 .472 .090 .708 .326 .944
    assert stretch_factors(8, shares) == [4, 1, 4, 2, 1, 4, 1, 4]
    many = stretch_factors(1000, shares)
    assert many[:8] == stretch_factors(8, shares)
    for factor, share in shares:
        assert abs(many.count(factor) - 1000 * share) <= 2
