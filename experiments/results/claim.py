"""What a paper claims beside what was found, and whether that bears it out. Imports no JAX."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple, get_args
from urllib.parse import quote

from common.plot import alternative_text
from common.progress import Progress
from common.record import FILE_NAME, Record, read_record
from common.table import Table
from experiments.registry import Experiment
from experiments.results.paper_table import anchor
from experiments.results.row import changed_settings, data_mark
from experiments.results.verdict import scale

Judgement = Literal["holds", "holds in part", "does not hold", "undecided"]

FINDINGS = "findings.txt"
"""A file of a run: its claims and tables in Markdown."""
SIGNIFICANT = 0.05
"""The p below which a test says something."""
FEWEST = 5
"""Pairs, or runs a side, below which a rank test decides nothing: it could hardly reach
`SIGNIFICANT`."""
ROUND = str.maketrans("[]", "()")
"""Brackets that would end a text within brackets."""
TITLES = ("claim", "found", "verdict")
TITLES_OF_RUNS = ("claim", "verdict", "found", "run")


class Claim(NamedTuple):
    """A claim, what was found, and whether that bears it out here."""

    text: str
    found: str
    verdict: Judgement


class Runs(NamedTuple):
    """Runs of one experiment at the same settings on the same data."""

    experiment: Experiment
    preset: str
    changes: tuple[str, ...]
    """Settings that aren't the preset's, as `key=value`; behind them a mark of the data where there
    are runs that differ in these alone."""
    records: list[Record]
    """One a seed, by seed; those that diverged are among them."""

    @property
    def done(self) -> list[Record]:
        """The records of the runs that finished."""
        return [record for record in self.records if record.status == "done"]

    def label(self, *records: Record) -> str:
        """Name some of the runs by preset, seeds and changed settings."""
        seeds = ", ".join(str(record.seed) for record in records)
        return ", ".join((self.preset, f"seed{'s'[: len(records) > 1]} {seeds}", *self.changes))


def runs_of(experiments: Sequence[Experiment], records: Iterable[Record]) -> list[Runs]:
    """Divide records by experiment, preset, settings and data, in this order.

    Args:
      experiments: those of other experiments are left out.
      records: of two of the same settings, data and seed the first counts.

    Returns:
      Those of which any run finished.
    """
    names = [one.name for one in experiments]
    found: dict[tuple[int, str, tuple[str, ...], str], dict[int, Record]] = {}
    for record in records:
        if record.experiment in names:
            place = names.index(record.experiment)
            changes = _changes(record, experiments[place])
            key = place, record.preset, changes, data_mark(record)
            found.setdefault(key, {}).setdefault(record.seed, record)
    alike = Counter(key[:3] for key in found)
    made = []
    for place, preset, changes, data in sorted(found):
        by_seed = found[place, preset, changes, data]
        told = (f"data {data}",) if alike[place, preset, changes] > 1 else ()
        ordered = [by_seed[seed] for seed in sorted(by_seed)]
        made.append(Runs(experiments[place], preset, (*changes, *told), ordered))
    return [runs for runs in made if runs.done]


def _changes(record: Record, experiment: Experiment) -> tuple[str, ...]:
    """What isn't the preset's, as far as it matters to any metric."""
    each = (changed_settings(record, experiment, metric.name) for metric in experiment.metrics)
    return tuple(sorted({change for changes in each for change in changes}))


def pictures(record: Record, folder: Path) -> list[Path]:
    """Return the pictures that a run left beside its record; none if that isn't in the folder.

    Args:
      record: of the run.
      folder: of a report, in which runs lie as in `common.record.record_files`.
    """
    own = f"{record.experiment}/{record.preset}/seed{record.seed}/{FILE_NAME}"
    for point in ("", "*=*/"):
        for path in sorted(folder.glob(f"{point}{own}")):
            if read_record(path) == record:
                return sorted(path.parent.glob("*.png"))
    return []


def shown(picture: Path, folder: Path, words: str) -> str:
    """Return a picture below a report's folder in Markdown, with what describes it for those who
    can't see it.

    Args:
      picture: its file.
      folder: of the report.
      words: what it's called.
    """
    source = quote(picture.relative_to(folder).as_posix())
    alternative = alternative_text(picture, words)
    title = "" if alternative == words else f' "{words}"'
    return f"![{alternative.translate(ROUND)}]({source}{title})\n"


def first_and_folded(shown: Mapping[int, Sequence[str]]) -> list[str]:
    """Return what the first seed has to show and, folded, what the others have.

    Args:
      shown: seed → blocks of Markdown.
    """
    if len(shown) < 2:
        return [one for blocks in shown.values() for one in blocks]
    first, *others = shown
    told = f"seed{'s' * (len(others) > 1)} {', '.join(map(str, others))}"
    folded = [one for seed in others for one in shown[seed]]
    opened = f"<details>\n<summary>The same of {told}</summary>\n"
    return [*shown[first], opened, *folded, "</details>\n"]


def in_brief(
    runs: Runs,
    judge: Callable[[Record], Sequence[Claim]],
    title: str,
    told: Callable[[Sequence[Mapping[str, float]]], str] = lambda each: "",
) -> str:
    """Return the main claim of runs and its verdicts in a sentence, with a link to what was found.

    It says that the claim is recalled, as `recalled` says it of all.

    Args:
      runs: of the same settings.
      judge: record → its claims, the main one first.
      title: the heading below which all that was found stands.
      told: metrics of each seed → what was found, in a few numbers.

    Returns:
      The sentence; empty where nothing is claimed.
    """
    judged = {record.seed: judge(record) for record in runs.done}
    first = Counter(claims[0].text for claims in judged.values() if claims)
    if not first:
        return ""
    ((text, _),) = first.most_common(1)
    verdicts = _over_seeds(_verdicts(runs, judged, text), " here")
    words = scale(runs.done[0], runs.experiment)
    smaller = f", {words.partition(':')[0]}" if words else ""
    which = f"{runs.experiment.name}, {runs.label(*runs.records)}"
    found = f"claim recalled, not checked; [what was found](#{anchor(title)})"
    numbers = told([record.metrics for record in runs.done])
    return f"{text}: {verdicts}{smaller}{'; ' * bool(numbers)}{numbers} ({which}; {found})."


def means(runs: Runs) -> dict[str, float]:
    """Return the mean of each metric over the seeds that have it."""
    each = [record.metrics for record in runs.done]
    names = dict.fromkeys(name for one in each for name in one)
    return {name: fmean(one[name] for one in each if name in one) for name in names}


def of_runs(runs: Runs, judge: Callable[[Record], Sequence[Claim]]) -> list[tuple[str, ...]]:
    """Return a line under `TITLES_OF_RUNS` for each claim on runs of the same settings.

    Of several seeds it says what was found in each, and in how many there is which verdict.

    Args:
      runs: of the same settings.
      judge: record → its claims.
    """
    judged = {record.seed: judge(record) for record in runs.done}
    which = f"{runs.experiment.name}, {runs.label(*runs.records)}"
    lines: list[tuple[str, ...]] = []
    for text in dict.fromkeys(one.text for claims in judged.values() for one in claims):
        told = [
            f"seed {seed}: " * (len(runs.records) > 1) + one.found
            for seed, claims in judged.items()
            for one in claims
            if one.text == text
        ]
        verdicts = _over_seeds(_verdicts(runs, judged, text))
        lines.append((text, verdicts, "<br>".join(told), which))
    return lines


def _verdicts(runs: Runs, judged: Mapping[int, Sequence[Claim]], text: str) -> list[str]:
    """The verdict on a claim of each seed, in the order of the records."""
    return [
        next((one.verdict for one in judged[record.seed] if one.text == text), "not judged")
        if record.seed in judged
        else "diverged"
        for record in runs.records
    ]


def _over_seeds(verdicts: Sequence[str], where: str = "") -> str:
    """How often there is which verdict, one a seed."""
    order = (*get_args(Judgement), "not judged", "diverged")
    counts = {one: verdicts.count(one) for one in order if one in verdicts}
    (verdict, count), *others = counts.items()
    if len(verdicts) == 1:
        return f"{verdict}{where}"
    told = [f"{verdict}{where} ({count} of {len(verdicts)} seeds)"]
    return ", ".join([*told, *(f"{other} ({times})" for other, times in others)])


def holds(condition: bool) -> Judgement:
    """Return the verdict on a claim that can be decided."""
    return "holds" if condition else "does not hold"


def recalled(told: Iterable[str]) -> str:
    """Say in Markdown what of claims and settings was never checked against the papers."""
    return (
        f"**Recalled, not checked against the paper**: {'; '.join(told)}. Verdicts are on what is "
        "recalled.\n"
    )


def table(claims: Iterable[Claim]) -> Table:
    """Return claims as a table."""
    return Table(TITLES, [tuple(claim) for claim in claims])


def tell(claims: Iterable[Claim], label: str) -> None:
    """Tell the verdicts to whoever started a run."""
    progress = Progress(label)
    for claim in claims:
        progress.note(f"{claim.verdict}: {claim.text}: {claim.found}")
