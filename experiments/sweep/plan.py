"""Names, presets, seeds, settings and a grid expanded into runs. Imports no JAX."""

import contextlib
import fnmatch
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.config import (
    Amount,
    Prefix,
    flatten,
    material_differences,
    meanings,
    require_same_settings,
    to_dict,
)
from common.error import ConfigError, DataError
from common.record import FILE_NAME, read_record
from experiments import registry, together
from experiments.data_folder import reads_folder, require_reader
from experiments.registry import Experiment
from experiments.sweep.point import Point, point_folder, points
from experiments.sweep.state import METRICS, State, metrics_files, read_state


@dataclass(frozen=True)
class Request:
    """What a sweep was asked for."""

    names: tuple[str, ...]
    """Experiments, or patterns of their names."""
    preset: str | None = None
    """None for each experiment's default."""
    seeds: tuple[int, ...] = (0,)
    overrides: tuple[str, ...] = ()
    grid: tuple[str, ...] = ()
    out: Path = Path("runs")
    passed: tuple[str, ...] = ()
    """Options of `run` that are handed on to each."""
    data_dir: Path | None = None
    """Handed on to those that read something from it."""


@dataclass(frozen=True)
class Job:
    """One process: a run of one seed, or of several that were begun together."""

    experiment: str
    preset: str
    seeds: tuple[int, ...]
    out: Path
    overrides: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    point: Point = ()
    """The settings by which it differs from others of the grid."""
    hours: float = 0.0
    """What its preset promises on `device`, for all its seeds."""
    device: str = registry.ONE_CORE
    estimated: bool = False
    """Whether `hours` was never measured."""
    growth: float = 1.0
    """How many times as long its settings make it, roughly; see `growth`."""
    after: Path | None = None
    """The run that it starts from, which is run before it."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The run directory of each seed."""
        folder = self.out / self.experiment / self.preset
        return tuple(folder / together.seed_folder(seed) for seed in self.seeds)

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        seeds = "-".join(map(str, self.seeds))
        return " ".join((self.experiment, self.preset, *self.point, f"seed {seeds}"))

    @property
    def cores(self) -> int:
        """How many CPU cores `device` has; 0 where it is no CPU."""
        return registry.CORES.get(self.device, 0)

    def command(self) -> list[str]:
        """Return the command that does it."""
        words = [sys.executable, "-m", "experiments", "run", self.experiment]
        words += ["--preset", self.preset, "--seeds", *map(str, self.seeds)]
        words += ["--set", *self.overrides] if self.overrides else []
        return [*words, *self.passed, "--out", str(self.out)]


def expand(request: Request) -> list[Job]:
    """Return the runs that a sweep is made of: first those that others start from, then by seed.

    Runs begun together stay together. Nothing is written.

    Raises:
      ConfigError: a name, preset, setting or axis that doesn't exist, the same settings twice, a
        directory that holds a run with other settings, or a data folder that no run reads from.
    """
    chosen = [registry.find(name) for name in matching(request.names)]
    configured: list[tuple[Experiment, Any]] = []
    jobs: dict[tuple[Path, ...], Job] = {}
    seen: dict[tuple[Any, ...], Point] = {}
    for experiment in chosen:
        preset = experiment.preset_name(request.preset or experiment.default_preset)
        for point in points(request.grid):
            config = _configure(experiment, preset, request.overrides, point)
            same = (experiment.name, json.dumps(to_dict(config), sort_keys=True))
            if same in seen:
                first, second = (" ".join(one) for one in (seen[same], point))
                raise ConfigError(f"--grid: {first} and {second} are the same settings.")
            seen[same] = point
            configured.append((experiment, config))
            for job in _jobs(request, experiment, preset, point, config):
                jobs[job.paths] = job
    if request.data_dir and not any(reads_folder(*one) for one in configured):
        require_reader(*configured[0], request.data_dir)
    wanted = sorted(jobs.values(), key=lambda job: request.seeds.index(_first(job, request)))
    before = {}
    for job in wanted:
        upstream = _upstream(job, request)
        if upstream and upstream.paths not in jobs:
            before[upstream.paths] = upstream
    return [*before.values(), *wanted]


def state_of(job: Job) -> State:
    """Return the state of a job: of its first seed that isn't ended, if there is one."""
    states = [read_state(path) for path in job.paths]
    return next((state for state in states if not state.ended), states[0])


def growth(preset: Any, config: Any) -> float:
    """Return roughly how many times as long a run takes with these settings as with its preset's.

    Every amount, or part of the data, that is larger multiplies it; what is smaller counts for
    nothing, and so does what has no meaning in `common.config`.
    """
    kind: Any = type(config)
    before, now = (flatten(to_dict(one)) for one in (preset, config))
    counted = (key for key, one in meanings(kind).items() if isinstance(one, Amount | Prefix))
    return math.prod(max(1.0, now[key] / before[key]) for key in counted if before[key])


