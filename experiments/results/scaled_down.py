"""Of a paper's table what was run smaller: beside the published numbers, apart from full size."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from common.table import Cell, Table
from experiments.results.cells import ours
from experiments.results.paper_table import MARKS, NOT_RUN, Answers, Asked, PaperTable, anchor
from experiments.results.row import Row
from experiments.results.verdict import Departure, settings_text, short

APART = "Scaled down, not comparable with the published numbers"
EVERY_RUN = f"under [Every run](#{anchor('Every run')})"
MOST_COLUMNS = 7
"""Of a table."""
MOST_MEASURES = 3
"""Beside each other; more of them stand below each other."""
MOST_RUNS = 3
"""Beside each other."""


class _Line(NamedTuple):
    """Numbers of a run that share a line."""

    label: str
    """Of the paper's table."""
    run: str
    numbers: Mapping[str, Sequence[tuple[Asked, Row]]]
    """Measure → what was asked, and what answers to it."""

    @property
    def rows(self) -> list[Row]:
        """All that it has."""
        return [row for found in self.numbers.values() for _, row in found]

    def seeds(self) -> set[int]:
        """Return the seeds of all."""
        return {seed for row in self.rows for seed in row.seeds}

    @property
    def departure(self) -> Departure:
        """From the paper's run."""
        found = self.rows[0].departure
        assert found is not None, f"{self.label} ({self.run}) stands beside no run of the paper's"
        return found

    def told(self) -> list[str]:
        """Say in what the run is smaller but for its parameters, and what diverged, a part each."""
        first, departure = self.rows[0], self.departure
        told = [one for one in (*departure.amounts, *departure.more) if one not in departure.size]
        lost = f"{len(first.diverged)} of {_count(first.trained)} diverged"
        return [*told, *[lost] * bool(first.diverged)]

    def size(self) -> str:
        """Say how many parameters the model has, and of how many in the paper."""
        count = self.rows[0].parameters
        told = "" if count is None else short(count)
        return " ".join(self.departure.size).replace(" parameters", "") or told


def scaled_down(
    table: PaperTable,
    answers: Answers,
    write: Callable[[Table], str] = Table.markdown,
    where: str = EVERY_RUN,
) -> str:
    """Write the runs that are smaller than the paper's; empty where there are none.

    What is the same in all of them is told once, above. A number by another protocol than the
    table's first of that measure has a line of its own; one of some of a line's seeds says of how
    many.

    Args:
      table: of the paper.
      answers: what was run.
      write: makes a text of a table.
      where: a reader finds all settings and numbers.
    """
    lines = _lines(table, answers)
    if not lines:
        return ""
    order = list(dict.fromkeys(asked.metric for asked in table.asked()))
    places = {
        measure: order.index(found[0][0].metric)
        for line in lines
        for measure, found in line.numbers.items()
    }
    measures = sorted(places, key=lambda measure: places[measure])
    runs = list(dict.fromkeys(line.run for line in lines))
    if len(measures) <= MOST_MEASURES:
        return _a_line_a_run(table, answers, lines, measures, write, where)
    if len(table.groups) == 1 and len(runs) <= MOST_RUNS:
        return _a_line_a_measure(table, answers, lines, runs, write)
    each = {(row.experiment, line.run) for line in lines for row in line.rows}
    names = dict.fromkeys(f"`{row.experiment}`" for line in lines for row in line.rows)
    return f"{APART}: {_count(each, 'run')} of {', '.join(names)}; they stand {where}.\n"


def _lines(table: PaperTable, answers: Answers) -> list[_Line]:
    """Everything that is smaller, in the order of the table."""
    protocols: dict[str, str] = {}
    found: dict[tuple[str, str], dict[str, list[tuple[Asked, Row]]]] = {}
    for line in table.lines:
        for group, entry in zip(table.groups, line.entries, strict=True):
            for asked in (one for one in entry if isinstance(one, Asked)):
                for row in answers.scaled_down(asked):
                    measure = f"{row.split} {row.metric.measure}"
                    usual = protocols.setdefault(measure, row.protocol)
                    several = len(table.groups) > 1
                    other = "" if row.protocol == usual else row.protocol
                    label = ", ".join(filter(None, (line.labels[0], group * several, other)))
                    run = f"{row.label} on {row.dataset}"
                    numbers = found.setdefault((label, run), {})
                    numbers.setdefault(measure, []).append((asked, row))
    return [_Line(label, run, numbers) for (label, run), numbers in found.items()]


