"""In what runs differ, as tables: how they were made, their settings, their results."""

import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from common.error import ConfigError
from common.metric import Metric, MetricName, Protocol
from common.table import TOO_NARROW, Cell, Table, summarize
from experiments.compare.side import Run, Side
from experiments.registry import experiments
from experiments.results.cells import number, spread
from experiments.results.row import CHECKSUM_DIGITS
from experiments.results.same_seed import differences

ABSENT = "–"
MOST_NAMES = 5
"""Of metrics in a message."""
SIDES = {"lower": "↓", "higher": "↑", "toward zero": "→ 0", "neither": "·"}
"""The better side of a metric, as it is marked."""
LEGEND = (
    "↓ lower, ↑ higher, → 0 nearer to zero is better, · neither. Differences are to "
    "{first}; in brackets 95 % intervals over seeds, or over pairs of runs with the same seed and "
    f"data; *unpaired*: of means. {TOO_NARROW}"
)


def runs_table(sides: Sequence[Side]) -> Table:
    """Say what the runs are, and in what they were made differently."""
    rows: list[list[Cell]] = [
        ["state", *(_states(side.runs) for side in sides)],
        ["seeds", *(", ".join(str(run.seed) for run in side.runs) for side in sides)],
    ]
    facts = [
        _merged([{**run.made, "precision": run.precision, **run.data} for run in side.runs])
        for side in sides
    ]
    rows += [
        [key, *(_short(key, one.get(key, ABSENT)) for one in facts)] for key in _differing(facts)
    ]
    return Table(("run", *(side.label for side in sides)), rows)


def settings_table(sides: Sequence[Side]) -> Table | None:
    """Return a row for each setting that differs; None where all are the same."""
    configs = [_merged([_written(run.config) for run in side.runs]) for side in sides]
    rows = [[key, *(one.get(key, ABSENT) for one in configs)] for key in _differing(configs)]
    return Table(("setting", *(side.label for side in sides)), rows) if rows else None


def results_table(sides: Sequence[Side], *, full: bool = False) -> Table | None:
    """Set metrics beside each other, each with its difference to that of the first side.

    Args:
      sides: what is compared.
      full: whether to give all metrics, or those that the experiments' own tables show.

    Returns:
      The table; None where fewer than two sides have any result yet.

    Raises:
      ConfigError: they have results, but none in common.
    """
    names = shared([side.metrics() for side in sides])
    if not names:
        measured = [side for side in sides if side.metrics()]
        if len(measured) < 2:
            return None
        have = "; ".join(f"{side.label} has {_listed(list(side.metrics()))}" for side in measured)
        raise ConfigError(f"no metric in common: {have}.")
    listed = [name for name in listed_metrics(sides) if name in names]
    others = [name for name in names if name not in listed]
    shown = [*listed, *others] if full or not listed else listed
    first, *rest = sides
    titles = ["metric", _title(first)]
    for side in rest:
        titles += [_title(side), "difference"]
    rows: list[list[Cell]] = []
    for name in shown:
        metric = known_metric(name, sides)
        row: list[Cell] = [f"{metric_words(metric)} {SIDES[metric.better]}", _value(first, metric)]
        for side in rest:
            row += [_value(side, metric), _difference(first, side, metric)]
        rows.append(row)
    return Table(tuple(titles), rows, frozenset(titles[1:]))


def cautions(sides: Sequence[Side]) -> list[str]:
    """Return sentences on what keeps results from being compared as they stand."""
    runs = [run for side in sides for run in side.runs]
    told = []
    if keys := _differing([run.data for run in runs]):
        named = "; ".join(key.removeprefix("checksum of ") for key in keys)
        told.append(f"The data differ ({named}): so may results, whatever the settings.")
    precisions = dict.fromkeys(run.precision for run in runs)
    if len(precisions) > 1:
        told.append(
            f"The precision differs ({'; '.join(precisions)}): so may results, whatever the "
            "settings."
        )
    names = (run.experiment for run in runs if run.state.ended and run.state.trouble)
    told += [
        f"There is no experiment '{name}' here: its settings are those that its record names, and "
        "its metrics may be others of the same names."
        for name in dict.fromkeys(names)
    ]
    unfinished = [side.label for side in sides if not side.finished and side.shown]
    if unfinished:
        told.append(
            f"Not finished: {', '.join(unfinished)}. Its metrics are the latest, not those of its "
            "best state."
        )
    left = [
        f"{side.label}, seed {run.seed} ({run.state.kind})"
        for side in sides
        for run in side.runs
        if run not in side.shown
    ]
    if left:
        told.append(f"Not among the results: {'; '.join(left)}.")
    return told


