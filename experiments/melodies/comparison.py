"""Claims about Table 1: what compares runs, and when records confirm it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, NamedTuple

from common.config import flatten, to_dict
from common.record import Record
from common.table import LEAST_FOR_INTERVAL, summarize
from experiments.melodies.table import NOTE_RNN, OF_PRIOR, means, summary_of
from experiments.registry import find
from experiments.results.alike import as_preset, on_one_data, told_apart

Values = Mapping[str, Mapping[str, Sequence[float]]]
"""Label of a finding's runs → statistic → value of each seed."""


@dataclass(frozen=True)
class Runs:
    """Runs of one experiment at one setting."""

    label: str
    experiment: str
    preset: str
    changes: tuple[str, ...] = ()
    """Overrides of settings."""
    seeds: str = "0 1 2"
    """Seeds of the command; results keep one run of a preset and seed. Other seeds of the same
    settings stay out, so that the command makes the numbers."""
    note_rnn: "Runs | None" = None
    """The one Note RNN that they tune, where it isn't their preset's own."""

    @property
    def overrides(self) -> tuple[str, ...]:
        """Overrides of the command, the Note RNN among them."""
        if self.note_rnn is None:
            return self.changes
        prior = self.note_rnn
        run = f"note_rnn.run=runs/{prior.experiment}/{prior.preset}/seed{prior.seeds}"
        return (*self.changes, run)

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that make them, one after another."""
        first = self.note_rnn.commands if self.note_rnn else ()
        seeds = map(int, self.seeds.split())
        return (*first, command(self.experiment, self.preset, seeds, self.overrides))

    @property
    def prior(self) -> "Runs":
        """The Note RNN that they tune; of their preset's own all seeds, of which they tune one."""
        preset = find(self.experiment).preset(self.preset).config.note_rnn.preset
        found = self.note_rnn or Runs("", NOTE_RNN, preset)
        return replace(found, label=f"Note RNN of {self.label}")

    def settings(self) -> dict[str, Any]:
        """Return all settings by name, those of the Note RNN that they tune among them."""
        config = find(self.experiment).configure(self.preset, self.changes)
        found = flatten(to_dict(config))
        chosen = {one: found.pop(f"note_rnn.{one}", None) for one in ("preset", "seed", "run")}
        if chosen["preset"] is None:
            return found
        return {**self.prior.settings(), **found}

    def among(self, records: Iterable[Record]) -> list[Record]:
        """Return the finished ones among records that the commands make today, all on one Note RNN
        and the same data."""
        seeds = {int(seed) for seed in self.seeds.split()}
        asked = [
            one
            for one in records
            if (one.experiment, one.preset) == (self.experiment, self.preset)
            and one.seed in seeds
            and sorted(one.overrides) == sorted(self.overrides)
        ]
        changed = {one.partition("=")[0] for one in self.overrides}
        return on_one_data(as_preset(asked, free=changed))

    def means(self, records: Iterable[Record], metrics: Iterable[str]) -> dict[str, float]:
        """Return the means over seeds of those metrics that any record of them has."""
        group = self.among(records)
        values = {metric: means(group, metric) for metric in metrics}
        return {metric: fmean(known) for metric, known in values.items() if known}


def command(
    experiment: str, preset: str, seeds: Iterable[int], overrides: Iterable[str] = ()
) -> str:
    """Write the command that makes runs of one experiment at one setting."""
    words = f"python -m experiments run {experiment} --preset {preset}"
    changes = " ".join(overrides)
    given = f" --set {changes}" if changes else ""
    return f"{words} --seeds {' '.join(map(str, seeds))}{given}"


class Less(NamedTuple):
    """That one quantity is less than another."""

    low: Sequence[float]
    """Its value for each seed; a single one where it is exact."""
    high: Sequence[float]
    what: str
    """What is compared, in words for whom it turns out otherwise."""
    low_exact: bool = False
    """Whether no seed of a model changes it: a printed number, a bound, a statistic of the data."""
    high_exact: bool = False

    @property
    def few(self) -> bool:
        """Whether a side has too few runs to tell how its seeds differ."""
        sides = (self.low, self.low_exact), (self.high, self.high_exact)
        return any(not exact and len(values) < LEAST_FOR_INTERVAL for values, exact in sides)

    @property
    def opposite(self) -> "Less":
        """That it is the other way round."""
        return Less(self.high, self.low, self.what, self.high_exact, self.low_exact)


NO, ON_AVERAGE, SURE = range(3)
CONFIRMED = "Confirmed."
"""What a verdict on a confirmed claim begins with."""


def strength(claim: Less) -> int:
    """Judge a comparison by its spread.

    Returns:
      SURE if there are three seeds or more on each side that isn't exact, and it holds for every
      value of either side or the 95 % intervals of the means don't touch; ON_AVERAGE if it holds
      for the means alone; else NO.
    """
    low, high = summarize(claim.low), summarize(claim.high)
    if low.mean >= high.mean:
        return NO
    if claim.few:
        return ON_AVERAGE
    if max(claim.low) < min(claim.high):
        return SURE
    upper = max(claim.low) if low.high is None else low.high
    lower = min(claim.high) if high.low is None else high.low
    return SURE if upper < lower else ON_AVERAGE


class Caveat(NamedTuple):
    """Why a confirmed claim shows less than it seems to."""

    mark: str
    """In a word or two, for a list of verdicts."""
    why: str

    def __str__(self) -> str:
        """Write it as a sentence of its own."""
        return f"{self.mark[0].upper()}{self.mark[1:]}: {self.why}."


