"""What is compared: runs, finished or not, read from their directories alone. Imports no JAX."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.config import Immaterial, fill, flatten, meanings
from common.device import numerics_of
from common.error import ConfigError, DataError
from common.record import FILE_NAME, DataUsed, parse_json, read_record
from experiments.registry import experiments
from experiments.results.row import commits_text, device_text
from experiments.sweep.state import State, find_runs, read_curve, read_state, training_files


@dataclass(frozen=True)
class Run:
    """One run directory."""

    path: Path
    seed: int
    experiment: str
    state: State
    config: Mapping[str, Any]
    """Every setting, flattened; those that came since have their defaults."""
    made: Mapping[str, str]
    """How it was made, in words: experiment, commit, device, versions."""
    precision: str
    data: Mapping[str, str]
    """What it learned from: names, versions, numbers of tokens and checksums."""
    metrics: Mapping[str, float]
    """Of its record; of a run without one the latest."""
    curve: Sequence[Mapping[str, Any]]
    """Rows with `step`, and metrics under their names."""

    def unlike(self, other: "Run") -> str:
        """Say in what material way another run differs; empty where it doesn't."""
        known = experiments().get(self.experiment)
        kinds = meanings(known.kind) if known else {}
        material = [
            {k: v for k, v in run.config.items() if not isinstance(kinds.get(k), Immaterial)}
            for run in (self, other)
        ]
        both = [
            {"experiment": run.experiment, **config, "precision": run.precision, **run.data}
            for run, config in zip((self, other), material, strict=True)
        ]
        changed = [key for key in {**both[0], **both[1]} if both[0].get(key) != both[1].get(key)]
        if not changed:
            return ""
        before, now = (one.get(changed[0], "none") for one in both)
        return f"{changed[0]}: {before} and {now}"


@dataclass(frozen=True)
class Side:
    """A column of a comparison: one run, or all seeds of a preset."""

    label: str
    runs: tuple[Run, ...]

    @property
    def shown(self) -> tuple[Run, ...]:
        """The runs whose results are shown: the finished ones or, if there is none, the others."""
        return tuple(run for run in self.runs if run.state.kind == "finished") or tuple(
            run for run in self.runs if not run.state.ended
        )

    @property
    def finished(self) -> bool:
        """Whether its results are final."""
        return any(run.state.kind == "finished" for run in self.runs)

    def values(self, metric: str) -> dict[int, float]:
        """Return a metric by seed."""
        return {run.seed: run.metrics[metric] for run in self.shown if metric in run.metrics}

    def metrics(self) -> dict[str, None]:
        """Return the names of all metrics, in order."""
        return {name: None for run in self.shown for name in run.metrics}


def read_sides(paths: Sequence[Path]) -> list[Side]:
    """Read what is to be compared.

    Args:
      paths: run directories, or folders of a preset with seeds in them.

    Raises:
      ConfigError: they are fewer than two, or the seeds in a folder aren't alike.
      DataError: one is no run, or can't be read.
    """
    if len({path.resolve() for path in paths}) < max(2, len(paths)):
        raise ConfigError("give two or more different runs to compare.")
    labels = short_labels(paths)
    return [_read_side(path, label) for path, label in zip(paths, labels, strict=True)]


def short_labels(paths: Sequence[Path]) -> list[str]:
    """Name paths by the parts between those that all share at either end."""
    parts = [path.absolute().parts for path in paths]
    begin = _shared(parts)
    end = _shared([tuple(reversed(one)) for one in parts])
    for last in (end, 0):
        found = ["/".join(one[begin : len(one) - last]) for one in parts]
        if all(found) and len(set(found)) == len(found):
            return found
    return [str(path) for path in paths]


def _shared(parts: Sequence[tuple[str, ...]]) -> int:
    """How many parts all have in common at the beginning."""
    alike = [len(set(each)) == 1 for each in zip(*parts, strict=False)]
    return alike.index(False) if False in alike else len(alike)


