"""What runs of the melody experiments share: the environment, and Table 1."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from common.midi import write_melody
from tutor import music_theory
from tutor.learn_state import Environment
from tutor.music_statistics import count_statistics, summarize_counts

ENVIRONMENT = Environment(music_theory.reset, music_theory.step_env, music_theory.DEFAULT)
LENGTH = music_theory.DEFAULT.length
"""Events of a composition."""


MIDI_FILES = 3
"""Compositions that a run writes as MIDI files."""


def write_compositions(events: Any, path: Path) -> None:
    """Writes the first compositions of int [N, T] as composition<k>.mid."""
    for number, composition in enumerate(np.asarray(events)[:MIDI_FILES], start=1):
        write_melody(composition, path / f"composition{number}.mid")


def table_1(events: Any) -> dict[str, float]:
    """Table 1 of compositions int [N, T], as metrics of a record.

    `composed/NAME` with the ends of its 95 % interval over compositions, `composed_low/NAME` and
    `composed_high/NAME`. What is undefined (leaps resolved, where there is no leap) is left out.
    """
    metrics = {}
    for name, estimate in summarize_counts(count_statistics(np.asarray(events))).items():
        for split, value in zip(
            ("composed", "composed_low", "composed_high"), estimate, strict=True
        ):
            if not math.isnan(value):
                metrics[f"{split}/{name}"] = float(value)
    return metrics
