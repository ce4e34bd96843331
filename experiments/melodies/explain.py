"""docs/table_1.md: Table 1 row by row, and what was found about it, from committed records."""

from collections.abc import Iterable, Sequence
from statistics import fmean

from common.metric import MetricName
from common.record import Record
from common.table import Cell, Table
from experiments.melodies.catalogue import TABLE_1
from experiments.melodies.comparison import Finding, Runs, command
from experiments.melodies.finding import FINDINGS, SUGGESTED
from experiments.melodies.table import (
    DATA,
    MOVES,
    NAMES,
    NOTE_RNN,
    OF_PRIOR,
    SETTINGS,
    SPLITS,
    TUNED,
    Setting,
    by_experiment,
    means,
    printed_of,
    value_of,
    words_of,
)
from experiments.melodies.tested import CHANGES, IN_C, TUNES, TUNES_OF_Q
from tutor.music.shape import PHRASES

INTRODUCTION = """\
# Table 1 of Sequence Tutor, explained

Written by `python -m experiments report` from the records in results/: every number of ours is a \
run's, every number of the paper's is as printed (docs/published.md). First each row under every \
setting: what is printed, what the data themselves say, and what we have. Then what moves the \
rows, a claim at a time, with the runs that test it and the commands that make them.

An empty cell was not measured, or not run yet. Values are means over seeds with 95 % \
intervals: over seeds of the tuning where three or more tuned one Note RNN (which leaves out how \
Note RNNs differ), over Note RNNs where several were tuned, over compositions where there is \
one run. Those of the data are over windows of one drawing, as if each came from a tune of its \
own; windows from anywhere overlap, so theirs are too narrow. Models answer a priming event that \
isn't part of the composition, so their first event stands where a tune's second does; the data's \
windows from the start begin with a tune's first. Below each row stand the single changes that \
move it most; those whose intervals touch are left out. The settings:
"""

MOST_CHANGES = 4
"""Changes that are told of each row."""

PIECES = {
    IN_C: {f"{split}_8_bars": f"{label}, in C" for split, label in SPLITS.items()},
    TUNES: {"composed_8_bars": TUNES.label},
    TUNES_OF_Q: {"composed_8_bars": TUNES_OF_Q.label},
}
"""Runs with pieces of eight bars → splits of their metrics → label."""


def page(records: Iterable[Record]) -> str:
    """Write the page: the same text for the same records."""
    records = sorted(records, key=lambda one: (one.experiment, one.preset, one.seed))
    parts = [INTRODUCTION]
    parts += [f"- `{setting.preset}`: {setting.title}" for setting in SETTINGS]
    parts += _keys(records)
    for setting in SETTINGS:
        parts += _runs_of(setting, records)
    parts.append("\n## The rows\n")
    for statistic in (*TABLE_1, *MOVES):
        parts += [f"### {_title(statistic)}\n", _row(statistic, records).markdown()]
        parts += _changes(statistic, records)
    parts += _eight_bars(records)
    parts += ["## What moves them\n", *_suggested(records)]
    for number, finding in enumerate(FINDINGS, start=1):
        parts += _finding(number, finding, records)
    return "\n".join(parts)


def _keys(records: Sequence[Record]) -> list[str]:
    """How many tunes are moved to C, and how often by the key that they are noted in."""
    found = next((one.metrics for one in IN_C.among(records) if "keys/major" in one.metrics), None)
    if found is None:
        return []
    major, minor, keyless, wide = (
        found[f"keys/{what}"] for what in ("major", "minor", "without_a_key", "too_wide")
    )
    return [
        f"\nKeys are estimated from a tune's notes, by the scale that holds most of them. Of "
        f"{found['abc/tunes']:,.0f} tunes in ABC notation the estimate has the signature of the "
        f"notation in {found['abc/agreeing']:.1f} %, and {found['abc/without_estimate']:.1f} % "
        f"have no estimate. Of the melodies that models learn from and are tested on, "
        f"{major:,.0f} are moved to C major and {minor:,.0f} to A minor; {keyless:,.0f} without a "
        f"key and {wide:,.0f} too wide to fit stay as they are."
    ]


def _runs_of(setting: Setting, records: Sequence[Record]) -> list[str]:
    """What stands behind the values of a setting: how many runs, and their commands, folded."""
    lines = []
    for name, group in by_experiment(records, setting).items():
        seeds: dict[tuple[str, ...], list[int]] = {}
        for one in group:
            seeds.setdefault(tuple(one.overrides), []).append(one.seed)
        priors = len({one.config.get("note_rnn", {}).get("seed") for one in group})
        number = f"{len(group)} run{'s' * (len(group) > 1)}"
        on = f" on {priors} Note RNN{'s' * (priors > 1)}" if name in TUNED else ""
        lines.append(f"{NAMES.get(name, 'data')}, {number}{on}:\n")
        lines += [
            f"    {command(name, group[0].preset, each, overrides)}"
            for overrides, each in seeds.items()
        ]
        lines.append("")
    if not lines:
        return []
    summary = f"<details><summary>Runs of <code>{setting.preset}</code></summary>\n"
    return ["", summary, *lines, "</details>"]


def _title(statistic: str) -> str:
    words = words_of(statistic)
    return words[0].upper() + words[1:]