def _a_line_a_run(
    table: PaperTable,
    answers: Answers,
    lines: Sequence[_Line],
    measures: Sequence[str],
    write: Callable[[Table], str],
    where: str,
) -> str:
    same, rest = _shared(lines)
    several = len({line.run for line in lines}) > 1
    heads = [table.labels[0], *["run"] * several, "parameters"]
    last = ["seeds", *["what is smaller"] * any(rest)]
    both = len(heads) + 2 * len(measures) + len(last) <= MOST_COLUMNS
    whose = (table.whose, "ours") if both else ("ours",)
    numbers = [f"{measure}: {one}" for measure in measures for one in whose]
    written: list[list[Cell]] = []
    for line, differs in zip(lines, rest, strict=True):
        cells: list[Cell] = [line.label, *[line.run] * several, line.size()]
        for measure in measures:
            asked = line.numbers.get(measure, ())
            paper = " / ".join(dict.fromkeys(answers.published(one) for one, _ in asked))
            own = "<br>".join(_number(row, line.seeds()) for _, row in asked)
            cells += [paper, own] if both else [own]
        written.append([*cells, len(line.seeds()), *[differs] * any(rest)])
    shared = Table((*heads, *numbers, *last), written, frozenset(("parameters", *numbers, "seeds")))
    return f"{_above(lines, same, where)}\n\n{write(shared)}{_absent(table, answers)}"


def _absent(table: PaperTable, answers: Answers) -> str:
    """Say of which lines nothing was run at any size, by the groups of columns."""
    absent: dict[str, list[str]] = {}
    for line in table.lines:
        for group, entry in zip(table.groups, line.entries, strict=True):
            asked = [one for one in entry if isinstance(one, Asked)]
            if asked and all(answers.kind(one) == NOT_RUN for one in asked):
                absent.setdefault(group, []).append(line.labels[0])
    told = [
        f"{group}: " * (len(table.groups) > 1) + ", ".join(labels)
        for group, labels in absent.items()
    ]
    return f"\nNot run at any size: {'; '.join(told)}.\n" if told else ""


def _a_line_a_measure(
    table: PaperTable,
    answers: Answers,
    lines: Sequence[_Line],
    runs: Sequence[str],
    write: Callable[[Table], str],
) -> str:
    """For tables of many measures of one model."""
    heads = (table.whose, *(f"ours: {run}" if len(runs) > 1 else "ours" for run in runs))
    by_label: dict[str, dict[str, _Line]] = {}
    seeds: dict[str, set[int]] = {}
    for line in lines:
        by_label.setdefault(line.label, {})[line.run] = line
        seeds.setdefault(line.run, set()).update(line.seeds())
    written: list[list[Cell]] = []
    for label, found in by_label.items():
        asked = dict.fromkeys(
            one for line in found.values() for each in line.numbers.values() for one, _ in each
        )
        own = [
            "<br>".join(_number(row, seeds[run]) for row in found[run].rows) if run in found else ""
            for run in runs
        ]
        written.append([label, " / ".join(map(answers.published, asked)), *own])
    told = {line.run: line for line in lines}
    above = "; ".join(
        f"preset {run}, {', '.join(_whole(line))}, {_count(seeds[run])}"
        for run, line in told.items()
    )
    shared = Table((table.labels[0], *heads), written, frozenset(heads))
    return f"{APART}: {above}.\n\n{write(shared)}"


def _count(things: Collection[Any], what: str = "seed") -> str:
    return f"{len(things)} {what}{'s' * (len(things) != 1)}"


def _whole(line: _Line) -> list[str]:
    """All that is told of a line that stands alone."""
    others = line.departure.others
    changed = [f"{settings_text(others)} changed"] if others else []
    return [*line.departure.size, *line.told(), *changed]


def _shared(lines: Sequence[_Line]) -> tuple[list[str], list[str]]:
    """What all lines have in common of what is smaller, and of each line the rest."""
    told = [line.told() for line in lines]
    same = [part for part in told[0] if all(part in one for one in told)]
    return same, ["; ".join(part for part in one if part not in same) for one in told]


def _above(lines: Sequence[_Line], same: Sequence[str], where: str) -> str:
    """What stands above the lines, for all of them."""
    counts = sorted(line.departure.others for line in lines if line.departure.others)
    several = " to ".join(dict.fromkeys((str(counts[0]), str(counts[-1])))) if counts else ""
    changed = [f"{settings_text(several)} changed (they stand {where})"] if several else []
    runs = {line.run for line in lines}
    told = [*(f"preset {run}" for run in runs if len(runs) == 1), *same, *changed]
    return f"{APART}: {', '.join(told)}." if told else f"{APART}."


def _number(row: Row, seeds: set[int]) -> str:
    """Our number, with how many seeds it is over where not all have it; or the mark of a run that
    diverged."""
    if not row.seeds:
        return MARKS["diverged"]
    return ours(row) + ("" if len(row.seeds) == len(seeds) else f" ({_count({*row.seeds})})")
