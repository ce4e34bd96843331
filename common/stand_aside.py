"""A run that stands aside for a new one in its directory, until something of that is saved."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from common.record import FILE_NAME, write_atomically

BEFORE = ".before"
"""The folder in a run's directory in which the run that was there stands aside."""
_MOVING = ".before.moving"
"""The same while files move in or out, so that half a run is never taken for a whole one."""
_TRAINED_IN = ".before.trained-in"
"""Holds the name of the directory beside this in which the new run is trained, if not in this."""


def set_aside(path: Path) -> None:
    """Let the run in a directory, if there is one, stand aside until `settle` decides."""
    entries = [entry for entry in path.iterdir() if entry.name != ".lock"]
    if entries:
        moving = path / _MOVING
        moving.mkdir()
        _move(entries, moving)
        moving.rename(path / BEFORE)


def note_training(path: Path, training: Path) -> None:
    """Say that the new run in `path` is trained, and saved, in a directory beside that."""
    if (path / BEFORE).exists() and path != training:
        write_atomically(path / _TRAINED_IN, training.name)


def settle(path: Path, report: Callable[[str], None]) -> None:
    """Delete the run that stood aside if the new one is saved; otherwise put it back.

    It may be called after a crash at any point, and where nothing stands aside.

    Args:
      path: the directory.
      report: is told if the run before comes back.
    """
    before, moving, trained_in = path / BEFORE, path / _MOVING, path / _TRAINED_IN
    if before.exists():
        if is_saved(path) or (trained_in.exists() and _is_saved_elsewhere(trained_in)):
            shutil.rmtree(before)
        else:
            kept = (".lock", BEFORE)
            _remove(entry for entry in list(path.iterdir()) if entry.name not in kept)
            before.rename(moving)
            report(f"{path}: nothing of the new run is saved; the run from before is back.")
    if moving.exists():
        _move(list(moving.iterdir()), path)
        moving.rmdir()
    trained_in.unlink(missing_ok=True)


def is_saved(path: Path) -> bool:
    """Return whether a run has its record or, in any of its trainings, a checkpoint."""
    return (path / FILE_NAME).exists() or any(True for _ in _checkpoints(path))


def _is_saved_elsewhere(note: Path) -> bool:
    """Whether the training that a note names has a checkpoint that is newer than the note: one of
    the run before may have come back there."""
    training = note.parent.with_name(note.read_text(encoding="utf-8"))
    begun = note.stat().st_mtime_ns
    return any(entry.stat().st_mtime_ns >= begun for entry in _checkpoints(training))


def _checkpoints(path: Path) -> Iterator[Path]:
    for entry in path.rglob("checkpoints/*"):
        if entry.name.isdecimal() and BEFORE not in entry.relative_to(path).parts:
            yield entry


def _move(entries: Iterable[Path], folder: Path) -> None:
    for entry in entries:
        entry.rename(folder / entry.name)


def _remove(entries: Iterable[Path]) -> None:
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
