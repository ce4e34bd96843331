"""The MIDI files of a folder that the user names: all that is there, and what can't be read."""

import hashlib
import os
import stat
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from common.datasets.source import check_folder, sha256_of
from common.error import DataError
from common.melody import NoMelody

_SUFFIXES = (".mid", ".midi")
_LARGEST = 1 << 24  # bytes, three times those of the longest melody
_LINK_LOCK = ".#"  # how Emacs names its locks: links to nothing


class MidiFiles(Mapping[str, bytes]):
    """The MIDI files in a folder and its subfolders: path in the folder → content.

    Links are followed; a folder that several lead to is searched once. Each file is read when it
    is asked for. Whatever may have MIDI files or be one, but can't be read, is listed too: asked
    for its content it raises NoMelody, which names it.
    """

    def __init__(self, folder: Path):
        """List what there is.

        Args:
          folder: one that can be read.
        """
        self._paths, self._problems = _search(folder)
        # In the order of their bytes on disk, which don't depend on how a system reads names.
        self._names = sorted(
            {**self._paths, **self._problems},
            key=lambda name: [os.fsencode(part) for part in name.split("/")],
        )

    def __getitem__(self, name: str) -> bytes:
        if name not in self._problems:
            try:
                return self._paths[name].read_bytes()
            except OSError as error:
                self._problems[name] = _cannot_be_read(error)
        reason = "folder not searched" if name.endswith("/") else "unreadable"
        raise NoMelody(reason, printable(name), self._problems[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def problems(self) -> list[str]:
        """Return what can't be read as far as that is known, as `name: why`."""
        return [f"{printable(name)}: {self._problems[name]}" for name in self._problems]

    def sha256(self) -> str:
        """Return a digest of all names and contents, in hexadecimal."""
        digest = hashlib.sha256()
        for name in self:
            digest.update(hashlib.sha256(os.fsencode(name)).digest())
            digest.update(bytes.fromhex(self._sha256_of(name)))
        return digest.hexdigest()

    def _sha256_of(self, name: str) -> str:
        """Return the digest of a file's content, or of why it can't be read."""
        if name not in self._problems:
            try:
                return sha256_of(self._paths[name])
            except OSError as error:
                self._problems[name] = _cannot_be_read(error)
        return hashlib.sha256(self._problems[name].encode()).hexdigest()


def find_files(folder: Path) -> MidiFiles:
    """List the MIDI files of a folder.

    Raises:
      DataError: there is no such folder, it can't be read, or it has no MIDI files.
    """
    check_folder(folder)
    files = MidiFiles(folder)
    if not files:
        raise DataError(f"midi_melodies: no MIDI files (*.mid, *.midi) in {folder}")
    if all(name.endswith("/") for name in files):
        raise DataError(
            f"midi_melodies: no MIDI files (*.mid, *.midi) in {folder}, as far as it can be read:"
            f" {'; '.join(files.problems()[:3])}"
        )
    return files


def printable(name: str) -> str:
    r"""Write a name of a file so that it can be printed anywhere and fits a line.

    Bytes that aren't text become `\xe9`, control characters `\n` and the like.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _search(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Search a folder: name in it → path of each MIDI file, and → what is wrong with the others.

    Names of folders end in a slash.
    """
    files: dict[str, Path] = {}
    problems: dict[str, str] = {}
    searched: set[str] = set()
    folders, links = deque([("", folder)]), deque[tuple[str, Path]]()
    while folders or links:
        # Links last, so that files have their names in real folders where they have one.
        name, path = (folders or links).popleft()
        try:
            if (real := os.path.realpath(path)) in searched:
                continue
            searched.add(real)
            children = sorted(os.listdir(path), key=os.fsencode)
        except OSError as error:
            problems[name or "./"] = _cannot_be_read(error)
            continue
        for child in children:
            inside, below = name + child, path / child
            kind, why = _look_at(below)
            if kind == "folder":
                (links if below.is_symlink() else folders).append((inside + "/", below))
            elif kind == "file":
                files[inside] = below
            elif kind == "problem":
                problems[inside] = why
    return files, problems


def _look_at(path: Path) -> tuple[Literal["folder", "file", "problem", "other"], str]:
    """Tell what a thing in a folder is to us, and if it is a problem, why."""
    is_midi = path.suffix.lower() in _SUFFIXES
    try:
        status = path.stat()
    except OSError as error:
        # What a link leads to may have been a folder, if its name has no suffix.
        if not is_midi and (path.suffix or path.name.startswith(_LINK_LOCK)):
            return "other", ""
        if isinstance(error, FileNotFoundError):
            return "problem", "a link to what isn't there"
        return "problem", _cannot_be_read(error)
    if stat.S_ISDIR(status.st_mode):
        return "folder", ""
    if not is_midi:
        return "other", ""
    if not stat.S_ISREG(status.st_mode):
        return "problem", "neither a file nor a folder"
    if status.st_size > _LARGEST:
        return "problem", f"{status.st_size:,} bytes are too many for a melody"
    return "file", ""


def _cannot_be_read(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"
