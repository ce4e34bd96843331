"""MOSES: molecules of ZINC that are like drugs, as SMILES; all of them, or a sample that ships."""

import abc
import gzip
import importlib.util
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from common.datasets.builder import Builder
from common.datasets.corpus import MoleculeSet
from common.datasets.source import Location, SourceFile, Sources, find, locate
from common.error import DataError

PARTS = ("train", "test", "test_scaffolds")
"""Of the published data; the validation molecules are taken from the first."""
VALID_EVERY = 40
"""Of so many training molecules the last validates."""
_CHUNK = 1 << 16
"""Molecules in a record."""
_MIRROR = "https://github.com/molecularsets/moses/raw/master/moses/dataset/data/"


class MoleculeBuilder(Builder):
    """SMILES in four splits; a record has many, a line each."""

    _FEATURE = "lines"
    SIZES: ClassVar[Mapping[str, int]]
    """Molecules of each part of the source."""

    @abc.abstractmethod
    def preprocess(self, files: Mapping[str, bytes]) -> dict[str, list[str]]:
        """Return the SMILES of each of `PARTS`."""

    def _info(self) -> tfds.core.DatasetInfo:
        lines = tfds.features.Tensor(shape=(None,), dtype=np.uint8, encoding="bytes")
        return self._dataset_info({"number": np.int64, "lines": lines})

    def _examples_of(self, prepared: Mapping[str, list[str]]) -> dict[str, Any]:
        for part in PARTS:
            if len(prepared[part]) != self.SIZES[part]:
                raise DataError(
                    f"{self.name}: {part} has {len(prepared[part]):,} molecules, expected "
                    f"{self.SIZES[part]:,}"
                )
        splits = split_training(prepared["train"]) | {part: prepared[part] for part in PARTS[1:]}
        return {split: self._generate_examples(_chunks(found)) for split, found in splits.items()}

    def read(self) -> MoleculeSet:
        """Load the prepared data into memory."""
        splits = {split: self._molecules(split) for split in ("train", "valid", *PARTS[1:])}
        return MoleculeSet(
            name=self.name,
            version=str(self.version),
            checksums=dict(self.info.metadata["checksums"]),
            **splits,
        )

    def _molecules(self, split: str) -> tuple[str, ...]:
        chunks = [chunk.tobytes().decode("ascii") for chunk in self._arrays(split)]
        return tuple("\n".join(chunks).split("\n"))


def split_training(molecules: Sequence[str]) -> dict[str, list[str]]:
    """Take every `VALID_EVERY`th training molecule for validation."""
    last = VALID_EVERY - 1
    return {
        "train": [one for k, one in enumerate(molecules) if k % VALID_EVERY != last],
        "valid": list(molecules[last::VALID_EVERY]),
    }


def _chunks(molecules: Sequence[str]) -> list[np.ndarray]:
    """Lines of SMILES as bytes, many molecules to an array."""
    starts = range(0, len(molecules), _CHUNK)
    pieces = ("\n".join(molecules[start : start + _CHUNK]) for start in starts)
    return [np.frombuffer(piece.encode("ascii"), np.uint8) for piece in pieces]


