"""Tunes the Note RNN in a run directory, several seeds together, and counts what it composes."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from common.checkpoint import digest
from common.config import differences, from_dict, to_dict
from common.error import ConfigError, DivergedError, InterruptedRun
from common.interrupt import Interrupt
from common.melody import NUM_EVENTS
from common.plot import learning_curves
from common.record import FILE_NAME, DataUsed, read_record
from common.training import Schedule, Tick, Training
from experiments import registry, trained
from experiments.melodies.domain import ENVIRONMENT, LENGTH, table_1, write_compositions
from experiments.run import Context, DivergedRun, Outcome, seed_path
from experiments.run import run as run_experiment
from tutor.config import TutorConfig
from tutor.evaluation import Composer, Policy
from tutor.learn_state import LearnState
from tutor.learner import Learner, Quirks

_SAME_QUIRKS = (
    "Train one with the same setting into another --out, and give it with --set note_rnn.run=DIR."
)


def run(context: Context) -> dict[int, Outcome | DivergedRun]:
    """Q-learning from the Note RNN's weights, then compositions and their statistics."""
    note_rnn, data = find_note_rnn(context)
    return tune(context, context.config, note_rnn, data)


def tune(
    context: Context, config: TutorConfig, note_rnn: trained.Kept, data: DataUsed, folder: str = ""
) -> dict[int, Outcome | DivergedRun]:
    """Tunes a Note RNN that learned from `data`, in `folder` of the run's directory, and measures
    what the seeds compose."""
    prior = note_rnn.policy.prior
    quirks = Quirks(True, config.learn.method == "g") if config.original_quirks else Quirks()
    learner = Learner(config.learn, note_rnn.graph, NUM_EVENTS, ENVIRONMENT, quirks)
    composer = Composer(note_rnn.graph, config.learn.method, ENVIRONMENT, LENGTH)

    def look(state: LearnState, tick: Tick) -> tuple[dict[str, float], None]:
        metrics: dict[str, float] = {}
        for place, seed in enumerate(context.seeds):
            key = jax.random.fold_in(jax.random.key(seed), int(state.step))
            made = composer.compose(
                _policy(state, place), key, config.evaluation.compositions, tick=tick
            )
            if config.original_quirks:
                made = made._replace(reward=made.reward[:, -1:], log_prior=made.log_prior[:, -1:])
            metrics |= {f"seed{seed}/{k}": v for k, v in made.metrics("eval").items()}
        return metrics, None

    training = Training(
        context.run,
        SeedLearner(learner, context.seeds),
        Schedule(
            total=config.learn.iterations,
            report_every=config.learn.report_every,
            evaluate_every=config.evaluation.every,
            items_per_update=len(context.seeds),
            item="events",
            stage="look",
            multiple=learner.round_steps,
        ),
        evaluate=look,
        describe=_describe,
        label=folder or context.experiment.name,
        folder=folder,
        sink=context.sink(folder),
    )
    parameters = sum(leaf.size for leaf in jax.tree.leaves(prior))
    outcome = partial(_outcome, context, training, parameters, data)
    with Interrupt() as interrupt:
        try:
            state, seconds = training.fit(learner.initial_state(prior, context.seeds), interrupt)
        except DivergedError as error:
            return {seed: DivergedRun(str(error), outcome(seed, {}, {})) for seed in context.seeds}
        outcomes: dict[int, Outcome | DivergedRun] = {}
        for place, seed in enumerate(context.seeds):
            begin = time.monotonic()
            kept = note_rnn._replace(policy=_policy(state, place), method=config.learn.method)
            path = context.seed_path(seed) / folder
            number = config.evaluation.final_compositions
            metrics = _final_metrics(path, composer, kept, seed, number, interrupt.check)
            share = {"training": round(seconds / len(context.seeds), 3)}
            share["evaluation"] = round(time.monotonic() - begin, 3)
            outcomes[seed] = outcome(seed, metrics, share)
            if (diverged := int(state.seeds.diverged_at[place])) >= 0:
                message = f"{path}: diverged at environment step {diverged}."
                outcomes[seed] = DivergedRun(message, outcome(seed, {}, share))
    for seed in context.seeds:
        path = context.seed_path(seed) / folder
        _draw(path, config.learn.method, context.experiment.title, _rows(training, seed))
    return outcomes


class SeedLearner:
    """A `Learner` for `common.training`: its metrics carry their seed's name."""

    def __init__(self, learner: Learner, seeds: tuple[int, ...]):
        """`seeds` are those of the learner's states, in order."""
        self.learner, self.seeds = learner, seeds

    def advance(self, state: LearnState, stop: int) -> LearnState:
        """As `Learner.advance`."""
        return self.learner.advance(state, stop)

    def collect(self, state: LearnState) -> tuple[LearnState, dict[str, float]]:
        """Metrics `seed<k>/train/<name>` and the state with its totals at zero."""
        state, each = self.learner.collect(state)
        metrics = {
            f"seed{seed}/{name}": value
            for seed, values in zip(self.seeds, each, strict=True)
            for name, value in values.items()
        }
        return state, metrics


