"""Whether a run is the paper's run, and how its result compares with what the paper printed."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from common.config import differences, flatten, from_dict, to_dict
from common.error import ConfigError
from common.record import Record
from common.table import Summary
from experiments.registry import Experiment, Published

TOLERANCE = 0.01
"""Share of a published value by which a mean may miss it and still match."""

IMMATERIAL = frozenset(
    {
        "train.report_every",  # rows of metrics.jsonl
        "evaluation.full",  # whether the full protocol is measured, not what it gives
        "evaluation.mc_batch_size",  # Monte-Carlo passes side by side
        "evaluation.sample_tokens",  # length of the sampled text
        "learn.report_every",  # rows of metrics.jsonl
        "prior.report_every",
        "evaluation.every",  # looks at the policy on the way
        "evaluation.compositions",
    }
)
"""Settings, in whichever group of a configuration, that don't matter to any result."""

IMMATERIAL_BUT_FOR = {"evaluation.mc_passes": "test_mc"}
"""Settings that matter to the metrics of one split only."""

AMOUNTS = {
    "train.epochs": "epochs",
    "prior.iterations": "updates",
    "learn.iterations": "environment steps",
    "evaluation.final_compositions": "compositions",
    "final_compositions": "compositions",
}
"""Settings by whose ratio a scaled-down run is described."""

PREFIXES = {"data.train_tokens": "training", "data.evaluation_tokens": "evaluation"}
"""Settings that cut a corpus down to its first so many tokens; 0 is all of it."""

Kind = Literal[
    "matched",
    "better",
    "short",
    "other data",
    "scaled down",
    "other settings",
    "diverged",
    "not run",
]

RULES = """\
Lower is better, except in accuracies and in the last six statistics of Sequence Tutor's Table 1 \
(leaps resolved to notes in repeated motif), where higher is, and in its first five, where nearer \
to 0 is. A run is compared with a published value only if every setting that matters to the \
metric and its number of parameters are those of the `paper` preset.

- **matched**: the published value lies in the 95 % interval, or the mean is within 1 % of it.
- **better**, **short**: not matched; the mean is on the better, or the worse, side of the \
published value. Where two values are published for one metric and the verdicts differ, both are \
given.
- **other data**: all as in the paper but for the data, where the paper's can't be had; says what \
stands in for them, and on which side of the published value the mean falls: no more than a hint.
- **scaled down**: a smaller model, less training or less or other data than the paper's; says by \
how much. The difference is left out where the data are a stand-in or a part of the corpus.
- **other settings**: of the paper's size, but with settings that are not the paper's.
- **diverged**: no seed finished. Diverged seeds are counted and never enter a mean.
- **not run**: no run with the paper's settings is recorded."""


class MetricName(NamedTuple):
    """The parts of `split/measure` or `model/split/measure`."""

    model: str
    """Empty where the experiment has one model."""
    split: str
    measure: str

    @classmethod
    def parse(cls, name: str) -> "MetricName":
        """Reads a metric's name."""
        rest, _, measure = name.rpartition("/")
        model, _, split = rest.rpartition("/")
        return cls(model, split, measure)


@dataclass(frozen=True)
class Verdict:
    """The judgement on one row; both parts are empty where there is nothing to judge."""

    kind: Kind | Literal[""]
    text: str
    """The kind and its details."""


@dataclass(frozen=True)
class Departure:
    """In what a run differs from the paper's, as far as it matters to one metric."""

    amounts: tuple[str, ...]
    """Differences in size, training and data, in words."""
    smaller: bool
    """Whether any of the amounts is less than the paper's, or the data another."""
    other_data: bool
    """Whether it saw a stand-in, or another part of the corpus."""
    settings: tuple[str, ...]
    """All differing settings, as `key: paper's → the run's`."""
    stand_in: tuple[str, ...]
    """What stands in for the paper's data, in words; also among the amounts."""
    unavoidable: bool
    """Whether the paper's data can't be had, and this is the experiment's stand-in for them."""
    others: int
    """How many of the settings the amounts don't speak of."""

    @property
    def only_in_data(self) -> bool:
        """Whether all is as in the paper but for the data, which nobody can have."""
        return self.unavoidable and self.amounts == self.stand_in and not self.settings

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.amounts or self.settings)


def material(config: Any, values: dict[str, Any], metric: str) -> dict[str, Any]:
    """The settings, flattened, on which a metric depends.

    `values` is what a record saved, `config` any configuration of the same experiment: settings
    added since the record was written take their defaults, which keep what was.
    """
    # Where a setting has since gone or narrowed, the record's own words stand.
    with contextlib.suppress(ConfigError):
        values = to_dict(from_dict(type(config), values))
    split = MetricName.parse(metric).split

    def matters(key: str) -> bool:
        setting = _setting(key)
        return setting not in IMMATERIAL and IMMATERIAL_BUT_FOR.get(setting, split) == split

    return {key: value for key, value in flatten(values).items() if matters(key)}