def shared(names: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what at least two mappings have, in order."""
    every = {name: None for one in names for name in one}
    return [name for name in every if sum(name in one for one in names) > 1]


def listed_metrics(sides: Sequence[Side]) -> list[str]:
    """Return the metrics that the tables of the sides' experiments show, in order."""
    known = experiments()
    names = dict.fromkeys(run.experiment for side in sides for run in side.runs)
    metrics = (metric for name in names if name in known for metric in known[name].metrics)
    return list(dict.fromkeys(metric.name for metric in metrics))


def known_metric(name: str, sides: Sequence[Side]) -> Metric:
    """Return what an experiment of the sides says of a metric; others have no better side."""
    known = experiments()
    for experiment in dict.fromkeys(run.experiment for side in sides for run in side.runs):
        for metric in known[experiment].metrics if experiment in known else ():
            if metric.name == name:
                return metric
    return Metric(name, Protocol("", ""), "neither")


def metric_words(metric: Metric) -> str:
    """Return a metric's name in words."""
    model, split, _ = MetricName.parse(metric.name)
    words = f"{metric.split or split.replace('_', ' ')} {metric.measure}"
    return f"{model}: {words}" if model else words


def _title(side: Side) -> str:
    return side.label if side.finished or not side.shown else f"{side.label} (unfinished)"


def _value(side: Side, metric: Metric) -> str:
    values = side.values(metric.name)
    return spread(summarize(list(values.values())), metric) if values else ABSENT


def _difference(first: Side, other: Side, metric: Metric) -> str:
    """The mean of paired differences where there are several pairs, else that of the means."""
    before, now = first.values(metric.name), other.values(metric.name)
    if not before or not now:
        return ABSENT
    pairs = list(differences(_by_pair(first, metric), _by_pair(other, metric)).values())
    if len(pairs) > 1:
        return f"{spread(summarize(pairs), metric, '+')} in {len(pairs)} pairs"
    told = number(fmean(now.values()) - fmean(before.values()), metric, "+")
    return told if len(pairs) == len(now) == len(before) else f"{told} unpaired"


def _by_pair(side: Side, metric: Metric) -> dict[Any, float]:
    """A metric by what makes pairs of runs: their seed and data."""
    return {
        (run.seed, frozenset(run.data.items())): run.metrics[metric.name]
        for run in side.shown
        if metric.name in run.metrics
    }


def _listed(names: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _states(runs: Sequence[Run]) -> str:
    """How many runs are in which state, and how far unfinished ones are."""
    told = [
        f"{run.state.kind}, {run.state.progress}" if run.state.progress else run.state.kind
        for run in runs
    ]
    if len(runs) == 1:
        return told[0]
    return "; ".join(f"{told.count(one)} {one}" for one in dict.fromkeys(told))


def _written(config: Mapping[str, Any]) -> dict[str, str]:
    """Settings as `--set` takes them."""
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in config.items()}


def _merged(each: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What several runs say, with all of their values where they differ."""
    keys = dict.fromkeys(key for one in each for key in one)
    return {key: " / ".join(dict.fromkeys(one[key] for one in each if key in one)) for key in keys}


def _differing(each: Sequence[Mapping[str, str]]) -> list[str]:
    keys = dict.fromkeys(key for one in each for key in one)
    return [key for key in keys if len({one.get(key) for one in each}) > 1]


def _short(key: str, text: str) -> str:
    return text[:CHECKSUM_DIGITS] if key.startswith("checksum of ") else text
