"""docs/table_1.md: Table 1 row by row, and what was found about it, from committed records."""

from collections.abc import Iterable, Sequence

from common.record import Record
from common.table import Cell, Table
from experiments.melodies.catalogue import COLUMNS, TABLE_1
from experiments.melodies.finding import CHANGES, FINDINGS, IN_C, TUNES, Finding, Runs
from experiments.melodies.table import (
    DATA,
    MOVES,
    NAMES,
    SETTINGS,
    SPLITS,
    by_experiment,
    value_of,
)
from tutor.music.shape import PHRASES

INTRODUCTION = """\
# Table 1 of Sequence Tutor, explained

Written by `python -m experiments report` from the records in results/: every number of ours is a \
run's, every number of the paper's is as printed (docs/published.md). First each row under every \
setting: what is printed, what the data themselves say, and what we have. Then what moves the \
rows, a claim at a time, with the runs that test it and the commands that make them.

An empty cell was not measured, or not run yet. Values are means over seeds with 95 % \
intervals: over seeds of the tuning where three or more tuned one Note RNN (which leaves out how \
Note RNNs differ), over Note RNNs where three or more were tuned, over compositions or windows \
where there is one run. Models answer a priming event that isn't part of the composition, so \
their first event stands where a tune's second does; the data's windows from the start begin with \
a tune's first. The settings:
"""

MOST_CHANGES = 4
"""Changes that are told of each row."""

PIECES = {
    IN_C: {f"{split}_8_bars": f"{label}, in C" for split, label in SPLITS.items()},
    TUNES: {"composed_8_bars": "G, preset `melodies`"},
}
"""Runs with pieces of eight bars → splits of their metrics → label."""


def page(records: Iterable[Record]) -> str:
    """Write the page: the same text for the same records."""
    records = sorted(records, key=lambda one: (one.experiment, one.preset, one.seed))
    parts = [INTRODUCTION]
    parts += [f"- `{setting.preset}`: {setting.title}" for setting in SETTINGS]
    parts += _keys(records)
    parts.append("\n## The rows\n")
    for statistic in (*TABLE_1, *MOVES):
        parts += [f"### {_title(statistic)}\n", _row(statistic, records).markdown()]
        parts += _changes(statistic, records)
    parts += _eight_bars(records)
    parts.append("## What moves them\n")
    for number, finding in enumerate(FINDINGS, start=1):
        parts += _finding(number, finding, records)
    return "\n".join(parts)


def _keys(records: Sequence[Record]) -> list[str]:
    """How often tunes are moved to C by the key that they are noted in."""
    found = [one.metrics for one in IN_C.among(records) if "abc/agreeing" in one.metrics]
    if not found:
        return []
    abc = {name: found[0][f"abc/{name}"] for name in ("tunes", "agreeing", "without_estimate")}
    return [
        f"\nKeys are estimated from a tune's notes, by the scale that holds most of them. Of "
        f"{abc['tunes']:,.0f} tunes in ABC notation the estimate has the signature of the notation "
        f"in {abc['agreeing']:.1f} %, and {abc['without_estimate']:.1f} % have no estimate."
    ]


def _title(statistic: str) -> str:
    words = MOVES.get(statistic, statistic.replace("_", " "))
    return words[0].upper() + words[1:]


def _row(statistic: str, records: Sequence[Record]) -> Table:
    """One statistic of Table 1 under every setting: a line a setting, a column a method."""
    lines: list[list[Cell]] = []
    if statistic in TABLE_1:
        printed: list[Cell] = ["", ""]
        printed += [
            f"{TABLE_1[statistic][COLUMNS[name]]:g}" if name in COLUMNS else "" for name in NAMES
        ]
        lines.append(["printed", *printed])
    for setting in SETTINGS:
        found = by_experiment(records, setting)
        data = [value_of(found.get(DATA, ()), f"{split}/{statistic}") for split in SPLITS]
        ours = [value_of(found.get(name, ()), f"composed/{statistic}") for name in NAMES]
        lines.append([f"`{setting.preset}`", *data, *ours])
    titles = ("setting", *SPLITS.values(), *NAMES.values())
    return Table(titles, lines, frozenset(titles[1:]))


def _changes(statistic: str, records: Sequence[Record]) -> list[str]:
    """The single changes that move a statistic most, and the commands of the runs behind them."""
    found = []
    for change in CHANGES:
        metric = f"{change.split}/{statistic}"
        ends = [runs.means(records, [metric]) for runs in (change.before, change.after)]
        if all(ends):
            before, after = (end[metric] for end in ends)
            found.append((abs(after - before), before, after, change))
    found.sort(key=lambda one: -one[0])
    lines: list[list[Cell]] = [
        [one.what, f"`{one.setting}`", one.of, f"{before:.3g}", f"{after:.3g}", f"{after - before:+.3g}"]
        for _, before, after, one in found[:MOST_CHANGES]
    ]
    if not lines:
        return []
    titles = ("what moves it most", "setting", "of", "before", "after", "difference")
    groups = [runs for *_, one in found[:MOST_CHANGES] for runs in (one.before, one.after)]
    return [Table(titles, lines, frozenset(titles[3:])).markdown(), _commands(groups)]


def _eight_bars(records: Sequence[Record]) -> list[str]:
    """How often bars come again in pieces of eight, in the data and as composed for tunes."""
    lines: list[list[Cell]] = []
    for runs, splits in PIECES.items():
        group = runs.among(records)
        for split, label in splits.items():
            names = [f"{split}/notes_returning_after_{bars}_bars" for bars in PHRASES]
            lines.append([label, *(value_of(group, name) for name in names)])
    heads = [f"{bars} bar{'s' if bars > 1 else ''} before" for bars in PHRASES]
    commands = _commands(PIECES)
    return [
        "## Bars that come again\n",
        "Of the notes in pieces of eight bars, those that also began so many bars before, in the "
        "same place and pitch, in %.\n",
        Table(("pieces", *heads), lines, frozenset(heads)).markdown(),
        commands,
    ]


def _commands(groups: Iterable[Runs]) -> str:
    """The commands of runs, each once."""
    commands = dict.fromkeys(command for runs in groups for command in runs.commands)
    return "".join(f"    {command}\n" for command in commands)


def _finding(number: int, finding: Finding, records: Sequence[Record]) -> list[str]:
    """A claim, whether the records confirm it, its numbers and its commands."""
    lines: list[list[Cell]] = []
    for runs in finding.runs:
        group = runs.among(records)
        lines.append([runs.label, *(value_of(group, metric) for metric in finding.metrics)])
    heads = [metric.replace("/", ": ").replace("_", " ") for metric in finding.metrics]
    titles = ("runs", *heads)
    commands = _commands(finding.runs)
    return [
        f"### {number}. {finding.claim}\n",
        f"**{finding.verdict(records)}** It counts as confirmed if {finding.test}.\n",
        Table(titles, lines, frozenset(heads)).markdown(),
        commands,
    ]
