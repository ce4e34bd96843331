"""What families and experiments are, and all of them by name. Imports no JAX: `list` is quick."""

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from common.compute import Compute, Kernel
from common.config import override, suggestion
from common.error import ConfigError
from common.metric import Metric

if TYPE_CHECKING:  # which `list` needn't wait for
    from pathlib import Path

    from common.record import Record
    from experiments.results.paper_table import PaperTable

FAMILIES = (
    "experiments.quickstart",
    "experiments.language",
    "experiments.melodies",
    "experiments.molecules",
    "experiments.optimisation",
    "experiments.depth",
)
"""Packages whose `catalogue` module defines a FAMILY, in the order of `list`."""


ONE_CORE = "1 CPU core"
TWO_CORES = "2 CPU cores"
"""Devices for which presets promise their hours."""
CORES = {ONE_CORE: 1, TWO_CORES: 2}
"""How many cores the devices have that are CPUs."""


@dataclass(frozen=True)
class Published:
    """A number of a paper."""

    metric: str
    """Name of our metric that it is compared with."""
    printed: str
    """The number as its source prints it, without its unit."""
    source: str

    @property
    def value(self) -> float:
        """The number."""
        return float(self.printed)

    def to_dict(self) -> dict[str, str | float]:
        """Return what JSON tells of it."""
        return {**asdict(self), "value": self.value}


@dataclass(frozen=True)
class Preset:
    """One size of an experiment."""

    config: Any
    """A frozen dataclass, of the same type in all presets of an experiment."""
    hours: float
    """Expected hours on `device`."""
    device: str
    data: tuple[str, ...]
    """Datasets it reads."""
    estimated: bool = False
    """Whether `hours` is arithmetic, never yet measured."""


