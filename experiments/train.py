"""The trunk of every run: fit a learner on a schedule, measure what it learned, say what came out.

A family hands `train` its learner, its schedule and two functions of one seed's state, `validate`
and `measure`; signals, divergence, timing and the form of the result are dealt with here.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from common.error import DivergedError, InterruptedRun
from common.interrupt import Interrupt
from common.population import Population
from common.record import DataUsed, write_atomically
from common.run_directory import RunDirectory
from common.training import Learner, Schedule, Tick, Training

Row = dict[str, Any]
"""A row of metrics.jsonl."""


@dataclass(frozen=True)
class Outcome:
    """What a run of one seed came to; the fields are those of a record."""

    parameters: int | dict[str, int]
    """Trainable ones; by part where a run has several."""
    metrics: dict[str, float]
    curve: list[dict[str, float]]
    data: list[DataUsed]
    seconds: dict[str, float]


class DivergedRun(DivergedError):
    """A run that diverged, with what is known of it."""

    def __init__(self, message: str, outcome: Outcome):
        super().__init__(message)
        self.outcome = outcome


class Rehearsed(Exception):
    """Everything that a training needs was found; nothing was trained."""


Outcomes = dict[int, Outcome | DivergedRun]
"""Seed → what its run came to."""


@dataclass
class Spared:
    """What this session needn't do again."""

    seconds: float = 0.0
    """That protocols of the final evaluation took in earlier ones."""


@dataclass(frozen=True)
class Place:
    """Where a training's files lie, and the name under which it reports."""

    run: RunDirectory
    label: str
    """What its progress line begins with."""
    folder: str = ""
    """Within the run's directory, where a run has several trainings."""
    tensorboard: bool = False
    recorded: frozenset[int] = frozenset()
    """Seeds of the training that have their records already: they are not measured again."""

    rehearsal: bool = False
    """Whether `train` raises Rehearsed instead of training."""
    spared: Spared = field(default_factory=Spared)

    @property
    def path(self) -> Path:
        """The folder."""
        return self.run.path / self.folder

    def lead(self, work: Callable[[], Any]) -> None:
        """Let one of several processes do work that writes files beside the record."""
        self.run.process.lead(work)

    def once(
        self, protocol: str, of: Mapping[str, Any], work: Callable[[], dict[str, float]]
    ) -> dict[str, float]:
        """Return what a protocol of the final evaluation measures; it is done in one session only.

        A run that was stopped afterwards takes what was measured then, to the bit.

        Args:
          protocol: its name.
          of: what its metrics depend on, in JSON values: parameters, data, settings, code.
          work: measures; called unless the same was measured before.
        """
        wanted = {"protocol": protocol, "of": json.loads(json.dumps(dict(of)))}
        for row in self.run.read_evaluations(self.folder):
            if {name: row.get(name) for name in wanted} == wanted:
                self.spared.seconds += row["seconds"]
                return dict(row["metrics"])
        begin = time.monotonic()
        metrics = work()
        row = {**wanted, "metrics": metrics, "seconds": time.monotonic() - begin}
        self.run.note_evaluation(row, self.folder)
        return metrics

    def part(self, name: str) -> "Place":
        """Return the place of one of several trainings of this run."""
        return replace(self, label=name, folder=str(Path(self.folder) / name))

    def sink(self) -> Callable[[Row], None]:
        """Return what else takes rows of metrics: TensorBoard, if it was asked for."""
        if not self.tensorboard or not self.run.process.leads:
            return lambda row: None
        from tensorboardX import SummaryWriter

        # Absolute: a relative `gs:/x` would be taken for a place in the cloud.
        writer = SummaryWriter(str((self.path / "tensorboard").absolute()))

        def write(row: Row) -> None:
            for name, value in row.items():
                if "/" in name:
                    writer.add_scalar(name, value, row["step"])
            writer.flush()

        return write


