"""What a metric is: its name, how it is measured, which side is the better. Imports no JAX."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from common.config import flatten

Better = Literal["lower", "higher", "toward zero", "neither"]
"""`neither`: it describes a model, and has no published value to be compared with."""


class MetricName(NamedTuple):
    """The parts of `split/measure` or `model/split/measure`."""

    model: str
    """Empty where the experiment has one model."""
    split: str
    """What it was measured on, `valid`, `test_full`, ..."""
    measure: str
    """What was measured, `loss`, `reward`, ..."""

    @classmethod
    def parse(cls, name: str) -> "MetricName":
        """Read a metric's name."""
        rest, _, measure = name.rpartition("/")
        model, _, split = rest.rpartition("/")
        return cls(model, split, measure)


@dataclass(frozen=True)
class Protocol:
    """How metrics are measured."""

    name: str
    text: str
    """What it means, in a sentence or two for the report."""
    label: str = ""
    """Format of its name in a row, as in `MC dropout, {} passes`; {} is the value of `settings`."""
    settings: tuple[str, ...] = ()
    """Keys of that setting; the first that a configuration has counts."""

    def describe(self, config: Mapping[str, Any], model: str) -> str:
        """Return the protocol of a model's metric in a run with this configuration."""
        flat = flatten(config)
        for key in self.settings:
            value = flat.get(f"{model}.{key}", flat.get(key))
            if value is not None:
                return self.label.format(value)
        return self.name


@dataclass(frozen=True)
class Metric:
    """A number that runs of an experiment record."""

    name: str
    """`split/measure` or `model/split/measure`."""
    protocol: Protocol
    better: Better = "lower"
    decimals: int | None = None
    """Shown behind the point; None for four significant digits."""
    split: str = ""
    """The split that it is measured on, where its name says more than that."""
    words: str = ""
    """What is measured, where its name doesn't say it well."""

    @property
    def measure(self) -> str:
        """What is measured, in words: by default the last part of its name."""
        return self.words or MetricName.parse(self.name).measure.replace("_", " ")

    def of_model(self, model: str) -> "Metric":
        """Return the same metric of one of several models."""
        return replace(self, name=f"{model}/{self.name}")
