"""The text of a folder that the user names, as characters or as words."""

import abc
import codecs
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from common.datasets.builder import SPLITS, CorpusBuilder, stored_metadata
from common.datasets.corpus import words
from common.datasets.source import Location, check_folder, sha256_of
from common.datasets.stream import (
    TokenStreams,
    by_frequency,
    encode_characters,
    encode_words,
    split_90_5_5,
)
from common.error import DataError

UNKNOWN = "<unk>"
"""Stands for words that the vocabulary lacks."""
FILES = tuple(f"{split}.txt" for split in SPLITS)
"""Names of the three files."""
MOST_SYMBOLS = 1 << 16
"""As many as two bytes can number."""
_NEEDED = f"one .txt file, or {', '.join(FILES[:-1])} and {FILES[-1]}"


class TextBuilder(CorpusBuilder):
    """Text in UTF-8: train.txt, valid.txt and test.txt of a folder, or its one .txt file.

    Of one file the first 90 % of the tokens train, the next 5 % validate and the rest test. Where
    there are the three, other files are ignored. A byte order mark, and the carriage returns of
    line ends, are left out. It is prepared once for each content of these files.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Three files, or one split 90 : 5 : 5."}
    TOKEN_DTYPE = np.uint16
    REMEDY: ClassVar[str]
    """What to do about too many symbols."""

    @classmethod
    def variant(cls, data_dir: Path | None) -> str:
        """Name the prepared copy by the content of the files."""
        paths = cls._files(data_dir)
        try:
            sums = [sha256_of(path) for path in paths]
        except OSError as error:
            raise cls._cannot_be_read(error) from error
        return f"folder-{hashlib.sha256(''.join(sums).encode()).hexdigest()[:16]}"

    @classmethod
    def locate(cls, data_dir: Path | None, download_dir: Path) -> Location:
        """Say which files of the folder will be read."""
        try:
            paths = cls._files(data_dir)
        except DataError as error:
            return Location("missing", None, str(error))
        return Location(
            "preparable", data_dir, f"will be prepared from {', '.join(map(str, paths))}"
        )

    @classmethod
    def describe(cls, folder: Path) -> str:
        """Tell the size of the vocabulary."""
        vocabulary = stored_metadata(folder).get("vocabulary", ())
        return f"{len(vocabulary):,} different {cls.LEVEL}s"

    def gather(
        self, data_dir: Path | None, download_dir: Path, download: bool
    ) -> tuple[dict[str, bytes], dict[str, str]]:
        """Read the files; the one file is called `text` in the checksums, whatever its name.

        Raises:
          DataError: there are no such files, or one can't be read or is empty.
        """
        files: dict[str, bytes] = {}
        for path in self._files(data_dir):
            try:
                files[str(path)] = path.read_bytes()
            except OSError as error:
                raise self._cannot_be_read(error) from error
        sums = [hashlib.sha256(content).hexdigest() for content in files.values()]
        return files, dict(zip(("text",) if len(sums) == 1 else FILES, sums, strict=True))

    def preprocess(self, files: Mapping[str, bytes]) -> TokenStreams:
        """Number the tokens of one text, which is divided, or of three: training text first.

        Raises:
          DataError: a file is empty or isn't UTF-8, or there are more than 65,536 symbols.
        """
        texts = [self.cut(self._decode(path, content)) for path, content in files.items()]
        train, valid, test = split_90_5_5(texts[0]) if len(texts) == 1 else texts
        streams = self.number(train, valid, test)
        if len(streams.vocabulary) > MOST_SYMBOLS:
            raise DataError(
                f"{self.name}: {', '.join(files)}: {len(streams.vocabulary):,} different"
                f" {self.LEVEL}s, more than {MOST_SYMBOLS:,}. {self.REMEDY}"
            )
        return streams

    @staticmethod
    @abc.abstractmethod
    def cut(text: str) -> Sequence[str]:
        """Cut a text into its tokens."""

    @staticmethod
    @abc.abstractmethod
    def number(train: Sequence[str], valid: Sequence[str], test: Sequence[str]) -> TokenStreams:
        """Number the tokens of each split."""

    @classmethod
    def _files(cls, folder: Path | None) -> list[Path]:
        """The one file, or those of the splits in their order."""
        if folder is None:
            raise DataError(f"{cls.name} needs a folder with {_NEEDED}: --data-dir FOLDER")
        check_folder(folder)
        found = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() == ".txt" and not path.name.startswith(".") and path.is_file()
        )
        names = [path.name for path in found]
        if len(found) == 1:
            return found
        if all(name in names for name in FILES):
            return [folder / name for name in FILES]
        if not found:
            raise DataError(f"{cls.name}: no text in {folder}; it needs {_NEEDED}")
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise DataError(
            f"{cls.name}: {folder} has {len(found)} .txt files ({some}); it needs {_NEEDED}."
            " Join or rename them, or move the others away"
        )

    @classmethod
    def _decode(cls, path: str, content: bytes) -> str:
        try:
            text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise DataError(
                f"{cls.name}: {path} isn't UTF-8: byte 0x{error.object[error.start]:02x} in line"
                f" {line:,}. Save it as UTF-8; if it is Latin-1:"
                f" iconv -f LATIN1 -t UTF-8 {Path(path).name} > utf8.txt"
            ) from error
        if not text.strip():
            raise DataError(f"{cls.name}: {path} is empty: put text into it")
        return text.replace("\r\n", "\n")

    @classmethod
    def _cannot_be_read(cls, error: OSError) -> DataError:
        return DataError(f"{cls.name}: cannot read {error.filename}: {error.strerror or error}")


class TextFiles(TextBuilder):
    """Characters: the vocabulary is that of all splits, in code point order."""

    name = "text_files"
    LEVEL = "character"
    TEXT: ClassVar[Mapping[str, str]] = {
        "description": "The user's own text, cut into characters.",
        "homepage": "https://www.unicode.org/standard/standard.html",
        "citation": "The text is the user's.",
    }
    REMEDY = "Is it text?"

    @staticmethod
    def cut(text: str) -> str:
        """Return the text, which is its characters."""
        return text

    @staticmethod
    def number(train: Sequence[str], valid: Sequence[str], test: Sequence[str]) -> TokenStreams:
        """Number the characters of each split."""
        text = "".join("".join(split) for split in (train, valid, test))
        vocabulary, ids = encode_characters(text)
        return TokenStreams(vocabulary, *np.split(ids, np.cumsum([len(train), len(valid)])))


class TextFilesWords(TextBuilder):
    """Words between white space, with `<eos>` for each line end, as in Penn Treebank.

    The vocabulary is that of the training split, the most frequent words first; other words are
    `<unk>`. Where a training split without `<unk>` would leave that unlearnt though it is needed,
    words that occur only once in it are `<unk>`, too.
    """

    name = "text_files_words"
    LEVEL = "word"
    TEXT: ClassVar[Mapping[str, str]] = {
        **TextFiles.TEXT,
        "description": "The user's own text, cut into words at white space.",
    }
    REMEDY = f"Replace rare ones by {UNKNOWN}, or learn characters: data.name=text_files"

    @staticmethod
    def cut(text: str) -> list[str]:
        """Cut a text at white space."""
        return words(text)

    @staticmethod
    def number(train: Sequence[str], valid: Sequence[str], test: Sequence[str]) -> TokenStreams:
        """Number the words of each split."""
        counts = Counter(train)
        known = set(counts)
        if UNKNOWN not in known and not known.issuperset((*valid, *test)):
            known = {word for word, count in counts.items() if count > 1}
        kept = [[w if w in known else UNKNOWN for w in split] for split in (train, valid, test)]
        vocabulary = by_frequency(kept[0])
        if UNKNOWN not in vocabulary and any(UNKNOWN in split for split in kept):
            vocabulary = (*vocabulary, UNKNOWN)  # every word of the training split is frequent
        return TokenStreams(vocabulary, *(encode_words(split, vocabulary) for split in kept))
