"""A run's directory: its lock, configuration, manifest, metrics and record."""

import functools
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from common import device, stand_aside
from common.config import differences, require_same_settings
from common.error import ConfigError, DataError
from common.open_folder import OpenFolder
from common.process import Process, this_process
from common.record import FILE_NAME, named_errors, read_record, write_atomically
from common.run_lock import GLANCE_SECONDS, IN_USE, LOCK

SCHEDULE = "schedule.json"
"""The file beside the metrics of a training that says how long that is; see `note_schedule`."""

EVALUATIONS = "evaluations.json"
"""The file beside the metrics of a training that says what its result was measured to be so far."""

Method = TypeVar("Method", bound=Callable[..., Any])


class RunInUse(ConfigError):
    """Another program that is still running has locked the directory."""


def _led(method: Method) -> Method:
    """Have process 0 do the work of a method; all processes get what it returns or raises."""

    @functools.wraps(method)
    def led(self: "RunDirectory", *arguments: Any) -> Any:
        return self.process.lead(lambda: method(self, *arguments))

    return led  # type: ignore[return-value]


class RunDirectory:
    """One run on disk, locked by one program at a time until that ends, however it does.

    config.json     every setting, resolved: a directory belongs to one configuration
    manifest.json   each session's command, commit, versions, device and time
    data.json       what it learns from: a training belongs to one set of data
    schedule.json   how many updates it has, and of what
    metrics.jsonl   one row per report and per evaluation
    checkpoints/    see common.checkpoint
    evaluations.json  what protocols of the final evaluation measured; see `note_evaluation`
    record.json     written when the run is finished; pictures and samples lie beside it

    Where a run trains several models, each has a folder with its own data.json,
    schedule.json, metrics and checkpoints.

    Of several processes that train together only process 0 touches these files. All of them call
    the same methods in the same order, and all get what process 0 found, its errors included.

    A directory that is deleted, moved or replaced while its run goes on is not made again: whatever
    is to be written next raises DataError, and so does a metrics file that vanished.

    Attributes:
      path: the directory.
      process: which process this is.
    """

    def __init__(self, path: Path, process: Process | None = None):
        """Make the directory if need be, and lock it.

        Args:
          path: the directory.
          process: which process this is; by default JAX is asked.

        Raises:
          RunInUse: another program that is still running has locked it.
        """
        self.path = path
        self.process = process or this_process()
        self._lock: FileLock | None = None
        self._folder: OpenFolder | None = None
        self._begun: set[str] = set()
        """The metrics files that were written."""
        self._acquire()

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()
        if self._folder is not None:
            self._folder.close()

    @property
    @_led
    def finished(self) -> bool:
        """Whether the run has its record."""
        return (self.path / FILE_NAME).exists()

    @_led
    def claim(
        self,
        config: dict[str, Any],
        differ: Callable[[dict[str, Any], dict[str, Any]], list[str]] = differences,
    ) -> None:
        """Make the directory that of a run with this configuration.

        Of a finished run, config.json stays as it is.

        Args:
          config: every setting, as nested dictionaries of JSON values.
          differ: returns in what the configuration of the work here differs from `config`, so that
            it can't be gone on with.

        Raises:
          ConfigError: it already holds work of a run with another configuration, or in another
            precision.
          DataError: config.json is damaged, or gone from a directory with work in it.
        """
        self._require_in_place()
        path = self.path / "config.json"
        if self._has_work():
            require_same_settings(self.path, differ(self._claimed(), config))
            self._refuse_other_numerics()
        if not (self.path / FILE_NAME).exists():
            write_atomically(path, json.dumps(config, indent=1) + "\n")

    @_led
    def begin_session(self, facts: dict[str, Any]) -> list[dict[str, Any]]:
        """Add to the manifest where and how the run runs now.

        Args:
          facts: JSON values.

        Returns:
          The facts of all sessions of the run, these included. Where the manifest of earlier ones
          is gone, they are one of an unknown commit.
        """
        self._require_in_place()
        path = self.path / "manifest.json"
        sessions = self._sessions()
        if not sessions and self._has_work():
            sessions = [{"commit": "", "dirty": True, "lost": "manifest.json was gone"}]
        sessions.append(facts)
        write_atomically(path, json.dumps({"sessions": sessions}, indent=1) + "\n")
        return sessions

    @_led
    def append_metrics(self, row: dict[str, Any], name: str) -> None:
        """Add a row to a metrics file; a number that isn't finite becomes null.

        Args:
          row: JSON values.
          name: the file's path within the directory.

        Raises:
          DataError: it can't be written, or is no longer there.
        """
        self._require_in_place()
        path = self.path / name
        if name in self._begun and not path.exists():
            raise DataError(
                f"{path}: deleted or moved while the run went on; its rows are missing.\n"
                "Put it back, and the same command continues; or start over with --fresh."
            )
        self._begun.add(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        finite = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in row.items()
        }
        with named_errors(path), path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(finite) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    @_led
    def read_metrics(self, name: str) -> list[dict[str, Any]]:
        """Return all complete rows of a metrics file, leaving out a last line cut short by a kill.

        Args:
          name: the file's path within the directory; without such a file there are no rows.

        Raises:
          DataError: a line before the last isn't a row.
        """
        return self._rows(name)

    @_led
    def rewind_metrics(self, count: int, name: str) -> None:
        """Drop the rows that were written after the checkpoint from which the run continues.

        Args:
          count: how many rows there were at that checkpoint; the first so many stay.
          name: the file's path within the directory; made if need be.

        Raises:
          DataError: the file has fewer rows.
        """
        path = self.path / name
        rows = self._rows(name)
        if len(rows) < count:
            raise DataError(
                f"{path}: {count - len(rows)} of {count} rows are missing; the learning curve is "
                "lost.\nPut the file back, or start over with --fresh."
            )
        self._require_in_place()
        self._begun.add(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows[:count]))

    @_led
    def _acquire(self) -> None:
        self._folder = OpenFolder(self.path)
        self._lock = FileLock(self.path / LOCK)
        try:
            self._lock.acquire(timeout=GLANCE_SECONDS, poll_interval=GLANCE_SECONDS / 10)
        except Timeout:
            raise RunInUse(
                f"{self.path}: {IN_USE}. Wait for it, stop it, or choose another directory with "
                "--out."
            ) from None
        self._locked = (self.path / LOCK).stat()

    def _require_in_place(self) -> None:
        """Raise where what is written now would not be part of this run, or not of it alone."""
        if self._folder is None or not self._folder.in_place:
            raise DataError(
                f"{self.path}: deleted, moved or replaced while the run went on; it stops, for "
                "nothing can be saved.\nPut the folder back, and the same command continues it."
            )
        try:
            locked = os.path.samestat(self._locked, (self.path / LOCK).stat())
        except FileNotFoundError:
            locked = False
        if not locked:
            raise DataError(
                f"{self.path}: its .lock was deleted while the run went on; it stops, for another "
                "program may write here.\nThe same command continues it."
            )

    def _claimed(self) -> dict[str, Any]:
        """The configuration of the work here."""
        path, record = self.path / "config.json", self.path / FILE_NAME
        if path.exists():
            return self._read_json(path)
        if record.exists():
            return read_record(record).config
        raise DataError(
            f"{path} is gone: which settings the run here has isn't known.\n"
            "Put it back, start over with --fresh, or write elsewhere with --out."
        )

    @_led
    def computed_before(self) -> dict[str, str] | None:
        """Return `kernel` and `precision` (of `common.compute`) of the work here; None without.

        Work that says nothing of them is by scan, in float32.
        """
        if not self._has_work():
            return None
        before = (self._sessions() or [{}])[-1].get("device") or {}
        return {
            "kernel": before.get("kernel", "scan"),
            "precision": before.get("products", "float32"),
        }

    def require_compute(self, wanted: dict[str, str]) -> None:
        """Refuse to go on with work that was computed in another way.

        Args:
          wanted: the fields of a `common.compute.Compute`.

        Raises:
          ConfigError: it was.
        """
        before = self.computed_before()
        if before and (changed := differences(before, wanted)):
            raise ConfigError(
                f"{self.path} holds a run computed otherwise ({'; '.join(changed)}).\n"
                "Give --kernel and --precision as they were then, or write elsewhere with --out."
            )

    def _refuse_other_numerics(self) -> None:
        """Raise where the last session computed otherwise than this process does."""
        before = (self._sessions() or [{}])[-1].get("device")
        changed = device.other_numerics(before) if before else []
        if changed:
            raise ConfigError(
                f"{self.path} holds a run computed otherwise ({'; '.join(changed)}).\nSet JAX "
                "(JAX_ENABLE_X64 and the like) as it was then, or write elsewhere with --out."
            )

    def _sessions(self) -> list[dict[str, Any]]:
        path = self.path / "manifest.json"
        if not path.exists():
            return []
        sessions = self._read_json(path).get("sessions")
        if not isinstance(sessions, list) or not all(isinstance(one, dict) for one in sessions):
            raise DataError(f"{path}: damaged (no sessions). Start over with --fresh.")
        return sessions

    def _rows(self, name: str) -> list[dict[str, Any]]:
        path = self.path / name
        rows = []
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                if number < len(lines):
                    raise DataError(
                        f"{path}: line {number} is damaged. Start over with --fresh."
                    ) from None
        return rows

    def _has_work(self) -> bool:
        return (self.path / FILE_NAME).exists() or any(
            stand_aside.BEFORE not in path.relative_to(self.path).parts
            for path in self.path.rglob("metrics.jsonl")
        )

    def _read_json(self, path: Path) -> dict[str, Any]:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: damaged ({error}). Start over with --fresh.") from None
        if not isinstance(values, dict):
            raise DataError(f"{path}: damaged (not an object). Start over with --fresh.")
        return values

    @classmethod
    def when_free(cls, path: Path, told: Callable[[], None]) -> "RunDirectory":
        """Open a directory as soon as no other program has it; `told` is called before a wait."""
        waits = False
        while True:
            try:
                return cls(path)
            except RunInUse:
                if not waits:
                    told()
                waits = True
                time.sleep(0.5)

    def claim_data(self, data: dict[str, Any], folder: str = "") -> None:
        """Make a training one on these data, which all processes must have.

        Args:
          data: the fields of a common.record.DataUsed; what counts are the checksums.
          folder: of the training, within the directory.

        Raises:
          ConfigError: it began on others, or processes have different ones.
          DataError: data.json is damaged.
        """
        self.process.require_same({"data": data["checksums"]})
        self._claim_data(data, folder)

    @_led
    def _claim_data(self, data: dict[str, Any], folder: str) -> None:
        self._require_in_place()
        place = self.path / folder
        path, rows = place / "data.json", place / "metrics.jsonl"
        begun = stand_aside.is_saved(place) or (rows.exists() and rows.stat().st_size > 0)
        if begun and path.exists():
            before = self._read_json(path)
            name, checksums = before.get("name"), before.get("checksums")
            if not isinstance(name, str) or not isinstance(checksums, dict):
                raise DataError(f"{path}: damaged (no data). Start over with --fresh.")
            refuse_other_data(place, name, checksums, data)
        place.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(data, indent=1) + "\n")

    @_led
    def note_schedule(self, schedule: dict[str, Any], folder: str = "") -> None:
        """Write down how long a training is, for whoever looks how far it has come.

        Args:
          schedule: the fields of a common.training.Schedule.
          folder: of the training, within the directory.
        """
        self._require_in_place()
        write_atomically(self.path / folder / SCHEDULE, json.dumps(schedule, indent=1) + "\n")

    @_led
    def note_evaluation(self, row: dict[str, Any], folder: str = "") -> None:
        """Keep what one protocol of the final evaluation measured.

        Args:
          row: JSON values.
          folder: of the training, within the directory.
        """
        self._require_in_place()
        rows = [*self._evaluations(folder), row]
        write_atomically(self.path / folder / EVALUATIONS, json.dumps(rows, indent=1) + "\n")

    @_led
    def read_evaluations(self, folder: str = "") -> list[dict[str, Any]]:
        """Return what `note_evaluation` was given; a file that is damaged is taken for none."""
        return self._evaluations(folder)

    def _evaluations(self, folder: str) -> list[dict[str, Any]]:
        try:
            rows = json.loads((self.path / folder / EVALUATIONS).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # all can be measured again
            return []
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    @_led
    def set_aside(self) -> None:
        """Let the run that is here stand aside for a new one, until `settle` decides."""
        stand_aside.set_aside(self.path)

    @_led
    def note_training(self, other: "RunDirectory") -> None:
        """Say that the new run here is trained, and saved, in another directory beside this."""
        stand_aside.note_training(self.path, other.path)

    def settle(self, report: Callable[[str], None]) -> None:
        """Delete the run that stood aside if the new one is saved; otherwise put it back.

        `report` is told if it comes back. Process 0 does it without waiting for the others, so that
        it can be called whatever happened.
        """
        if self.process.leads and self._folder is not None and self._folder.in_place:
            stand_aside.settle(self.path, report)


def refuse_other_data(
    path: Path,
    name: str,
    before: Mapping[str, str],
    now: Mapping[str, Any],
    advice: str = "Give it what it began with, write elsewhere with --out, or start over with "
    "--fresh.",
) -> None:
    """Raise ConfigError where the checksums of data are others than a run began with.

    Args:
      path: of the run.
      name: of the data it began with.
      before: their checksums.
      now: the fields of a common.record.DataUsed.
      advice: what to do about it.
    """
    found = now["checksums"]
    changed = [key for key in {**before, **found} if before.get(key) != found.get(key)]
    if changed:
        old, new = (
            ", ".join(f"{key} {str(these.get(key, 'none'))[:12]}" for key in changed[:3])
            for these in (before, found)
        )
        raise ConfigError(
            f"{path} holds a run on other data: {name} ({old}), and now {now['name']} ({new}).\n"
            f"{advice}"
        )
