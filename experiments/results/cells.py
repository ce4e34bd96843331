"""A row's cells as text, and the tables that the command line prints."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterable, Sequence

from common.metric import Metric, MetricName
from common.progress import about
from common.table import Cell, Summary, Table
from experiments.results.row import CHECKSUM_DIGITS, Row


def as_json(rows: Sequence[Row]) -> str:
    """Return a list with one object per row, numbers in full."""
    cells = [
        {
            **dataclasses.asdict(row),
            "metric": row.metric.name,
            "better": row.metric.better,
            "published": [number.to_dict() for number in row.published],
            "full_size": row.full_size,
            "as_published": row.as_published,
            "settings": row.settings,
        }
        for row in rows
    ]
    return json.dumps(cells, indent=1)


def as_csv(rows: Sequence[Row]) -> str:
    """Return every column as comma-separated values, with a head, which stands alone without rows.

    Behind the columns of text stand those of numbers in full: mean, ends of the interval, and as
    JSON the seeds and their values.
    """
    text = io.StringIO()
    table = _full_table(rows, digits=None)
    lines = [[*line, *_numbers(row)] for line, row in zip(table.rows, rows, strict=True)]
    csv.writer(text, lineterminator="\n").writerows([[*table.titles, *NUMBERS], *lines])
    return text.getvalue()


NUMBERS = ("mean", "low", "high", "seeds", "values")
"""Titles of the columns that a program reads."""


def _numbers(row: Row) -> list[Cell]:
    """A row's cells under `NUMBERS`; empty where no seed finished."""
    found = row.ours
    mean, low, high = (found.mean, found.low, found.high) if found else (None, None, None)
    values = found.values if found else ()
    return [mean, low, high, json.dumps(row.seeds), json.dumps(values)]


def as_markdown(rows: Sequence[Row]) -> str:
    """Return all columns in one Markdown table; its heads alone where there are no rows."""
    return _full_table(rows).markdown()


def as_text(rows: Sequence[Row], *, full: bool = False) -> str:
    """Return a table for standard output, laid out for the terminal if it is one.

    Args:
      rows: what was measured.
      full: whether to give all columns, or the few that a reader needs first.
    """
    if not rows:
        return "No results here yet. See what can be run: python -m experiments list"
    text = (_full_table(rows) if full else _short_table(rows)).render().rstrip()
    if any(row.apart for row in rows):
        text += f"\n\n{APART}"
    if any(row.committed for row in rows):
        text += f"\n\n{COMMITTED}"
    if not full:
        text += f"\n\n{MORE}"
    return text


OURS = "ours, mean [95 % CI]"
"""Title of the column of our results."""
MIDDLE = "interquartile mean"
CHECKSUMS = "data checksums (sha256)"
RIGHT = frozenset({"parameters", OURS, MIDDLE, "n seeds", "difference"})
"""Titles of columns aligned to the right."""
RESULT_TITLES = (
    "experiment",
    "dataset and split",
    "metric",
    "protocol",
    "parameters",
    "published",
    OURS,
    "n seeds",
    "difference",
    "verdict",
)
"""Titles of the columns that a reader looks for first."""
ORIGIN_TITLES = ("device and hours", "commit", "command", "settings, paper → ours", CHECKSUMS)
"""Titles of the columns that say where a row comes from."""


def result_cells(row: Row) -> dict[str, str]:
    """Return a row's cells by the titles `RESULT_TITLES`."""
    cells = (
        f"{row.experiment}, {row.label}",
        f"{row.dataset}, {row.split}",
        _metric(row),
        row.protocol,
        "" if row.parameters is None else f"{row.parameters:,}",
        "; ".join(f"{p.printed} ({p.source})" for p in row.published),
        ours(row),
        _seeds(row),
        _difference(row),
        row.verdict.text,
    )
    return dict(zip(RESULT_TITLES, cells, strict=True))


APART = (
    "Runs of the same settings on other data are kept apart; in brackets a mark of their data's "
    "checksums."
)
COMMITTED = (
    "*committed*: the results that came with the code; own runs are never averaged with them."
)

MORE = "What lies behind a verdict, and every column: python -m experiments table --full"


def _short_table(rows: Sequence[Row]) -> Table:
    """What was measured, published, found and judged."""
    cells = []
    for row in rows:
        found = result_cells(row)
        one = {"experiment": found["experiment"]} if len({r.experiment for r in rows}) > 1 else {}
        one |= {
            "metric": metric_name(row),
            "published": "; ".join(p.printed for p in row.published),
            "ours": found[OURS],
            "n seeds": str(len(row.seeds)),
            "verdict": kind(row),
        }
        if len({(r.label, r.dataset) for r in rows}) > 1 and "experiment" not in one:
            one = {"run": row.label, **one}
        if row.apart:
            one["metric"] += f" on {row.dataset}"
        cells.append(one)
    return Table(tuple(cells[0]), [tuple(line.values()) for line in cells], RIGHT)


