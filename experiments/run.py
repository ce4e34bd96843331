"""Runs an experiment: for each seed a run directory, a manifest, the work itself, and a record."""

import dataclasses
import datetime
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common import device
from common.config import override, to_dict
from common.error import DivergedError
from common.record import FILE_NAME, DataUsed, Record, read_record, write_record
from common.run_directory import RunDirectory
from experiments.registry import Experiment


@dataclass(frozen=True)
class Options:
    """How to run, as the command line says it."""

    preset: str
    overrides: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    platform: str = "auto"
    out: Path = Path("runs")
    data_dir: Path | None = None
    fresh: bool = False
    tensorboard: bool = False


@dataclass(frozen=True)
class Context:
    """What a runner is given: one seed's run."""

    experiment: Experiment
    config: Any
    seed: int
    run: RunDirectory
    options: Options

    def sink(self, folder: str) -> Callable[[dict[str, Any]], None]:
        """Where rows of metrics go besides metrics.jsonl: TensorBoard, if it was asked for."""
        if not self.options.tensorboard:
            return lambda row: None
        from tensorboardX import SummaryWriter

        writer = SummaryWriter(str(self.run.path / folder / "tensorboard"))

        def write(row: dict[str, Any]) -> None:
            for name, value in row.items():
                if "/" in name:
                    writer.add_scalar(name, value, row["step"])
            writer.flush()

        return write


@dataclass(frozen=True)
class Outcome:
    """What a runner returns; the fields are those of a record."""

    parameters: int | dict[str, int]
    metrics: dict[str, float]
    curve: list[dict[str, float]]
    data: list[DataUsed]
    seconds: dict[str, float]


class DivergedRun(DivergedError):
    """A run that diverged, with what is known of it."""

    def __init__(self, message: str, outcome: Outcome):
        super().__init__(message)
        self.outcome = outcome


Runner = Callable[[Context], Outcome]
"""Does one seed's work; named by `Experiment.runner`."""


def run(experiment: Experiment, options: Options, say: Callable[[str], None]) -> list[Record]:
    """Runs the seeds one after the other; a finished one is not run again. Returns their records.

    A seed that diverges is told to `say` and recorded as such; the others are run all the same.
    """
    preset = experiment.preset(options.preset)
    config = override(preset.config, options.overrides)
    records = []
    for seed in options.seeds:
        path = options.out / experiment.name / options.preset / f"seed{seed}"
        with RunDirectory(path) as directory:
            if options.fresh:
                directory.clear()
            directory.claim(to_dict(config))
            if directory.finished:
                record = read_record(path / FILE_NAME)
                say(f"{path}: {record.status} before; --fresh runs it again.")
                records.append(record)
                continue
            records.append(_run_seed(experiment, config, seed, directory, options, say))
    return records


def _run_seed(
    experiment: Experiment,
    config: Any,
    seed: int,
    directory: RunDirectory,
    options: Options,
    say: Callable[[str], None],
) -> Record:
    session = {
        "command": command(experiment, options, seed),
        "device": device.describe(),
        "versions": device.versions(),
        **git_state(),
    }
    sessions = directory.begin_session({**session, "started": now()})
    status: Literal["done", "diverged"] = "done"
    try:
        outcome = experiment.load_runner()(Context(experiment, config, seed, directory, options))
    except DivergedRun as error:
        say(str(error))
        status, outcome = "diverged", error.outcome
    made = Record(
        **{
            **session,
            **{field.name: getattr(outcome, field.name) for field in dataclasses.fields(outcome)},
            "dirty": any(one["dirty"] for one in sessions),
        },
        experiment=experiment.name,
        preset=options.preset,
        seed=seed,
        status=status,
        config=to_dict(config),
        overrides=list(options.overrides),
        commits=list(dict.fromkeys(one["commit"] for one in sessions)),
        finished=now(),
    )
    write_record(made, directory.path)
    return made


def command(experiment: Experiment, options: Options, seed: int) -> str:
    """The command line that does one seed's run again."""
    words = ["python", "-m", "experiments", "run", experiment.name, "--preset", options.preset]
    words += ["--seeds", str(seed)]
    if options.platform != "auto":
        words += ["--platform", options.platform]
    if options.overrides:
        words += ["--set", *options.overrides]
    if options.data_dir is not None:
        words += ["--data-dir", "DIR"]  # where it lies is no business of the record
    return shlex.join(words)


def git_state() -> dict[str, Any]:
    """`commit` of the code that runs, and whether it is `dirty`: not as committed.

    Files git doesn't know count too. Outside of git: empty and true.
    """
    root = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=root,
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return {"commit": "", "dirty": True}
    code = ("common", "highway", "tutor", "experiments", "pyproject.toml")
    changed = git("status", "--porcelain", "--", *(f":/{name}" for name in code))
    return {"commit": commit, "dirty": changed != ""}


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
