"""Rows of the results table: records of the same settings, over their seeds, beside the paper."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from common.config import suggestion, to_dict
from common.error import DataError
from common.metric import Metric, MetricName
from common.record import Record
from common.table import Summary, summarize
from experiments import registry
from experiments.registry import Experiment, Published
from experiments.results.verdict import (
    PRECISION,
    Departure,
    Verdict,
    depart,
    judge,
    material,
    parameters,
    precision_of,
)

COMMIT_DIGITS = 8
DATA_DIGITS = 6
CHECKSUM_DIGITS = 12
"""Of a checksum that is shown to a reader."""


@dataclass(frozen=True)
class Row:
    """One metric of one experiment at one setting."""

    experiment: str
    preset: str
    changes: tuple[str, ...]
    """Settings that aren't the preset's, as `key=value`."""
    named: tuple[str, ...]
    """Settings that name the row: those, and what a command set though the preset has it, as at a
    point of a grid."""
    committed: bool
    """Whether it is of committed records, where own runs have rows beside them."""
    metric: Metric
    dataset: str
    """Names; with `data` behind them where rows differ in that alone."""
    data: str
    """A mark of the data's names, versions and checksums; empty where nothing was run."""
    checksums: Mapping[str, str]
    """The sha256 of each file of the data, by its name; behind that of the data where they are
    several."""
    apart: bool
    """Whether there is a row of the same settings on other data."""
    split: str
    protocol: str
    parameters: int | None
    published: tuple[Published, ...]
    ours: Summary | None
    """None where no seed finished."""
    seeds: tuple[int, ...]
    """Seeds that `ours` is over."""
    diverged: tuple[int, ...]
    """Seeds that diverged."""
    trained: tuple[int, ...]
    """Seeds that were trained so: these, and those that finished without this metric."""
    differences: tuple[float, ...]
    """Our mean minus each published value; empty where that means nothing."""
    verdict: Verdict
    departure: Departure | None
    """From the paper's run; None where nothing was run, or the paper has no such run."""
    device: str
    hours: float | None
    """Mean hours of a seed; expected hours in a row that wasn't run."""
    estimated: bool
    """Whether `hours` was never measured."""
    commits: tuple[str, ...]
    commands: tuple[str, ...]
    """The command of each record, by seed."""

    @property
    def full_size(self) -> bool:
        """Whether nothing is smaller than in the paper, nor data others that can be had."""
        return self.departure is not None and not self.departure.smaller

    @property
    def as_published(self) -> bool:
        """Whether model, settings and data were the paper's."""
        return self.departure is not None and not self.departure

    @property
    def settings(self) -> tuple[str, ...]:
        """Settings that aren't the paper's, as `key: paper's → ours`."""
        return self.departure.settings if self.departure else ()

    @property
    def label(self) -> str:
        """What tells it from other rows of its experiment: preset, settings, and whose it is."""
        return ", ".join((self.preset, *self.named, *(["committed"] * self.committed)))


def result_rows(
    records: Iterable[Record],
    experiments: Mapping[str, Experiment],
    committed: Iterable[Record] = (),
) -> list[Row]:
    """Return the rows of all `experiments`, in their order.

    Records of the same preset, material settings and data (to the checksum) form a row for each
    metric; a published metric without a run at the paper's settings has a row that says so. Of two
    records with the same settings and seed the first counts. `committed` records never share a row
    with `records`: the code that made them may be another. A record among both is a committed one.

    Raises DataError where a record's experiment isn't among `experiments`.
    """
    theirs = _by_experiment(committed, experiments)
    own = _by_experiment(records, experiments)
    rows: list[Row] = []
    for name, experiment in experiments.items():
        others = [record for record in own[name] if record not in theirs[name]]
        rows += _rows(others, theirs[name], experiment)
    return rows


def _by_experiment(
    records: Iterable[Record], experiments: Mapping[str, Experiment]
) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {name: [] for name in experiments}
    for record in records:
        if record.experiment not in found:
            which = f"'{record.experiment}' ({record.preset}, seed {record.seed})"
            known = suggestion(record.experiment, experiments)
            raise DataError(f"there is a record of {which}, which is no experiment here.{known}")
        found[record.experiment].append(record)
    return found


def named_rows(
    names: Sequence[str],
    records: Iterable[Record],
    committed: Iterable[Record] = (),
    *,
    with_not_run: bool = True,
) -> list[Row]:
    """Return the rows of the named experiments, or of all that have records.

    `with_not_run` adds the published rows that no record answers to; for the other arguments see
    `result_rows`. Raises ConfigError on an unknown name, DataError where `result_rows` does.
    """
    records, committed = list(records), list(committed)
    shown = {registry.find(name).name for name in names}
    shown = shown or {one.experiment for one in (*records, *committed)}
    return [
        row
        for row in result_rows(records, registry.experiments(), committed)
        if row.experiment in shown and (with_not_run or row.verdict.kind != "not run")
    ]


