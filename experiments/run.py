"""Runs an experiment: for each seed a run directory, a manifest, the work itself, and a record."""

import contextlib
import datetime
import hashlib
import shlex
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from common import datasets, device
from common.compute import SCAN, Compute, Kernel, Precision
from common.config import (
    differences,
    fill,
    flatten,
    from_dict,
    material_differences,
    notes,
    to_dict,
)
from common.datasets import DATASETS
from common.error import ConfigError
from common.process import this_process
from common.record import FILE_NAME, Record, read_record, write_record
from common.run_directory import RunDirectory, refuse_other_data
from experiments import registry, together
from experiments.registry import Experiment
from experiments.train import DivergedRun, Outcomes, Place


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
    kernel: Kernel | Literal["auto"] = "auto"
    precision: Precision | Literal["tf32"] = "float32"
    devices: int = 1
    """Among which a training is divided, where it can be."""
    preallocate: float | None = None
    """Share of a GPU's memory that was taken at the start; None for JAX's own."""
    tensorboard: bool = False


@dataclass(frozen=True)
class Context:
    """What a runner is given: a run of one seed, or of several seeds together."""

    experiment: Experiment
    config: Any
    seeds: tuple[int, ...]
    """One, unless the experiment's `seeds_together`."""
    place: Place
    """Where the training lies."""
    options: Options
    compute: Compute = SCAN
    """How its recurrence is computed."""

    def seed_path(self, seed: int) -> Path:
        """Return the directory of what one seed leaves; the training's own if it is alone."""
        return seed_path(self.experiment, self.options, seed) / self.place.folder

    def part(self, name: str, config: Any) -> "Context":
        """Return a context for one part of this run, which has a folder of that name."""
        return replace(self, config=config, place=self.place.part(name))

    def rehearsal(self) -> "Context":
        """Return a context in which a runner stops, with Rehearsed, where it would train."""
        return replace(self, place=replace(self.place, rehearsal=True))


_PACKAGES = ("common", "highway", "tutor", "experiments")
"""The code that runs."""
SAMPLE = "sample.txt"
"""A file of a run that shows what its model makes; it is printed when the run ends."""

Runner = Callable[[Context], Outcomes]
"""Does the work of one seed, or with `seeds_together` of several; named by `Experiment.runner`."""


def run(experiment: Experiment, options: Options, report: Callable[[str], None]) -> list[Record]:
    """Run the seeds one after the other, or together if the experiment is made for it.

    A finished one is not run again. A seed that diverges is recorded as such, and the others are
    run all the same; `report` is told of both.

    Returns:
      The records, in the order of `options.seeds`.
    """
    config = experiment.configure(options.preset, options.overrides)
    for text in notes(config, experiment.preset(options.preset).config):
        report(f"note: {text}")
    if (process := this_process()).count > 1:
        process.require_same(_given(experiment, config, options))
    records: dict[int, Record] = {}
    with contextlib.ExitStack() as stack:
        waiting: dict[int, RunDirectory] = {}
        for seed in options.seeds:
            path = seed_path(experiment, options, seed)
            with contextlib.ExitStack() as alone:
                directory = alone.enter_context(_opened(path, config, options, report))
                if directory.finished:
                    records[seed] = read_record(path / FILE_NAME)
                    _require_same_data(path, records[seed], experiment, config, options)
                    report(f"{path}: {_before(records[seed], config)}; --fresh runs it again.")
                elif experiment.seeds_together:
                    waiting[seed] = directory
                    stack.push(alone.pop_all())
                else:
                    here = {seed: directory}
                    records |= _run_seeds(
                        experiment, config, directory, (seed,), here, options, report
                    )
        root = seed_path(experiment, options, 0).parent
        for seeds in _groups(root, tuple(waiting), fresh=options.fresh):
            here = {
                seed: waiting[seed] for seed in seeds if seed in waiting and seed not in records
            }
            with contextlib.ExitStack() as joint:
                training = waiting[seeds[0]] if len(seeds) == 1 else None
                if training is None:
                    path = root / together.joint_folder(seeds)
                    training = joint.enter_context(_opened(path, config, options, report))
                records |= _run_seeds(experiment, config, training, seeds, here, options, report)
    return [records[seed] for seed in options.seeds]


def _before(record: Record, config: Any) -> str:
    """What a finished run is, and in what its settings differ from those asked for."""
    changed = differences(fill(type(config), record.config), to_dict(config))
    return f"{record.status} before" + (f" ({'; '.join(changed)})" if changed else "")


