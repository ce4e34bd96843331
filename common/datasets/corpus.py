"""What loading a dataset returns: tokens, or a set of chorales, melodies, molecules or images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from common.error import DataError

Level = Literal["word", "character", "byte"]
END_OF_SENTENCE = "<eos>"
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def byte_symbol(byte: int) -> str:
    r"""Return the printable name of a byte: itself if printable ASCII, else \n, \t or \xNN.

    A backslash is written `\\`, so no two bytes share a name.
    """
    character = chr(byte)
    if character in _ESCAPES:
        return _ESCAPES[character]
    return character if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"


_BYTE_OF_SYMBOL = {byte_symbol(byte): byte for byte in range(256)}


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary by which text becomes ids, and ids become text."""

    name: str
    """Of the corpus that it was made from."""
    level: Level
    vocabulary: tuple[str, ...]
    """The symbol of each id: a word, a character, or a byte's printable name by `byte_symbol`."""

    @cached_property
    def _id_of(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.vocabulary)}

    def encode(self, text: str | bytes) -> np.ndarray:
        """Turn text into ids, int32 [tokens].

        Words are split at white space and a newline is `<eos>`. Where the level is byte it takes
        bytes, or a str to be encoded as UTF-8.

        Raises:
          DataError: a token isn't in the vocabulary; names it and its position from 0 (of the
            word, character or byte).
        """
        ids = np.empty(len(tokens := self._tokens(text)), np.int32)
        for position, token in enumerate(tokens):
            number = self._id_of.get(token)
            if number is None:
                raise DataError(
                    f"{self.name}: the {self.level} {token!r} at position {position}"
                    f" is not among its {len(self.vocabulary):,} symbols"
                )
            ids[position] = number
        return ids

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Turn ids into text: the inverse of `encode`, up to white space between words.

        Words are joined by spaces, with `<eos>` as a newline. Bytes are read as UTF-8; those that
        aren't valid there (a sample may begin in the middle of a character) are shown as `\\xNN`.

        Raises:
          DataError: an id is outside the vocabulary; names it and its position.
        """
        symbols = []
        for position, number in enumerate(ids):
            if not 0 <= number < len(self.vocabulary):
                raise DataError(
                    f"{self.name}: the id {number} at position {position} is outside"
                    f" 0..{len(self.vocabulary) - 1}"
                )
            symbols.append(self.vocabulary[number])
        if self.level == "word":
            lines = " ".join(symbols).split(END_OF_SENTENCE)
            return "\n".join(line.strip(" ") for line in lines)
        if self.level == "byte":
            raw = bytes(_BYTE_OF_SYMBOL[symbol] for symbol in symbols)
            return raw.decode("utf-8", errors="backslashreplace")
        return "".join(symbols)

    def _tokens(self, text: str | bytes) -> Sequence[str]:
        if self.level == "byte":
            raw = text.encode("utf-8") if isinstance(text, str) else text
            return [byte_symbol(byte) for byte in raw]
        if isinstance(text, bytes):
            raise TypeError(f"{self.name} is text: encode a str, not bytes")
        return words(text) if self.level == "word" else text


@dataclass(frozen=True, eq=False)
class Corpus:
    """A token stream in three splits, and the vocabulary that its ids stand for."""

    name: str
    version: str
    level: Level
    vocabulary: tuple[str, ...]
    """The symbol of each id: a word, a character, or a byte's printable name by `byte_symbol`."""
    train: np.ndarray
    """Ids, read-only int32 [tokens]."""
    valid: np.ndarray
    """As `train`."""
    test: np.ndarray
    """As `train`."""
    checksums: dict[str, str]
    """Source file → sha256, as checked when the data was prepared."""

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """What its ids were made by."""
        return Tokenizer(self.name, self.level, self.vocabulary)

    def encode(self, text: str | bytes) -> np.ndarray:
        """Turn text into ids, as `Tokenizer.encode` does."""
        return self.tokenizer.encode(text)

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Turn ids into text, as `Tokenizer.decode` does."""
        return self.tokenizer.decode(ids)


@dataclass(frozen=True, eq=False)
class ChoraleSet:
    """Polyphonic music in three splits, each a tuple of piano rolls."""

    name: str
    version: str
    train: tuple[np.ndarray, ...]
    """Piano rolls, read-only uint8 [steps, 88], 1 where the key sounds; key k is MIDI pitch
    21 + k. A step without any key is a rest."""
    valid: tuple[np.ndarray, ...]
    """As `train`."""
    test: tuple[np.ndarray, ...]
    """As `train`."""
    checksums: dict[str, str]
    """Source file → sha256, as checked when the data was prepared."""


@dataclass(frozen=True, eq=False)
class MelodySet:
    """Melodies in three splits, each a tuple; a split is empty if there are too few of them."""

    name: str
    version: str
    train: tuple[np.ndarray, ...]
    """Events as `common.melody` defines them, read-only int32 [sixteenths]."""
    valid: tuple[np.ndarray, ...]
    """As `train`."""
    test: tuple[np.ndarray, ...]
    """As `train`."""
    checksums: dict[str, str]
    """Source → sha256."""
    counts: dict[str, int]
    """How many tunes were found, kept, and left out for which reason."""
    skipped: tuple[str, ...] = ()
    """`name: reason: details` of each source that gave no melody."""


@dataclass(frozen=True, eq=False)
class MoleculeSet:
    """Molecules as SMILES, in the parts of the MOSES benchmark."""

    name: str
    version: str
    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]
    test_scaffolds: tuple[str, ...]
    """Molecules with scaffolds that no other split has."""
    checksums: dict[str, str]
    """Source file → sha256."""


class Images(NamedTuple):
    """Images of one split with their classes."""

    pixels: np.ndarray
    """Grey values, 0 for the background; read-only uint8 [images, height, width]."""
    labels: np.ndarray
    """Classes, from 0; read-only uint8 [images]."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of a few classes in three splits."""

    name: str
    version: str
    train: Images
    valid: Images
    test: Images
    classes: int
    """How many there are."""
    largest: int
    """The largest grey value that a pixel can have."""
    checksums: dict[str, str]
    """Source file → sha256, as checked when the data was prepared."""


Dataset = Corpus | ChoraleSet | ImageSet | MelodySet | MoleculeSet
"""What loading a dataset returns."""


def words(text: str) -> list[str]:
    """Split text at white space, with `<eos>` for each newline."""
    return text.replace("\n", f" {END_OF_SENTENCE} ").split()