def _read_side(path: Path, label: str) -> Side:
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder.")
    folders = find_runs(path)
    if not folders or any(folder not in (path, path / folder.name) for folder in folders):
        what = "runs of several presets" if folders else "no run here"
        raise DataError(
            f"{path}: {what}. Name a run's directory, RUNS/EXPERIMENT/PRESET/seed<k>, or the "
            "folder PRESET with all of its seeds."
        )
    runs = tuple(_read_run(folder) for folder in folders)
    for run in runs[1:]:
        if difference := runs[0].unlike(run):
            raise ConfigError(
                f"{path}: seeds {runs[0].seed} and {run.seed} differ in {difference}.\n"
                "Name their directories one by one: no mean is taken over unlike runs."
            )
    return Side(label, runs)


def _read_run(path: Path) -> Run:
    state = read_state(path)
    if state.kind == "damaged":
        raise DataError(state.trouble)
    if state.kind == "waiting":
        raise DataError(f"{path}: nothing of a run here yet.")
    facts = vars(read_record(path / FILE_NAME)) if state.ended else _read_unfinished(path)
    device, known = facts["device"], experiments().get(facts["experiment"])
    config = fill(known.kind, facts["config"]) if known else facts["config"]
    return Run(
        path=path,
        seed=int(path.absolute().name.removeprefix("seed")),
        experiment=facts["experiment"],
        state=state,
        config=flatten(config),
        made={
            "experiment": facts["experiment"],
            "preset": facts["preset"],
            "commit": commits_text(facts["commits"], dirty=facts["dirty"]),
            "device": device_text(device),
            "recurrence by": device.get("kernel", "scan"),
            **facts["versions"],
        },
        precision=_precision(device),
        data=_data_facts(facts["data"]),
        metrics=state.metrics,
        curve=facts["curve"],
    )


def _read_unfinished(path: Path) -> dict[str, Any]:
    """What a run's directory says of it before it has a record, under the record's names."""
    experiment, preset = path.absolute().parts[-3:-1]
    sessions = _read_json(path / "manifest.json", _Manifest).sessions or [_Session()]
    data = [file.with_name("data.json") for file in training_files(path)[1]]
    curve = read_curve(path)
    if not all(isinstance(row.get("step"), int | float) for row in curve):
        raise DataError(f"{path}: its metrics are damaged (a row without a step).")
    return {
        "experiment": experiment,
        "preset": preset,
        "config": _read_json(path / "config.json", dict[str, Any]),
        "device": sessions[-1].device,
        "versions": sessions[-1].versions,
        "commits": list(dict.fromkeys(one.commit for one in sessions)),
        "dirty": any(one.dirty for one in sessions),
        "data": [_read_json(file, DataUsed) for file in data if file.exists()],
        "curve": curve,
    }


@dataclass(frozen=True)
class _Session:
    """What a comparison reads of a session in a run's manifest.json."""

    device: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = ""
    dirty: bool = True


@dataclass(frozen=True)
class _Manifest:
    sessions: tuple[_Session, ...] = ()


def _read_json(path: Path, kind: Any) -> Any:
    try:
        return parse_json(kind, path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: gone; without it this run can't be compared.") from None
    except ValueError as error:
        raise DataError(f"{path}: damaged ({error}).") from None


def _precision(device: Mapping[str, Any]) -> str:
    """In which precision a run was computed, in words."""
    numerics = numerics_of(device)
    words = [str(numerics["precision"])]
    if (products := device.get("products", "float32")) != "float32":
        words.append(f"products of the recurrence in {products}")
    return ", ".join([*words, *(["64 bits allowed"] if numerics["x64"] else [])])


def _data_facts(data: Sequence[DataUsed]) -> dict[str, str]:
    """What identifies data, by what it is; the same keys in the same order for the same data."""
    if not data:
        return {}
    facts = {"data": " + ".join(dict.fromkeys(used.name for used in data))}
    for used in data:
        facts[f"{used.name}, version"] = used.version
        facts |= {f"{used.name}, {split}": f"{n:,} tokens" for split, n in used.tokens.items()}
        facts |= {f"checksum of {name}": value for name, value in used.checksums.items()}
    return facts
