"""What the results open with of molecules: which method got most reward, and how far it went."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from common.metric import Metric
from common.record import Record
from common.table import Summary
from experiments.molecules.catalogue import NAMES, SAMPLES
from experiments.molecules.selection import (
    BEFORE,
    PRESETS,
    REWARD,
    alarmed,
    by_experiment,
    tuned_prior,
    unfinished,
)
from experiments.results.alike import seeds_a, summary_of, told_apart
from experiments.results.cells import number

KL = "composed/kl_policy_prior"
SHOWN = Metric(REWARD, SAMPLES, decimals=2)
"""How a sentence tells it."""


def headline(records: Iterable[Record]) -> list[str]:
    """Say in a sentence which method has most reward, at which divergence, and what it costs.

    It is of the largest preset with two or more methods; nothing where there is none.
    """
    records = list(records)
    for preset in reversed(PRESETS):
        found = by_experiment(records, preset)
        before = summary_of(tuned_prior(found), REWARD)
        lost = unfinished(records, preset, found)
        found.pop(BEFORE, None)
        tuned = {
            NAMES[name]: made
            for name, made in found.items()
            if any(REWARD in one.metrics for one in made)
        }
        if len(tuned) < 2:
            continue
        return [_in_a_sentence(preset, before, tuned, lost)]
    return []


def _in_a_sentence(
    preset: str,
    before: Summary | None,
    tuned: Mapping[str, Sequence[Record]],
    lost: Mapping[str, Sequence[Record]],
) -> str:
    """Tell what methods of a preset reached, in the order of their mean rewards, and which of their
    runs didn't finish (`lost`)."""
    rewards = {name: one for name in tuned if (one := summary_of(tuned[name], REWARD)) is not None}
    first, *others = ranked = sorted(rewards, key=lambda name: -rewards[name].mean)
    prior = gained = ""
    if before is not None:
        above = sum(one.mean > before.mean and told_apart(one, before) for one in rewards.values())
        prior = f"prior {number(before.mean, SHOWN)}; "
        gained = (
            f"; {above or 'none'} of {len({*rewards, *lost})} methods "
            f"{'gets' if above < 2 else 'get'} more than the prior"
        )
    seeds = [len(tuned[name]) for name in ranked]
    near = [name for name in others if not told_apart(rewards[name], rewards[first])]
    overlapping = f"; the intervals of {first} and {', '.join(near)} overlap" if near else ""
    differ = "; their learning rates differ" if rates(tuned) else ""
    counts = [
        f"{name} ({len(runs)} of {len(runs) + len(tuned.get(name, ()))})"
        for name, runs in lost.items()
    ]
    absent = f" Seeds that didn't finish: {', '.join(counts)}." if counts else ""
    rang = [
        name
        for name in dict.fromkeys((*ranked, *lost))
        if any(map(alarmed, (*tuned.get(name, ()), *lost.get(name, ()))))
    ]
    alarm = f"The alarm of collapse rang for {', '.join(rang)}" if rang else "No alarm rang"
    each = ", ".join(f"{name} {_reached(tuned[name], rewards[name])}" for name in ranked)
    return (
        f"Molecules tuned with preset {preset}, {seeds_a(seeds, 'method')}: mean reward, and "
        f"KL(π ‖ p) in nats: {prior}{each}{gained}{overlapping}{differ}.{absent} {alarm}."
    )


def _reached(records: Sequence[Record], reward: Summary) -> str:
    kl = fmean(one.metrics[KL] for one in records)
    nats = f"{kl:.2g}" if kl < 100 else f"{kl:.0f}"
    return f"{number(reward.mean, SHOWN)} ({nats})"


def rates(tuned: Mapping[str, Sequence[Record]]) -> str:
    """Say which methods were tuned at which learning rate; "" where all were at one.

    Args:
      tuned: method → its runs.
    """
    rates: dict[float, list[str]] = {}
    for name, made in tuned.items():
        for rate in dict.fromkeys(one.config["learn"]["learning_rate"] for one in made):
            rates.setdefault(rate, []).append(name)
    if len(rates) < 2:
        return ""
    told = "; ".join(f"{rate:g} for {', '.join(rates[rate])}" for rate in sorted(rates)[::-1])
    return f"The learning rates of these methods differ: {told}.\n"
