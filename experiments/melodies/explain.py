"""docs/table_1.md: Table 1 row by row, and what was found about it, from committed records."""

import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from common.metric import MetricName
from common.record import Record
from common.table import Cell, Table
from experiments.melodies.catalogue import TABLE_1
from experiments.melodies.comparison import CONFIRMED, Change, Finding, Runs, command
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
    note_rnns,
    number_of,
    printed_of,
    value_of,
    words_of,
)
from experiments.melodies.tested import CHANGES, IN_C, TUNES, TUNES_OF_Q
from tutor.music.shape import PHRASES

INTRODUCTION = """\
# Table 1 of Sequence Tutor, explained

Written by `python -m experiments report` from the records in results/: every number of ours is a \
run's, every number of the paper's is as printed (docs/published.md). First the claims about what \
moves the rows, and what became of each; then each row under every setting: what is printed, what \
the data themselves say, and what we have; then each claim with the runs that test it. Runs have \
labels, R1 and so on: the [commands](#commands) that make them stand at the end.
"""

READING = """\
## How to read the tables

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
    settings = {
        setting: found
        for setting in SETTINGS
        if set(found := by_experiment(records, setting)) - {DATA}
    }
    changes = [(one, one.sides(records)) for one in CHANGES]
    verdicts = [one.verdict(records) for one in FINDINGS]
    labels = _labels(settings.values())
    parts = [INTRODUCTION, "## The claims\n", _judged(verdicts), READING]
    parts += [_described(setting, groups, labels) for setting, groups in settings.items()]
    parts += _keys(records)
    parts.append("\n## The rows\n")
    for statistic in (*TABLE_1, *MOVES):
        parts += [f"### {_title(statistic)}\n", _row(statistic, settings).markdown()]
        parts += _changes(statistic, changes, labels)
    parts += _eight_bars(records, labels)
    parts += ["## What moves them\n", *_suggested()]
    for number, (finding, verdict) in enumerate(zip(FINDINGS, verdicts, strict=True), start=1):
        parts += _finding(number, finding, verdict, records, labels)
    return "\n".join([*parts, *_commands(labels)])


Labels = Mapping[str, str]
"""Command → the label of its runs."""


def _labels(settings: Iterable[Mapping[str, Sequence[Record]]]) -> Labels:
    """Label all commands of the page, each after those that it needs."""
    commands = [one for found in settings for group in found.values() for one in _made_by(group)]
    for runs in (
        *(side for change in CHANGES for side in (change.before, change.after)),
        *PIECES,
        *(runs for finding in FINDINGS for runs in finding.runs),
    ):
        commands += runs.commands
    return {one: f"R{number}" for number, one in enumerate(dict.fromkeys(commands), start=1)}


def _label(runs: Runs, labels: Labels) -> str:
    return labels[runs.commands[-1]]


def _made_by(group: Sequence[Record]) -> list[str]:
    """The commands that make records of one experiment and preset."""
    seeds: dict[tuple[str, ...], list[int]] = {}
    for one in group:
        seeds.setdefault(tuple(one.overrides), []).append(one.seed)
    first = group[0]
    return [command(first.experiment, first.preset, each, over) for over, each in seeds.items()]


def _judged(verdicts: Iterable[str]) -> str:
    """What each claim says, and the verdict on it without its details."""
    lines: list[list[Cell]] = [
        [f"[{number}](#claim-{number})", finding.claim, _in_brief(finding, verdict)]
        for number, (finding, verdict) in enumerate(zip(FINDINGS, verdicts, strict=True), start=1)
    ]
    return Table(("claim", "what it says", "verdict"), lines).markdown()


def _in_brief(finding: Finding, verdict: str) -> str:
    """A verdict without its details; where it confirms the claim, with the mark of its caveat."""
    told = re.split(r"[.;](?= |$)", verdict)[0]
    if finding.caveat is None or not verdict.startswith(CONFIRMED):
        return told
    return f"{told}, {finding.caveat.mark}"


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


def _described(setting: Setting, groups: Mapping[str, Sequence[Record]], labels: Labels) -> str:
    """What a setting is, and what stands behind its values: how many runs, and their labels."""
    runs = []
    for name, group in groups.items():
        tuned = len(note_rnns(group))
        number = f"{len(group)} run{'s' * (len(group) > 1)}"
        on = f" on {tuned} Note RNN{'s' * (tuned > 1)}" if name in TUNED else ""
        made = ", ".join(labels[one] for one in _made_by(group))
        runs.append(f"{NAMES.get(name, 'data')} {made} ({number}{on})")
    told = f". {'; '.join(runs)}." if runs else ""
    return f"- `{setting.preset}`: {setting.title}{told}"


def _title(statistic: str) -> str:
    words = words_of(statistic)
    return words[0].upper() + words[1:]


def _head(metric: str) -> str:
    """A metric's name above a column: what is measured, and on what if not on compositions."""
    _, split, measure = MetricName.parse(metric)
    on = "" if split == "composed" else f"{SPLITS.get(split, split)}: "
    return on + words_of(measure)