def _head(metric: str) -> str:
    """A metric's name above a column: what is measured, and on what if not on compositions."""
    _, split, measure = MetricName.parse(metric)
    on = "" if split == "composed" else f"{SPLITS.get(split, split)}: "
    return on + words_of(measure)


def _row(statistic: str, records: Sequence[Record]) -> Table:
    """One statistic of Table 1 under every setting: a line a setting, a column a method."""
    of_prior = statistic in OF_PRIOR
    splits = {} if of_prior else SPLITS
    names = {name: head for name, head in NAMES.items() if not of_prior or name == NOTE_RNN}
    lines: list[list[Cell]] = []
    if statistic in TABLE_1:
        printed = [printed_of(name, statistic) for name in names]
        lines.append(["printed", *("" for _ in splits), *printed])
    for setting in SETTINGS:
        found = by_experiment(records, setting)
        cells = [value_of(found.get(DATA, ()), f"{split}/{statistic}") for split in splits]
        cells += [value_of(found.get(name, ()), f"composed/{statistic}") for name in names]
        lines.append([f"`{setting.preset}`", *cells])
    titles = ("setting", *splits.values(), *names.values())
    return Table(titles, lines, frozenset(titles[1:]))


def _changes(statistic: str, records: Sequence[Record]) -> list[str]:
    """The single changes that move a statistic most, and the commands of the runs behind them."""
    moved = [(one, ends) for one in CHANGES if (ends := one.moved(records, statistic))]
    moved.sort(key=lambda found: -abs(found[1][1] - found[1][0]))
    moved = moved[:MOST_CHANGES]
    lines: list[list[Cell]] = [
        [
            one.what,
            f"`{one.setting}` {one.values}",
            "Note RNN" if statistic in OF_PRIOR else one.of,
            f"{before:.3g}",
            f"{after:.3g}",
            f"{after - before:+.3g}",
        ]
        for one, (before, after) in moved
    ]
    if not lines:
        return []
    titles = ("what moves it most", "setting", "of", "before", "after", "difference")
    groups = [runs for one, _ in moved for runs in (one.before, one.after)]
    return [Table(titles, lines, frozenset(titles[3:])).markdown(), _commands(groups)]


def _eight_bars(records: Sequence[Record]) -> list[str]:
    """How often bars come again in pieces of eight, in the data and as composed for tunes."""
    lines: list[list[Cell]] = []
    courses = []
    for runs, splits in PIECES.items():
        group = runs.among(records)
        for split, label in splits.items():
            names = [f"{split}/notes_returning_after_{bars}_bars" for bars in PHRASES]
            lines.append([label, *(value_of(group, name) for name in names)])
            if found := [fmean(values) for name in names if (values := means(group, name))]:
                way = "rises" if found[-1] > found[0] else "falls"
                courses.append(f"in {label} it {way} from {found[0]:.3g} to {found[-1]:.3g}")
    heads = [f"{bars} bar{'s' if bars > 1 else ''} before" for bars in PHRASES]
    return [
        "## Bars that come again\n",
        "Of the notes in pieces of eight bars, those that also began so many bars before, in the "
        "same place and pitch, in %. A bar is 16 sixteenths here, for tunes in 3/4 and 6/8 too, "
        "whose bars are shorter.\n",
        Table(("pieces", *heads), lines, frozenset(heads)).markdown(),
        f"With the distance, {'; '.join(courses)}. Phrases that come again make it rise.\n"
        if courses
        else "",
        _commands(PIECES),
    ]


def _commands(groups: Iterable[Runs]) -> str:
    """The commands of runs, each once."""
    commands = dict.fromkeys(command for runs in groups for command in runs.commands)
    return "".join(f"    {command}\n" for command in commands)


def _suggested(records: Sequence[Record]) -> list[str]:
    """What trials suggested, and what became of it."""
    parts = [
        "Trials with shorter trainings, of one seed mostly, suggested seven things. Each is tested "
        "below, a claim at a time. A comparison is confirmed if there are three seeds or more a "
        "side and it holds for the value of every seed, or the 95 % intervals of the means don't "
        "touch; where it holds for the means alone, or runs are too few to tell, that is said. "
        "What is printed, and statistics of the data, need no seeds.\n"
    ]
    for number, suggested in enumerate(SUGGESTED, start=1):
        told = [
            f"claim {place}: {one.verdict(records)}"
            for place, one in enumerate(FINDINGS, start=1)
            if one.suggestion == number
        ]
        parts.append(f"{number}. {suggested}\n" + "".join(f"   - {one}\n" for one in told))
    return parts


def _finding(number: int, finding: Finding, records: Sequence[Record]) -> list[str]:
    """A claim, whether the records confirm it, its numbers and its commands."""
    lines: list[list[Cell]] = []
    for runs in finding.runs:
        group = runs.among(records)
        lines.append([runs.label, *(value_of(group, metric) for metric in finding.metrics)])
    heads = [_head(metric) for metric in finding.metrics]
    titles = ("runs", *heads)
    parts = [
        f"### Claim {number}. {finding.claim}\n",
        f"Of suggestion {finding.suggestion}. **{finding.verdict(records)}** "
        f"It counts as confirmed if {finding.test}.\n",
        Table(titles, lines, frozenset(heads)).markdown(),
    ]
    if remark := finding.remarked(records):
        parts.append(f"{remark}\n")
    if finding.inference:
        parts.append(f"Our inference, which no run tests: {finding.inference}\n")
    return [*parts, _commands(finding.runs)]
