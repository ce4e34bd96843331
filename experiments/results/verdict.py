"""Whether a run is the paper's run, and how its result compares with what the paper printed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from common.config import (
    Amount,
    Dataset,
    Immaterial,
    Meaning,
    OnlyFor,
    Prefix,
    differences,
    fill,
    flatten,
    from_dict,
    meanings,
    to_dict,
)
from common.device import numerics_of
from common.error import ConfigError
from common.metric import Better, MetricName
from common.record import Record
from common.table import Summary
from experiments import registry
from experiments.registry import Experiment, Published

TOLERANCE = 0.01
"""Share of a published value by which a mean may miss it and still match."""
NEAR = f"within {100 * TOLERANCE:g} %"
"""That a mean misses it by no more."""

INSIDE = "in the interval"
"""That the 95 % interval holds it."""

LARGE = 100_000
"""Count from which on millions are easier to read."""

PRECISION = "float32"
"""In which the papers' models were trained."""

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
A run is compared with a published value only if every setting that matters to the \
metric and its number of parameters are those of the `paper` preset.

- **matched**: the published value lies in the 95 % interval, or the mean is within 1 % of it.
- **better**, **short**: not matched; the mean is on the better, or the worse, side of the \
published value. Where two values are published for one metric and the verdicts differ, both are \
given.
- **other data**: all as in the paper but for the data, where the paper's can't be had; says what \
stands in for them and, without a judgement, where the mean is: **above** or **below** the \
published value, or **within 1 %** of it; **in the interval**: the 95 % interval holds that value, \
however wide it is.
- **scaled down**: a smaller model, less training or less or other data than the paper's, of the \
run itself or of the model that it starts from; says by how much. So is a start from a model whose \
training the record doesn't tell. The difference is left out where the data are a stand-in or a \
part of the corpus.
- **other settings**: of the paper's size, but with settings that are not the paper's, or products \
of matrices in another precision than float32.
- **diverged**: no seed finished. Diverged seeds are counted and never enter a mean.
- **not run**: no run with the paper's settings is recorded."""


@dataclass(frozen=True)
class Verdict:
    """The judgement on one row; both parts are empty where there is nothing to judge."""

    kind: Kind | Literal[""]
    text: str
    """The kind and its details."""
    close: bool = False
    """Whether the run is on other data and yet near a published value, or its interval holds
    one."""


@dataclass(frozen=True)
class Departure:
    """In what a run differs from the paper's, as far as it matters to one metric."""

    size: tuple[str, ...]
    """The number of parameters beside the paper's, in words; also among the amounts, or what is
    more."""
    amounts: tuple[str, ...]
    """In what size, training and data are less than the paper's or others, in words; of the model
    that the run starts from, too."""
    more: tuple[str, ...]
    """In what they are more, in words."""
    smaller: bool
    """Whether any of the amounts is less than the paper's, or the data are others though the
    paper's can be had."""
    other_data: bool
    """Whether it saw a stand-in, or another part of the corpus."""
    settings: tuple[str, ...]
    """All differing settings, as `key: paper's → the run's`."""
    stand_in: tuple[str, ...]
    """What stands in for the paper's data, in words; also among the amounts."""
    unavoidable: bool
    """Whether the paper's data can't be had, and this is the experiment's stand-in for them."""
    others: int
    """How many changed settings are no Amount, Prefix or Dataset."""

    @property
    def only_in_data(self) -> bool:
        """Whether all is as in the paper but for the data, which nobody can have."""
        alike = self.amounts == self.stand_in and not self.more and not self.settings
        return self.unavoidable and alike

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.amounts or self.more or self.settings)


def material(kind: type, values: dict[str, Any], metric: str) -> dict[str, Any]:
    """Return the settings, flattened, on which a metric depends.

    Args:
      kind: the class of the experiment's configurations.
      values: what a record saved. Settings added since it was written take their defaults, which
        keep what was; one that has gone since is material.
      metric: the metric's name.
    """
    try:
        values = to_dict(from_dict(kind, values))
    except ConfigError:  # a setting has since gone or narrowed: the record's own words stand
        values = fill(kind, values)
    known, split = meanings(kind), MetricName.parse(metric).split

    def matters(key: str) -> bool:
        match known.get(key):
            case Immaterial():
                return False
            case OnlyFor(split=only):
                return only == split
            case _:
                return True

    return {key: value for key, value in flatten(values).items() if matters(key)}