def read_lines(name: str, content: bytes, header: str) -> list[str]:
    """Return the lines of a file after its header.

    Raises:
      DataError: it hasn't that header, or isn't ASCII.
    """
    try:
        first, *lines = content.decode("ascii").splitlines()
    except (UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{name}: not lines of SMILES ({error})") from error
    if first != header:
        raise DataError(f"{name}: the first line is {first[:60]!r}, expected {header!r}")
    return lines


def package_folder() -> Path | None:
    """Return where the package molsets keeps MOSES, without importing it; None without it."""
    spec = importlib.util.find_spec("moses")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "dataset" / "data"
    return folder if find(Moses.SOURCES, folder) else None


_DESCRIPTION = (
    "Molecules of ZINC's clean leads as SMILES, filtered by weight, rings, atoms and medicinal"
    " chemistry filters, in the parts of the benchmark: training, test, and molecules whose"
    f" scaffolds are in neither. Each {VALID_EVERY}th training molecule is for validation."
)
_HOMEPAGE = "https://github.com/molecularsets/moses"
_CITATION = (
    "@article{polykovskiy2020moses, title={Molecular Sets (MOSES): A Benchmarking Platform for"
    " Molecular Generation Models}, author={Polykovskiy, Daniil and others}, journal={Frontiers in"
    " Pharmacology}, year={2020}}"
)


class Moses(MoleculeBuilder):
    """All 1,936,962 molecules."""

    name = "moses"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "The files of molsets 0.3.1."}
    SIZES: ClassVar[Mapping[str, int]] = {
        "train": 1_584_663,
        "test": 176_074,
        "test_scaffolds": 176_225,
    }
    SOURCES = Sources(
        files=tuple(
            SourceFile(f"{part}.csv.gz", size, sha256, (f"{_MIRROR}{part}.csv.gz",))
            for part, size, sha256 in (
                (
                    "train",
                    10_238_967,
                    "786f0313aa6b9ba5514df685f885742a70ea8d86f1a4fa48115f7f80a634265c",
                ),
                (
                    "test",
                    1_367_572,
                    "f896fbf3764f88d94670b9959e5872c600c12152a18233823e820761b7a791b2",
                ),
                (
                    "test_scaffolds",
                    1_274_114,
                    "adffb2192c1bfe31ab0e13154d4af19a37dc18bdbf3cd7b4491e04405128adde",
                ),
            )
        ),
    )
    TEXT: ClassVar[Mapping[str, str]] = {
        "description": _DESCRIPTION,
        "homepage": _HOMEPAGE,
        "citation": _CITATION,
    }

    @classmethod
    def locate(cls, data_dir: Path | None, download_dir: Path) -> Location:
        """Find the files: in the data folder, in the package molsets, among the downloads."""
        return locate(cls.SOURCES, _folder(data_dir), download_dir)

    def gather(
        self, data_dir: Path | None, download_dir: Path, download: bool
    ) -> tuple[Mapping[str, bytes], dict[str, str]]:
        """Read the files from where `locate` finds them."""
        return super().gather(_folder(data_dir), download_dir, download)

    def preprocess(self, files: Mapping[str, bytes]) -> dict[str, list[str]]:
        """Unpack the files."""
        found = {}
        for part in PARTS:
            name = f"{part}.csv.gz"
            try:
                content = gzip.decompress(files[name])
            except (OSError, EOFError, zlib.error) as error:
                raise DataError(f"moses: {name} isn't a gzip file ({error})") from error
            found[part] = read_lines(name, content, "SMILES")
        return found


def _folder(data_dir: Path | None) -> Path | None:
    """The data folder if one is named, else the package's."""
    return package_folder() if data_dir is None else data_dir


class MosesSample(MoleculeBuilder):
    """50,000 of them, shipped with the package: of each part lines at an even distance."""

    name = "moses_sample"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "1.0.0": "Of a part of n molecules those in the lines floor(k · n / m), k = 0..m−1."
    }
    SIZES: ClassVar[Mapping[str, int]] = {"train": 40_000, "test": 5_000, "test_scaffolds": 5_000}
    SOURCES = Sources(
        files=(
            SourceFile(
                "moses_sample.csv",
                2_184_928,
                "6902dc07e2d6a56ea94d8096058a979cb843db9b09bcf28cc00c6ae085588fcc",
                shipped=True,
            ),
        ),
    )
    TEXT: ClassVar[Mapping[str, str]] = {
        "description": f"A sample of 50,000. {_DESCRIPTION}",
        "homepage": _HOMEPAGE,
        "citation": _CITATION,
    }

    def preprocess(self, files: Mapping[str, bytes]) -> dict[str, list[str]]:
        """Sort the lines by part."""
        ((name, content),) = files.items()
        found: dict[str, list[str]] = {part: [] for part in PARTS}
        for line in read_lines(name, content, "SMILES,SPLIT"):
            smiles, _, part = line.partition(",")
            if part not in found:
                raise DataError(f"{name}: the line {line!r} is in none of {', '.join(PARTS)}")
            found[part].append(smiles)
        return found
