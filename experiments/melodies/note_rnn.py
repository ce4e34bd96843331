"""Trains the Note RNN, and counts what it composes."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax

from common import device
from common.datasets import MelodySet, load
from common.error import ConfigError, DataError
from common.key import move_to_c, stretch, stretch_factors
from common.melody import Events, swap_specials
from common.mesh import make_mesh
from common.plot import learning_curves
from common.process import this_process
from common.progress import Progress
from common.training import Schedule, Tick
from experiments import trained
from experiments.melodies.domain import MELODIES, SWAPPED, judge_prior
from experiments.run import Context
from experiments.train import Outcomes, Row, data_used, train
from experiments.trained import Trained
from tutor.config import MelodyDataConfig, NoteRNNConfig
from tutor.evaluation import Composer, Compositions, Policy
from tutor.kl_control import SOFTMAX
from tutor.prior import (
    PriorLearner,
    PriorState,
    SequenceScore,
    evaluate,
    require_predictions,
)
from tutor.sequence_model import Graph, Params
from tutor.size import compositions_bytes, training_bytes

MOST_NAMED = 20
"""Skipped files that are named; all are counted."""


def run(context: Context) -> Outcomes:
    """Train by maximum likelihood on melodies; count what the model composes."""
    config: NoteRNNConfig = context.config
    melodies = load_melodies(config.data, context.options.data_dir, swapped=config.original_quirks)
    for split in ("train", "valid", "test"):
        require_predictions(getattr(melodies, split), masked=config.prior.masked, split=split)
    device.require_memory(
        training_bytes(config.model, config.prior, MELODIES.num_events),
        "model.units, model.depth, prior.batch_size or prior.steps",
    )
    device.require_memory(
        compositions_bytes(config.final_compositions, MELODIES.length), "final_compositions"
    )
    learner = PriorLearner(
        config.prior,
        MELODIES.num_events,
        trained.core_factory(config.model, context.compute),
        melodies.train,
        initial_range=config.model.initial_range,
        mesh=make_mesh(context.options.devices),
    )
    (seed,) = context.seeds
    initial = learner.initial_state(seed)
    path = context.place.path
    data = data_used(melodies, sizes(melodies), context.experiment.data)

    def score(params: Params, split: str, tick: Tick) -> SequenceScore:
        sequences, masked = getattr(melodies, split), config.prior.masked
        params = jax.device_get(params)  # else each device of a mesh would evaluate all of them
        return evaluate(learner.graph, params, sequences, masked=masked, tick=tick)

    def validate(
        state: PriorState, seed: int, step: int, tick: Tick
    ) -> tuple[dict[str, float], float]:
        found = score(state.params, "valid", tick)
        return found.metrics("valid"), found.loss

    def measure(state: PriorState, seed: int, tick: Tick) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for split in ("valid", "test"):
            metrics |= score(state.params, split, tick).metrics(split)
        params, notes = jax.device_get(state.params), {SWAPPED: config.original_quirks}
        made = compose(learner.graph, params, seed, config.final_compositions, tick)
        policy = Policy(params, params)
        trained.save(
            path, Trained(MELODIES, learner.graph, policy, config.model, SOFTMAX, data, notes)
        )
        context.place.lead(partial(MELODIES.write, made, path, notes))
        metrics |= judge_prior(learner.graph, params)
        return metrics | made.metrics("composed") | MELODIES.judge(made)

    outcomes = train(
        context.place,
        learner,
        initial,
        Schedule(
            total=config.prior.iterations,
            report_every=config.prior.report_every,
            evaluate_every=config.prior.evaluate_every,
            items_per_update=config.prior.batch_size * config.prior.steps,
            item="events",
            stage="evaluation",
        ),
        context.seeds,
        validate=validate,
        measure=measure,
        describe=_describe,
        curve=lambda rows: [row for row in rows if "valid/log_perplexity" in row],
        parameters=sum(leaf.size for leaf in jax.tree.leaves(initial.params)),
        data=data,
    )
    if not isinstance(outcome := outcomes[seed], Exception):
        file, title = path / "learning_curve.png", context.experiment.title
        context.place.lead(partial(_draw, outcome.curve, file, title))
    return outcomes


def sizes(melodies: MelodySet) -> dict[str, int]:
    """Count the events of each split."""
    return {s: sum(map(len, getattr(melodies, s))) for s in ("train", "valid", "test")}


def compose(graph: Graph, prior: Params, seed: int, count: int, tick: Tick) -> Compositions:
    """Draw `count` compositions from a prior by itself, with the keys of a seed."""
    composer = Composer(graph, SOFTMAX, MELODIES.environment, MELODIES.length)
    return composer.compose(Policy(prior, prior), jax.random.key(seed), count, tick=tick)


def load_melodies(config: MelodyDataConfig, data_dir: Path | None, *, swapped: bool) -> MelodySet:
    """Return the configured melodies: cut to the configured numbers, moved and stretched.

    `swapped` exchanges rests and holds.

    Raises:
      ConfigError: the dataset isn't one of melodies.
      DataError: as loading does, or a split is empty.
    """
    return prepare(load_own(config, data_dir), config, swapped=swapped)


def load_own(config: MelodyDataConfig, data_dir: Path | None) -> MelodySet:
    """Return the configured numbers of melodies in their own keys and speeds; raises as above."""
    melodies = load(config.name, data_dir=data_dir)
    if not isinstance(melodies, MelodySet):
        raise ConfigError(f"data.name={config.name}: the Note RNN needs a dataset of melodies.")
    _report_skipped(melodies)
    cut = {
        "train": config.train_melodies,
        "valid": config.evaluation_melodies,
        "test": config.evaluation_melodies,
    }
    splits = {split: getattr(melodies, split)[: count or None] for split, count in cut.items()}
    for split, sequences in splits.items():
        if not sequences:
            raise DataError(
                f"{config.name}: the {split} split is empty: bring more melodies "
                f"({sum(map(len, splits.values()))} here)."
            )
    return replace(melodies, **splits)


def prepare(melodies: MelodySet, config: MelodyDataConfig, *, swapped: bool) -> MelodySet:
    """Move and stretch melodies as configured; `swapped` exchanges their rests and holds."""

    def made(split: str) -> tuple[Events, ...]:
        sequences = _prepare(getattr(melodies, split), config, split)
        return tuple(map(swap_specials, sequences)) if swapped else sequences

    return replace(melodies, train=made("train"), valid=made("valid"), test=made("test"))


def _prepare(
    sequences: tuple[Events, ...], config: MelodyDataConfig, split: str
) -> tuple[Events, ...]:
    """Melodies of a split in the configured key and at the configured speeds."""
    if config.key == "C":
        sequences, counts = move_to_c(sequences)
        moved = ", ".join(f"{count:,} {what}" for what, count in counts.items())
        _progress(config.name).note(f"{split}, moved to C: {moved}")
    if config.stretch:
        factors = stretch_factors(len(sequences), config.stretch)
        sequences = tuple(map(stretch, sequences, factors))
    return sequences


def _progress(name: str) -> Progress:
    """The line of a dataset; of several processes one has it."""
    return Progress(name, visible=this_process().leads)


def _report_skipped(melodies: MelodySet) -> None:
    """Name source files that gave no melody, and count what was left out."""
    progress = _progress(melodies.name)
    for skipped in melodies.skipped[:MOST_NAMED]:
        progress.note(f"skipped {skipped}")
    progress.note(", ".join(f"{count:,} {what}" for what, count in melodies.counts.items()))


def _describe(row: Row) -> str:
    split = "train" if "train/accuracy" in row else "valid"
    accuracy, loss = row[f"{split}/accuracy"], row[f"{split}/log_perplexity"]
    return f"{split} accuracy {100 * accuracy:.1f} %  log perplexity {loss:.4f}"


def _draw(curve: list[dict[str, float]], path: Path, title: str) -> None:
    learning_curves(
        {"Note RNN": [(row["step"], row["valid/log_perplexity"]) for row in curve]},
        path,
        x_label="update",
        y_label="validation log perplexity",
        title=title,
    )
