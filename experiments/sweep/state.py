"""What has become of a run, read from its directory alone. Imports no JAX."""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from common.error import DataError
from common.progress import duration
from common.record import FILE_NAME, Record, read_record
from common.run_directory import SCHEDULE
from common.run_lock import in_use
from experiments import registry, together

Kind = Literal["finished", "diverged", "running", "stopped", "waiting", "damaged"]
"""`waiting` is a run of which nothing is there yet; `damaged` one whose record can't be read."""

METRICS = "metrics.jsonl"
TAIL_BYTES = 2**16
"""How much of the end of a file of metrics is read: hundreds of rows."""
SPEED_SECONDS = 60.0
"""Over how much training the speed is taken."""
_SEED = re.compile(r"seed(\d+)")


@dataclass(frozen=True)
class Speed:
    """How fast a training went lately."""

    updates: float
    """A second."""
    items: float
    """A second."""
    item: str


@dataclass(frozen=True)
class State:
    """What a run's directory says of it."""

    path: Path
    kind: Kind
    part: str = ""
    """Folder of the training that went on last, where a run has several."""
    step: int = 0
    """Updates that this training has done."""
    total: int | None = None
    """Updates that it has in all; None where that isn't known."""
    speed: Speed | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The latest value of each; those of a part begin with its name."""
    score: tuple[str, float] | None = None
    """The metric that comes first in the experiment's tables, of those that are there."""
    trouble: str = ""
    """What is wrong with the directory."""

    @property
    def ended(self) -> bool:
        """Whether it has its record: the same command won't run it again."""
        return self.kind in ("finished", "diverged")

    @property
    def seconds_left(self) -> float | None:
        """How long this training would go on at the speed it had; None where that isn't known."""
        if self.kind != "running" or self.total is None or self.speed is None:
            return None
        return (self.total - self.step) / self.speed.updates

    @property
    def progress(self) -> str:
        """How far it is, in a few words."""
        if self.ended or not self.step:
            return ""
        share = f" of {self.total:,} ({100 * self.step // self.total} %)" if self.total else ""
        return f"{self.part + ': ' if self.part else ''}{self.step:,}{share}"

    def cells(self) -> dict[str, str]:
        """Return what a table shows of it, by the column's title."""
        left, speed = self.seconds_left, self.speed if self.kind == "running" else None
        return {
            "state": self.kind,
            "progress": self.progress or self.trouble,
            "score": f"{self.score[0]} {self.score[1]:.4g}" if self.score else "",
            "speed": f"{speed.items:,.0f} {speed.item}/s" if speed else "",
            "left": "" if left is None else duration(left),
        }

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        speed = self.speed
        return {
            "run": str(self.path),
            "state": self.kind,
            "part": self.part,
            "step": self.step,
            "total": self.total,
            "items_per_second": speed and speed.items,
            "item": speed and speed.item,
            "seconds_left": self.seconds_left,
            "metrics": dict(self.metrics),
            "score": self.score and {"metric": self.score[0], "value": self.score[1]},
            "trouble": self.trouble,
        }


def find_runs(root: Path) -> list[Path]:
    """Return all run directories at or below a folder, sorted, seeds by their number."""
    if _SEED.fullmatch(root.absolute().name):
        return [root]
    found = []
    for folder, names, _ in os.walk(root):
        seeds = [name for name in names if _SEED.fullmatch(name)]
        found += [Path(folder, name) for name in seeds]
        names[:] = [name for name in names if name not in seeds and not name.startswith(".")]
    return sorted(found, key=lambda path: (path.parent, int(path.name.removeprefix("seed"))))


def read_state(path: Path) -> State:
    """Read what has become of the run in a directory `.../EXPERIMENT/PRESET/seed<k>`."""
    if (path / FILE_NAME).exists():
        try:
            record = read_record(path / FILE_NAME)
        except DataError as error:
            return State(path, "damaged", trouble=str(error).splitlines()[0])
        kind: Kind = "finished" if record.status == "done" else "diverged"
        score = _score(path, record.metrics)
        return State(path, kind, metrics=record.metrics, score=score, trouble=unknown(record))
    trainings = list(_trainings(path, TAIL_BYTES))
    begun = bool(trainings) or (path / "config.json").exists()
    kind = "running" if in_use(path) else "stopped" if begun else "waiting"
    if not trainings:
        return State(path, kind)
    last = max(trainings, key=lambda one: one.changed)
    metrics = {name: value for one in trainings for name, value in one.latest().items()}
    return State(
        path,
        kind,
        part=last.part,
        step=last.step,
        total=last.schedule.get("total"),
        speed=last.speed(),
        metrics=metrics,
        score=_score(path, metrics),
    )


