"""What a domain of sequences is to the experiments that tune a model on it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.table import Table
from tutor.actor import Environment
from tutor.evaluation import Compositions

Notes = Mapping[str, Any]
"""JSON values that a domain saves with a model and gets back on loading."""


FIRST = "composition1"
"""Stem of the file in which `Domain.write` shows a run's first composition."""


class Composed(NamedTuple):
    """N compositions of T events, and where they were written."""

    events: np.ndarray
    """int32 [N, T], as the model and the reward read them."""
    scores: Mapping[str, np.ndarray]
    """Part of the reward → its values, float32 [N, T], and "total"."""
    files: list[Path]
    """One per composition."""
    pictures: list[Path]
    table: Table
    """A line per composition."""


@dataclass(frozen=True)
class Domain:
    """Sequences of one vocabulary under one reward; tuning, composing and measuring need no more.

    A family names its domain in `registry.Family.domain`.
    """

    name: str
    num_events: int
    """Size of the vocabulary."""
    environment: Environment
    length: int
    """Events of a composition, at most."""
    judge: Callable[[Compositions], dict[str, float]]
    """Statistics of compositions as metrics `composed/NAME`, beside those that all domains have."""
    write: Callable[[Compositions, Path, Notes], None]
    """(compositions, folder, notes): writes a few compositions that show what a run made,
    the first in a file with the stem `FIRST`."""
    read_primer: Callable[[Path, Path, Notes], np.ndarray]
    """(file, folder, notes) → events int32 [P], P ≥ 1, that compositions go on from; refuses a file
    that `render` would overwrite in that folder."""
    render: Callable[..., Composed]
    """(compositions, folder, notes, primer, title, *, wav): writes all compositions, and
    pictures of them, in place of those of an earlier call. With `keys` it takes `key` as well."""
    of_bars: "Callable[[int], Domain] | None" = None
    """Returns the domain with sequences of so many bars; None where there are no bars. Raises
    ConfigError where a length can't be had."""
    keys: tuple[str, ...] = ()
    """Keys in which `render` can write, where there are any."""
