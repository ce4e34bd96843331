"""Which runs of molecules stand in one table, and which don't."""

from collections.abc import Iterable, Mapping, Sequence

from common.record import Record
from experiments.molecules.catalogue import NAMES
from experiments.registry import find
from experiments.results.alike import as_preset, on_one_data
from experiments.results.row import changed_settings, data_mark

BEFORE = "molecule_rnn"
"""The experiment whose models the others tune."""
REWARD = "composed/reward"
C_SETTING = "learn.c"
PRESETS = ("cpu", "paper")
"""Of which there are tables."""
PRIOR_SETTING = "molecule_rnn.seed"
STOPS = "alarm.stop=true"
"""The override with which a run ends once its alarm rings."""


def by_experiment(
    records: Iterable[Record], preset: str, overridden: Sequence[str] = ()
) -> dict[str, list[Record]]:
    """Return the finished records of a preset in the order of NAMES.

    Their settings are the preset's as it is now, but for those in `overridden`; their data are the
    same, and so is the prior that was tuned.
    """
    asked = [one for one in records if one.experiment in NAMES and one.preset == preset]
    done = on_one_data(as_preset(asked, free=overridden), models=(NAMES[BEFORE],))
    tuned = on_one_data(one for one in done if one.experiment != BEFORE)
    done = [*(one for one in done if one.experiment == BEFORE), *tuned]
    grouped = {name: [one for one in done if one.experiment == name] for name in NAMES}
    return {name: sorted(made, key=lambda one: one.seed) for name, made in grouped.items() if made}


def tunings(found: Mapping[str, list[Record]]) -> dict[str, list[Record]]:
    """Of what `by_experiment` found, the tunings."""
    return {name: made for name, made in found.items() if name != BEFORE}


def tuned_prior(found: Mapping[str, Sequence[Record]]) -> list[Record]:
    """Return, of what `by_experiment` found, the run of the molecule RNN that was tuned.

    Other seeds of the molecule RNN tell nothing of what tuning changed. Empty where the run isn't
    among the records.
    """
    seed = prior_seed(found)
    return [one for one in found.get(BEFORE, ()) if one.seed == seed]


def prior_seed(found: Mapping[str, Sequence[Record]]) -> int | None:
    """The seed of the molecule RNN that was tuned, one for all; None where none was."""
    seeds = (seed_of_prior(made[0]) for name, made in found.items() if name != BEFORE)
    return next(seeds, None)


def unfinished(
    records: Iterable[Record], preset: str, found: Mapping[str, list[Record]]
) -> dict[str, list[Record]]:
    """Name of a method → its runs like those that were found that didn't finish, a seed each.

    That a run was to stop at its alarm makes it no other run.
    """
    marks = {data_mark(one) for made in tunings(found).values() for one in made}
    lost: dict[str, dict[int, Record]] = {}
    for one in _asked(records, preset):
        if (
            one.status != "done"
            and {*changed_settings(one, find(one.experiment), REWARD)} <= {STOPS}
            and data_mark(one) in marks
            and one.seed not in {other.seed for other in found.get(one.experiment, ())}
        ):
            lost.setdefault(one.experiment, {}).setdefault(one.seed, one)
    return {name: [*lost[one].values()] for one, name in NAMES.items() if one in lost}


def left_out(records: Iterable[Record], preset: str) -> list[str]:
    """Name the tunings of a preset that tables and pictures lack, and why: those that diverged or
    that their alarm stopped, and those of another prior or other data than what is shown."""
    records = list(records)
    founds = (by_experiment(records, preset, free) for free in ((), (C_SETTING,)))
    shown = [one for found in founds for made in tunings(found).values() for one in made]
    alike = as_preset(_asked(records, preset), free=(C_SETTING, PRIOR_SETTING))
    priors = [_prior(one) for one in shown]
    told = []
    for one in _asked(records, preset):
        if one.status != "done":
            why = _why_unfinished(one)
        elif one in alike and one not in shown:
            why = "other data" if _prior(one) in priors else "another molecule RNN"
            why = f"learned from {why}"
        else:
            continue
        settings = f" with {', '.join(one.overrides)}" if one.overrides else ""
        told.append(f"{NAMES[one.experiment]}{settings}, seed {one.seed}, {why}")
    return told


def _why_unfinished(record: Record) -> str:
    why = "diverged"
    if alarmed(record):
        stops = record.config["alarm"]["stop"]
        why = "was stopped by its alarm" if stops else "diverged (its alarm had rung)"
    return f"{why} after {record.curve[-1]['step']:,.0f} steps" if record.curve else why


def alarmed(record: Record) -> bool:
    """Tell whether the alarm of collapse rang in a run, at any evaluation or in the end."""
    rows = [row.get("eval/collapsed", 0.0) for row in record.curve]
    return any(rows) or bool(record.metrics.get("composed/collapsed", 0.0))


def _asked(records: Iterable[Record], preset: str) -> list[Record]:
    """The tunings of a preset, finished or not."""
    methods = {*NAMES} - {BEFORE}
    return [one for one in records if one.experiment in methods and one.preset == preset]


def seed_of_prior(record: Record) -> int:
    """The seed of the molecule RNN that a run tuned."""
    seed: int = record.config["molecule_rnn"]["seed"]
    return seed


def _prior(record: Record) -> tuple[int, frozenset[str]]:
    """The molecule RNN that a run tuned: its seed, and its checksum where the record has it."""
    sums = (used.checksums.get(NAMES[BEFORE]) for used in record.data)
    return seed_of_prior(record), frozenset(one for one in sums if one is not None)
