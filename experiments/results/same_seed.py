"""What tells methods apart in runs of the same seed, prior and data. Imports no JAX."""

from collections.abc import Hashable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple, TypeVar

from common.metric import Metric, Protocol
from common.record import Record
from common.table import Cell, Table, summarize
from experiments.results.alike import data_seen
from experiments.results.cells import spread

FEWEST = 2
"""Pairs of runs that two methods must have to be compared."""
LEGEND = (
    "*Difference from a method, seed by seed*: each run's value minus that of the method's run of "
    "the same seed, where both started from the same {prior} and learned with the same preset. "
    "{shared} From three seeds on it is the mean of the differences with its 95 % interval "
    "(percentile bootstrap over seeds; *n priors*: over these, each of which counts by its mean); "
    "of two seeds the differences themselves. An interval that "
    "holds 0 doesn't tell the methods apart; of few seeds it is too narrow, so that one without 0 "
    "may be luck."
)
"""What a table says of itself; `shared`: which random numbers the runs of a pair have in common."""

Key = TypeVar("Key", bound=Hashable)


def differences(before: Mapping[Key, float], now: Mapping[Key, float]) -> dict[Key, float]:
    """Return by how much values are above those of the same key before, in their own order; what
    only one side has is left out."""
    return {key: now[key] - before[key] for key in now if key in before}


class Pair(NamedTuple):
    """What two runs must have in common to be compared."""

    seed: int
    prior: int
    """The seed of the model that they tuned."""
    data: str
    """A mark of what they saw, the checksum of that model among it."""


def seed_by_seed(
    methods: Mapping[str, Sequence[Record]], prior: str, measures: Mapping[str, str]
) -> list[str]:
    """Write in Markdown by how much methods differ from the first of them.

    The first is one that shares two seeds with any other; methods that don't share two with it are
    left out. Where the pairs are of several priors, each of these counts once, by its mean.

    Args:
      methods: name → its runs, which are of one preset.
      prior: the experiment whose models were tuned, which is the name of their settings, too.
      measures: metric → its words.

    Returns:
      A heading and a table; nothing where no two methods share two seeds.
    """
    runs = {name: _by_pair(group, prior) for name, group in methods.items()}
    for first, before in runs.items():
        rows = [
            _row(name, before, now, measures)
            for name, now in runs.items()
            if name != first and len(before.keys() & now.keys()) >= FEWEST
        ]
        if rows:
            titles = ("method", "seeds", *measures.values())
            table = Table(titles, rows, frozenset(titles[2:]))
            return [f"**Difference from {first}, seed by seed**\n", table.markdown()]
    return []


def _by_pair(group: Sequence[Record], prior: str) -> dict[Pair, Record]:
    """Runs by what makes pairs of them; of those that nothing tells apart the first."""
    found: dict[Pair, Record] = {}
    for one in sorted(group, key=lambda record: record.seed):
        found.setdefault(Pair(one.seed, one.config[prior]["seed"], data_seen(one)), one)
    return found


def _row(
    name: str,
    before: Mapping[Pair, Record],
    now: Mapping[Pair, Record],
    measures: Mapping[str, str],
) -> list[Cell]:
    pairs = [pair for pair in now if pair in before]
    row: list[Cell] = [name, ", ".join(str(pair.seed) for pair in pairs)]
    for metric in measures:
        then, after = (
            {pair: one.metrics[metric] for pair, one in side.items() if metric in one.metrics}
            for side in (before, now)
        )
        row.append(_cell(metric, differences(then, after), len(pairs)))
    return row


def _cell(metric: str, found: Mapping[Pair, float], pairs: int) -> str:
    """The mean with its interval, and of how many pairs it is where some lack the metric."""
    if not found:
        return ""
    by_prior: dict[tuple[int, str], list[float]] = {}
    for pair, difference in found.items():
        by_prior.setdefault((pair.prior, pair.data), []).append(difference)
    values = list(found.values())
    several = ""
    if len(by_prior) > 1:
        values = [fmean(group) for group in by_prior.values()]
        several = f" ({len(values)} priors)"
    told = spread(summarize(values), Metric(metric, Protocol("", ""), "neither", decimals=2), "+")
    return f"{told}{several}" + (f" (in {len(found)} pairs)" if len(found) < pairs else "")
