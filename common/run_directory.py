"""A run's directory: its lock, configuration, manifest, metrics and record."""

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from common.config import differences
from common.error import ConfigError, DataError
from common.record import FILE_NAME, named_errors, write_atomically


class RunDirectory:
    """One run on disk, held by one process at a time and released when that ends, however it does.

    config.json     every setting, resolved: a directory belongs to one configuration
    manifest.json   each session's command, commit, versions, device and time
    metrics.jsonl   one row per report and per evaluation
    checkpoints/    see common.checkpoint
    record.json     written when the run is finished; pictures and samples lie beside it

    Where a run trains several models, each has a folder with its own metrics and checkpoints.
    """

    def __init__(self, path: Path):
        """Locks the directory, made if need be. Raises ConfigError if a live run holds it."""
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(
                f"{path}: another process is running here. Wait for it, stop it, or choose another "
                "directory with --out."
            ) from None

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @property
    def finished(self) -> bool:
        """Whether it has its record."""
        return (self.path / FILE_NAME).exists()

    def clear(self) -> None:
        """Deletes everything a run writes here."""
        for entry in self.path.iterdir():
            if entry.name == ".lock":
                continue
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def claim(self, config: dict[str, Any]) -> None:
        """Makes the directory that of a run with this configuration.

        Raises ConfigError if it already holds work of a run with another.
        """
        path = self.path / "config.json"
        if path.exists() and self._has_work():
            changed = differences(self._read_json(path), config)
            if changed:
                shown = "; ".join(changed[:3]) + ("; ..." if len(changed) > 3 else "")
                raise ConfigError(
                    f"{self.path} holds a run with another configuration ({shown}).\n"
                    "Start over there with --fresh, or write elsewhere with --out."
                )
        write_atomically(path, json.dumps(config, indent=1) + "\n")

    def begin_session(self, facts: dict[str, Any]) -> list[dict[str, Any]]:
        """Notes in the manifest where and how the run runs now; returns all its sessions."""
        path = self.path / "manifest.json"
        sessions = self._read_json(path)["sessions"] if path.exists() else []
        sessions.append(facts)
        write_atomically(path, json.dumps({"sessions": sessions}, indent=1) + "\n")
        return sessions

    def append_metrics(self, row: dict[str, Any], name: str) -> None:
        """Adds a row to the metrics file `name`; a number that isn't finite becomes null."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        finite = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in row.items()
        }
        with named_errors(path), path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(finite) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def read_metrics(self, name: str) -> list[dict[str, Any]]:
        """All complete rows; a last line cut short by a kill is passed over.

        Raises DataError where another line isn't a row.
        """
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

    def rewind_metrics(self, count: int, name: str) -> None:
        """Keeps the first `count` rows: those that the checkpoint gone back to had seen.

        Raises DataError where there are fewer.
        """
        path = self.path / name
        rows = self.read_metrics(name)
        if len(rows) < count:
            raise DataError(
                f"{path}: {count - len(rows)} of {count} rows are missing; the learning curve is "
                "lost.\nPut the file back, or start over with --fresh."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows[:count]))

    def _has_work(self) -> bool:
        return self.finished or any(self.path.rglob("metrics.jsonl"))

    def _read_json(self, path: Path) -> dict[str, Any]:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: damaged ({error}). Start over with --fresh.") from None
        if not isinstance(values, dict):
            raise DataError(f"{path}: damaged (not an object). Start over with --fresh.")
        return values
