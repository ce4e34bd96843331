"""Tiny Shakespeare, character level: 1.1 MB of plays, shipped with the package."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from common.datasets.builder import CorpusBuilder
from common.datasets.source import SourceFile, Sources
from common.datasets.stream import TokenStreams, encode_characters, split_90_5_5
from common.error import DataError


def number_characters(text: str) -> TokenStreams:
    """Number the characters of a text in code point order and cut it 90/5/5.

    Raises:
      DataError: there are more than 256 different characters.
    """
    vocabulary, ids = encode_characters(text)
    if len(vocabulary) > np.iinfo(np.uint8).max + 1:
        raise DataError(f"{len(vocabulary):,} different characters, more than 256")
    return TokenStreams(vocabulary, *split_90_5_5(ids.astype(np.uint8)))


class TinyShakespeare(CorpusBuilder):
    """The usual small corpus for character-level models."""

    name = "tiny_shakespeare"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "65 characters, split 90/5/5 per cent."}
    LEVEL = "character"
    SIZES: ClassVar[Mapping[str, int]] = {
        "vocabulary": 65,
        "train": 1_003_854,
        "valid": 55_769,
        "test": 55_771,
    }
    SOURCES = Sources(
        files=(
            SourceFile(
                "tiny_shakespeare.txt",
                1_115_394,
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                shipped=True,
            ),
        ),
    )
    TEXT: ClassVar[Mapping[str, str]] = {
        "description": "40,000 lines from plays of Shakespeare.",
        "homepage": "https://github.com/karpathy/char-rnn",
        "citation": "@misc{karpathy2015charrnn, author={Karpathy, Andrej}, title={char-rnn},"
        " year={2015}, howpublished={https://github.com/karpathy/char-rnn}}",
    }

    def preprocess(self, files: Mapping[str, bytes]) -> TokenStreams:
        """Turn the file into numbered characters."""
        (content,) = files.values()
        return number_characters(content.decode("utf-8"))