@dataclass(frozen=True)
class Experiment:
    """A named experiment."""

    name: str
    title: str
    """What is trained on what, in a line."""
    row: str
    """Which row of which paper it reproduces, in a line."""
    docstring: str
    """The same in full: row, command, expected hours and score."""
    section: str
    """Its kind, in the heading of its part of the report."""
    presets: dict[str, Preset]
    """From the smallest to the largest."""
    default_preset: str
    data: tuple[str, ...]
    """Datasets of the paper; a preset that reads others runs on a stand-in."""
    metrics: tuple[Metric, ...]
    """What its results table shows, in order."""
    published: tuple[Published, ...]
    paper_parameters: int | None
    """Trainable parameters of the `paper` preset, where it has one model of a published size."""
    runner: str
    """`module:function`, imported only when it runs; see experiments.run.Runner."""
    stand_in: str | None = None
    """The dataset that stands in for the paper's, where nobody can have that."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Other names of presets."""
    kernels: tuple[Kernel, ...] = ("scan",)
    """Ways in which its recurrence can be computed, the fastest first."""
    takes_kernel: str = ""
    """`module:function`, where `cpu` is one of `kernels`: config → whether any recurrence of its
    trainings is computed by the CPU kernel, so that the others need and record none."""
    cpu_devices: int = 0
    """As how many devices a CPU that has the cores trains it fastest, where trainings can be
    divided; 0 where they can't."""
    seeds_together: bool = False
    """Whether the runner takes several seeds at once."""
    is_command: bool = False
    """Whether its name is a command of its own, the same as `run` with the name."""
    programs: str = ""
    """`module:function`, (config, compute) → name → jax.stages.Traced: what a device computes in a
    run again and again. Of the sizes that depend on data any will do. Where trainings can be
    divided, it also takes `mesh`, devices that do so. Empty where that is nothing."""
    inputs: str = ""
    """`module:function`, where it learns from a model of another run: (config, options) → name →
    checksum of what a run would be given now; see common.record.DataUsed."""
    upstream: str = ""
    """The experiment whose run it starts from. The settings of that name say which run: its
    `preset` and `seed`, or its directory, `run`; see experiments.upstream."""
    model: str = ""
    """What its model is called, where other experiments start from that."""

    def __post_init__(self):
        """Raise ValueError where a published number is of no metric of the experiment's, or of one
        neither side of which is better: it couldn't be judged."""
        for published in self.published:
            if self.metric(published.metric).better == "neither":
                raise ValueError(
                    f"{self.name}: {published.metric} has a published number, and no better side"
                )

    @property
    def divisible(self) -> bool:
        """Whether devices can divide a training."""
        return self.cpu_devices > 0

    @property
    def kind(self) -> type:
        """The class of its configurations."""
        return type(self.presets[self.default_preset].config)

    def metric(self, name: str) -> Metric:
        """Return the metric of that name; raise ValueError where there is none."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise ValueError(f"{self.name} has no metric '{name}'")

    def preset_name(self, name: str) -> str:
        """Return a preset's name from it or an alias; raise ConfigError where there is none."""
        name = self.aliases.get(name, name)
        if name not in self.presets:
            raise ConfigError(
                f"{self.name} has no preset '{name}'."
                f"{suggestion(name, (*self.presets, *self.aliases))}"
            )
        return name

    def preset(self, name: str) -> Preset:
        """Return the preset of that name or alias; raise ConfigError where there is none."""
        return self.presets[self.preset_name(name)]

    def configure(self, preset: str, assignments: Iterable[str]) -> Any:
        """Return a preset's configuration with `a.b=value` assignments applied.

        Raises:
          ConfigError: as `common.config.override`; or the run that it starts from is given, and its
            preset or seed, too.
        """
        assignments = list(assignments)
        config = override(self.preset(preset).config, assignments)
        run = getattr(config, self.upstream).run if self.upstream else ""
        for key in (one.partition("=")[0].strip() for one in assignments):
            if run and key in (f"{self.upstream}.preset", f"{self.upstream}.seed"):
                raise ConfigError(
                    f"{key} has no effect beside {self.upstream}.run={run}: that run is taken, "
                    "whatever its preset and seed. Set one of the two."
                )
        return config

    def kernels_for(self, config: Any) -> tuple[Kernel, ...]:
        """Return the ways in which its recurrence is computed in a configuration."""
        if self.takes_kernel and not load(self.takes_kernel)(config):
            return tuple(one for one in self.kernels if one != "cpu")
        return self.kernels

    def load_programs(self) -> Callable[..., Any] | None:
        """Import the function that traces what a device computes; None where that is nothing."""
        return load(self.programs) if self.programs else None

    def load_runner(self) -> Callable[..., Any]:
        """Import the function that runs it."""
        return load(self.runner)


class Composer(NamedTuple):
    """A model that composes without being named."""

    experiment: str
    preset: str
    bars: int
    """Length of what it composes where none is asked for."""


def _nothing(*_: Any) -> list[Any]:
    return []


@dataclass(frozen=True)
class Report:
    """What the report shows of a family beside its rows: nothing of a kind that isn't given."""

    tables: "Callable[[], list[PaperTable]]" = _nothing
    """Its papers' tables."""
    findings: "Callable[[list[Record]], list[str]]" = _nothing
    """Records → sentences, the most important first."""
    cautions: "Callable[[list[Record]], list[str]]" = _nothing
    """Records → sentences on what intervals leave out."""
    section: "Callable[[list[Record], Path], list[str]]" = _nothing
    """Records, the report's folder → paragraphs of Markdown."""
    draw_figures: "Callable[[list[Record], Path], list[Path]]" = _nothing
    """Draws pictures of records into the report's folder; returns the files."""
    picture: str = ""
    """Name of one of them, to be shown first; empty for none."""