def depart(record: Record, experiment: Experiment, metric: str) -> Departure | None:
    """Compare a run with its experiment's `paper` preset; return None where there is none."""
    if "paper" not in experiment.presets:
        return None
    config = experiment.preset("paper").config
    kind: Any = type(config)
    paper = material(kind, to_dict(config), metric)
    ours = material(kind, record.config, metric)
    changed = {k for k in paper.keys() | ours.keys() if paper.get(k) != ours.get(k)}
    known = {key: meanings(kind).get(key) for key in changed}
    precision = precision_of(record.device)
    narrow = () if precision == PRECISION else (f"precision: {PRECISION} → {precision}",)
    size = _size(record, experiment, metric)
    each = [_amount(known[key], paper.get(key), ours.get(key)) for key in sorted(changed)]
    start = _start(experiment, config, ours)
    told = _Amounts.of([size, _Amounts(tuple(f"{precision} precision" for _ in narrow)), *each])
    stand_in = _stand_in(record, experiment)
    unavoidable = {used.name for used in record.data} == {experiment.stand_in}
    return Departure(
        size=(*size.amounts, *size.more),
        amounts=(*told.amounts, *start.told.amounts, *stand_in),
        more=(*told.more, *start.told.more),
        smaller=told.smaller or start.told.smaller or (bool(stand_in) and not unavoidable),
        other_data=bool(stand_in)
        or start.other_data
        or any(isinstance(meaning, Dataset | Prefix) for meaning in known.values()),
        settings=(*differences(paper, ours), *narrow),
        stand_in=tuple(stand_in),
        unavoidable=unavoidable,
        others=sum(not isinstance(m, Amount | Prefix | Dataset) for m in known.values()),
    )


def scale(record: Record, experiment: Experiment) -> str:
    """Return in words in what a run differs from the paper's; empty where in nothing."""
    departure = depart(record, experiment, experiment.metrics[0].name)
    return _departed(departure).text if departure else ""


def judge(
    ours: Summary | None,
    published: Sequence[Published],
    departure: Departure | None,
    *,
    better: Better,
    seeds: int,
    diverged: int,
) -> Verdict:
    """Return the verdict on a row.

    Args:
      ours: the seeds that finished, None where none did.
      published: the paper's values for the metric.
      departure: the run's difference from the paper's, None where there is no paper preset.
      better: the metric's better side.
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
    if departure.only_in_data:
        places = [_beside(ours, value.value) for value in published]
        side = f"; {_of_each(places, published)}" if published else ""
        text = f"other data: {', '.join(departure.stand_in)}{side}{tail}"
        return Verdict("other data", text, close=any(one in (NEAR, INSIDE) for one in places))
    if not published:
        return Verdict("", tail.removeprefix("; "))
    kinds = [_compare(ours, value.value, better) for value in published]
    nearest = min(range(len(kinds)), key=lambda k: abs(ours.mean - published[k].value))
    return Verdict(kinds[nearest], _of_each(kinds, published) + tail)


def _of_each(words: Sequence[str], published: Sequence[Published]) -> str:
    """What is said of all published values; of which what, where that differs."""
    if len(set(words)) == 1:
        return words[0]
    return ", ".join(f"{k} ({p.printed})" for k, p in zip(words, published, strict=True))


def _compare(ours: Summary, value: float, better: Better) -> Literal["matched", "better", "short"]:
    if (beside := _beside(ours, value)) not in ("above", "below"):
        return "matched"
    if better == "toward zero":
        return "better" if abs(ours.mean) < abs(value) else "short"
    return "better" if (beside == "below") == (better == "lower") else "short"


def _beside(ours: Summary, value: float) -> str:
    """Whether the mean is near a published value, or the interval holds it; else on which side."""
    # The smallest amount on top: 101.0 is within 1 % of 100.0 in decimals, not in binary.
    if abs(ours.mean - value) <= TOLERANCE * abs(value) * (1 + 1e-9):
        return NEAR
    if ours.low is not None and ours.high is not None and ours.low <= value <= ours.high:
        return INSIDE
    return "below" if ours.mean < value else "above"


def _departed(departure: Departure) -> Verdict:
    kind: Kind = "scaled down" if departure.smaller else "other settings"
    parts = [", ".join(told) for told in (departure.amounts, departure.more) if told]
    if departure.others:
        parts.append(f"{settings_text(departure.others)} changed")
    return Verdict(kind, f"{kind}: {'; '.join(parts)}")


class _Amounts(NamedTuple):
    """What is less than in the paper, or is other than there, and what is more, in words."""

    amounts: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    smaller: bool = False
    """Whether any of the amounts is less."""

    @classmethod
    def of(cls, each: Sequence["_Amounts"]) -> "_Amounts":
        """Put several together."""
        return cls(
            tuple(text for one in each for text in one.amounts),
            tuple(text for one in each for text in one.more),
            any(one.smaller for one in each),
        )


def _size(record: Record, experiment: Experiment, metric: str) -> _Amounts:
    ours = parameters(record, metric)
    paper = experiment.paper_parameters
    if ours is None or paper is None or ours == paper:
        return _Amounts()
    return _compared(ours, paper, "parameters")


def _amount(meaning: Meaning | None, paper: Any, ours: Any, of: str = "") -> _Amounts:
    """A changed setting in words where it is an amount; `of` says behind the noun whose."""
    if ours is None or paper is None:
        return _Amounts()
    match meaning:
        case Amount(noun):
            return _compared(ours, paper, f"{noun}{of}")
        case Prefix(noun):
            if not ours:
                return _Amounts(more=(f"all {noun}{of} (paper {short(paper)})",))
            less = not paper or ours < paper
            text = (f"the first {short(ours)} {noun}{of}",)
            return _Amounts(text, smaller=True) if less else _Amounts(more=text)
    return _Amounts()


class _Start(NamedTuple):
    """In what the model that a run starts from differs from that of the paper's run."""

    told: _Amounts = _Amounts()
    other_data: bool = False


