"""Settings of the optimisation study."""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from common.config import DATASET, Amount, Depth, NonNegativeInt, PositiveInt, Prefix
from highway.config import SearchConfig


@dataclass(frozen=True)
class ChoraleConfig:
    """Which piano rolls, and how many of them."""

    name: Annotated[str, DATASET] = "jsb_chorales"
    """Name of the dataset."""
    train_chorales: Annotated[NonNegativeInt, Prefix("training chorales")] = 0
    """How many training chorales are used, from the first on; 0 for all of them."""
    evaluation_chorales: Annotated[NonNegativeInt, Prefix("evaluation chorales")] = 0
    """How many validation chorales, and how many test chorales, are used; 0 for all of them."""


@dataclass(frozen=True)
class OptimisationConfig:
    """A random search for each architecture and depth."""

    data: ChoraleConfig = field(default_factory=ChoraleConfig)
    depths: Annotated[tuple[Depth, ...], Field(min_length=1)] = (1, 2, 4, 6)
    """Recurrence depths, each of which all architectures are trained at."""
    parameters_per_step: Annotated[PositiveInt, Amount("parameters a step of depth")] = 150_000
    """Parameters of a model for each step of its depth; all architectures have the same."""
    search: SearchConfig = field(default_factory=SearchConfig)