def find_note_rnn(context: Context) -> tuple[trained.Kept, DataUsed]:
    """The Note RNN to tune, run first where it hasn't been, and the data that it learned from.

    Raises ConfigError where its quirks aren't those of the configuration or another one lies where
    the preset's would, DataError where the directory given isn't a finished run of it.
    """
    config: TutorConfig = context.config
    path = Path(config.note_rnn.run) if config.note_rnn.run else _run_note_rnn(context)
    kept = trained.find(path)
    if kept.swapped_specials != config.original_quirks:
        raise ConfigError(
            f"{path}: this Note RNN has original_quirks={str(kept.swapped_specials).lower()}, and "
            f"this experiment {str(config.original_quirks).lower()}.\n{_SAME_QUIRKS}"
        )
    (used,) = read_record(path / FILE_NAME).data
    checksums = {**used.checksums, "Note RNN": digest(kept.policy.prior)}
    return kept, replace(used, checksums=checksums)


def _run_note_rnn(context: Context) -> Path:
    """The directory of the preset's Note RNN, run first where it hasn't been."""
    config: TutorConfig = context.config
    experiment = registry.find("note_rnn")
    name = experiment.preset_name(config.note_rnn.preset)
    preset = experiment.presets[name].config
    if config.original_quirks != preset.original_quirks:  # told before hours of training
        raise ConfigError(
            f"original_quirks=true, but the Note RNN of preset {name} is without.\n{_SAME_QUIRKS}"
        )
    seed = config.note_rnn.seed
    options = replace(context.options, preset=name, overrides=(), seeds=(seed,), fresh=False)
    path = seed_path(experiment, options, seed)
    if (path / FILE_NAME).exists():
        made = read_record(path / FILE_NAME)
    else:
        (made,) = run_experiment(experiment, options, say=lambda text: None)
    found = to_dict(from_dict(type(preset), made.config))
    if changed := differences(to_dict(preset), found):
        raise ConfigError(
            f"{path}: this Note RNN isn't that of preset {name} ({'; '.join(changed[:3])}).\n"
            f"To tune it all the same: --set note_rnn.run={path}; otherwise choose another --out."
        )
    if made.status == "diverged":
        raise DivergedError(
            f"{path}: the Note RNN diverged, there is nothing to tune.\nTrain another, and give it "
            "with --set note_rnn.run=DIR."
        )
    return path


def _policy(state: LearnState, place: int) -> Policy:
    """The networks of the seed at a place."""
    params, prior = (
        jax.tree.map(lambda leaf: leaf[place], tree)
        for tree in (state.seeds.params, state.seeds.prior)
    )
    return Policy(params, prior)


def _final_metrics(
    path: Path, composer: Composer, kept: trained.Kept, seed: int, number: int, tick: Tick
) -> dict[str, float]:
    """Writes what a seed composes with, some compositions, and measures many."""
    trained.keep(
        path,
        kept.policy,
        kept.model,
        method=kept.method,
        swapped_specials=kept.swapped_specials,
    )
    try:
        made = composer.compose(kept.policy, jax.random.key(seed), number, tick=tick)
    except InterruptedRun as stop:
        raise InterruptedRun(
            f"{stop} in the final evaluation of {path}.\nThe same command evaluates it.",
            stop.signal_number,
        ) from None
    write_compositions(made.events, path, swapped_specials=kept.swapped_specials)
    return made.metrics("composed") | table_1(made.events)


def _outcome(
    context: Context,
    training: Training,
    parameters: int,
    data: DataUsed,
    seed: int,
    metrics: dict[str, float],
    seconds: dict[str, float],
) -> Outcome:
    curve = [row for row in _rows(training, seed) if "eval/reward" in row]
    return Outcome(parameters, metrics, curve, [data], seconds)


def _rows(training: Training, seed: int) -> list[dict[str, Any]]:
    """The rows of one seed's metrics, under their plain names."""
    prefix = f"seed{seed}/"
    return [
        {
            name.removeprefix(prefix): value
            for name, value in row.items()
            if "/" not in name or name.startswith(prefix)
        }
        for row in training.run.read_metrics(training.metrics_file)
    ]


def _describe(row: dict[str, float]) -> str:
    """Reward and log p of a row, meant over its seeds, for the progress line."""
    found: dict[str, list[float]] = {}
    for name, value in row.items():
        if name.endswith(("/reward", "/log_prior")):
            found.setdefault(name.rpartition("/")[2].replace("_prior", " p"), []).append(value)
    return "  ".join(f"{name} {np.mean(values):.3f}" for name, values in found.items())


def _draw(path: Path, method: str, title: str, rows: list[dict[str, Any]]) -> None:
    """The course of reward and log p(a|s), as in the paper's Figure 2."""
    for name, label in (("reward", "music-theory reward"), ("log_prior", "log p(a|s)")):
        looks = [(row["step"], row[f"eval/{name}"]) for row in rows if f"eval/{name}" in row]
        learning_curves(
            {method: looks},
            path / f"{name}.png",
            x_label="environment steps",
            y_label=f"{label}, mean over events",
            title=title,
        )
