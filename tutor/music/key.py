"""Keys, and what the released code makes of the intervals in them. Plain Python and NumPy."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from common.error import ConfigError
from common.melody import FIRST_NOTE, NO_EVENT, NOTE_OFF, NUM_EVENTS

OCTAVE = 12


@dataclass(frozen=True)
class Key:
    """A key. The fields but `tonic` are semitones above the tonic."""

    tonic: int = 14
    """The event of the tonic a composition should begin with: that note, in no other octave."""
    scale: tuple[int, ...] = (0, 2, 4, 5, 7, 9, 11)
    """The pitch classes in key."""
    third: int = 4
    """The note that, with the tonic, a major third best leaves from."""
    fifth: int = 7
    """The note that, with the tonic, a fifth, a rest or a hold best leaves from."""

    def __post_init__(self):
        """Raises ConfigError where the tonic isn't a note or a pitch class isn't in 0..11."""
        if not FIRST_NOTE <= self.tonic < NUM_EVENTS:
            raise ConfigError(
                f"the tonic must be a note, an event in {FIRST_NOTE}..{NUM_EVENTS - 1}, "
                f"not {self.tonic}."
            )
        wrong = {*self.scale, self.third, self.fifth} - set(range(OCTAVE))
        if wrong:
            raise ConfigError(
                f"a key's scale, third and fifth are semitones above the tonic in 0..11, "
                f"not {sorted(wrong)}."
            )

    def degree(self, note: int) -> int:
        """Semitones of a note above the tonic or its octaves, in 0..11."""
        return (note - self.tonic) % OCTAVE


def name_interval(note: int, event: int, key: Key) -> float:
    """The released code's number for the interval from a note to an event; plain Python.

    0 without a note before (note < 2) and for a unison; −1 and −1.5 for a rest and a hold, −2 and
    −2.5 if the note is the key's tonic or fifth; −5 for a fifth from these; −3 for a major third
    from tonic or third; the distance in semitones for all else.
    """
    if note < FIRST_NOTE:
        return 0
    degree, distance = key.degree(note), abs(event - note)
    stable = degree in (0, key.fifth)
    if event == NOTE_OFF:
        return -2 if stable else -1
    if event == NO_EVENT:
        return -2.5 if stable else -1.5
    if distance == 7 and stable:
        return -5
    if distance == 4 and degree in (0, key.third):
        return -3
    return distance


INTERVAL_REWARDS: dict[float, float] = {
    -2: 0.75,
    -1: 0.25,
    -2.5: 1.5,
    -1.5: 0.375,
    -5: 0.5,
    7: 0.1,
    -3: 0.75,
    4: 0.45,
    2: 0.4,
    5: 0.35,
    9: 0.25,
    11: -1.5,
    **dict.fromkeys(range(OCTAVE + 1, NUM_EVENTS), -5.0),
}
"""Reward by `name_interval`; 0 for intervals that aren't here."""


@lru_cache
def in_key_table(key: Key) -> np.ndarray:
    """Whether each event is in key, bool [38]: a rest, a hold or a note of the scale."""
    notes = range(FIRST_NOTE, NUM_EVENTS)
    return np.array([True] * FIRST_NOTE + [key.degree(note) in key.scale for note in notes])


@lru_cache
def interval_table(key: Key) -> np.ndarray:
    """`name_interval` of every last note (row; 0 for none) and event, float32 [38, 38]."""
    events = range(NUM_EVENTS)
    return np.array([[name_interval(n, e, key) for e in events] for n in events], np.float32)


@lru_cache
def interval_reward_table(key: Key) -> np.ndarray:
    """`INTERVAL_REWARDS` of every last note (row; 0 for none) and event, float32 [38, 38]."""
    rewards = [[INTERVAL_REWARDS.get(code, 0) for code in row] for row in interval_table(key)]
    return np.array(rewards, np.float32)