def _rows(
    records: Sequence[Record], committed: Sequence[Record], experiment: Experiment
) -> list[Row]:
    metrics = [metric.name for metric in experiment.metrics]
    theirs = [replace(row, committed=True) for row in _run_rows(committed, experiment)]
    runs = _mark_data([*_run_rows(records, experiment), *theirs])
    places = {name: place for place, name in enumerate(reversed(experiment.presets))}
    runs.sort(
        key=lambda row: (
            places.get(row.preset, -1),
            row.committed,
            row.named,
            metrics.index(row.metric.name),
        )
    )
    if "paper" not in experiment.presets:
        return runs
    done = {row.metric.name for row in runs if row.as_published or row.verdict.kind == "other data"}
    published = dict.fromkeys(p.metric for p in experiment.published)
    return [_not_run(experiment, metric) for metric in published if metric not in done] + runs


def _run_rows(records: Sequence[Record], experiment: Experiment) -> list[Row]:
    """A row for each metric of each training that was run."""
    trainings = _trainings(records, experiment)
    return [
        _row(group, tuple(sorted({one.seed for one in alike})), experiment, metric.name)
        for metric in experiment.metrics
        for alike in trainings
        for group in _groups(alike, experiment, metric.name)
    ]


def _trainings(records: Iterable[Record], experiment: Experiment) -> list[list[Record]]:
    """Records apart by all but settings on which only some metrics depend, as on how they are
    measured."""
    found: dict[Any, list[Record]] = {}
    metrics = [metric.name for metric in experiment.metrics]
    for record in records:
        found.setdefault(_key(record, experiment, metrics), []).append(record)
    return list(found.values())


def _groups(
    alike: Sequence[Record], experiment: Experiment, metric: str
) -> list[dict[int, Record]]:
    """Records of one training that belong in one row for this metric, by seed.

    A diverged run has no metrics that would name its rows: it is counted beside the seeds that
    finished or, where none did, in the rows that are compared with the paper.
    """
    if all(record.status != "done" for record in alike):
        alone = {p.metric for p in experiment.published} or {m.name for m in experiment.metrics}
        return [_by_seed(alike)] if metric in alone else []
    keys = [
        _key(record, experiment, [metric])
        if record.status == "done" and metric in record.metrics
        else None
        for record in alike
    ]
    groups = [
        _by_seed(
            record
            for record, own in zip(alike, keys, strict=True)
            if own == key or record.status != "done"
        )
        for key in dict.fromkeys(keys)
        if key is not None
    ]
    return [one for one in groups if any(record.status == "done" for record in one.values())]


def _by_seed(records: Iterable[Record]) -> dict[int, Record]:
    """The first record of each seed."""
    found: dict[int, Record] = {}
    for record in records:
        found.setdefault(record.seed, record)
    return found


def _key(record: Record, experiment: Experiment, metrics: Sequence[str]) -> Any:
    """What tells a record from others, as far as it matters to every one of some metrics."""
    each = [material(experiment.kind, record.config, metric) for metric in metrics]
    settings = sorted(item for item in each[0].items() if all(item[0] in one for one in each))
    return record.preset, repr(settings), precision_of(record.device), repr(_data(record))


def _data(record: Record) -> list[tuple[Any, ...]]:
    """What identifies the data of a run: names, versions and checksums."""
    return [
        (used.name, used.version, used.stand_in_for, sorted(used.checksums.items()))
        for used in record.data
    ]


def data_mark(record: Record) -> str:
    """Return a mark of the data of a run: their names, versions and checksums."""
    return hashlib.sha256(repr(_data(record)).encode()).hexdigest()[:DATA_DIGITS]


def _checksums(record: Record) -> dict[str, str]:
    several = len(record.data) > 1
    return {
        f"{used.name}, {name}" if several else name: checksum
        for used in record.data
        for name, checksum in used.checksums.items()
    }


def _mark_data(rows: Sequence[Row]) -> list[Row]:
    """Rows with the data's own mark behind its name where rows differ in nothing else."""
    alike: dict[Any, set[str]] = {}
    for row in rows:
        alike.setdefault((row.preset, row.changes, row.metric.name), set()).add(row.data)
    return [
        replace(row, dataset=f"{row.dataset} [{row.data}]", apart=True)
        if len(alike[row.preset, row.changes, row.metric.name]) > 1
        else row
        for row in rows
    ]


