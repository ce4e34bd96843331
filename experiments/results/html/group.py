"""Runs of the same settings, and what the page shows of them."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from common.config import flatten
from experiments.registry import Experiment
from experiments.results.cells import (
    MIDDLE,
    OURS,
    brief,
    device_and_hours,
    middle,
    result_cells,
    which_seeds,
)
from experiments.results.collect import Run
from experiments.results.commit import shown_files
from experiments.results.html.curve import Chart, charts
from experiments.results.html.media import beginning, is_picture
from experiments.results.html.prose import shaped
from experiments.results.row import Row, changed_settings, data_mark, named_settings, result_rows

COLUMNS = ("metric", "split", "protocol", "published", OURS, MIDDLE, "verdict")
"""Of a group's table; those without any cell are left out."""
OF_ITS_OWN = ("experiment", "preset", "seed", "status", "config", "metrics", "curve", "schema")
"""Parts of a record that aren't in what the page calls the manifest."""


@dataclass(frozen=True)
class Group:
    """Runs of one experiment at the same settings on the same data."""

    title: str
    name: str
    """Begins the identifiers of its parts in the page."""
    runs: list[Run]
    """By seed; of a seed there are several where it was evaluated in several ways."""
    preset: str
    changes: tuple[str, ...]
    """Settings of all its runs that aren't the preset's, as `key=value`."""
    rows: list[Row]
    charts: list[Chart]

    @property
    def first(self) -> Run:
        """The run whose files are shown: of the first seed that finished."""
        return next((run for run in self.runs if run.record.status == "done"), self.runs[0])

    @property
    def files(self) -> list[Path]:
        """What the first run left to be shown."""
        return shown_files(self.first.path)

    @property
    def table(self) -> Markup:
        """Its rows beside the paper's."""
        lines = [
            result_cells(row) | {"split": row.split, MIDDLE: middle(row), "verdict": brief(row)[0]}
            for row in self.rows
        ]
        columns = [title for title in COLUMNS if any(line[title] for line in lines)]
        cells = [[line[title] for title in columns] for line in lines]
        return shaped([title.partition(",")[0] for title in columns], cells)

    @property
    def verdicts(self) -> list[str]:
        """What lies behind the verdicts of the table."""
        return list(dict.fromkeys(detail for row in self.rows if (detail := brief(row)[1])))

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Name and value of what holds for all its rows."""
        record = self.first.record
        status = {run.record.seed: run.record.status for run in self.runs}
        counts = record.parameters
        each = counts if isinstance(counts, dict) else {"": counts}
        ran = dict.fromkeys(device_and_hours(row) for row in self.rows)
        commits = dict.fromkeys(commit for row in self.rows for commit in row.commits)
        data = [
            used.name + (f" (stands in for {used.stand_in_for})" if used.stand_in_for else "")
            for used in record.data
        ]
        seeds = ([k for k in status if status[k] == one] for one in ("done", "diverged"))
        parameters = ", ".join(f"{name} {count:,}".strip() for name, count in each.items())
        return [
            ("seeds", which_seeds(*seeds)),
            ("parameters", parameters),
            ("data", ", ".join(data)),
            ("ran on", "; ".join(ran)),
            ("commit", ", ".join(commits)),
        ]

    @property
    def command(self) -> str:
        """What runs it again; the other seeds are told behind it."""
        return self.rows[0].commands[0] if self.rows else self.first.record.command

    @property
    def other_seeds(self) -> list[int]:
        """The seeds that the command runs with another number."""
        return [
            run.record.seed
            for run in self.runs
            if run.record.command != self.command and run.record.overrides == self._overrides
        ]

    @property
    def other_commands(self) -> list[str]:
        """The first command of each other evaluation of the same training."""
        found: dict[tuple[str, ...], str] = {}
        for run in self.runs:
            if run.record.overrides != self._overrides:
                found.setdefault(tuple(run.record.overrides), run.record.command)
        return list(found.values())

    @property
    def _overrides(self) -> list[str]:
        """The overrides of the run whose command is shown."""
        records = [run.record for run in self.runs]
        return next(one.overrides for one in records if one.command == self.command)

    @property
    def settings(self) -> list[str]:
        """Settings that aren't the paper's, as `key: paper's → ours`."""
        return list(dict.fromkeys(one for row in self.rows for one in row.settings))

    @property
    def config(self) -> Markup:
        """Every setting, a line each, as `--set` takes them."""
        flat = flatten(self.first.record.config)
        return _text("\n".join(f"{key}={json.dumps(value)}" for key, value in flat.items()))

    @property
    def manifest(self) -> Markup:
        """On what, by which code and from which data the first run was made, as JSON."""
        record = asdict(self.first.record)
        told = {name: value for name, value in record.items() if name not in OF_ITS_OWN}
        told |= _sessions(self.first.path)
        return _text(json.dumps(told, indent=1, ensure_ascii=False))

    @property
    def numbers(self) -> Markup:
        """Everything that the runs recorded, as JSON: a metric a line, with a value a run."""
        names = dict.fromkeys(name for run in self.runs for name in run.record.metrics)
        lines = [
            f"{json.dumps(name, ensure_ascii=False)}: "
            f"[{', '.join(_number(run.record.metrics.get(name)) for run in self.runs)}]"
            for name in names
        ]
        return _text("\n".join(("{", ",\n".join(lines), "}")))

    @property
    def samples(self) -> list[tuple[str, str]]:
        """Name and beginning of the texts that the first run left."""
        return [(p.name, beginning(p)) for p in self.files if p.suffix == ".txt"]

    @property
    def picture_files(self) -> list[Path]:
        """Pictures that the first run left."""
        return [path for path in self.files if is_picture(path)]

    @property
    def midi_files(self) -> list[Path]:
        """MIDI files that the first run left."""
        return [path for path in self.files if path.suffix == ".mid"]


def groups(runs: Sequence[Run], experiment: Experiment) -> list[Group]:
    """Divide an experiment's runs by what they were trained with, and by data.

    Of two of one seed with the same settings the first counts.
    """
    found: dict[Any, dict[Any, Run]] = {}
    for run in runs:
        record = run.record
        each = tuple(
            changed_settings(record, experiment, metric.name) for metric in experiment.metrics
        )
        training = tuple(one for one in each[0] if all(one in changes for changes in each))
        key = (record.preset, training, data_mark(record))
        found.setdefault(key, {}).setdefault((record.seed, each), run)
    places = {name: place for place, name in enumerate(reversed(experiment.presets))}
    titles = _titles(
        {key: _named(list(of_key.values()), experiment) for key, of_key in found.items()}
    )
    made = []
    for rank, key in enumerate(sorted(found, key=lambda key: (places.get(key[0], -1), key))):
        ordered = [found[key][which] for which in sorted(found[key])]
        records = [run.record for run in ordered]
        by_seed = {record.seed: record for record in reversed(records)}
        rows = result_rows(records, {experiment.name: experiment})
        made.append(
            Group(
                title=titles[key],
                name=f"{experiment.name}-{rank}",
                runs=ordered,
                preset=key[0],
                changes=key[1],
                rows=[row for row in rows if row.verdict.kind != "not run"],
                charts=charts(
                    [by_seed[seed] for seed in sorted(by_seed)],
                    [metric.name for metric in experiment.metrics],
                ),
            )
        )
    return made


def _named(runs: Sequence[Run], experiment: Experiment) -> tuple[str, ...]:
    """The settings of runs that were trained alike, those named that every metric depends on."""
    records = [run.record for run in runs]
    each = [named_settings(records, experiment, metric.name) for metric in experiment.metrics]
    return tuple(one for one in each[0] if all(one in names for names in each))


def _titles(
    named: Mapping[tuple[str, tuple[str, ...], str], tuple[str, ...]],
) -> Mapping[Any, str]:
    """Key → preset and settings, with a mark of the data where that alone tells groups apart."""
    plain = {key: ", ".join((key[0], *names)) for key, names in named.items()}
    several = {text for text in plain.values() if list(plain.values()).count(text) > 1}
    return {k: f"{text} [data {k[2]}]" if text in several else text for k, text in plain.items()}


def _number(value: float | None) -> str:
    return "null" if value is None else f"{value:.6g}"


def _text(text: str) -> Markup:
    """Text between tags, where quotes may stay quotes: escaped, each takes five bytes."""
    return Markup(html.escape(text, quote=False))


def _sessions(path: Path) -> dict[str, Any]:
    """The manifest's sessions where the run still has it; none from a damaged one."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {"sessions": manifest["sessions"]} if "sessions" in manifest else {}
