"""JSB Chorales: 382 chorales by Bach as piano rolls in quarter notes, shipped with the package."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from common.datasets.builder import SPLITS, ChoraleBuilder
from common.datasets.source import SourceFile, Sources
from common.error import DataError

LOWEST, HIGHEST = 21, 108
"""MIDI pitches of the first and the last of the piano's 88 keys."""


def read_chorales(content: bytes) -> dict[str, list[np.ndarray]]:
    """Turn the JSON of all splits into piano rolls.

    Args:
      content: {"train": chorales, "valid": ..., "test": ...}; a chorale is a list of steps, a step
        the list of MIDI pitches that sound. A step without pitches is kept, as a row of zeros.

    Returns:
      Split → rolls, uint8 [steps, 88].

    Raises:
      DataError: it isn't such JSON, or a pitch is outside 21..108; says where.
    """
    try:
        splits = json.loads(content)
    except ValueError as error:
        raise DataError(f"jsb_chorales: not valid JSON ({error})") from error
    if not isinstance(splits, dict) or not set(SPLITS) <= set(splits):
        raise DataError(f"jsb_chorales: expected the splits {', '.join(SPLITS)}")
    rolls: dict[str, list[np.ndarray]] = {}
    for split in SPLITS:
        if not isinstance(splits[split], list) or not splits[split]:
            raise DataError(f"jsb_chorales: {split} is not a list of chorales")
        rolls[split] = [
            _roll(chorale, f"jsb_chorales: {split} chorale {number}")
            for number, chorale in enumerate(splits[split])
        ]
    return rolls


def _roll(chorale: Any, where: str) -> np.ndarray:
    if not isinstance(chorale, list) or not all(isinstance(step, list) for step in chorale):
        raise DataError(f"{where} is not a list of steps")
    roll = np.zeros((len(chorale), HIGHEST - LOWEST + 1), np.uint8)
    for time, step in enumerate(chorale):
        for pitch in step:
            if type(pitch) is not int or not LOWEST <= pitch <= HIGHEST:
                raise DataError(
                    f"{where}, step {time}: the pitch {pitch!r} is not in {LOWEST}..{HIGHEST}"
                )
            roll[time, pitch - LOWEST] = 1
    return roll


class JsbChorales(ChoraleBuilder):
    """The corpus of the Recurrent Highway Network paper's optimisation study."""

    name = "jsb_chorales"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Quarter-note steps, 229/76/77 chorales."}
    SOURCES = Sources(
        files=(
            SourceFile(
                "jsb-chorales-quarter.json",
                407_200,
                "2db9329f1881a1d3f49703ec556bf1d6f84b4f6c1d702c156536e93cf31e1c91",
                shipped=True,
            ),
        ),
    )
    TEXT: ClassVar[Mapping[str, str]] = {
        "description": "Four-part chorales by J. S. Bach in the splits of Boulanger-Lewandowski"
        " et al., quantised to quarter notes, as 88-key piano rolls.",
        "homepage": "https://github.com/czhuang/JSB-Chorales-dataset",
        "citation": "@inproceedings{boulanger2012modeling, title={Modeling temporal dependencies in"
        " high-dimensional sequences}, author={Boulanger-Lewandowski, Nicolas and Bengio, Yoshua"
        " and Vincent, Pascal}, booktitle={ICML}, year={2012}}",
    }

    def preprocess(self, files: Mapping[str, bytes]) -> dict[str, list[np.ndarray]]:
        """Turn the file into piano rolls."""
        (content,) = files.values()
        return read_chorales(content)