def _given(experiment: Experiment, config: Any, options: Options) -> dict[str, Any]:
    """All that a result depends on but data, and that the way to it depends on.

    Folders may have other names, and hold other files, on another machine.
    """
    names = ("preset", "seeds", "fresh", "kernel", "precision", "devices")
    return {
        "experiment": experiment.name,
        "settings": to_dict(config),
        "options": {name: getattr(options, name) for name in names},
        "code": code_digest(),
        "versions": device.versions(),
    }


def seed_path(experiment: Experiment, options: Options, seed: int) -> Path:
    """Return the directory of one seed."""
    return options.out / experiment.name / options.preset / together.seed_folder(seed)


@contextlib.contextmanager
def _opened(
    path: Path, config: Any, options: Options, report: Callable[[str], None]
) -> Iterator[RunDirectory]:
    """A run's directory, locked; with `fresh` what was there comes back if nothing new is saved."""
    with RunDirectory(path) as directory:
        directory.settle(report)  # what a crash left
        try:
            if options.fresh:
                directory.set_aside()
            directory.claim(to_dict(config), partial(material_differences, type(config)))
            yield directory
        finally:
            directory.settle(report)


def _groups(root: Path, seeds: tuple[int, ...], *, fresh: bool) -> list[tuple[int, ...]]:
    """Which of the seeds that wait train together."""
    if not seeds:
        return []
    process = this_process()
    if fresh:
        return [process.lead(partial(together.same_set, root, seeds))]
    return process.lead(partial(together.group, root, seeds))


def _require_same_data(
    path: Path, record: Record, experiment: Experiment, config: Any, options: Options
) -> None:
    """Refuse to show a finished run for what it didn't learn from, where that can be another.

    It can be the user's own folder, or the model of another run. Datasets of a fixed content are
    the same wherever they lie.

    Raises:
      ConfigError: the content is another.
      DataError: as loading does.
    """
    now: dict[str, str] = {}
    if experiment.inputs:
        now |= registry.load(experiment.inputs)(config, options)
    named = flatten(record.config).values()
    for used in record.data:
        info = DATASETS.get(used.name)
        if options.data_dir is not None and info and info.any_folder and used.name in named:
            now |= datasets.load(used.name, data_dir=options.data_dir).checksums
        known = {**used.checksums, **{k: v for k, v in now.items() if k in used.checksums}}
        refuse_other_data(path, used.name, used.checksums, asdict(replace(used, checksums=known)))


def _run_seeds(
    experiment: Experiment,
    config: Any,
    training: RunDirectory,
    seeds: tuple[int, ...],
    directories: Mapping[int, RunDirectory],
    options: Options,
    report: Callable[[str], None],
) -> dict[int, Record]:
    """Run seeds, one or several together; write a record for each that has a directory here."""
    compute = choose_compute(experiment, config, options, training, report)
    training.process.require_same({"computed": asdict(compute)})
    session: dict[str, Any] = {
        "command": command(experiment, options, seeds),
        "device": device.describe(options.devices) | _computed(compute),
        "versions": device.versions(),
        **git_state(),
    }
    started = {**session, "started": now()}
    sessions = training.begin_session(started)
    session["device"] = {**session["device"], **_several_kernels(sessions)}
    for directory in directories.values():
        if directory is not training:
            directory.note_training(training)
            directory.begin_session(started)
    recorded = frozenset(seeds) - frozenset(directories)
    place = Place(training, experiment.name, tensorboard=options.tensorboard, recorded=recorded)
    context = Context(experiment, config, seeds, place, options, compute)
    outcomes: Outcomes = experiment.load_runner()(context)
    records = {}
    for seed, directory in directories.items():
        status: Literal["done", "diverged"] = "done"
        outcome = outcomes[seed]
        if isinstance(outcome, DivergedRun):
            report(str(outcome))
            status, outcome = "diverged", outcome.outcome
        found = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
        records[seed] = Record(
            **{**session, **found, "dirty": any(one["dirty"] for one in sessions)},
            experiment=experiment.name,
            preset=options.preset,
            seed=seed,
            status=status,
            config=to_dict(config),
            overrides=list(options.overrides),
            commits=list(dict.fromkeys(one["commit"] for one in sessions)),
            finished=now(),
        )
        write_record(records[seed], directory.path, directory.process)
    return records


