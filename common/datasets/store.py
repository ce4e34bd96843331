"""Prepared datasets on disk: built aside, sealed with checksums, moved into place in one step.

Layout of the cache: `downloads/` holds downloaded sources, `tfds/<name>/<version>/` the prepared
data, and in it `seal.json` the size and sha256 of every other file. Where different sources give
different data, it is `tfds/<name>/<variant>/<name>/<version>/`. A prepared dataset is never
changed afterwards.
"""

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from common.datasets.builder import Builder, stored_metadata
from common.datasets.catalog import DatasetStatus, Verification
from common.datasets.corpus import Dataset
from common.datasets.source import sha256_of
from common.error import DataError

_SEAL = "seal.json"
_LOCK_SECONDS = 7200.0
_DISK_TROUBLES = [
    os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
]


def load(builder: type[Builder], data_dir: Path | None, cache_dir: Path, download: bool) -> Dataset:
    """Read a dataset, preparing it first if it isn't in the cache.

    Args:
      builder: of which dataset.
      data_dir: a folder with source files brought by hand; None if there is none.
      cache_dir: where downloads and prepared data live.
      download: whether missing source files may be fetched.

    Raises:
      DataError: a source is missing or wrong; the prepared data is damaged (names the files), or
        was made from other sources than the builder now names; the cache can't be written.
    """
    root = _root(builder, data_dir, cache_dir)
    folder = _folder(builder, root)
    if folder.exists():
        if data_dir is not None:  # the user named these files: report one that is damaged
            builder.check_by_hand(data_dir)
    else:
        with _file_errors(cache_dir):
            _prepare(builder, root, data_dir, cache_dir / "downloads", download)
    _, damaged = _check(folder, contents=True)
    if damaged:
        raise DataError(_repair(folder, damaged))
    if outdated := _outdated(builder, folder):
        raise DataError(outdated)
    return builder(data_dir=root).read()


def status(builder: type[Builder], data_dir: Path | None, cache_dir: Path) -> DatasetStatus:
    """Tell whether a dataset is ready, from names and sizes alone.

    Of the sources, only those of a dataset made from any folder are read: their content says
    whether it was prepared before.
    """
    location = builder.locate(data_dir, cache_dir / "downloads")
    try:
        folder = _folder(builder, _root(builder, data_dir, cache_dir))
    except DataError:  # no folder, no prepared copy of it
        return DatasetStatus(builder.name, *location)
    if not folder.exists():
        return DatasetStatus(builder.name, *location)
    _, damaged = _check(folder, contents=False)
    if damaged:
        return DatasetStatus(builder.name, "damaged", folder, _repair(folder, damaged))
    if outdated := _outdated(builder, folder):
        return DatasetStatus(builder.name, "damaged", folder, outdated)
    described = builder.describe(folder)
    advice = f"prepared in {folder}" + (f": {described}" if described else "")
    return DatasetStatus(builder.name, "ready", folder, advice)


def verify(builder: type[Builder], cache_dir: Path, data_dir: Path | None = None) -> Verification:
    """Compare every file of a prepared dataset with its seal.

    Raises:
      DataError: the dataset needs a data folder to be named.
    """
    folder = _folder(builder, _root(builder, data_dir, cache_dir))
    if not folder.exists():
        return Verification(builder.name, folder, prepared=False, checked=(), damaged=())
    checked, damaged = _check(folder, contents=True)
    return Verification(builder.name, folder, True, tuple(checked), tuple(damaged))


def _root(builder: type[Builder], data_dir: Path | None, cache_dir: Path) -> Path:
    """Return the root that TFDS is given."""
    variant = builder.variant(data_dir)
    return cache_dir / "tfds" / builder.name / variant if variant else cache_dir / "tfds"


def _folder(builder: type[Builder], root: Path) -> Path:
    """Return where under its root TFDS puts the prepared data."""
    return root / builder.name / str(builder.VERSION)


def _prepare(
    builder: type[Builder],
    root: Path,
    data_dir: Path | None,
    download_dir: Path,
    download: bool,
) -> None:
    """Build a dataset in a staging folder and move it to its place, one process at a time."""
    folder = _folder(builder, root)
    root.mkdir(parents=True, exist_ok=True)
    with _lock(root / f".{builder.name}.lock"):
        if folder.exists():  # another process was faster
            return
        prefix = f".staging-{builder.name}-"
        for left in root.glob(f"{prefix}*"):  # by a process that was killed: we hold the lock
            shutil.rmtree(left)
        staging = Path(tempfile.mkdtemp(dir=root, prefix=prefix))
        try:
            builder(
                data_dir=staging,
                source_dir=data_dir,
                download_dir=download_dir,
                download=download,
            ).build(scratch_dir=staging / "scratch")
            built = staging / folder.relative_to(root)
            _write_seal(built)
            folder.parent.mkdir(exist_ok=True)
            built.rename(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a lock that the system releases when the process ends, however it does."""
    try:
        with FileLock(path, timeout=_LOCK_SECONDS):
            yield
    except Timeout as error:
        raise DataError(
            f"another process has held {path} for {_LOCK_SECONDS / 3600:.0f} hours; is it stuck?"
        ) from error


@contextlib.contextmanager
def _file_errors(cache_dir: Path) -> Iterator[None]:
    """Turn a full disk, or a cache that can't be written, into a DataError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # array_record's writer reports trouble with the disk as a RuntimeError with its text.
        known = isinstance(error, OSError) or any(text in str(error) for text in _DISK_TROUBLES)
        if not known:
            raise
        raise DataError(
            f"cannot prepare data in {cache_dir}: {error}\n"
            "Another place can be given in the environment variable HIGHWAY_TUTOR_CACHE."
        ) from error


def _write_seal(folder: Path) -> None:
    files = {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / _SEAL).write_text(json.dumps({"files": files}, indent=1) + "\n", encoding="utf-8")


def _check(folder: Path, contents: bool) -> tuple[list[str], list[str]]:
    """Compare files with the seal; return their names and a line for each that is damaged."""
    try:
        files = json.loads((folder / _SEAL).read_text(encoding="utf-8"))["files"]
        expected = {
            name: (int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [_SEAL], [f"{folder / _SEAL}: missing or damaged"]
    damaged = []
    for name, (size, sha256) in expected.items():
        path = folder / name
        try:
            if (found_size := path.stat().st_size) != size:
                damaged.append(f"{path}: {found_size:,} bytes, was built with {size:,}")
            elif contents and (found := sha256_of(path)) != sha256:
                damaged.append(f"{path}: sha256 {found}, was built with {sha256}")
        except OSError as error:
            damaged.append(f"{path}: {error.strerror or error}")
    return list(expected), damaged


def _outdated(builder: type[Builder], folder: Path) -> str:
    """Say that prepared data was made from other sources than the builder names; "" if it wasn't.

    Builders without named sources, whose data is whatever was found, are never outdated.
    """
    expected = {file.name: file.sha256 for file in builder.SOURCES.files}
    found = stored_metadata(folder).get("checksums", expected)  # damaged: `verify` will say so
    if not expected or found == expected:
        return ""
    changed = [name for name in expected | found if expected.get(name) != found.get(name)]
    return (
        f"{builder.name}: {folder} was prepared from other files than its class names in SOURCES"
        f" ({', '.join(changed)}). Raise VERSION of the class, or delete that folder to prepare it"
        " anew."
    )


def _repair(folder: Path, damaged: list[str]) -> str:
    more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
    return f"prepared data is damaged: {damaged[0]}{more}; delete {folder} and run again"