Evaluation = tuple[dict[str, float], float | None]
"""Metrics, and the score by which the best state is chosen: lower is better, None for no choice."""
Validate = Callable[[Any, int, int, Tick], Evaluation]
"""(state, seed, step, tick) → what is measured of one seed on the way, after `step` updates."""
Measure = Callable[[Any, int, Tick], dict[str, float]]
"""(state, seed, tick) → the metrics of one seed's result; it may write samples as well."""


def train(
    place: Place,
    learner: Learner | Population,
    initial: Any,
    schedule: Schedule,
    seeds: Sequence[int],
    *,
    validate: Validate,
    measure: Measure,
    describe: Callable[[Row], str],
    curve: Callable[[list[Row]], list[dict[str, float]]],
    parameters: int,
    data: DataUsed,
    accept: Callable[[dict[str, float]], None] = lambda metrics: None,
    files: Mapping[str, Any] | None = None,
) -> Outcomes:
    """Train to the end of the schedule, from where an earlier call stopped; measure the result.

    Args:
      place: where metrics and checkpoints lie.
      learner: of one seed, or a Population of all of them.
      initial: its initial state.
      schedule: when things happen, in updates.
      seeds: one, or those of the population in order.
      validate: called with one seed's state when an evaluation is due. Without a score the last
        state is the result, otherwise the one with the lowest. Members of a Population have none.
      measure: called with the resulting state of each seed that has not diverged.
      describe: a row of metrics in a few words, for the progress line; of several seeds the row
        holds means.
      curve: what the record keeps of one seed's rows of metrics.
      parameters: trainable parameters of a seed's model.
      data: what it learned from.
      accept: is given the metrics of every evaluation, named as in metrics.jsonl, once they are
        there; may raise DivergedError, which ends the training of all seeds.
      files: name → JSON value of what is written beside the metrics when the training starts.

    Returns:
      For each seed without a record its outcome, or the DivergedRun that says why there is none.

    Raises:
      ConfigError: the training began on other data.
      Rehearsed: all is there, and this is a rehearsal.
      InterruptedRun: a signal came; what was done is saved.
    """
    place.run.claim_data(asdict(data), place.folder)
    if place.rehearsal:
        raise Rehearsed
    place.run.note_schedule(asdict(schedule), place.folder)
    for name, content in (files or {}).items():
        text = json.dumps(content) + "\n"
        place.lead(partial(write_atomically, place.path / name, text))
    members = _Members(learner, tuple(seeds))
    training = Training(
        place.run,
        learner,
        schedule,
        evaluate=lambda state, tick: members.validate(validate, state, tick),
        describe=lambda row: describe(members.mean(row)),
        label=place.label,
        folder=place.folder,
        sink=place.sink(),
        accept=accept,
    )

    def outcome(seed: int, metrics: dict[str, float], seconds: dict[str, float]) -> Outcome:
        rows = training.run.read_metrics(training.metrics_file)
        kept = curve([members.row(row, seed) for row in rows])
        rounded = {phase: round(value, 3) for phase, value in seconds.items()}
        return Outcome(parameters, metrics, kept, [data], rounded)

    with Interrupt(place.run.process) as interrupt:
        try:
            best, seconds = training.fit(initial, interrupt)
        except DivergedError as error:
            return {seed: DivergedRun(str(error), outcome(seed, {}, {})) for seed in seeds}
        outcomes: Outcomes = {}
        for seed, state in members.each(best):
            if seed in place.recorded:
                continue
            spent = {"training": seconds / len(seeds)}
            if (step := int(state.diverged_at)) >= 0:
                text = f"{place.path}: seed {seed} diverged at step {step}."
                outcomes[seed] = DivergedRun(text, outcome(seed, {}, spent))
            else:
                metrics = _measure(place, partial(measure, state, seed), spent, interrupt)
                outcomes[seed] = outcome(seed, metrics, spent)
    return outcomes


