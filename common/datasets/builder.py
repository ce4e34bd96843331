"""TFDS builders of all kinds of dataset: from checked sources to array_record and back.

TFDS is kept off TensorFlow: records are array_record, arrays are stored as raw bytes, and reading
goes through `as_data_source`. Every array is one record (a long stream: one per chunk).
"""

import abc
import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging as absl_logging

from common.datasets.corpus import (
    ChoraleSet,
    Corpus,
    Dataset,
    Images,
    ImageSet,
    Level,
)
from common.datasets.source import Location, Sources, check_by_hand, collect, locate
from common.datasets.stream import TokenStreams
from common.error import DataError

FILE_FORMAT = "array_record"
"""The format of TFDS that needs no TensorFlow."""
SPLITS = ("train", "valid", "test")
_CHUNK = 1 << 22  # tokens in a record; a read costs ~64 us whatever its size


class Builder(tfds.core.GeneratorBasedBuilder, abc.ABC):
    """What all kinds share: where the sources come from, and metadata stored with the data.

    A dataset is a subclass with `name`, `VERSION`, `RELEASE_NOTES`, `TEXT` (description, homepage,
    citation) and `SOURCES`, and a pure function behind `preprocess`. One whose sources are not
    files with known checksums overrides `locate`, `check_by_hand` and `gather` instead of naming
    `SOURCES`, and `variant` if different sources give different data.
    """

    SOURCES: ClassVar[Sources] = Sources(())
    """The files it is built from."""
    TEXT: ClassVar[Mapping[str, str]]
    """Description, homepage and citation, for TFDS."""
    _FEATURE: ClassVar[str]
    """What an array is called in the examples of TFDS."""

    def __init__(
        self,
        *,
        data_dir: Path | str,
        source_dir: Path | None = None,
        download_dir: Path | None = None,
        download: bool = True,
        config: None = None,
        version: str | None = None,
        file_format: str = FILE_FORMAT,
    ):
        """Set up a builder whose prepared data are, or will be, in data_dir/name/version.

        Args:
          data_dir: root of prepared datasets; required, so that ~/tensorflow_datasets never is.
          source_dir: a folder with source files brought by hand, only read.
          download_dir: where downloads are kept; TFDS's choice if None.
          download: whether missing sources may be downloaded.
          config, version, file_format: as in TFDS, which passes them when it unpickles a builder.
        """
        self._source_dir, self._download_dir, self._download = source_dir, download_dir, download
        super().__init__(
            data_dir=str(data_dir), config=config, version=version, file_format=file_format
        )

    @classmethod
    def variant(cls, data_dir: Path | None) -> str:
        """Name the prepared copy that belongs to these sources; "" if there is only one.

        Raises:
          DataError: that can't be said without a data folder.
        """
        return ""

    @classmethod
    def locate(cls, data_dir: Path | None, download_dir: Path) -> Location:
        """Find where the sources are, or how to get them, from names and sizes alone."""
        return locate(cls.SOURCES, data_dir, download_dir)

    @classmethod
    def describe(cls, folder: Path) -> str:
        """Describe prepared data in a line; "" if there is nothing to add to the title."""
        return ""

    @classmethod
    def check_by_hand(cls, data_dir: Path) -> None:
        """Check the source files in `data_dir`.

        Raises:
          DataError: one isn't the expected file.
        """
        check_by_hand(cls.SOURCES, data_dir)

    def gather(
        self, data_dir: Path | None, download_dir: Path, download: bool
    ) -> tuple[Mapping[str, bytes], dict[str, str]]:
        """Read the source files.

        Args:
          data_dir: a folder with files brought by hand; None if there is none.
          download_dir: where downloads are kept.
          download: whether what is missing may be downloaded.

        Returns:
          Content of the files by name, and the checksums to be stored with the data.

        Raises:
          DataError: a source is missing, or not what it should be.
        """
        files = collect(self.SOURCES, data_dir, download_dir, download)
        return files, {file.name: file.sha256 for file in self.SOURCES.files}

    @abc.abstractmethod
    def preprocess(self, files: Mapping[str, bytes]) -> Any:
        """Turn the content of the source files into arrays.

        Raises:
          DataError: the content isn't what it should be.
        """

    @abc.abstractmethod
    def read(self) -> Dataset:
        """Load the prepared data into memory."""

    def build(self, scratch_dir: Path) -> None:
        """Prepare the data, without output.

        Args:
          scratch_dir: where TFDS may leave files of its own.

        Raises:
          DataError: a source is missing or not what it should be.
        """
        with _quiet():
            self.download_and_prepare(
                file_format=FILE_FORMAT,
                download_dir=scratch_dir,
                download_config=tfds.download.DownloadConfig(try_download_gcs=False),
            )

    def _dataset_info(self, features: dict[str, Any]) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,  # a stream has an order
            **self.TEXT,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        download_dir = self._download_dir or Path(dl_manager.download_dir)
        files, checksums = self.gather(self._source_dir, download_dir, self._download)
        prepared = self.preprocess(files)
        self.info.metadata["checksums"] = checksums
        return self._examples_of(prepared)

    @abc.abstractmethod
    def _examples_of(self, prepared: Any) -> dict[str, Any]:
        """Return the generator of examples of each split, and note what belongs to the metadata."""

    def _generate_examples(self, arrays: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        """Make an example of each array of one split, numbered so that their order is kept."""
        for number, array in enumerate(arrays):
            yield number, {"number": number, self._FEATURE: array}

    def _arrays(self, split: str) -> list[np.ndarray]:
        """Read the arrays of one split in their order."""
        return [example[self._FEATURE] for example in self._examples(split)]

    def _examples(self, split: str) -> list[dict[str, Any]]:
        """Read the examples of one split in their order."""
        with _quiet():
            source = self.as_data_source(split=split)
            return sorted(
                (source[i] for i in range(len(source))), key=lambda example: example["number"]
            )


class CorpusBuilder(Builder):
    """A token stream in three splits with its vocabulary."""

    LEVEL: ClassVar[Level]
    TOKEN_DTYPE: ClassVar[type[np.unsignedinteger]] = np.uint8
    """Of the ids on disk."""
    SIZES: ClassVar[Mapping[str, int]] = {}
    """Published sizes that a build must have: "vocabulary", "train", "valid", "test"."""
    _FEATURE = "tokens"

    @abc.abstractmethod
    def preprocess(self, files: Mapping[str, bytes]) -> TokenStreams:
        """Turn the checked content of the source files into token streams."""

    def _info(self) -> tfds.core.DatasetInfo:
        tokens = tfds.features.Tensor(shape=(None,), dtype=self.TOKEN_DTYPE, encoding="bytes")
        return self._dataset_info({"number": np.int64, "tokens": tokens})

    def _examples_of(self, prepared: TokenStreams) -> dict[str, Any]:
        for what, size in self.SIZES.items():
            if len(getattr(prepared, what)) != size:
                raise DataError(
                    f"{self.name}: {what} has {len(getattr(prepared, what)):,} entries,"
                    f" expected {size:,}"
                )
        self.info.metadata["level"] = self.LEVEL
        self.info.metadata["vocabulary"] = list(prepared.vocabulary)
        return {split: self._generate_examples(self._chunks(prepared, split)) for split in SPLITS}

    def _chunks(self, prepared: TokenStreams, split: str) -> Iterator[np.ndarray]:
        ids = getattr(prepared, split)
        # TFDS can't write a split without records: an empty stream is one empty chunk.
        for start in range(0, max(len(ids), 1), _CHUNK):
            yield ids[start : start + _CHUNK].astype(self.TOKEN_DTYPE, copy=False)

    def read(self) -> Corpus:
        """Load the prepared data into memory, tokens as int32."""
        metadata = self.info.metadata
        streams = {split: self._stream(split) for split in SPLITS}
        return Corpus(
            name=self.name,
            version=str(self.version),
            level=metadata["level"],
            vocabulary=tuple(metadata["vocabulary"]),
            checksums=dict(metadata["checksums"]),
            **streams,
        )

    def _stream(self, split: str) -> np.ndarray:
        chunks = self._arrays(split)
        stream = np.empty(sum(map(len, chunks)), np.int32)
        np.concatenate(chunks, out=stream, casting="safe")
        stream.flags.writeable = False
        return stream


class ChoraleBuilder(Builder):
    """Piano rolls in three splits; `preprocess` returns for each a list of uint8 [steps, 88]."""

    KEYS = 88
    """Of the piano."""
    _FEATURE = "roll"

    def _info(self) -> tfds.core.DatasetInfo:
        roll = tfds.features.Tensor(shape=(None, self.KEYS), dtype=np.uint8, encoding="bytes")
        return self._dataset_info({"number": np.int64, "roll": roll})

    def _examples_of(self, prepared: Mapping[str, list[np.ndarray]]) -> dict[str, Any]:
        return {split: self._generate_examples(prepared[split]) for split in SPLITS}

    def read(self) -> ChoraleSet:
        """Load the prepared data into memory."""
        rolls = {split: tuple(self._arrays(split)) for split in SPLITS}
        for roll in (roll for split in rolls.values() for roll in split):
            roll.flags.writeable = False
        return ChoraleSet(
            name=self.name,
            version=str(self.version),
            checksums=dict(self.info.metadata["checksums"]),
            **rolls,
        )


class ImageBuilder(Builder):
    """Images of a few classes; `preprocess` returns the `Images` of each split."""

    CLASSES: ClassVar[int] = 10
    LARGEST: ClassVar[int] = 255
    """The largest grey value."""
    SHAPE: ClassVar[tuple[int, int]]
    """Height and width."""
    _FEATURE = "pixels"
    _IMAGES = 4096
    """In a record."""

    def _info(self) -> tfds.core.DatasetInfo:
        def arrays(*shape: int) -> Any:
            return tfds.features.Tensor(shape=(None, *shape), dtype=np.uint8, encoding="bytes")

        pixels, labels = arrays(*self.SHAPE), arrays()
        return self._dataset_info({"number": np.int64, "pixels": pixels, "labels": labels})

    def _examples_of(self, prepared: Mapping[str, Images]) -> dict[str, Any]:
        return {split: self._records(prepared[split]) for split in SPLITS}

    def _records(self, images: Images) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, start in enumerate(range(0, len(images.labels), self._IMAGES)):
            piece = slice(start, start + self._IMAGES)
            pixels, labels = images.pixels[piece], images.labels[piece]
            yield number, {"number": number, "pixels": pixels, "labels": labels}

    def read(self) -> ImageSet:
        """Load the prepared data into memory."""
        return ImageSet(
            name=self.name,
            version=str(self.version),
            classes=self.CLASSES,
            largest=self.LARGEST,
            checksums=dict(self.info.metadata["checksums"]),
            **{split: self._images(split) for split in SPLITS},
        )

    def _images(self, split: str) -> Images:
        examples = self._examples(split)
        names = Images._fields
        images = Images(*(np.concatenate([one[name] for one in examples]) for name in names))
        for array in images:
            array.flags.writeable = False
        return images


def stored_metadata(folder: Path) -> dict[str, Any]:
    """Read what is noted with prepared data, without TFDS; {} if that is damaged."""
    try:
        metadata: dict[str, Any] = json.loads((folder / "metadata.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return metadata


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep TFDS's prints, progress bars and absl messages from the terminal."""
    verbosity = absl_logging.get_verbosity()
    tfds.disable_progress_bar()
    absl_logging.set_verbosity(absl_logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        absl_logging.set_verbosity(verbosity)
