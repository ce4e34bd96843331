"""Which records may stand in one table and share a mean, and what is told of it. Imports no JAX."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from common.metric import MetricName
from common.record import Record
from common.table import Summary, summarize
from experiments.registry import find
from experiments.results.row import changed_settings, data_mark


def as_preset(
    records: Iterable[Record], metric: str = "", free: Collection[str] = ()
) -> list[Record]:
    """Return the finished records whose settings are those of their preset as it is now.

    A precision that isn't float32 is a setting, too. Records of a preset that is no more stay out.

    Args:
      records: of any experiments.
      metric: settings on which it doesn't depend may differ; by default the experiment's first.
      free: names of settings that may differ.
    """
    kept = []
    for record in records:
        experiment = find(record.experiment)
        if record.status != "done" or record.preset not in experiment.presets:
            continue
        changed = changed_settings(record, experiment, metric or experiment.metrics[0].name)
        if {one.partition("=")[0] for one in changed} <= {*free}:
            kept.append(record)
    return kept


def on_one_data(records: Iterable[Record], models: Collection[str] = ()) -> list[Record]:
    """Return those records that saw the same data, to the checksum: the data that most of them saw.

    Of data as common as others, those of the run that finished last count.

    Args:
      records: of any experiments.
      models: names among the checksums that don't count: models that runs learned from, which
        their own data made.
    """
    marked = [(data_seen(record, models), record) for record in records]
    counts = Counter(mark for mark, _ in marked)
    chosen = max(
        marked, key=lambda one: (counts[one[0]], one[1].finished, one[0]), default=("", None)
    )[0]
    return [record for mark, record in marked if mark == chosen]


def data_seen(record: Record, models: Collection[str] = ()) -> str:
    """Return a mark of the data that a run saw, without what they stand in for, in which
    experiments differ.

    Args:
      record: of the run.
      models: see `on_one_data`.
    """
    data = [
        replace(
            used,
            stand_in_for=None,
            checksums={key: one for key, one in used.checksums.items() if key not in models},
        )
        for used in record.data
    ]
    return data_mark(replace(record, data=data))


def summary_of(
    records: Sequence[Record], metric: str, values: Sequence[float] | None = None
) -> Summary | None:
    """Return a metric's mean over records, with an interval where there are enough of them.

    Of one record the interval is over what it measured, where it has one. Values that are all the
    same have none. None where no record has the metric.

    Args:
      records: a seed each.
      metric: its name.
      values: what the mean is over, where that isn't the records' own values.
    """
    having = [one for one in records if metric in one.metrics]
    if not having:
        return None
    summary = summarize([one.metrics[metric] for one in having] if values is None else values)
    low, high = summary.low, summary.high
    if len(having) == 1:
        split, measure = MetricName.parse(metric)[1:]
        low, high = (having[0].metrics.get(f"{split}_{end}/{measure}") for end in ("low", "high"))
    if len(set(summary.values)) == 1 and (low is None or low == high):
        return Summary(summary.mean, None, None, (summary.mean,))
    return replace(summary, low=low, high=high)


def ends(summary: Summary) -> tuple[float, float]:
    """Return the interval of a mean, or the least and the largest value where it has none."""
    if summary.low is None or summary.high is None:
        return min(summary.values), max(summary.values)
    return summary.low, summary.high


def told_apart(one: Summary, other: Summary) -> bool:
    """Return whether the `ends` of two means leave a gap."""
    low, high = sorted((ends(one), ends(other)))
    return low[1] < high[0]


def seeds_a(counts: Iterable[int], what: str) -> str:
    """Say how many seeds there are a depth, a method, ...: `one seed a depth`, `1 to 3 seeds`."""
    least, most = min(counts := list(counts)), max(counts)
    if most == 1:
        return f"one seed a {what}"
    return f"{least if least == most else f'{least} to {most}'} seeds a {what}"
