"""What an experiment is, and all of them by name. Imports no JAX: `list` must answer at once."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from common.config import suggestion
from common.error import ConfigError

PRESETS = ("smoke", "cpu", "cpu_quirks", "cpu_unmasked", "vectorised", "paper")


@dataclass(frozen=True)
class Published:
    """A number of a paper, and the metric of ours that answers to it."""

    metric: str
    value: float
    source: str
    better: Literal["lower", "higher", "toward zero"] = "lower"


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
    presets: dict[str, Preset]
    default_preset: str
    data: tuple[str, ...]
    """Datasets of the paper; a preset that reads others runs on a stand-in."""
    metrics: tuple[str, ...]
    """What its results table shows besides the published metrics, in order."""
    published: tuple[Published, ...]
    paper_parameters: int | None
    """Trainable parameters of the `paper` preset, where it has one model of a published size."""
    runner: str
    """`module:function`, imported only when it runs; see experiments.run.Runner."""
    section: str
    """Its kind, in the heading of its part of the report."""
    stand_in: str | None = None
    """The dataset that stands in for the paper's, where nobody can have that."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Other names of presets."""
    seeds_together: bool = False
    """Whether the runner takes several seeds at once."""

    def preset_name(self, name: str) -> str:
        """The name of a preset given that or an alias. Raises ConfigError where there is none."""
        name = self.aliases.get(name, name)
        if name not in self.presets:
            raise ConfigError(
                f"{self.name} has no preset '{name}'."
                f"{suggestion(name, (*self.presets, *self.aliases))}"
            )
        return name

    def preset(self, name: str) -> Preset:
        """The preset of that name or alias. Raises ConfigError where there is none."""
        return self.presets[self.preset_name(name)]

    def load_runner(self) -> Callable[..., Any]:
        """Imports the function that runs it."""
        module, _, function = self.runner.partition(":")
        return getattr(importlib.import_module(module), function)


MODULES = (
    "experiments.quickstart.catalogue",
    "experiments.language.catalogue",
    "experiments.melodies.catalogue",
)
"""Modules with a tuple EXPERIMENTS, in the order of `list`."""


def experiments() -> dict[str, Experiment]:
    """All experiments by name."""
    found: dict[str, Experiment] = {}
    for module in MODULES:
        for experiment in importlib.import_module(module).EXPERIMENTS:
            found[experiment.name] = experiment
    return found


def find(name: str) -> Experiment:
    """The experiment of that name. Raises ConfigError with the nearest name where there is none."""
    known = experiments()
    if name not in known:
        raise ConfigError(
            f"unknown experiment '{name}'.{suggestion(name, known)}\n"
            "See all of them: python -m experiments list"
        )
    return known[name]


def benchmarks() -> dict[str, str]:
    """Name → `module:function` of all benchmarks."""
    return {"tutor": "experiments.melodies.bench:tutor"}


def domains() -> list[Any]:
    """All domains of sequences (experiments.domain.Domain); imports JAX."""
    return [load("experiments.melodies.domain:MELODIES")]


def load(name: str) -> Any:
    """Imports what a `module:attribute` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
