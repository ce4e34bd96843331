"""Finding the source files of a dataset: by hand, in the package, or downloaded; all checked."""

import gzip
import hashlib
import importlib.resources
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from common.datasets.archive import read_members
from common.datasets.download import Download, fetch
from common.error import DataError


@dataclass(frozen=True)
class SourceFile:
    """One file that the preprocessing reads, known by the sha256 of its content."""

    name: str
    size: int
    """Bytes."""
    sha256: str
    mirrors: tuple[str, ...] = ()
    """Addresses of the file itself."""
    shipped: bool = False
    """Whether the package has it, as files/<name>.gz."""


@dataclass(frozen=True)
class Archive:
    """A zip that holds source files: accepted by name, and possibly downloaded."""

    name: str
    download: Download | None = None
    """Where it can be downloaded."""


@dataclass(frozen=True)
class Sources:
    """All that one dataset is built from."""

    files: tuple[SourceFile, ...]
    archive: Archive | None = None
    """A zip that may hold them."""

    @property
    def accepted(self) -> tuple[str, ...]:
        """Name of the files that the user can bring in a folder."""
        loose = tuple(file.name for file in self.files if not file.shipped)
        return loose + ((self.archive.name,) if self.archive else ())


class Location(NamedTuple):
    """Where the sources of a dataset are; fields as in `catalog.DatasetStatus`."""

    state: Literal["preparable", "ships", "missing", "damaged"]
    """See `catalog.DatasetStatus`."""
    path: Path | None
    """The folder they were found in."""
    advice: str
    """What was found and what to do, in a line."""


def collect(
    sources: Sources, data_dir: Path | None, download_dir: Path, download: bool
) -> dict[str, bytes]:
    """Read every source file, each checked against its sha256.

    A file comes from the package if it ships, else from `data_dir` (itself, then in the zip),
    else from `download_dir`.

    Args:
      sources: which files.
      data_dir: a folder with files brought by hand, only read; None if there is none.
      download_dir: where downloads are kept.
      download: whether what is missing may be downloaded.

    Returns:
      File name → content.

    Raises:
      DataError: a file is missing, can't be read or fetched, or is not the expected one; says
        which, and how to bring it by hand.
    """
    contents = {file.name: _read_shipped(file) for file in sources.files if file.shipped}
    if data_dir is not None and _absent(sources, contents):
        check_folder(data_dir)
        contents |= _from_folder(sources, _absent(sources, contents), data_dir)
    if _absent(sources, contents):
        contents |= _from_downloads(sources, contents, data_dir, download_dir, download)
    return contents


def check_by_hand(sources: Sources, folder: Path) -> None:
    """Check those source files that a folder of files brought by hand has.

    Raises:
      DataError: one isn't the expected file.
    """
    wanted = [file for file in sources.files if not file.shipped]
    _from_folder(sources, wanted, folder)


def check_folder(folder: Path) -> None:
    """Check that the user's data folder is one and can be searched.

    Raises:
      DataError: it isn't.
    """
    try:
        os.stat(os.path.join(folder, "."))  # fails where the files in the folder can't be seen
        with os.scandir(folder):
            return
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise DataError(f"the data folder {folder} does not exist or is not a folder") from error
    except OSError as error:
        raise DataError(
            f"cannot read the data folder {folder}: {error.strerror or error}"
        ) from error


def find(sources: Sources, folder: Path) -> list[tuple[Path, int | None]]:
    """Find by name from which files of a folder all sources could be read.

    Returns:
      Paths with their expected sizes in bytes (None for a zip); [] if some source is in none.
    """
    loose = [(folder / file.name, file.size) for file in sources.files]
    present = [(path, size) for path, size in loose if os.path.isfile(path)]
    if len(present) == len(loose):
        return list(present)
    if sources.archive and os.path.isfile(path := folder / sources.archive.name):
        return [*present, (path, None)]
    return []