@dataclass(frozen=True)
class Family:
    """A kind of experiment, which has a package of its own below `experiments`."""

    experiments: tuple[Experiment, ...]
    report: str = ""
    """`module:ATTRIBUTE` of its Report; empty for none."""
    pages: Mapping[str, str] = field(default_factory=dict)
    """File, seen from the repository's root → `module:function` that writes its Markdown from
    committed records: (records) → text. `report` keeps it up to date."""
    benchmarks: Mapping[str, str] = field(default_factory=dict)
    """Name → `module:function` of what `bench NAME` measures: (seconds) → flat dictionary. One that
    can measure another library's way beside ours also takes `peer`, its name; one that can divide
    trainings also takes `devices`, among how many (--mesh)."""
    artefacts: tuple[str, ...] = ()
    """Patterns of the files, besides pictures and texts, that are committed with a record."""
    composer: Composer | None = None
    """What composes where `compose` is given no run."""
    trainer: str = ""
    """Name of its experiment by whose runner and programs other families train what is configured
    as that is; empty where they don't."""
    domain: str = ""
    """`module:ATTRIBUTE` of its experiments.domain.Domain, where it tunes models of one."""

    def __post_init__(self):
        """Raise ValueError where `trainer` is no experiment of the family's."""
        if self.trainer and self.trainer not in {one.name for one in self.experiments}:
            raise ValueError(f"trainer '{self.trainer}': no experiment of the family has that name")


def families() -> list[Family]:
    """Return all families."""
    return [importlib.import_module(f"{package}.catalogue").FAMILY for package in FAMILIES]


def experiments() -> dict[str, Experiment]:
    """Return all experiments by name."""
    return {one.name: one for family in families() for one in family.experiments}


def find(name: str) -> Experiment:
    """Return the experiment of that name.

    Raises:
      ConfigError: there is none; the message names the nearest.
    """
    known = experiments()
    if name not in known:
        raise ConfigError(
            f"unknown experiment '{name}'.{suggestion(name, known)}\n"
            "See all of them: python -m experiments list"
        )
    return known[name]


def runner_of(kind: type) -> Callable[..., Any]:
    """Import the function that trains what has settings of a class: one family's way to train what
    another knows how to train, see `Family.trainer`.

    Raises:
      ValueError: not just one family trains such.
    """
    return _trainer(kind).load_runner()


def programs_of(kind: type, config: Any, compute: Compute, mesh: Any = None) -> dict[str, Any]:
    """Trace what a device, or each of a mesh, computes where `runner_of` that class trains.

    Raises:
      ValueError: not just one family trains such.
    """
    trace = _trainer(kind).load_programs()
    if trace is None:
        return {}
    return trace(config, compute) if mesh is None else trace(config, compute, mesh)


def _trainer(kind: type) -> Experiment:
    found = [
        one
        for family in families()
        for one in family.experiments
        if one.name == family.trainer and one.kind is kind
    ]
    if len(found) != 1:
        names = ", ".join(one.name for one in found) or "none"
        raise ValueError(
            f"a {kind.__name__} is trained for other families by one Family.trainer; "
            f"there is {names}"
        )
    return found[0]


def artefacts() -> tuple[str, ...]:
    """Return patterns of the files of a run that are committed beside its record."""
    own = (pattern for family in families() for pattern in family.artefacts)
    return ("*.png", "*.txt", *dict.fromkeys(own))


def pages() -> dict[str, str]:
    """File → `module:function` of all pages written from records."""
    return {file: what for family in families() for file, what in family.pages.items()}


def benchmarks() -> dict[str, str]:
    """Name → `module:function` of all benchmarks."""
    return {name: what for family in families() for name, what in family.benchmarks.items()}


def composer() -> Composer:
    """Return what composes where no run is given."""
    return next(family.composer for family in families() if family.composer)


def domains() -> list[Any]:
    """Return all domains of sequences (experiments.domain.Domain); imports JAX."""
    return [load(family.domain) for family in families() if family.domain]


def load(name: str) -> Any:
    """Import what a `module:attribute` names.

    Raises:
      ValueError: it isn't of that form.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ValueError(f"{name!r} names no attribute: write it as `module:ATTRIBUTE`.")
    return getattr(importlib.import_module(module), attribute)
