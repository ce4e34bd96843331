"""Reading named files out of a zip that may be damaged or hostile, without unpacking it to disk."""

import hashlib
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from common.error import DataError

_MAX_MEMBERS = 10_000
_ENCRYPTED = 0x1


def read_members(path: Path, limits: Mapping[str, int]) -> dict[str, bytes]:
    """Read the wanted files of a zip, in whatever folder of it they are.

    Args:
      path: the zip file; only read.
      limits: base name of each wanted file → the most bytes it may have. No more than that is
        unpacked, so a zip bomb does no harm.

    Returns:
      Base name → content, of those that the zip holds.

    Raises:
      DataError: the zip is damaged; any member has an unsafe path or is a symbolic link; a wanted
        file is there twice, is encrypted, or is too large. Names the zip and the member.
    """
    contents: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in _safe_members(path, archive):
                parts = PurePosixPath(member.filename).parts
                if member.is_dir() or "__MACOSX" in parts or parts[-1] not in limits:
                    continue
                if parts[-1] in contents:
                    raise DataError(f"{path}: holds more than one file named {parts[-1]}")
                contents[parts[-1]] = _read(path, archive, member, limits[parts[-1]])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        content = path.read_bytes()
        raise DataError(
            f"{path}: not a zip file, or truncated or damaged ({error}); replace it.\n"
            f"Expected a zip with {', '.join(limits)}; found {len(content):,} bytes, sha256 "
            f"{hashlib.sha256(content).hexdigest()}."
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    return contents


def _safe_members(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """List the members, refusing the whole zip if one of them looks like an attack."""
    members = archive.infolist()
    if len(members) > _MAX_MEMBERS:
        raise DataError(f"{path}: holds {len(members):,} files, more than {_MAX_MEMBERS:,}")
    for member in members:
        # orig_filename: zipfile cuts `filename` at a NUL and turns separators around.
        for name in (member.filename, member.orig_filename):
            windows = PureWindowsPath(name)  # understands / and \ alike
            if windows.anchor or not windows.parts or ".." in windows.parts or "\0" in name:
                raise DataError(f"{path}: refused, it holds the unsafe path {name!r}")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(f"{path}: refused, its member {member.filename!r} is a symbolic link")
    return members


def _read(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> bytes:
    if member.flag_bits & _ENCRYPTED:
        raise DataError(f"{path}: its member {member.filename!r} is encrypted")
    with archive.open(member) as file:
        # Not by member.file_size alone: that is only what the zip claims.
        content = file.read(limit + 1)
    if len(content) > limit:
        raise DataError(f"{path}: its member {member.filename!r} has more than {limit:,} bytes")
    return content