def choose_compute(
    experiment: Experiment,
    config: Any,
    options: Options,
    training: RunDirectory,
    report: Callable[[str], None],
) -> Compute:
    """Choose how the recurrence is computed: as asked for, as before, or the fastest way here.

    Unless told how, a run that the CPU kernel began goes on by the next way where that kernel can't
    be had: on an accelerator, or without a compiler. `report` is told.

    Raises:
      ConfigError: the experiment can't be computed so, or the run wasn't.
    """
    before, kernels = training.computed_before(), experiment.kernels_for(config)
    if options.kernel != "auto":
        kernel: str = options.kernel
    else:
        ways = [one for one in kernels if one != "cpu" or _has_cpu_kernel()]
        kernel = before["kernel"] if before else ways[0]
        if kernel == "cpu" and kernel not in ways:
            kernel = ways[0]
    if kernel not in kernels:
        which = experiment.name if kernels == experiment.kernels else "a run with these settings"
        raise ConfigError(f"--kernel {kernel}: {which} can be computed by: {', '.join(kernels)}.")
    if kernel == "cpu" and not _has_cpu_kernel():
        raise ConfigError(
            f"{training.path}: --kernel cpu: the CPU kernel can't be had here.\nInstall a C++ "
            "compiler, or leave --kernel out: the run then goes by JAX, which rounds otherwise."
        )
    precision = "float32" if options.precision == "tf32" else options.precision
    if precision != "float32" and kernel == "scan":
        raise ConfigError(
            f"--precision {precision} needs --kernel cpu or jax; {experiment.name} runs by scan."
        )
    if kernel == "cpu" and precision == "bfloat16" and not _has_native_bfloat16():
        report(
            "note: this processor has no products of bfloat16: they are computed in float32, and "
            "--precision bfloat16 saves no time."
        )
    wanted: dict[str, str] = {"kernel": kernel, "precision": precision}
    if before and options.kernel == "auto" and kernel != before["kernel"]:
        training.require_compute({**wanted, "kernel": before["kernel"]})
        report(
            f"{training.path}: begun by --kernel {before['kernel']}, goes on by {kernel} here, "
            "which rounds otherwise."
        )
    else:
        training.require_compute(wanted)
    return from_dict(Compute, wanted)


def _several_kernels(sessions: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What a record says where sessions of a run were computed by different kernels: all, in order.

    Nothing where it was the same all the time.
    """
    told = (one.get("device") or {} for one in sessions)
    kernels = list(dict.fromkeys(one["kernel"] for one in told if "kernel" in one))
    return {"kernels": kernels} if len(kernels) > 1 else {}


def _computed(compute: Compute) -> dict[str, Any]:
    """What a record says of how a recurrence is computed."""
    told: dict[str, Any] = {"kernel": compute.kernel, "products": compute.precision}
    if compute.kernel == "cpu":
        from highway import kernel

        library = kernel.load()
        assert library is not None
        told |= {"kernel_level": library.level, "kernel_threads": kernel.cores()}
    return told


def _has_cpu_kernel() -> bool:
    import jax

    from highway import kernel

    return jax.default_backend() == "cpu" and kernel.load() is not None


def _has_native_bfloat16() -> bool:
    from highway import kernel

    return kernel.best_level().native_bfloat16


def command(experiment: Experiment, options: Options, seeds: Iterable[int]) -> str:
    """Return the command line that does the same run again."""
    words = ["python", "-m", "experiments", "run", experiment.name, "--preset", options.preset]
    words += ["--seeds", *map(str, seeds)]
    if options.platform != "auto":
        words += ["--platform", options.platform]
    if options.kernel != "auto":
        words += ["--kernel", options.kernel]
    if options.precision != "float32":
        words += ["--precision", options.precision]
    if options.preallocate is not None:
        words += ["--preallocate", f"{options.preallocate:g}"]
    if options.devices > 1:
        words += ["--mesh", f"data={options.devices}"]
    if options.overrides:
        words += ["--set", *options.overrides]
    if options.data_dir is not None:
        words += ["--data-dir", "DIR"]  # where it lies is no business of the record
    return shlex.join(words)


def git_state() -> dict[str, Any]:
    """Return the `commit` of the code that runs, and whether it is `dirty`: not as committed.

    Files git doesn't know count too. Empty and true where git doesn't know this code, as when it
    was installed from a wheel, be it below somebody's repository.
    """
    here = Path(__file__)

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=here.parent,
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    if commit is None or git("ls-files", "--error-unmatch", "--", here.name) is None:
        return {"commit": "", "dirty": True}
    code = (*_PACKAGES, "pyproject.toml")
    changed = git("status", "--porcelain", "--", *(f":/{name}" for name in code))
    return {"commit": commit, "dirty": changed != ""}


def code_digest() -> str:
    """Return a hash of the source files that run, whatever git knows of them."""
    hashed, root = hashlib.blake2b(digest_size=6), Path(__file__).parents[1]
    files = (path for name in _PACKAGES for path in (root / name).rglob("*"))
    for path in sorted(path for path in files if path.suffix in (".py", ".cc", ".h")):
        content = path.read_bytes()
        hashed.update(f"{path.relative_to(root)} {len(content)}\n".encode() + content)
    return hashed.hexdigest()


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