@dataclass(frozen=True)
class Finding:
    """A claim, and what tests it."""

    suggestion: int
    """Number of the one of `SUGGESTED` that it tests."""
    claim: str
    runs: tuple[Runs, ...]
    tested: tuple[str, ...]
    """Names of metrics in records that the test reads."""
    test: str
    """When the records confirm the claim, in words."""
    compared: Callable[[Values], list[Less]]
    """The same, of the values of what is tested; all of them are there."""
    most: bool = False
    """Whether it is enough that more than half of what is compared holds."""
    shown: tuple[str, ...] = ()
    """Metrics that stand beside them."""
    caveat: Caveat | None = None
    """Why that it is confirmed shows less than it seems to."""
    inference: str = ""
    """What we conclude from it, though nothing tests that."""
    remark: Callable[[Values], str] | None = None
    """What else the values of what is tested say, in a sentence; "" where they don't."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics that are told of the runs."""
        return (*self.shown, *self.tested)

    def values(self, records: Sequence[Record]) -> dict[str, dict[str, list[float]]]:
        """Return what the records have of what is tested."""
        groups = {runs.label: runs.among(records) for runs in self.runs}
        return {
            label: {name: found for name in self.tested if (found := means(group, name))}
            for label, group in groups.items()
        }

    def verdict(self, records: Sequence[Record]) -> str:
        """Say whether the records confirm it, and what they don't."""
        found = self.values(records)
        if lacking := self._lacking(found):
            return f"Not tested yet: no record of {'; '.join(lacking)}."
        return judge(self.compared(found), most=self.most)

    def remarked(self, records: Sequence[Record]) -> str:
        """Say what else the records have to say; "" where that is nothing."""
        found = self.values(records)
        return "" if self.remark is None or self._lacking(found) else self.remark(found)

    def _lacking(self, found: Values) -> list[str]:
        """The labels of runs of which not all that is tested is there."""
        return [label for label, values in found.items() if len(values) < len(self.tested)]


def judge(compared: Sequence[Less], *, most: bool = False) -> str:
    """Say whether comparisons hold, all of them or most, and which of them don't."""
    found = [(strength(one), one) for one in compared]
    needed = len(found) // 2 + 1 if most else len(found)
    sure = [one for held, one in found if held == SURE]
    unsure = [one for held, one in found if held == ON_AVERAGE]
    against = [one for held, one in found if held == NO]
    if len(sure) >= needed:
        others = f" Not for: {_named(against)}." if against else ""
        return f"{CONFIRMED}{others}{_doubts(unsure)}"
    held = len(sure) + len(unsure)
    if held >= needed:
        few = all(one.few for one in unsure)
        told = "Too few runs to tell, but it holds so far." if few else "On average only."
        return told + _doubts(unsure)
    if held:
        told = f"Holds in part: {held} of {len(found)}; not for: {_named(against)}."
        return told + _doubts(unsure)
    doubts = [one for one in against if strength(one.opposite) != SURE]
    return f"Refuted on average only.{_doubts(doubts)}" if doubts else "Refuted."


def _doubts(unsure: Iterable[Less]) -> str:
    """Why comparisons that hold for the means aren't sure, a sentence a reason."""
    few: list[Less] = []
    overlapping: list[Less] = []
    for one in unsure:
        (few if one.few else overlapping).append(one)
    reasons = {
        "Seeds overlap in": overlapping,
        f"Fewer than {LEAST_FOR_INTERVAL} runs a side in": few,
    }
    return "".join(f" {why}: {_named(group)}." for why, group in reasons.items() if group)


def _named(group: Iterable[Less]) -> str:
    return "; ".join(one.what for one in group)


@dataclass(frozen=True)
class Change:
    """Runs that differ in one setting, or in a few that belong together: their own, or the Note
    RNN's that they tune.

    Seeds differ, too: of tunings where either side has other ones, and of the Note RNNs themselves.
    """

    what: str
    settings: tuple[str, ...]
    of: str
    """What is measured: compositions of Q, of G or of the Note RNN, or the data."""
    before: Runs
    after: Runs
    split: str = "composed"
    """Of the metrics' names."""

    @property
    def values(self) -> str:
        """The settings with their values before and after, in words."""
        before, after = (one.settings() for one in (self.before, self.after))
        return "; ".join(
            f"`{name}` {_worded(before[name])} → {_worded(after[name])}" for name in self.settings
        )

    def sides(self, records: Iterable[Record]) -> tuple[list[Record], list[Record]]:
        """Return the records before and after the change."""
        records = list(records)
        return self.before.among(records), self.after.among(records)

    def moved(
        self, sides: tuple[Sequence[Record], Sequence[Record]], statistic: str
    ) -> tuple[float, float] | None:
        """Return a statistic's means before and after the change, where they are told apart.

        Their ranges don't touch then: 95 % intervals where there are any, else the values of all
        seeds. None where they do, or records lack the statistic; and of what is the Note RNN's own,
        where there are fewer than three a side.

        Args:
          sides: what `sides` returns.
          statistic: its name, without the split.
        """
        metric = f"{self.split}/{statistic}"
        before, after = (summary_of(group, metric) for group in sides)
        if before is None or after is None:
            return None
        few = min(len(means(group, metric)) for group in sides) < LEAST_FOR_INTERVAL
        if statistic in OF_PRIOR and few:
            return None
        if not told_apart(before, after):
            return None
        return before.mean, after.mean


def _worded(value: Any) -> str:
    """A setting's value as --set takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str([list(one) for one in value])
    return f"{value:g}" if isinstance(value, float) else str(value)
