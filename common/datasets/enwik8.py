"""enwik8, byte level: the first 10^8 bytes of the English Wikipedia dump of 3 March 2006."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from common.datasets.builder import CorpusBuilder
from common.datasets.corpus import byte_symbol
from common.datasets.download import Download
from common.datasets.source import Archive, SourceFile, Sources
from common.datasets.stream import TokenStreams, split_90_5_5


def number_bytes(content: bytes) -> TokenStreams:
    """Number the bytes of a file and cut it 90/5/5.

    The vocabulary is the byte values that occur anywhere in the file, in ascending order, each
    under the printable name that `byte_symbol` gives.
    """
    raw = np.frombuffer(content, np.uint8)
    present = np.flatnonzero(np.bincount(raw, minlength=256))
    id_of = np.zeros(256, np.uint8)
    id_of[present] = np.arange(len(present))
    return TokenStreams(tuple(byte_symbol(int(b)) for b in present), *split_90_5_5(id_of[raw]))


class Enwik8(CorpusBuilder):
    """The byte-level corpus of the Hutter Prize.

    The sha256 of the zip and of its content are the ones that several unrelated public
    repositories pin or print.
    """

    name = "enwik8"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "205 byte symbols, split 90M/5M/5M."}
    LEVEL = "byte"
    SIZES: ClassVar[Mapping[str, int]] = {
        "vocabulary": 205,
        "train": 90_000_000,
        "valid": 5_000_000,
        "test": 5_000_000,
    }
    SOURCES = Sources(
        files=(
            SourceFile(
                "enwik8",
                100_000_000,
                "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8",
            ),
        ),
        archive=Archive(
            "enwik8.zip",
            Download(
                (
                    "https://mattmahoney.net/dc/enwik8.zip",
                    "http://mattmahoney.net/dc/enwik8.zip",
                    "https://cs.fit.edu/~mmahoney/compression/enwik8.zip",
                    "https://data.deepai.org/enwik8.zip",
                ),
                36_445_475,
                "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
            ),
        ),
    )
    TEXT: ClassVar[Mapping[str, str]] = {
        "description": "The first 10^8 bytes of the English Wikipedia dump of 3 March 2006, with"
        " its XML.",
        "homepage": "http://mattmahoney.net/dc/textdata.html",
        "citation": "@misc{mahoney2011large, title={Large text compression benchmark},"
        " author={Mahoney, Matt}, year={2011}}",
    }

    def preprocess(self, files: Mapping[str, bytes]) -> TokenStreams:
        """Turn the file into numbered bytes."""
        (content,) = files.values()
        return number_bytes(content)
