"""Trains the Note RNN in a run directory, and counts what it composes."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np

from common.datasets import MelodySet, load
from common.error import ConfigError, DataError, DivergedError, InterruptedRun
from common.interrupt import Interrupt
from common.melody import NUM_EVENTS, swap_specials
from common.plot import learning_curves
from common.progress import Progress
from common.record import DataUsed
from common.training import Schedule, Tick, Training
from experiments import trained
from experiments.melodies.domain import ENVIRONMENT, LENGTH, table_1, write_compositions
from experiments.run import Context, DivergedRun, Outcome
from tutor.config import DataConfig, NoteRNNConfig
from tutor.evaluation import Composer, Policy
from tutor.prior import PriorLearner, PriorState, Score, evaluate
from tutor.sequence_model import Graph, Params

MOST_NAMED = 20
"""Skipped files that are named; all are counted."""


def run(context: Context) -> Outcome:
    """Maximum likelihood on melodies, then compositions and their statistics."""
    return train(context, context.config)


def train(context: Context, config: NoteRNNConfig, folder: str = "") -> Outcome:
    """Trains a Note RNN in `folder` of the run's directory, and measures it."""
    path = context.run.path / folder
    melodies = load_melodies(context, config.data, swapped=config.original_quirks)
    model = config.model
    learner = PriorLearner(
        config.prior,
        NUM_EVENTS,
        trained.core_factory(model),
        melodies.train,
        initial_range=model.initial_range,
    )
    initial = learner.initial_state(context.seed)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(initial.params))

    score = partial(_score, learner.graph, melodies, config.prior.masked)
    measure = partial(_measure, learner.graph, score, config.final_compositions, context.seed)

    def validate(state: PriorState, tick: Tick) -> tuple[dict[str, float], float]:
        found = score(state.params, "valid", tick)
        return found.metrics("valid"), found.loss

    training = Training(
        context.run,
        learner,
        Schedule(
            total=config.prior.iterations,
            report_every=config.prior.report_every,
            evaluate_every=config.prior.evaluate_every,
            items_per_update=config.prior.batch_size * config.prior.steps,
            item="events",
            stage="look",
        ),
        evaluate=validate,
        describe=_describe,
        label=folder or context.experiment.name,
        folder=folder,
        sink=context.sink(folder),
    )

    def outcome(metrics: dict[str, float], seconds: dict[str, float]) -> Outcome:
        rows = training.run.read_metrics(training.metrics_file)
        curve = [row for row in rows if "valid/log_perplexity" in row]
        used = data_used(context, melodies)
        return Outcome(parameters, metrics, curve, [used], seconds)

    with Interrupt() as interrupt:
        try:
            best, seconds = training.fit(initial, interrupt)
        except DivergedError as error:
            raise DivergedRun(str(error), outcome({}, {})) from None
        begin = time.monotonic()
        try:
            metrics, events = measure(best.params, interrupt.check)
        except InterruptedRun as stop:
            raise InterruptedRun(
                f"{stop} in the final evaluation; the training is saved in {context.run.path}.\n"
                "The same command evaluates it.",
                stop.signal_number,
            ) from None
    trained.keep(
        path,
        Policy(best.params, best.params),
        model,
        method="q",
        swapped_specials=config.original_quirks,
    )
    done = outcome(metrics, {"training": seconds, "evaluation": time.monotonic() - begin})
    write_compositions(events, path, swapped_specials=config.original_quirks)
    _draw(context, path, done)
    return done


def _score(
    graph: Graph, melodies: MelodySet, masked: int, params: Params, split: str, tick: Tick
) -> Score:
    return evaluate(graph, params, getattr(melodies, split), masked=masked, tick=tick)


def _measure(
    graph: Graph, score: Callable[..., Score], count: int, seed: int, params: Params, tick: Tick
) -> tuple[dict[str, float], np.ndarray]:
    """Metrics of both held-out splits and of `count` compositions, and these, int [count, T]."""
    metrics: dict[str, float] = {}
    for split in ("valid", "test"):
        metrics |= score(params, split, tick).metrics(split)
    # A prior's logits are the scores of a softmax policy, itself: as Q-learning's values are.
    composer = Composer(graph, "q", ENVIRONMENT, LENGTH)
    made = composer.compose(Policy(params, params), jax.random.key(seed), count, tick=tick)
    return metrics | made.metrics("composed") | table_1(made.events), made.events


def load_melodies(context: Context, config: DataConfig, *, swapped: bool) -> MelodySet:
    """The configured melodies, cut to the configured numbers.

    `swapped` exchanges rests and holds. Raises ConfigError where the dataset isn't one of melodies
    and DataError as loading does, or where a split is empty.
    """
    melodies = load(config.name, data_dir=context.options.data_dir)
    if not isinstance(melodies, MelodySet):
        raise ConfigError(f"data.name={config.name}: the Note RNN needs a dataset of melodies.")
    _tell_skipped(melodies)
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
    if swapped:
        splits = {
            split: tuple(swap_specials(sequence) for sequence in sequences)
            for split, sequences in splits.items()
        }
    return replace(melodies, **splits)


def _tell_skipped(melodies: MelodySet) -> None:
    """Names source files that gave no melody, and counts what was left out."""
    progress = Progress(melodies.name)
    for skipped in melodies.skipped[:MOST_NAMED]:
        progress.note(f"skipped {skipped}")
    progress.note(", ".join(f"{count:,} {what}" for what, count in melodies.counts.items()))


def data_used(context: Context, melodies: MelodySet) -> DataUsed:
    """What the record says of the data."""
    paper_data = context.experiment.data
    return DataUsed(
        name=melodies.name,
        version=melodies.version,
        stand_in_for=None if melodies.name in paper_data else paper_data[0],
        tokens={
            split: sum(map(len, getattr(melodies, split))) for split in ("train", "valid", "test")
        },
        checksums=melodies.checksums,
    )


def _describe(row: dict[str, float]) -> str:
    split = "train" if "train/accuracy" in row else "valid"
    accuracy, loss = row[f"{split}/accuracy"], row[f"{split}/log_perplexity"]
    return f"{split} accuracy {100 * accuracy:.1f} %  log perplexity {loss:.4f}"


def _draw(context: Context, path: Path, outcome: Outcome) -> None:
    points = [(row["step"], row["valid/log_perplexity"]) for row in outcome.curve]
    learning_curves(
        {"Note RNN": points},
        path / "learning_curve.png",
        x_label="update",
        y_label="validation log perplexity",
        title=context.experiment.title,
    )
