"""The soprano of the JSB Chorales, which ship with the package."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from common.datasets.builder import SPLITS
from common.datasets.jsb_chorales import LOWEST, JsbChorales, read_chorales
from common.datasets.melody import Melodies, MelodyBuilder
from common.melody import OCTAVE, Note, encode_notes, fit_range

STEP = 4
"""Sixteenths in a step of the piano rolls."""


def soprano(roll: np.ndarray) -> list[Note]:
    """Return the highest notes of a piano roll, uint8 [steps, 88], as notes of a quarter each.

    The rolls don't tell a pitch that is held from one that is struck again. Chorales have a
    syllable on nearly every quarter, so each is taken as struck.
    """
    return [
        Note(step * STEP, STEP, LOWEST + int(np.flatnonzero(keys)[-1]))
        for step, keys in enumerate(roll)
        if keys.any()
    ]


class ChoraleMelodies(MelodyBuilder):
    """382 melodies in the splits of the chorales they are taken from."""

    name = "chorale_melodies"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Highest notes, struck every quarter."}
    SOURCES = JsbChorales.SOURCES
    TEXT: ClassVar[Mapping[str, str]] = {
        "description": "The highest voice of 382 chorales by J. S. Bach as events per sixteenth,"
        " lowered by octaves into MIDI 48..83. The splits are those of the chorales, where the same"
        " tune may be in two splits.",
        "homepage": JsbChorales.TEXT["homepage"],
        "citation": JsbChorales.TEXT["citation"],
    }

    def preprocess(self, files: Mapping[str, bytes]) -> Melodies:
        """Turn the file into melodies, lowered by octaves into the range.

        The file has the chorales in C, major or minor, and high up; octaves keep the key.
        """
        (content,) = files.values()
        splits: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
        counts = {"found": 0, "wider than the range": 0, "kept": 0}
        for split, rolls in read_chorales(content).items():
            for roll in rolls:
                counts["found"] += 1
                notes = fit_range(soprano(roll), step=OCTAVE)
                counts["wider than the range" if notes is None else "kept"] += 1
                if notes is not None:
                    events = encode_notes(notes, len(roll) * STEP)
                    splits[split].append(events.astype(np.uint8))
        return Melodies(splits, {what: count for what, count in counts.items() if count})