def _full_table(rows: Sequence[Row], digits: int | None = CHECKSUM_DIGITS) -> Table:
    """Every column in one table, with so many digits of checksums; None for all."""
    middles = (MIDDLE,) if any(map(middle, rows)) else ()  # where any row has the seeds for one
    lines = [
        (
            *result_cells(row).values(),
            *(middle(row) for _ in middles),
            device_and_hours(row),
            ", ".join(row.commits),
            command(row),
            "; ".join(row.settings),
            checksums(row, digits),
        )
        for row in rows
    ]
    return Table((*RESULT_TITLES, *middles, *ORIGIN_TITLES), lines, RIGHT)


def _metric(row: Row) -> str:
    model = MetricName.parse(row.metric.name).model
    return f"{model}: {row.metric.measure}" if model else row.metric.measure


def metric_name(row: Row) -> str:
    """Return split, model where there are several, and measure."""
    return f"{row.split} {_metric(row)}"


def brief(row: Row) -> tuple[str, str]:
    """Return a row's verdict without what it rests on, and with that; empty where it is all."""
    head, *tails = row.verdict.text.split("; ")
    kind, _, detail = head.partition(": ")
    return "; ".join((kind, *tails)), head if detail else ""


def kind(row: Row) -> str:
    """Return a row's verdict in few words: its kind, and how many of its seeds diverged."""
    if not row.seeds or not row.diverged:
        return row.verdict.kind
    lost = f"{len(row.diverged)} of {len(row.trained)} seeds diverged"
    return f"{row.verdict.kind}; {lost}" if row.verdict.kind else lost


def which_seeds(finished: Iterable[int], diverged: Iterable[int]) -> str:
    """Return which seeds finished and which diverged."""
    lost = ", ".join(map(str, sorted(diverged)))
    told = (", ".join(map(str, sorted(finished))), f"diverged: {lost}" if lost else "")
    return "; ".join(text for text in told if text)


def number(value: float, metric: Metric, sign: str = "") -> str:
    """Return a value of a metric; `sign` is "+" to give positive ones theirs.

    What its decimals would round to nothing has one digit that isn't.
    """
    decimals = metric.decimals
    if decimals is None:
        return f"{value:{sign}.4g}"
    text = f"{value:{sign}.{decimals}f}"
    if value == 0 or float(text) != 0:
        return text
    return f"{value:{sign}.{-math.floor(math.log10(abs(value)))}f}"


def spread(found: Summary, metric: Metric, sign: str = "") -> str:
    """Return the mean with its interval, or the single values where there is none.

    Values that are all the same, as of what no seed draws, are told once.
    """
    if found.low is not None and found.low == found.high:
        return number(found.mean, metric, sign)
    if found.low is None or found.high is None:
        return ", ".join(number(value, metric, sign) for value in found.values)
    mean, low, high = (number(one, metric, sign) for one in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}]"


def ours(row: Row) -> str:
    """Return the mean with its interval, or single values; empty where no seed finished."""
    return "" if row.ours is None else spread(row.ours, row.metric)


def middle(row: Row) -> str:
    """Return the interquartile mean with its interval; empty where there are too few seeds."""
    found = row.ours
    if found is None or found.middle is None:
        return ""
    own = dataclasses.replace(
        found, mean=found.middle, low=found.middle_low, high=found.middle_high
    )
    return spread(own, row.metric)


def _seeds(row: Row) -> str:
    return str(len(row.seeds)) + (f" (+{len(row.diverged)} diverged)" if row.diverged else "")


def _difference(row: Row) -> str:
    texts = []
    for value, published in zip(row.differences, row.published, strict=False):
        share = f" ({100 * value / abs(published.value):+.1f} %)" if published.value else ""
        of = f" to {published.printed}" if len(row.published) > 1 else ""
        texts.append(f"{number(value, row.metric, '+')}{share}{of}")
    return "; ".join(texts)


def device_and_hours(row: Row) -> str:
    """Return on what it ran and for how long, or is expected to."""
    duration = about(3600 * (row.hours or 0))
    if row.verdict.kind == "not run":
        known = " (an estimate)" if row.estimated else ""
        return f"{row.device}, {duration} expected{known}"
    return f"{row.device}, {duration} a seed"


def checksums(row: Row, digits: int | None = CHECKSUM_DIGITS) -> str:
    """Return the files of a row's data, each with the first digits of its sha256; None for all."""
    return "; ".join(f"{name} {value[:digits]}" for name, value in row.checksums.items())


def command(row: Row) -> str:
    """Return the command that runs the row's first seed, and which other seeds there are."""
    return row.commands[0] + other_seeds(row)


def other_seeds(row: Row) -> str:
    """Return the seeds that the first record's command doesn't run."""
    seeds = sorted((*row.seeds, *row.diverged))
    each = zip(seeds, row.commands, strict=False)  # a row of no run has a command and no seeds
    others = [str(seed) for seed, text in each if text != row.commands[0]]
    return f" (also seed {', '.join(others)})" if others else ""
