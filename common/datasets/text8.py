"""text8, character level: 10^8 characters of cleaned Wikipedia text, a to z and the space."""

import string
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from common.datasets.builder import CorpusBuilder
from common.datasets.download import Download
from common.datasets.source import Archive, SourceFile, Sources
from common.datasets.stream import TokenStreams, split_90_5_5
from common.error import DataError

VOCABULARY = tuple(" " + string.ascii_lowercase)
_OTHER = 255


def number_letters(content: bytes) -> TokenStreams:
    """Number the characters of a file, the space 0 and a..z 1..26, and cut it 90/5/5.

    Raises:
      DataError: there is another character; names it and its offset in the file.
    """
    id_of = np.full(256, _OTHER, np.uint8)
    id_of[np.frombuffer("".join(VOCABULARY).encode("ascii"), np.uint8)] = np.arange(27)
    ids = id_of[np.frombuffer(content, np.uint8)]
    others = np.flatnonzero(ids == _OTHER)
    if len(others):
        offset = int(others[0])
        found = content[offset : offset + 4].decode("utf-8", errors="backslashreplace")[:1]
        raise DataError(
            f"text8: the character {found!r} (byte 0x{content[offset]:02x}) at offset {offset:,}"
            " is neither a space nor one of a..z"
        )
    return TokenStreams(VOCABULARY, *split_90_5_5(ids))


class Text8(CorpusBuilder):
    """The character-level corpus made from the same dump as enwik8.

    The sha256 of the zip and of its content are the ones that several unrelated public
    repositories pin or print.
    """

    name = "text8"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "27 characters, split 90M/5M/5M."}
    LEVEL = "character"
    SIZES: ClassVar[Mapping[str, int]] = {
        "vocabulary": 27,
        "train": 90_000_000,
        "valid": 5_000_000,
        "test": 5_000_000,
    }
    SOURCES = Sources(
        files=(
            SourceFile(
                "text8",
                100_000_000,
                "6e890197040d37d85beb962ae1f041ff1d9a9ca8d20c7d99c85027eebf51dca7",
            ),
        ),
        archive=Archive(
            "text8.zip",
            Download(
                (
                    "https://mattmahoney.net/dc/text8.zip",
                    "http://mattmahoney.net/dc/text8.zip",
                    "https://cs.fit.edu/~mmahoney/compression/text8.zip",
                    "https://data.deepai.org/text8.zip",
                ),
                31_344_016,
                "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
            ),
        ),
    )
    TEXT: ClassVar[Mapping[str, str]] = {
        "description": "10^8 characters of English Wikipedia text, cleaned to a..z and spaces.",
        "homepage": "http://mattmahoney.net/dc/textdata.html",
        "citation": "@misc{mahoney2011large, title={Large text compression benchmark},"
        " author={Mahoney, Matt}, year={2011}}",
    }

    def preprocess(self, files: Mapping[str, bytes]) -> TokenStreams:
        """Turn the file into numbered characters."""
        (content,) = files.values()
        return number_letters(content)