def unknown(record: Record) -> str:
    """Say that a record's experiment isn't here; empty where it is."""
    known = record.experiment in registry.experiments()
    return "" if known else f"there is no experiment '{record.experiment}' here"


def read_curve(path: Path) -> list[dict[str, Any]]:
    """Return all rows of metrics of a run, those of its parts one part after the other.

    Metrics have the names that a record gives them.
    """
    return [row for training in _trainings(path, None) for row in training.named()]


@dataclass(frozen=True)
class _Training:
    """The rows and the schedule of one training of a run."""

    part: str
    changed: float
    """When its metrics were written last, in seconds since 1970."""
    rows: list[dict[str, Any]]
    schedule: dict[str, Any]

    @property
    def step(self) -> int:
        return self.rows[-1].get("step", 0) if self.rows else 0

    def named(self) -> list[dict[str, Any]]:
        """The rows, with metrics under the names that a record gives them."""
        prefix = f"{self.part}/" if self.part else ""
        return [
            {f"{prefix}{name}" if "/" in name else name: value for name, value in row.items()}
            for row in self.rows
        ]

    def latest(self) -> dict[str, float]:
        """The last value of each metric."""
        found: dict[str, float] = {}
        for row in self.named():
            found |= {k: v for k, v in row.items() if "/" in k and isinstance(v, int | float)}
        return found

    def speed(self) -> Speed | None:
        """Over the last SPEED_SECONDS of training, or the rows there are."""
        points = [(row.get("step"), row.get("seconds")) for row in self.rows]
        known = [(s, t) for s, t in points if isinstance(s, int) and isinstance(t, int | float)]
        if not known:
            return None
        step, seconds = known[-1]
        before = [(s, t) for s, t in known if s < step and t < seconds]
        if not before:
            return None
        long_ago = [(s, t) for s, t in before if seconds - t >= SPEED_SECONDS]
        earlier, then = long_ago[-1] if long_ago else before[0]
        updates = (step - earlier) / (seconds - then)
        items = updates * self.schedule.get("items_per_update", 1)
        return Speed(updates, items, self.schedule.get("item", "updates"))


def training_files(path: Path) -> tuple[Path, list[Path]]:
    """Return where a run trains, and the files of metrics of its trainings there.

    That is its own directory or, if nothing was trained there, one in which its seed trained with
    others.
    """
    seed = _SEED.fullmatch(path.absolute().name)
    joint = together.joint_trainings(path.parent, int(seed[1])) if seed else []
    for folder in (path, *joint):
        if files := metrics_files(folder):
            return folder, files
    return path, []


def _trainings(path: Path, most: int | None) -> Iterator[_Training]:
    """The trainings of a run, by the last `most` bytes of their metrics, or by all."""
    seed = _SEED.fullmatch(path.absolute().name)
    folder, files = training_files(path)
    for file in files:
        yield _training(file, folder, f"seed{seed[1]}/" if seed else "", most)


def metrics_files(folder: Path) -> list[Path]:
    """Return the files of metrics of a run's trainings, while others may add and remove files."""
    found = []
    for place, names, files in os.walk(folder):  # which overlooks what vanishes under it
        names[:] = [name for name in names if name != "checkpoints" and not name.startswith(".")]
        found += [Path(place, METRICS)] if METRICS in files else []
    return sorted(found)


def _training(file: Path, folder: Path, prefix: str, most: int | None) -> _Training:
    rows = [
        {name.removeprefix(prefix): value for name, value in row.items()}
        for row in _rows(file, most)
    ]
    try:
        schedule = json.loads((file.parent / SCHEDULE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # of before it was written, or damaged
        schedule = {}
    part = file.parent.relative_to(folder).as_posix()
    try:
        changed = file.stat().st_mtime
    except OSError:  # it made room for a fresh run
        changed = 0.0
    return _Training(
        "" if part == "." else part,
        changed,
        rows,
        schedule if isinstance(schedule, dict) else {},
    )


def _rows(file: Path, most: int | None) -> list[dict[str, Any]]:
    """The whole rows among the last `most` bytes of a file of metrics, or all."""
    try:
        with file.open("rb") as stream:
            if most is not None:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - most))
            lines = stream.read().split(b"\n")
    except OSError:  # it made room for a fresh run
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:  # cut at either end
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _score(path: Path, metrics: Mapping[str, float]) -> tuple[str, float] | None:
    """The first metric of the experiment's tables that is there; else of validation, or any."""
    experiment = registry.experiments().get(path.absolute().parents[1].name)
    named = [metric.name for metric in experiment.metrics] if experiment else []
    order = [*named, *sorted(metrics, key=lambda name: "valid/" not in name)]
    for name in order:
        value = metrics.get(name)
        if value is not None and math.isfinite(value):
            return name, value
    return None
