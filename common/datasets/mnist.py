"""MNIST: 70,000 handwritten digits of 28 × 28 pixels, from its four files in IDX format."""

import gzip
import math
import struct
import zlib
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from common.datasets.builder import ImageBuilder
from common.datasets.corpus import Images
from common.datasets.source import SourceFile, Sources
from common.error import DataError

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
_BYTES = 0x08
"""IDX's code of unsigned bytes."""


def read_idx(packed: bytes, name: str, dimensions: int) -> np.ndarray:
    """Unpack an array of bytes in IDX format, compressed by gzip.

    The format: two zero bytes, a type, the number of dimensions; each dimension as a big-endian
    int32; the values, the last dimension fastest.

    Args:
      packed: the file's content.
      name: of the file, for messages.
      dimensions: how many the array must have.

    Raises:
      DataError: it isn't such a file.
    """
    try:
        content = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"mnist: {name} isn't a gzip file, or is damaged ({error})") from error
    begin = 4 * (1 + dimensions)
    if content[:4] != bytes((0, 0, _BYTES, dimensions)) or len(content) < begin:
        raise DataError(f"mnist: {name} isn't an IDX file of bytes in {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}i", content[4:begin])
    if len(content) - begin != math.prod(shape):
        raise DataError(
            f"mnist: {name} has {len(content) - begin:,} values, expected {math.prod(shape):,}"
        )
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)


class Mnist(ImageBuilder):
    """The handwritten digits of LeCun, Cortes and Burges.

    The checksums are those that TFDS pins for the same files.
    """

    name = "mnist"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "1.0.0": "60,000 training images, of which the last 10,000 validate; 10,000 for testing."
    }
    SHAPE = (28, 28)
    VALID: ClassVar[int] = 10_000
    """Training images, the last ones, that are used for validation."""
    SOURCES = Sources(
        files=tuple(
            SourceFile(name, size, sha256, tuple(mirror + name for mirror in MIRRORS))
            for name, size, sha256 in (
                (
                    "train-images-idx3-ubyte.gz",
                    9_912_422,
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                ),
                (
                    "train-labels-idx1-ubyte.gz",
                    28_881,
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                ),
                (
                    "t10k-images-idx3-ubyte.gz",
                    1_648_877,
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                ),
                (
                    "t10k-labels-idx1-ubyte.gz",
                    4_542,
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                ),
            )
        )
    )
    TEXT: ClassVar[Mapping[str, str]] = {
        "description": "Handwritten digits, 28 × 28 grey values of 0..255.",
        "homepage": "http://yann.lecun.com/exdb/mnist/",
        "citation": "@misc{lecun1998mnist, title={The MNIST database of handwritten digits},"
        " author={LeCun, Yann and Cortes, Corinna and Burges, Christopher J. C.}, year={1998}}",
    }

    def preprocess(self, files: Mapping[str, bytes]) -> dict[str, Images]:
        """Unpack the four files."""
        train, test = (self._part(files, name) for name in ("train", "t10k"))
        cut = len(train.labels) - self.VALID
        return {
            "train": Images(train.pixels[:cut], train.labels[:cut]),
            "valid": Images(train.pixels[cut:], train.labels[cut:]),
            "test": test,
        }

    def _part(self, files: Mapping[str, bytes], part: str) -> Images:
        names = f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"
        pixels, labels = (read_idx(files[n], n, d) for n, d in zip(names, (3, 1), strict=True))
        if pixels.shape[1:] != self.SHAPE or len(pixels) != len(labels):
            raise DataError(f"mnist: {names[0]} holds {pixels.shape}, {names[1]} {labels.shape}")
        if labels.max(initial=0) >= self.CLASSES:
            raise DataError(f"mnist: {names[1]} has a class above {self.CLASSES - 1}")
        return Images(pixels, labels)
