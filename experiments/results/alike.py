"""Which records may stand in one table and share a mean. Imports no JAX."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace

from common.record import Record
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
    marked = [(_mark(record, models), record) for record in records]
    counts = Counter(mark for mark, _ in marked)
    chosen = max(
        marked, key=lambda one: (counts[one[0]], one[1].finished, one[0]), default=("", None)
    )[0]
    return [record for mark, record in marked if mark == chosen]


def _mark(record: Record, models: Collection[str]) -> str:
    """A mark of the data alone: of what they stand in for, experiments differ."""
    data = [
        replace(
            used,
            stand_in_for=None,
            checksums={key: one for key, one in used.checksums.items() if key not in models},
        )
        for used in record.data
    ]
    return data_mark(replace(record, data=data))