def _start(experiment: Experiment, paper: Any, ours: Mapping[str, Any]) -> _Start:
    """Compare the presets of the models that two runs start from.

    Args:
      experiment: whose runs.
      paper: the configuration of its preset `paper`.
      ours: the run's settings, flattened.
    """
    if not experiment.upstream:
        return _Start()
    first = registry.find(experiment.upstream)
    wanted = ours.get(f"{first.name}.preset", "")
    if ours.get(f"{first.name}.run") or first.aliases.get(wanted, wanted) not in first.presets:
        unknown = f"another {first.model}, of training that isn't recorded"
        return _Start(_Amounts((unknown,), smaller=True))
    theirs = first.preset(getattr(paper, first.name).preset).config
    old, new = (flatten(to_dict(one)) for one in (theirs, first.preset(wanted).config))
    each: list[_Amounts] = []
    other_data = False
    for key, meaning in sorted(meanings(first.kind).items()):
        if old[key] == new[key] or (isinstance(meaning, Amount) and not meaning.trains):
            continue
        each.append(_amount(meaning, old[key], new[key], f" of the {first.model}"))
        other_data = other_data or isinstance(meaning, Dataset | Prefix)
    return _Start(_Amounts.of(each), other_data)


def _stand_in(record: Record, experiment: Experiment) -> list[str]:
    return [
        f"{data.name} stands in for {data.stand_in_for or ' + '.join(experiment.data)}"
        for data in record.data
        if data.stand_in_for is not None or data.name not in experiment.data
    ]


def precision_of(device: Mapping[str, Any]) -> str:
    """Return in which precision a run multiplied matrices, from the facts in its record.

    `bfloat16` where a recurrence's products read that, otherwise what JAX calls that of all.
    """
    products = device.get("products", PRECISION)
    return str(numerics_of(device)["precision"] if products == PRECISION else products)


def parameters(record: Record, metric: str) -> int | None:
    """Return the number of trainable parameters of the model that a metric is of."""
    if isinstance(record.parameters, int):
        return record.parameters
    return record.parameters.get(MetricName.parse(metric).model)


def settings_text(count: int | str) -> str:
    """Return so many settings in words."""
    return f"{count} setting{'s' * (str(count) != '1')}"


def short(number: int) -> str:
    """Return a count, in millions where it is large."""
    if number < LARGE:
        return f"{number:,}"
    return f"{number / 1e6:.{1 if number >= 1_000_000 else 2}f} M"


def _compared(ours: int, paper: int, noun: str) -> _Amounts:
    """Two counts in one form: in millions only where both are large."""
    mine, theirs = (short(n) if min(ours, paper) >= LARGE else f"{n:,}" for n in (ours, paper))
    if ours < paper:
        return _Amounts((f"{mine} of {theirs} {noun}",), smaller=True)
    return _Amounts(more=(f"{mine} {noun} (more than the paper's {theirs})",))