def matching(names: Iterable[str]) -> list[str]:
    """Return the experiments that names and patterns mean, in their order, each once.

    Raises:
      ConfigError: one means none.
    """
    known = registry.experiments()
    found: list[str] = []
    for name in names:
        if not any(character in name for character in "*?["):
            found.append(registry.find(name).name)
            continue
        some = fnmatch.filter(known, name)
        if not some:
            raise ConfigError(
                f"no experiment matches '{name}'.\nSee all of them: python -m experiments list"
            )
        found += some
    return list(dict.fromkeys(found))


def _configure(experiment: Experiment, preset: str, overrides: Sequence[str], point: Point) -> Any:
    """The settings of a point, checked."""
    given = {one.partition("=")[0].strip() for one in overrides}
    if both := [one for one in point if one.partition("=")[0] in given]:
        raise ConfigError(f"{both[0].partition('=')[0]} is in --grid and in --set; choose one.")
    try:
        return experiment.configure(preset, [*overrides, *point])
    except ConfigError as error:
        raise ConfigError(f"{experiment.name}: {error}") from None


def _jobs(
    request: Request, experiment: Experiment, preset: str, point: Point, config: Any
) -> list[Job]:
    """The runs of one experiment at one point, a process for each seed."""
    out = request.out / point_folder(point)
    root = out / experiment.name / preset
    unfinished = [s for s in request.seeds if not (_seed(root, s) / FILE_NAME).exists()]
    groups: list[tuple[int, ...]] = []
    if experiment.seeds_together:
        groups = [g for g in together.group(root, unfinished) if _is_begun(root, g)]
    alone = [(s,) for s in request.seeds if not any(s in group for group in groups)]
    size = experiment.presets[preset]
    jobs = []
    for seeds in [*alone, *groups]:
        job = Job(
            experiment=experiment.name,
            preset=preset,
            seeds=seeds,
            out=out,
            overrides=(*request.overrides, *point),
            passed=(*request.passed, *_data_dir(request, experiment, config)),
            point=point,
            hours=size.hours * len(seeds),
            device=size.device,
            estimated=size.estimated,
            growth=growth(size.config, config),
            after=_upstream_path(experiment, config, request.out),
        )
        for path in job.paths:
            _require_same_settings(path, config)
        jobs.append(job)
    return jobs


def _data_dir(request: Request, experiment: Experiment, config: Any) -> tuple[str, ...]:
    """The option that hands on the user's folder, to a run that reads from it."""
    if request.data_dir is None or not reads_folder(experiment, config):
        return ()
    return "--data-dir", str(request.data_dir)


def _seed(root: Path, seed: int) -> Path:
    return root / together.seed_folder(seed)


def _is_begun(root: Path, seeds: tuple[int, ...]) -> bool:
    """Whether several seeds train together already."""
    return len(seeds) > 1 and (root / together.joint_folder(seeds) / METRICS).exists()


def _first(job: Job, request: Request) -> int:
    return next(seed for seed in job.seeds if seed in request.seeds)


def _require_same_settings(path: Path, config: Any, otherwise: str = "") -> None:
    """Refuse, before anything starts, what `run` would refuse; `otherwise` says what else to do."""
    begun = (path / FILE_NAME).exists() or bool(metrics_files(path))
    there = _settings(path)
    if there is None:
        return  # `run` knows what to say
    if begun:
        changed = material_differences(type(config), there, to_dict(config))
        require_same_settings(path, changed, otherwise)


def _settings(path: Path) -> Mapping[str, Any] | None:
    """The settings of the run in a directory; None where none can be read."""
    with contextlib.suppress(OSError, ValueError):
        found: Mapping[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
        return found
    with contextlib.suppress(DataError):
        return read_record(path / FILE_NAME).config
    return None


def _upstream_path(experiment: Experiment, config: Any, out: Path) -> Path | None:
    """Where the run lies that a run with this configuration starts from."""
    if not experiment.upstream:
        return None
    wanted = getattr(config, experiment.upstream)
    if wanted.run:
        return None
    first = registry.find(experiment.upstream)
    return _seed(out / first.name / first.preset_name(wanted.preset), wanted.seed)


def _upstream(job: Job, request: Request) -> Job | None:
    """The run that a run starts from, as that would train it itself."""
    if job.after is None:
        return None
    first = registry.find(registry.find(job.experiment).upstream)
    preset, seed = job.after.parent.name, int(job.after.name.removeprefix("seed"))
    anyway = f"\nTo start from it all the same: --set {first.name}.run={job.after}"
    size = first.presets[preset]
    _require_same_settings(job.after, size.config, anyway)
    return Job(
        experiment=first.name,
        preset=preset,
        seeds=(seed,),
        out=request.out,
        passed=(
            *request.passed,
            *_data_dir(request, first, size.config),
            *(("--mesh", "data=1") if first.divisible else ()),
        ),
        hours=size.hours,
        device=size.device,
        estimated=size.estimated,
    )
