"""What runs of the melody experiments share: the environment, MIDI files, and Table 1."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from common.melody import Events, swap_specials
from common.midi import write_melody, write_wav
from tutor.learn_state import Environment
from tutor.music import theory
from tutor.music.statistics import count_statistics, summarize_counts

PARAMS = theory.DEFAULT
"""Key, length, rules and weights for which models are tuned, and by which they are judged."""
ENVIRONMENT = Environment(theory.reset, theory.step_env, PARAMS)
LENGTH = PARAMS.length
"""Events of a composition."""

MIDI_FILES = 3
"""Compositions that a run writes as MIDI files."""
SHARP = 2
"""Semitones by which the released code's MIDI files are too high."""


def write_composition(
    events: Events, path: Path, *, swapped_specials: bool, wav: bool = False
) -> None:
    """Writes a composition int [T] as a MIDI file, and if asked as sound beside it.

    One of a model that learned from data with `swapped_specials` is written as the released code
    does: event 0 holds, 1 ends a note, and all sounds two semitones too high.
    """
    heard = swap_specials(events) if swapped_specials else events
    transpose = SHARP if swapped_specials else 0
    write_melody(heard, path, transpose=transpose)
    if wav:
        write_wav(heard, path.with_suffix(".wav"), transpose=transpose)


def write_compositions(events: Any, path: Path, *, swapped_specials: bool) -> None:
    """Writes the first compositions of int [N, T] as composition<k>.mid."""
    for number, composition in enumerate(np.asarray(events)[:MIDI_FILES], start=1):
        file = path / f"composition{number}.mid"
        write_composition(composition, file, swapped_specials=swapped_specials)


def table_1(events: Any) -> dict[str, float]:
    """Table 1 of compositions int [N, T], as metrics of a record.

    `composed/NAME` with the ends of its 95 % interval over compositions, `composed_low/NAME` and
    `composed_high/NAME`. What is undefined (leaps resolved, where there is no leap) is left out.
    """
    metrics = {}
    for name, estimate in summarize_counts(count_statistics(np.asarray(events), PARAMS)).items():
        for split, value in zip(
            ("composed", "composed_low", "composed_high"), estimate, strict=True
        ):
            if not math.isnan(value):
                metrics[f"{split}/{name}"] = float(value)
    return metrics
