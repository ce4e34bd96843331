"""Tables in the shape of the papers': published beside ours, full size apart from scaled down."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from common.table import TOO_NARROW, Cell, Table
from experiments.registry import Experiment
from experiments.results.cells import ours
from experiments.results.row import Row

MARKS: Mapping[str, str] = {
    "matched": "✓",
    "better": "▲",
    "short": "▼",
    "other data": "◇",
    "other settings": "○",
    "diverged": "✗",
}
"""Verdict of a run of the paper's size → the mark behind its number."""
CLOSE = "≈"
"""Behind the mark of a number of the paper's settings on other data that is near the paper's."""
LEGEND = (
    "✓ matched · ▲ better · ▼ short · ◇ the paper's settings on other data "
    f"({CLOSE}: within 1 % of the printed number, or with it in the interval) · ○ the paper's size "
    "with other settings · ✗ diverged · – not run at this size. In brackets the 95 % interval over "
    f"seeds. {TOO_NARROW}"
)
SMALLER, NOT_RUN = "scaled down", "not run"
ABSENT = "–"
KINDS = (*MARKS, SMALLER, NOT_RUN)
"""What can be said of a cell, the first that applies."""
LEAST_FAVOURABLE = ("diverged", "short", "other settings", "other data", "better", "matched")
"""Verdicts of runs of the paper's size, from the least favourable on."""


@dataclass(frozen=True)
class Asked:
    """A number that a paper printed, as one of our metrics."""

    experiment: str
    metric: str


Entry = tuple[Asked | str, ...]
"""Numbers that share a cell, such as validation and test; a text stands as it is among the
published ones."""


@dataclass(frozen=True)
class Line:
    """A line of a paper's table."""

    labels: tuple[str, ...]
    entries: tuple[Entry, ...]
    """One for each group of columns."""


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper, as the paper arranges it."""

    title: str
    caption: str
    """What the numbers are, and where the published ones stand."""
    labels: tuple[str, ...]
    """Heads of the columns that tell lines apart."""
    groups: tuple[str, ...]
    """Heads of the columns of numbers, each in two: published and ours."""
    lines: tuple[Line, ...]
    whose: str = "paper"
    """Head of the columns of published numbers: who published them."""
    together: bool = False
    """Whether the paper's number and ours share a cell, one below the other."""
    picture: str = ""
    """Name of the figure shown below it, of those that its family draws; empty for none."""

    def asked(self) -> list[Asked]:
        """Return everything that it asks for, once."""
        found = (one for line in self.lines for entry in line.entries for one in entry)
        return list(dict.fromkeys(one for one in found if isinstance(one, Asked)))


class Answers:
    """What rows answer to what tables ask."""

    def __init__(self, rows: Iterable[Row], experiments: Mapping[str, Experiment]):
        """Sort rows by what they answer.

        Args:
          rows: of the records; those of no run are left out.
          experiments: by name, for the published numbers.
        """
        self._experiments = experiments
        self._rows: dict[Asked, list[Row]] = {}
        for row in rows:
            if row.verdict.kind != NOT_RUN:
                self._rows.setdefault(Asked(row.experiment, row.metric.name), []).append(row)

    def full_size(self, asked: Asked) -> list[Row]:
        """Return the runs of the paper's size that are shown.

        They are all that have the paper's settings, whatever their data. Where there are none, it
        is the first of those with the fewest other settings.
        """
        found = self._of_full_size(asked)
        as_printed = [row for row in found if _as_printed(row)]
        return as_printed or sorted(found, key=lambda row: len(row.settings))[:1]

    def left_out(self, asked: Asked) -> int:
        """Return how many runs of the paper's size, with other settings, aren't shown for another
        of those."""
        shown = self.full_size(asked)
        return len(self._of_full_size(asked)) - 1 if shown and not _as_printed(shown[0]) else 0

    def _of_full_size(self, asked: Asked) -> list[Row]:
        return [
            row for row in self._rows.get(asked, ()) if row.full_size and row.verdict.kind in MARKS
        ]

    def scaled_down(self, asked: Asked) -> list[Row]:
        """Return the smaller runs, those that diverged among them."""
        return [row for row in self._rows.get(asked, ()) if not row.full_size]

    def kind(self, asked: Asked) -> str:
        """Return what can be said of a number, the least favourable where several runs are
        shown: one of `KINDS`."""
        if kinds := {row.verdict.kind for row in self.full_size(asked)}:
            return next(kind for kind in LEAST_FAVOURABLE if kind in kinds)
        return SMALLER if self.scaled_down(asked) else NOT_RUN

    def close(self, asked: Asked) -> bool:
        """Return whether it is on other data, and near what was printed."""
        rows = self.full_size(asked)
        return self.kind(asked) == "other data" and all(row.verdict.close for row in rows)

    def published(self, asked: Asked) -> str:
        """Write what was printed."""
        experiment = self._experiments[asked.experiment]
        of_metric = (one for one in experiment.published if one.metric == asked.metric)
        return " or ".join(one.printed for one in of_metric)

    def ours(self, entry: Entry) -> str:
        """Write our numbers of the paper's size with their marks; a line for each run, with
        its name, where several are shown; of a single one whether it is a committed one. Empty
        where a cell asks for none."""
        asked = [one for one in entry if isinstance(one, Asked)]
        shown = [{_name(row): row for row in self.full_size(one)} for one in asked]
        found = list(dict.fromkeys(name for rows in shown for name in rows))
        if not found:
            return ABSENT if asked else ""
        lines = []
        for name in found:
            each = " / ".join(_marked(rows[name]) if name in rows else ABSENT for rows in shown)
            lines.append(f"{each}, {name}" if len(found) > 1 else each)
        if len(found) == 1 and any(row.committed for rows in shown for row in rows.values()):
            lines.append("committed")
        return "<br>".join(lines)


