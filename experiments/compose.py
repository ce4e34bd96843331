"""Compositions of a finished run's model for ears and eyes: MIDI files, sound and piano rolls."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from common.error import ConfigError, DataError
from common.melody import NO_EVENT, NOTE_OFF, NUM_EVENTS, Events
from common.midi import read_primer, write_melody, write_wav
from common.table import Table
from experiments import policy
from experiments.policy import Kept
from tutor import music_theory
from tutor.evaluation import Composer
from tutor.learner import Environment
from tutor.music_theory import DEFAULT, score_composition
from tutor.piano_roll import draw_piano_roll, find_violations

MOST = 100
"""Compositions of a seed; however many are asked for, they are the first of these."""
LONGEST_PRIMER = 4096  # sixteenths
TO_A_PICTURE = 8
SHARP = 2
"""Semitones by which the released code's MIDI files are too high."""
TITLES = {
    "penalize_repeating": "repeating",
    "penalize_autocorrelation": "autocorrelation",
    "preferred_intervals": "intervals",
    "leap_up_back": "leaps",
}
"""Shorter names of rules."""


class Composed(NamedTuple):
    """Compositions and where they were written."""

    events: Events
    """int32 [N, T], as the model and the reward read them."""
    scores: Mapping[str, np.ndarray]
    """Rule → reward [N, T], and "total"."""
    melodies: list[Path]
    """MIDI files, one per composition."""
    pictures: list[Path]

    def table(self) -> Table:
        """A row per composition: its file, total reward, and events that break each rule."""
        broken = {k: v for k, v in find_violations(self.scores).items() if k in PENALTIES}
        titles = ("file", "reward", *(f"{TITLES.get(name, name)} −" for name in broken))
        totals = np.sum(self.scores["total"], axis=-1)
        rows = [
            (str(path), f"{total:.1f}", *(int(np.sum(where[k])) for where in broken.values()))
            for k, (path, total) in enumerate(zip(self.melodies, totals, strict=True))
        ]
        return Table(titles, rows, frozenset(titles[1:]))
