"""Digits: 1,797 handwritten digits of 8 × 8 pixels, shipped with the package."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from common.datasets.builder import ImageBuilder
from common.datasets.corpus import Images
from common.datasets.source import SourceFile, Sources
from common.error import DataError

SIDE, LARGEST, CLASSES = 8, 16, 10
BLOCK, BLOCKS = 10, 10
"""Of each BLOCKS blocks of BLOCK lines the last is for testing, the one before for validation."""


def read_digits(content: bytes) -> dict[str, Images]:
    """Turn lines of 64 grey values and a class into images in three splits.

    The lines are cut into blocks, which the splits get in turn: neighbouring lines are of one
    writer, so that all writers are in all splits; and most blocks have every class once, as single
    lines taken at an even distance wouldn't.

    Raises:
      DataError: a line isn't of that form; names it.
    """
    rows = []
    for number, line in enumerate(content.decode("ascii", errors="replace").split(), 1):
        values = [int(text) if text.isdecimal() else -1 for text in line.split(",")]
        *pixels, label = values
        if len(pixels) != SIDE * SIDE or not 0 <= label < CLASSES:
            raise DataError(f"digits: line {number} isn't {SIDE * SIDE} grey values and a class")
        if not all(0 <= pixel <= LARGEST for pixel in pixels):
            raise DataError(f"digits: line {number} has a grey value outside 0..{LARGEST}")
        rows.append(values)
    table = np.array(rows, np.uint8)
    place = np.arange(len(table)) // BLOCK % BLOCKS
    valid, test = place == BLOCKS - 2, place == BLOCKS - 1
    chosen = {"train": ~(valid | test), "valid": valid, "test": test}
    return {
        split: Images(table[which, :-1].reshape(-1, SIDE, SIDE), table[which, -1])
        for split, which in chosen.items()
    }


class Digits(ImageBuilder):
    """The test set of "Optical Recognition of Handwritten Digits", as scikit-learn bundles it."""

    name = "digits"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Split by blocks of ten lines, 8 : 1 : 1."}
    SHAPE = (SIDE, SIDE)
    LARGEST = LARGEST
    SOURCES = Sources(
        files=(
            SourceFile(
                "digits.csv",
                264_712,
                "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8",
                shipped=True,
            ),
        ),
    )
    TEXT: ClassVar[Mapping[str, str]] = {
        "description": "Handwritten digits of 13 writers as images of 8 × 8 pixels, 0..16.",
        "homepage": "https://doi.org/10.24432/C50P49",
        "citation": "@misc{alpaydin1998optical, author={Alpaydin, E. and Kaynak, C.},"
        " title={Optical Recognition of Handwritten Digits}, year={1998},"
        " howpublished={UCI Machine Learning Repository}}",
    }

    def preprocess(self, files: Mapping[str, bytes]) -> dict[str, Images]:
        """Turn the file into images."""
        (content,) = files.values()
        return read_digits(content)
