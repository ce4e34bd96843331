"""Prepared datasets on disk: built aside, sealed with checksums, moved into place in one step.

Layout of the cache: `downloads/` holds downloaded sources, `tfds/<name>/<version>/` the prepared
data, and in it `seal.json` the size and sha256 of every other file. A prepared dataset is never
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

from common.datasets.builder import Builder
from common.datasets.catalog import DatasetStatus, Verification
from common.datasets.corpus import ChoraleSet, Corpus
from common.datasets.source import check_by_hand, find, sha256_of
from common.error import DataError

_SEAL = "seal.json"
_LOCK_SECONDS = 7200.0
_DISK_TROUBLES = [
    os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
]


def load(
    builder: type[Builder], data_dir: Path | None, cache_dir: Path, download: bool
) -> Corpus | ChoraleSet:
    """Read a dataset, preparing it first if it isn't in the cache.

    Raises:
      DataError: a source is missing or wrong; the prepared data is damaged (names the files);
        the cache can't be written.
    """
    folder = _folder(builder, cache_dir)
    if folder.exists():
        if data_dir is not None:  # the user means these files: don't hide that one is damaged
            check_by_hand(builder.SOURCES, data_dir)
    else:
        with _file_errors(cache_dir):
            _prepare(builder, folder, data_dir, cache_dir, download)
    _, damaged = _check(folder, contents=True)
    if damaged:
        raise DataError(_repair(folder, damaged))
    return builder(data_dir=cache_dir / "tfds").read()


def status(builder: type[Builder], data_dir: Path | None, cache_dir: Path) -> DatasetStatus:
    """Say where a dataset stands, from names and sizes alone."""
    name, sources, folder = builder.name, builder.SOURCES, _folder(builder, cache_dir)
    if folder.exists():
        _, damaged = _check(folder, contents=False)
        if damaged:
            return DatasetStatus(name, "damaged", folder, _repair(folder, damaged))
        return DatasetStatus(name, "ready", folder, f"prepared in {folder}")
    if all(file.shipped for file in sources.files):
        return DatasetStatus(name, "ships", None, "comes with the package; prepared on first use")
    for place in (data_dir, cache_dir / "downloads"):
        if place is None or not (paths := find(sources, place)):
            continue
        for path, size in paths:
            if size is not None and path.stat().st_size != size:
                advice = f"{path} has {path.stat().st_size:,} bytes, expected {size:,}: replace it"
                return DatasetStatus(name, "damaged", place, advice)
        return DatasetStatus(name, "preparable", place, f"will be prepared from {place}")
    names = ", ".join(sources.accepted)
    advice = f"will be downloaded on first use; or bring {names} with --data-dir FOLDER"
    return DatasetStatus(name, "missing", None, advice)


def verify(builder: type[Builder], cache_dir: Path) -> Verification:
    """Compare every file of a prepared dataset with its seal."""
    folder = _folder(builder, cache_dir)
    if not folder.exists():
        return Verification(builder.name, folder, prepared=False, checked=(), damaged=())
    checked, damaged = _check(folder, contents=True)
    return Verification(builder.name, folder, True, tuple(checked), tuple(damaged))


def _folder(builder: type[Builder], cache_dir: Path) -> Path:
    """Return where TFDS puts the prepared data."""
    return cache_dir / "tfds" / builder.name / str(builder.VERSION)


def _prepare(
    builder: type[Builder],
    folder: Path,
    data_dir: Path | None,
    cache_dir: Path,
    download: bool,
) -> None:
    """Build a dataset in a staging folder and move it to `folder`, one process at a time."""
    root = cache_dir / "tfds"
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
                download_dir=cache_dir / "downloads",
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
    """Turn a full disk or a cache that can't be written into a DataError that says so."""
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
        expected = {name: (int(of["size"]), str(of["sha256"])) for name, of in files.items()}
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


def _repair(folder: Path, damaged: list[str]) -> str:
    more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
    return f"prepared data is damaged: {damaged[0]}{more}; delete {folder} and run again"