def _row(statistic: str, settings: Mapping[Setting, Mapping[str, Sequence[Record]]]) -> Table:
    """One statistic of Table 1 under every setting: a line a setting, a column a method."""
    of_prior = statistic in OF_PRIOR
    splits = {} if of_prior else SPLITS
    names = {name: head for name, head in NAMES.items() if not of_prior or name == NOTE_RNN}
    lines: list[list[Cell]] = []
    if statistic in TABLE_1:
        printed = [printed_of(name, statistic) for name in names]
        lines.append(["printed", *("" for _ in splits), *printed])
    for setting, found in settings.items():
        cells = [value_of(found.get(DATA, ()), f"{split}/{statistic}") for split in splits]
        cells += [value_of(found.get(name, ()), f"composed/{statistic}") for name in names]
        lines.append([f"`{setting.preset}`", *cells])
    titles = ("setting", *splits.values(), *names.values())
    return Table(titles, lines, frozenset(titles[1:]))


def _changes(
    statistic: str,
    changes: Iterable[tuple[Change, tuple[list[Record], list[Record]]]],
    labels: Labels,
) -> list[str]:
    """The single changes that move a statistic most, and the labels of the runs behind them."""
    moved = [(one, ends) for one, sides in changes if (ends := one.moved(sides, statistic))]
    moved.sort(key=lambda found: -abs(found[1][1] - found[1][0]))
    lines: list[list[Cell]] = [
        [
            one.what,
            one.values,
            "Note RNN" if statistic in OF_PRIOR else one.of,
            number_of(before, statistic),
            number_of(after, statistic),
            number_of(after - before, statistic, "+"),
            f"{_label(one.before, labels)} → {_label(one.after, labels)}",
        ]
        for one, (before, after) in moved[:MOST_CHANGES]
    ]
    if not lines:
        return []
    numbers = ("before", "after", "difference")
    titles = ("what moves it most", "setting", "of", *numbers, "runs")
    return [Table(titles, lines, frozenset(numbers)).markdown()]


def _eight_bars(records: Sequence[Record], labels: Labels) -> list[str]:
    """How often bars come again in pieces of eight, in the data and as composed for tunes."""
    lines: list[list[Cell]] = []
    courses = []
    for runs, splits in PIECES.items():
        group = runs.among(records)
        for split, label in splits.items():
            names = [f"{split}/notes_returning_after_{bars}_bars" for bars in PHRASES]
            cells = (value_of(group, name) for name in names)
            lines.append([_label(runs, labels), label, *cells])
            if found := [fmean(values) for name in names if (values := means(group, name))]:
                way = "rises" if found[-1] > found[0] else "falls"
                courses.append(f"in {label} it {way} from {found[0]:.3g} to {found[-1]:.3g}")
    heads = [f"{bars} bar{'s' if bars > 1 else ''} before" for bars in PHRASES]
    return [
        "## Bars that come again\n",
        "Of the notes in pieces of eight bars, those that also began so many bars before, in the "
        "same place and pitch, in %. A bar is 16 sixteenths here, for tunes in 3/4 and 6/8 too, "
        "whose bars are shorter.\n",
        Table(("run", "pieces", *heads), lines, frozenset(heads)).markdown(),
        f"With the distance, {'; '.join(courses)}. Phrases that come again make it rise.\n"
        if courses
        else "",
    ]


def _commands(labels: Labels) -> list[str]:
    """All commands, each once, with the labels of the runs that they make."""
    return [
        "## Commands\n",
        "A command makes a run for each of its seeds. Those that name a run of a Note RNN "
        "(`note_rnn.run=`) need it first: its command stands above theirs.\n",
        "".join(f"    {command}  # {label}\n" for command, label in labels.items()),
    ]


def _suggested() -> list[str]:
    """What trials suggested, and which claims test it."""
    parts = [
        "Trials with shorter trainings, of one seed mostly, suggested what follows. Each is tested "
        "below, a claim at a time. A comparison is confirmed if there are three seeds or more a "
        "side and it holds for the value of every seed, or the 95 % intervals of the means don't "
        "touch; where it holds for the means alone, or runs are too few to tell, that is said. "
        "What is printed, and statistics of the data, need no seeds; log p(tonic | primer) counts "
        "once a Note RNN, however many tunings start from it.\n"
    ]
    for number, suggested in enumerate(SUGGESTED, start=1):
        claims = ", ".join(
            f"[{place}](#claim-{place})"
            for place, one in enumerate(FINDINGS, start=1)
            if one.suggestion == number
        )
        parts.append(f"{number}. {suggested} (Claims {claims}.)")
    return [*parts, ""]


def _finding(
    number: int, finding: Finding, verdict: str, records: Sequence[Record], labels: Labels
) -> list[str]:
    """A claim, whether the records confirm it, its numbers and the labels of their runs."""
    lines: list[list[Cell]] = []
    for runs in finding.runs:
        group = runs.among(records)
        cells = (value_of(group, metric) for metric in finding.metrics)
        lines.append([_label(runs, labels), runs.label, *cells])
    heads = [_head(metric) for metric in finding.metrics]
    titles = ("run", "what", *heads)
    parts = [
        f"### Claim {number}\n",
        f"{finding.claim}\n",
        f"Of suggestion {finding.suggestion}. **{verdict}** It counts as confirmed if "
        f"{finding.test}.{f' {finding.caveat}' if finding.caveat else ''}\n",
        Table(titles, lines, frozenset(heads)).markdown(),
    ]
    if remark := finding.remarked(records):
        parts.append(f"{remark}\n")
    if finding.inference:
        parts.append(f"Our inference, which no run tests: {finding.inference}\n")
    return parts
