"""Keys, and the released code's numbers and rewards of the intervals in them. No JAX."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from common.error import ConfigError
from common.melody import FIRST_NOTE, NO_EVENT, NOTE_OFF, NUM_EVENTS, OCTAVE


@dataclass(frozen=True)
class Key:
    """A key. All fields but `tonic` are semitones above the tonic, in 0..11."""

    tonic: int = 14
    """The event of the tonic that a composition should begin with, in this octave."""
    scale: tuple[int, ...] = (0, 2, 4, 5, 7, 9, 11)
    """The pitch classes in key."""
    third: int = 4
    """A major third from here or from the tonic has its own code and reward."""
    fifth: int = 7
    """A fifth, a rest or a hold after this note or the tonic has its own code and reward."""

    def __post_init__(self):
        """Raise ConfigError where the tonic isn't a note or a pitch class isn't in 0..11."""
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
        """Return a note's semitones above the tonic or its octaves, in 0..11."""
        return (note - self.tonic) % OCTAVE


def name_interval(note: int, event: int, key: Key) -> float:
    """Return the released code's number for the interval from a note to an event.

    It is 0 for a unison and without a note before; −1 for a rest and −1.5 for a hold, or −2 and
    −2.5 if the note is the key's tonic or fifth; −5 for a fifth from these; −3 for a major third
    from tonic or third; the distance in semitones for all else. See docs/music_theory.md,
    "Intervals".

    Args:
      note: the event of the last note; below 2 if there was none.
      event: what follows it, in 0..37.
      key: whose degrees count.
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
    """Tell of each event whether it is a rest, a hold or a note of the scale; bool [38]."""
    notes = range(FIRST_NOTE, NUM_EVENTS)
    return np.array([True] * FIRST_NOTE + [key.degree(note) in key.scale for note in notes])


@lru_cache
def interval_table(key: Key) -> np.ndarray:
    """Tabulate `name_interval` by last note (row; 0 for none) and event; float32 [38, 38]."""
    events = range(NUM_EVENTS)
    return np.array([[name_interval(n, e, key) for e in events] for n in events], np.float32)


@lru_cache
def interval_reward_table(key: Key) -> np.ndarray:
    """Tabulate `INTERVAL_REWARDS` by last note (row; 0 for none) and event; float32 [38, 38]."""
    rewards = [[INTERVAL_REWARDS.get(code, 0) for code in row] for row in interval_table(key)]
    return np.array(rewards, np.float32)