def _row(
    group: Mapping[int, Record], trained: tuple[int, ...], experiment: Experiment, metric: str
) -> Row:
    records = [group[seed] for seed in sorted(group)]
    done = [record for record in records if record.status == "done"]
    diverged = tuple(record.seed for record in records if record.status == "diverged")
    first = (done or records)[0]
    ours = summarize([record.metrics[metric] for record in done]) if done else None
    published = _published(experiment, metric)
    departure = depart(first, experiment, metric)
    name = MetricName.parse(metric)
    return Row(
        experiment=experiment.name,
        preset=first.preset,
        changes=changed_settings(first, experiment, metric),
        named=named_settings(records, experiment, metric),
        committed=False,
        metric=experiment.metric(metric),
        dataset=" + ".join(used.name for used in first.data),
        data=data_mark(first),
        checksums=_checksums(first),
        apart=False,
        split=experiment.metric(metric).split or name.split,
        protocol=experiment.metric(metric).protocol.describe(first.config, name.model),
        parameters=parameters(first, metric),
        published=published,
        ours=ours,
        seeds=tuple(record.seed for record in done),
        diverged=diverged,
        trained=trained,
        differences=_differences(ours, published, departure),
        verdict=judge(
            ours,
            published,
            departure,
            better=experiment.metric(metric).better,
            seeds=len(trained),
            diverged=len(diverged),
        ),
        departure=departure,
        device=" / ".join(dict.fromkeys(device_text(record.device) for record in records)),
        hours=_mean_hours(done or records),
        estimated=False,
        commits=tuple(dict.fromkeys(commits_text(one.commits, dirty=one.dirty) for one in records)),
        commands=tuple(record.command for record in records),
    )


def _not_run(experiment: Experiment, metric: str) -> Row:
    preset = experiment.preset("paper")
    name = MetricName.parse(metric)
    return Row(
        experiment=experiment.name,
        preset="paper",
        changes=(),
        named=(),
        committed=False,
        metric=experiment.metric(metric),
        dataset=" + ".join(preset.data),
        data="",
        checksums={},
        apart=False,
        split=experiment.metric(metric).split or name.split,
        protocol=experiment.metric(metric).protocol.describe(to_dict(preset.config), name.model),
        parameters=experiment.paper_parameters,
        published=_published(experiment, metric),
        ours=None,
        seeds=(),
        diverged=(),
        trained=(),
        differences=(),
        verdict=Verdict("not run", "not run"),
        departure=None,
        device=preset.device,
        hours=preset.hours,
        estimated=preset.estimated,
        commits=(),
        commands=(f"python -m experiments run {experiment.name} --preset paper",),
    )


def _published(experiment: Experiment, metric: str) -> tuple[Published, ...]:
    return tuple(value for value in experiment.published if value.metric == metric)


def _differences(
    ours: Summary | None, published: Sequence[Published], departure: Departure | None
) -> tuple[float, ...]:
    if ours is None or (departure and departure.other_data and not departure.only_in_data):
        return ()
    return tuple(ours.mean - value.value for value in published)


def changed_settings(record: Record, experiment: Experiment, metric: str) -> tuple[str, ...]:
    """Return the settings, as `key=value`, that aren't those of the record's preset as it is now.

    Those count on which the metric depends. They are read off the configuration rather than the
    record's overrides, since presets change too. A precision that isn't float32 stands among them.
    """
    return named_settings([record], experiment, metric, given=False)


def named_settings(
    records: Sequence[Record], experiment: Experiment, metric: str, *, given: bool = True
) -> tuple[str, ...]:
    """Return the settings that name records of the same settings: `changed_settings`, and with
    `given` those that a command set to what the preset has, as at a point of a grid."""
    first = records[0]
    precision = precision_of(first.device)
    narrow = () if precision == PRECISION else (f"precision={precision}",)
    if first.preset not in experiment.presets:
        return (*first.overrides, *narrow)
    config = experiment.preset(first.preset).config
    usual = material(type(config), to_dict(config), metric)
    ours = material(type(config), first.config, metric)
    each = (one.partition("=")[0].strip() for record in records for one in record.overrides)
    shown = set(each) if given else set()
    shown |= {key for key in ours if ours[key] != usual.get(key)}
    return (*(f"{key}={_value(ours[key])}" for key in sorted(ours) if key in shown), *narrow)


def _value(value: Any) -> str:
    """A setting's value as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def device_text(device: Mapping[str, Any]) -> str:
    """Return on what a run ran, from the facts in its record."""
    kind = device.get("kind") or device.get("platform", "")
    if device.get("platform") == "cpu":
        text = str(kind)
        if "cores" in device:
            text += f", {device['cores']} core{'' if device['cores'] == 1 else 's'}"
    else:
        text = f"{device.get('count', 1)} × {kind}"
    precision = precision_of(device)
    return text if precision == PRECISION else f"{text}, {precision} precision"


def _mean_hours(records: Sequence[Record]) -> float:
    return sum(sum(record.seconds.values()) for record in records) / len(records) / 3600


def commits_text(commits: Iterable[str], *, dirty: bool) -> str:
    """Return the commits of all sessions of a run, shortened."""
    return ", ".join(commit[:COMMIT_DIGITS] for commit in commits) + ("+dirty" if dirty else "")