def depart(record: Record, experiment: Experiment, metric: str) -> Departure | None:
    """Compares a run with its experiment's `paper` preset; None where there is none."""
    if "paper" not in experiment.presets:
        return None
    config = experiment.preset("paper").config
    paper = material(config, to_dict(config), metric)
    ours = material(config, record.config, metric)
    changed = {k for k in paper.keys() | ours.keys() if paper.get(k) != ours.get(k)}
    amounts, smaller = _sizes(record, experiment, metric)
    for key in sorted(changed, key=lambda key: (_setting(key), key)):
        words, less = _amount(key, paper.get(key), ours.get(key))
        amounts += words
        smaller = smaller or less
    stand_in = _stand_in(record, experiment)
    unavoidable = {used.name for used in record.data} == {experiment.stand_in}
    return Departure(
        amounts=(*amounts, *stand_in),
        smaller=smaller or (bool(stand_in) and not unavoidable),
        other_data=bool(stand_in) or any(_setting(k).startswith("data.") for k in changed),
        settings=tuple(differences(paper, ours)),
        stand_in=tuple(stand_in),
        unavoidable=unavoidable,
        others=sum(_setting(k) not in {*AMOUNTS, *PREFIXES, "data.name"} for k in changed),
    )


def judge(
    ours: Summary | None,
    published: Sequence[Published],
    departure: Departure | None,
    *,
    seeds: int,
    diverged: int,
) -> Verdict:
    """The verdict on a row.

    Args:
      ours: the seeds that finished, None where none did.
      published: the paper's values for the metric.
      departure: the run's difference from the paper's, None where there is no paper preset.
      seeds: all seeds, of which `diverged` diverged.
    """
    tail = f"; {diverged} of {seeds} seeds diverged" if diverged else ""
    if ours is None:
        scale = f"; {_departed(departure).text}" if departure else ""
        return Verdict("diverged", f"diverged: {diverged} of {seeds} seeds{scale}")
    if departure is None:
        return Verdict("", tail.removeprefix("; "))
    if departure and not departure.only_in_data:
        verdict = _departed(departure)
        return Verdict(verdict.kind, verdict.text + tail)
    compared = _compare_all(ours, published)
    if departure.only_in_data:
        side = f"; {compared.text}" if published else ""
        return Verdict("other data", f"other data: {', '.join(departure.stand_in)}{side}{tail}")
    if not published:
        return Verdict("", tail.removeprefix("; "))
    return Verdict(compared.kind, compared.text + tail)


def _compare_all(ours: Summary, published: Sequence[Published]) -> Verdict:
    """On which side of the nearest published value the mean lies; empty where there is none."""
    if not published:
        return Verdict("", "")
    kinds = [_compare(ours, value) for value in published]
    nearest = min(range(len(kinds)), key=lambda k: abs(ours.mean - published[k].value))
    text: str = kinds[0]
    if len(set(kinds)) > 1:
        text = ", ".join(f"{k} ({p.value})" for k, p in zip(kinds, published, strict=True))
    return Verdict(kinds[nearest], text)


def _compare(ours: Summary, published: Published) -> Literal["matched", "better", "short"]:
    value = published.value
    inside = ours.low is not None and ours.high is not None and ours.low <= value <= ours.high
    # The smallest amount on top: 101.0 is within 1 % of 100.0 in decimals, not in binary.
    if inside or abs(ours.mean - value) <= TOLERANCE * abs(value) * (1 + 1e-9):
        return "matched"
    if published.better == "toward zero":
        return "better" if abs(ours.mean) < abs(value) else "short"
    return "better" if (ours.mean < value) == (published.better == "lower") else "short"


def _departed(departure: Departure) -> Verdict:
    kind: Kind = "scaled down" if departure.smaller else "other settings"
    parts = [", ".join(departure.amounts)] if departure.amounts else []
    if departure.others:
        noun = "setting" if departure.others == 1 else "settings"
        parts.append(f"{departure.others} {noun} changed")
    return Verdict(kind, f"{kind}: {'; '.join(parts)}")


def _sizes(record: Record, experiment: Experiment, metric: str) -> tuple[list[str], bool]:
    ours = parameters(record, metric)
    paper = experiment.paper_parameters
    if ours is None or paper is None or ours == paper:
        return [], False
    return [_ratio(ours, paper, "parameters")], ours < paper


def _amount(key: str, paper: Any, ours: Any) -> tuple[list[str], bool]:
    """A changed setting in words where it is an amount, and whether it is less than the paper's."""
    setting = _setting(key)
    if ours is None or paper is None:
        return [], False
    if setting in AMOUNTS:
        return [_ratio(ours, paper, AMOUNTS[setting])], ours < paper
    if setting in PREFIXES:
        if not ours:
            return [f"all {PREFIXES[setting]} tokens (paper {short(paper)})"], False
        return [f"the first {short(ours)} {PREFIXES[setting]} tokens"], not paper or ours < paper
    return [], False


def _stand_in(record: Record, experiment: Experiment) -> list[str]:
    return [
        f"{data.name} stands in for {data.stand_in_for or ' + '.join(experiment.data)}"
        for data in record.data
        if data.stand_in_for is not None or data.name not in experiment.data
    ]


def parameters(record: Record, metric: str) -> int | None:
    """Trainable parameters of the model that a metric is of."""
    if isinstance(record.parameters, int):
        return record.parameters
    return record.parameters.get(MetricName.parse(metric).model)


def short(number: int) -> str:
    """A count, in millions where it is large."""
    if number < 100_000:
        return f"{number:,}"
    return f"{number / 1e6:.{1 if number >= 1_000_000 else 2}f} M"


def _ratio(ours: int, paper: int, noun: str) -> str:
    if ours < paper:
        return f"{short(ours)} of {short(paper)} {noun}"
    return f"{short(ours)} {noun} (paper {short(paper)})"


def _setting(key: str) -> str:
    """The last two parts of a key: in experiments with several models a group precedes them."""
    return ".".join(key.split(".")[-2:])