def summary(tables: Sequence[PaperTable], answers: Answers) -> Table:
    """Count what has become of the numbers of each table: a column for each kind that there is.
    Titles are links."""
    each = {table.title: Counter(map(answers.kind, table.asked())) for table in tables}
    kinds = [kind for kind in KINDS if any(counts[kind] for counts in each.values())]
    lines: list[list[Cell]] = []
    for table in tables:
        counts = each[table.title]
        shown: list[Cell] = [counts[kind] or "" for kind in kinds]
        if close := sum(map(answers.close, table.asked())):
            place = kinds.index("other data")
            shown[place] = f"{shown[place]} ({close} {CLOSE})"
        link = f"[{table.title}](#{anchor(table.title)})"
        lines.append([link, len(table.asked()), *shown])
    heads = ("numbers", *(f"{MARKS[kind]} {kind}" if kind in MARKS else kind for kind in kinds))
    return Table(("table", *heads), lines, frozenset(heads))


def written(table: PaperTable, answers: Answers) -> Table:
    """Write a paper's table: published and ours, of the paper's size."""
    lines: list[list[Cell]] = []
    for line in table.lines:
        cells: list[Cell] = list(line.labels)
        for entry in line.entries:
            paper = " / ".join(
                one if isinstance(one, str) else answers.published(one) for one in entry
            )
            own = answers.ours(entry)
            cells += [f"{paper}<br>{own}" if own else paper] if table.together else [paper, own]
        lines.append(cells)
    whose = (f"{table.whose}, ours",) if table.together else (table.whose, "ours")
    heads = [f"{group}: {one}" if group else one for group in table.groups for one in whose]
    return Table((*table.labels, *heads), lines, frozenset(heads))


def choice(table: PaperTable, answers: Answers) -> str:
    """Say what was shown of several runs of the paper's size; empty where there was no choice."""
    told, asked = "", table.asked()
    if any(len(answers.full_size(one)) > 1 for one in asked):
        told += (
            "Of several runs with the paper's settings each is shown, with its data and, where "
            "these have one name, a mark of their checksums; the summary counts the least "
            "favourable. "
        )
    if any(answers.left_out(one) for one in asked):
        told += (
            f"Where several runs are {MARKS['other settings']}, the one with the fewest settings "
            "that aren't the paper's is shown; all stand under *Every run*. "
        )
    return f"{told.strip()}\n" if told else ""


def _as_printed(row: Row) -> bool:
    """Whether a run of the paper's size has all of its settings."""
    return not row.settings and row.verdict.kind != "other settings"


def _name(row: Row) -> str:
    return f"{row.label} on {row.dataset}"


def _marked(row: Row) -> str:
    """Our number with the mark of its verdict, and how many of its seeds diverged."""
    if row.ours is None:
        return MARKS[row.verdict.kind]
    lost = f", {len(row.diverged)} {MARKS['diverged']}" if row.diverged else ""
    close = CLOSE if row.verdict.close else ""
    return f"{ours(row)} {MARKS[row.verdict.kind]}{close}{lost}"


def how_to_run(table: PaperTable) -> str:
    """Write the command that runs a number of a table, and which experiments there are."""
    names = dict.fromkeys(one.experiment for one in table.asked())
    listed = ", ".join(f"`{name}`" for name in _braced(names))
    return f"To run a number: `python -m experiments run NAME --preset paper`; NAME: {listed}.\n"


def _braced(names: Iterable[str]) -> list[str]:
    """Names in fewer words: those that differ in their last number alone as `depth{1,2}_tied`."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        parts = re.fullmatch(r"(.*?)(\d*)(\D*)", name)
        assert parts is not None  # it matches any text without line ends
        found.setdefault((parts[1], parts[3]), []).append(parts[2])
    return [
        f"{before}{{{','.join(numbers)}}}{after}"
        if len(numbers) > 1
        else before + numbers[0] + after
        for (before, after), numbers in found.items()
    ]


def anchor(title: str) -> str:
    """Return the anchor that GitHub and MkDocs give a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
