"""Runs an experiment: for each seed a run directory, a manifest, the work itself, and a record."""

import contextlib
import dataclasses
import datetime
import shlex
import subprocess
from collections.abc import Callable, Iterable, Mapping
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
    """What a runner is given: one seed's run, or that of several seeds together."""

    experiment: Experiment
    config: Any
    seeds: tuple[int, ...]
    """One, unless the experiment's `seeds_together`."""
    run: RunDirectory
    """Where the training lies."""
    options: Options

    @property
    def seed(self) -> int:
        """The first seed."""
        return self.seeds[0]

    def seed_path(self, seed: int) -> Path:
        """The directory of one seed's record and artefacts."""
        return seed_path(self.experiment, self.options, seed)

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


Runner = Callable[[Context], Outcome | dict[int, Outcome]]
"""Does the work of one seed, or with `seeds_together` of several, then with an outcome for each;
named by `Experiment.runner`. With several, a seed that diverged has its `DivergedRun` there."""


def run(experiment: Experiment, options: Options, say: Callable[[str], None]) -> list[Record]:
    """Runs the seeds one after the other, or together if the experiment is made for it; a finished
    one is not run again. Returns their records.

    A seed that diverges is told to `say` and recorded as such; the others are run all the same.
    """
    config = override(experiment.preset(options.preset).config, options.overrides)
    records = {}
    with contextlib.ExitStack() as held:
        waiting: dict[int, RunDirectory] = {}
        for seed in options.seeds:
            path = seed_path(experiment, options, seed)
            directory = RunDirectory(path)
            with contextlib.ExitStack() as here:
                here.enter_context(directory)
                if options.fresh:
                    directory.clear()
                directory.claim(to_dict(config))
                if directory.finished:
                    records[seed] = read_record(path / FILE_NAME)
                    say(f"{path}: {records[seed].status} before; --fresh runs it again.")
                elif experiment.seeds_together:
                    waiting[seed] = directory
                    held.push(here.pop_all())
                else:
                    alone = {seed: directory}
                    records |= _run_seeds(experiment, config, directory, alone, options, say)
        if waiting:
            first = next(iter(waiting.values()))
            if len(waiting) > 1:
                first = held.enter_context(_joint_directory(experiment, options, waiting, config))
            records |= _run_seeds(experiment, config, first, waiting, options, say)
    return [records[seed] for seed in options.seeds]


def seed_path(experiment: Experiment, options: Options, seed: int) -> Path:
    """The directory of one seed."""
    return options.out / experiment.name / options.preset / f"seed{seed}"


def _joint_directory(
    experiment: Experiment, options: Options, seeds: Iterable[int], config: Any
) -> RunDirectory:
    """The directory in which several seeds train together."""
    name = "seeds" + "-".join(map(str, seeds))
    directory = RunDirectory(options.out / experiment.name / options.preset / name)
    if options.fresh:
        directory.clear()
    directory.claim(to_dict(config))
    return directory


def _run_seeds(
    experiment: Experiment,
    config: Any,
    training: RunDirectory,
    directories: Mapping[int, RunDirectory],
    options: Options,
    say: Callable[[str], None],
) -> dict[int, Record]:
    """Runs seeds, one or several together, and writes a record for each."""
    seeds = tuple(directories)
    session = {
        "command": command(experiment, options, seeds),
        "device": device.describe(),
        "versions": device.versions(),
        **git_state(),
    }
    started = {**session, "started": now()}
    sessions = training.begin_session(started)
    for directory in directories.values():
        if directory is not training:
            directory.begin_session(started)
    context = Context(experiment, config, seeds, training, options)
    try:
        outcomes = experiment.load_runner()(context)
    except DivergedRun as error:
        outcomes = error
    if not isinstance(outcomes, dict):
        outcomes = dict.fromkeys(seeds, outcomes)
    records = {}
    for seed, directory in directories.items():
        status: Literal["done", "diverged"] = "done"
        outcome = outcomes[seed]
        if isinstance(outcome, DivergedRun):
            say(str(outcome))
            status, outcome = "diverged", outcome.outcome
        records[seed] = Record(
            **{
                **session,
                **{
                    field.name: getattr(outcome, field.name)
                    for field in dataclasses.fields(outcome)
                },
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
        write_record(records[seed], directory.path)
    return records


def command(experiment: Experiment, options: Options, seeds: Iterable[int]) -> str:
    """The command line that does the same run again."""
    words = ["python", "-m", "experiments", "run", experiment.name, "--preset", options.preset]
    words += ["--seeds", *map(str, seeds)]
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