def _measure(
    place: Place,
    measure: Callable[[Tick], dict[str, float]],
    spent: dict[str, float],
    interrupt: Interrupt,
) -> dict[str, float]:
    """Measure one seed's result; adds the seconds of it, in all sessions, to those spent."""
    begin, spared = time.monotonic(), place.spared.seconds
    try:
        metrics = measure(interrupt.tick)
        interrupt.check()
    except InterruptedRun as stop:
        raise InterruptedRun(
            f"{stop} in the final evaluation; the training is saved in {place.run.path}.\n"
            "The same command evaluates it.",
            stop.signal_number,
        ) from None
    spent["evaluation"] = time.monotonic() - begin + (place.spared.seconds - spared)
    return metrics


class _Members:
    """One seed's states and rows, out of those of a learner or of a population."""

    def __init__(self, learner: Learner | Population, seeds: tuple[int, ...]):
        self.seeds = seeds
        self.population = learner if isinstance(learner, Population) else None

    def each(self, state: Any) -> Iterable[tuple[int, Any]]:
        """Return every seed with its state."""
        if self.population is None:
            return [(self.seeds[0], state)]
        return zip(self.seeds, self.population.members(state), strict=True)

    def validate(self, validate: Validate, state: Any, tick: Tick) -> Evaluation:
        """Measure all seeds; metrics are under their names in metrics.jsonl."""
        if self.population is None:
            return validate(state, self.seeds[0], int(state.step), tick)
        metrics: dict[str, float] = {}
        for seed, member in self.each(state):
            found, score = validate(member, seed, int(state.step), tick)
            if score is not None:
                raise ValueError("of seeds that train together no state can be the best for all")
            metrics |= {f"seed{seed}/{name}": value for name, value in found.items()}
        return metrics, None

    def row(self, row: Row, seed: int) -> Row:
        """Return what a row says of one seed, under plain names."""
        if self.population is None:
            return row
        prefix = f"seed{seed}/"
        return {
            name.removeprefix(prefix): value
            for name, value in row.items()
            if "/" not in name or name.startswith(prefix)
        }

    def mean(self, row: Row) -> Row:
        """Return a row of means over the seeds."""
        if self.population is None:
            return row
        each = [self.row(row, seed) for seed in self.seeds]
        names = dict.fromkeys(name for one in each for name in one)
        found = {name: [one[name] for one in each if one.get(name) is not None] for name in names}
        return {name: float(np.mean(values)) for name, values in found.items() if values}


def merge(parts: Mapping[str, Outcome]) -> Outcome:
    """Merge outcomes of named parts; the name comes first in names of metrics and curves."""

    def named(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        return {f"{name}/{k}" if "/" in k else k: v for k, v in values.items()}

    parameters: dict[str, int] = {}
    metrics: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for name, part in parts.items():
        counts = part.parameters
        each = counts.items() if isinstance(counts, dict) else [("", counts)]
        parameters |= {f"{name}/{one}" if one else name: count for one, count in each}
        metrics |= named(name, part.metrics)
        for phase, value in part.seconds.items():
            seconds[phase] = round(seconds.get(phase, 0.0) + value, 3)
    used = [data for part in parts.values() for data in part.data]
    by_name = {data.name: data for data in reversed(used)}  # the first of a name counts
    return Outcome(
        parameters=parameters,
        metrics=metrics,
        curve=[named(name, row) for name, part in parts.items() for row in part.curve],
        data=list(by_name.values())[::-1],
        seconds=seconds,
    )


def data_used(dataset: Any, tokens: Mapping[str, int], paper_data: Sequence[str]) -> DataUsed:
    """Return what a record says of a dataset (with a name, version and checksums) and of its use.

    `tokens` are counted by split. `paper_data` are the experiment's datasets of the paper; any
    other one stands in for the first of them.
    """
    return DataUsed(
        name=dataset.name,
        version=dataset.version,
        stand_in_for=None if dataset.name in paper_data else paper_data[0],
        tokens=dict(tokens),
        checksums=dataset.checksums,
    )