def locate(sources: Sources, data_dir: Path | None, download_dir: Path) -> Location:
    """Find by names and sizes alone where all sources could be read from."""
    if all(file.shipped for file in sources.files):
        return Location("ships", None, "comes with the package; prepared on first use")
    for place in (data_dir, download_dir):
        if place is None or not (paths := find(sources, place)):
            continue
        for path, size in paths:
            if size is not None and path.stat().st_size != size:
                advice = f"{path} has {path.stat().st_size:,} bytes, expected {size:,}: replace it"
                return Location("damaged", place, advice)
        return Location("preparable", place, f"will be prepared from {place}")
    names = ", ".join(sources.accepted)
    advice = f"will be downloaded on first use; or bring {names} with --data-dir FOLDER"
    return Location("missing", None, advice)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _absent(sources: Sources, contents: Mapping[str, bytes]) -> list[SourceFile]:
    return [file for file in sources.files if file.name not in contents]


def _from_folder(sources: Sources, wanted: Iterable[SourceFile], folder: Path) -> dict[str, bytes]:
    """Read those wanted files that a folder has, loose or in the zip."""
    contents: dict[str, bytes] = {}
    zipped: list[SourceFile] = []
    for file in wanted:
        # lexists: a link to nowhere is reported as an error, not taken for an absent file.
        if os.path.lexists(path := folder / file.name):
            contents[file.name] = _read_checked(path, file)
        else:
            zipped.append(file)
    if zipped and sources.archive and os.path.lexists(path := folder / sources.archive.name):
        contents |= _read_zipped(path, zipped)
    return contents


def _from_downloads(
    sources: Sources,
    contents: Mapping[str, bytes],
    data_dir: Path | None,
    download_dir: Path,
    download: bool,
) -> dict[str, bytes]:
    """Read what `contents` lacks from earlier downloads, or download it."""
    absent = _absent(sources, contents)
    found: dict[str, bytes] = {}
    try:
        if sources.archive and sources.archive.download:
            path = download_dir / sources.archive.name
            if _have(path, sources.archive.download, download):
                found = _read_zipped(path, absent)
        else:
            for file in absent:
                path = download_dir / file.name
                if _have(path, Download(file.mirrors, file.size, file.sha256), download):
                    found[file.name] = _read_checked(path, file)
    except DataError as error:
        raise DataError(f"{error}\n{_by_hand(sources)}") from error
    missing = [file.name for file in absent if file.name not in found]
    if missing:
        where = f" in {data_dir}" if data_dir else ""
        raise DataError(
            f"{', '.join(missing)}: not found{where}, and downloading is off\n{_by_hand(sources)}"
        )
    return found


def _have(path: Path, download: Download, allowed: bool) -> bool:
    """Fetch a download if it isn't at `path` and that is allowed; tell if it is there then."""
    if path.is_file() and sha256_of(path) == download.sha256:
        return True
    if allowed:
        fetch(download, path)
    return allowed


def _by_hand(sources: Sources) -> str:
    loose = " and ".join(file.name for file in sources.files if not file.shipped)
    packed = f", or {sources.archive.name}" if sources.archive else ""
    return f"Bring it by hand: --data-dir FOLDER with {loose}{packed}."


def _read_checked(path: Path, expected: SourceFile) -> bytes:
    """Read a file whole, or raise DataError if it's not the expected one."""
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: not a file")
        if (size := path.stat().st_size) != expected.size:
            raise _mismatch(path, expected, size, sha256_of(path))
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    return _checked(str(path), expected, content)


def _read_zipped(path: Path, wanted: Iterable[SourceFile]) -> dict[str, bytes]:
    """Read all wanted files out of a zip."""
    files = {file.name: file for file in wanted}
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: not a file")
    contents = read_members(path, {file.name: file.size for file in files.values()})
    for name, file in files.items():
        if name not in contents:
            raise DataError(f"{path}: holds no file named {name}")
        _checked(f"{path}, member {name}", file, contents[name])
    return contents


def _read_shipped(file: SourceFile) -> bytes:
    """Read a source file that comes with the package."""
    packed = importlib.resources.files("common.datasets") / "files" / f"{file.name}.gz"
    try:
        content = gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"cannot read {packed}: {error}; it comes with the package: install that again"
        ) from error
    return _checked(str(packed), file, content)


def _checked(where: str, expected: SourceFile, content: bytes) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != expected.sha256:
        raise _mismatch(where, expected, len(content), found)
    return content


def _mismatch(where: Path | str, expected: SourceFile, size: int, sha256: str) -> DataError:
    return DataError(
        f"{where}: not the expected {expected.name}, or truncated or damaged; replace it.\n"
        f"Expected {expected.size:,} bytes, sha256 {expected.sha256}; "
        f"found {size:,} bytes, sha256 {sha256}."
    )
