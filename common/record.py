"""The record of a finished run: what was run, where, and what came out, as one JSON file."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from common.config import checker
from common.error import DataError
from common.process import Process, this_process

FILE_NAME = "record.json"
SCHEMA = 1


@dataclass(frozen=True)
class DataUsed:
    """The dataset that a run saw."""

    name: str
    version: str
    stand_in_for: str | None
    """The dataset of the paper, where this one only stands in for it."""
    tokens: dict[str, int]
    """By split, how many tokens (or items) were used."""
    checksums: dict[str, str]
    """The sha256 of each source file, by its name."""


@dataclass(frozen=True)
class Record:
    """One run of one experiment with one seed."""

    experiment: str
    preset: str
    seed: int
    status: Literal["done", "diverged"]
    command: str
    """The command line that does the same run again."""
    config: dict[str, Any]
    """Every setting, resolved."""
    overrides: list[str]
    """The `key=value` settings in which it departs from its preset."""
    parameters: int | dict[str, int]
    """Trainable parameters; by model where a run trains several."""
    metrics: dict[str, float]
    """Values by `split/metric`, of the best state or, where none is chosen, of the last."""
    curve: list[dict[str, float]]
    """One row per evaluation during training, with `step`, `epoch`, `seconds`."""
    data: list[DataUsed]
    seconds: dict[str, float]
    """Wall-clock seconds of each phase; of training those of all sessions, each counted up to its
    last checkpoint."""
    device: dict[str, Any]
    """Platform, kind, count, and what `common.device.numerics` returns."""
    versions: dict[str, str]
    """Versions of Python and packages, by name."""
    commit: str
    """Commit of the code in the last session."""
    commits: list[str]
    """Commits of all sessions, in order."""
    dirty: bool
    """Whether in any session the code differed from its commit."""
    finished: str
    """UTC, ISO 8601."""
    schema: int = SCHEMA


def write_record(record: Record, directory: Path, process: Process | None = None) -> Path:
    """Write record.json into a directory, whole or not at all, and return its path.

    Args:
      record: its numbers must be finite.
      directory: must exist.
      process: which process this is; process 0 writes. By default JAX is asked.

    Raises:
      ValueError: a number isn't finite; nothing was written.
      DataError: the file can't be written.
    """
    path = directory / FILE_NAME
    text = json.dumps(dataclasses.asdict(record), indent=1, allow_nan=False) + "\n"
    (process or this_process()).lead(lambda: write_atomically(path, text))
    return path


def read_record(path: Path) -> Record:
    """Read a record.json.

    Raises:
      DataError: the file isn't a record or can't be read.
    """
    try:
        return parse_record(path.read_bytes())
    except ValueError as error:
        raise DataError(
            f"{path}: not a record: {error}.\n"
            "Delete it; the command that made it makes it again from the checkpoints."
        ) from None
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}.") from None


def parse_record(text: str | bytes) -> Record:
    """Return the record that a JSON text is.

    Raises:
      ValueError: it is none; says what is wrong, and where.
    """
    record: Record = parse_json(Record, text)
    for place, row in enumerate(record.curve):
        if "step" not in row:
            raise ValueError(f"curve.{place}: no step")
    return record


def parse_json(kind: Any, text: str | bytes) -> Any:
    """Return the `kind`, a type or dataclass, that a JSON text is.

    Raises:
      ValueError: it is none; says what is wrong, and where.
    """
    try:
        return checker(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ValueError(f"{where}: {first['msg']}") from None


def record_files(directory: Path) -> list[Path]:
    """Return all `EXPERIMENT/PRESET/seed*/record.json` of a directory, sorted by path.

    Behind them those of its folders that are named by settings, as in `model.depth=3`.
    """
    found = [sorted(directory.glob(f"{point}*/*/seed*/{FILE_NAME}")) for point in ("", "*=*/")]
    return [path for paths in found for path in paths]


def find_records(directory: Path) -> list[Record]:
    """Return the records in all `record_files` of a directory."""
    return [read_record(path) for path in record_files(directory)]


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file's content by a rename, so that no reader and no crash sees half of it.

    Text is written as UTF-8.

    Raises:
      DataError: the file can't be written; it stays as it was.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with named_errors(path):
        try:
            with aside.open("wb") as stream:
                stream.write(content.encode() if isinstance(content, str) else content)
                stream.flush()
                os.fsync(stream.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn a failure of the system to write `path`, within the context, into a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path}: can't be written: {error.strerror or error}.\n"
            "Once that is put right, the same command continues."
        ) from error
