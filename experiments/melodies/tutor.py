"""Tunes the Note RNN, several seeds together, and counts what it composes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax

from common import device
from common.checkpoint import digest
from common.config import differences, from_dict, to_dict
from common.error import ConfigError, DivergedError
from common.plot import learning_curves
from common.population import Population
from common.process import this_process
from common.progress import Progress
from common.record import FILE_NAME, DataUsed, Record, read_record
from common.run_directory import RunDirectory, RunInUse
from common.training import Schedule, Tick
from experiments import registry, trained
from experiments.melodies.catalogue import FIGURES
from experiments.melodies.domain import MELODIES, SWAPPED, judge_prior
from experiments.run import Context, Options, seed_path
from experiments.run import run as run_experiment
from experiments.train import Outcomes, Row, train
from experiments.trained import Trained
from tutor.config import NoteRNNRun, TutorConfig
from tutor.evaluation import Composer, Policy
from tutor.learn_state import LearnState
from tutor.learner import Quirks, TutorLearner
from tutor.size import compositions_bytes

_SAME_QUIRKS = (
    "Train one with the same setting into another --out, and give it with --set note_rnn.run=DIR."
)


def run(context: Context) -> Outcomes:
    """Tune the Note RNN by Q-learning; count what each seed's policy composes."""
    config: TutorConfig = context.config
    learn, evaluation = config.learn, config.evaluation
    _require_memory(config, len(context.seeds))
    note_rnn = find_note_rnn(config, context.options)
    domain, prior = note_rnn.domain, note_rnn.policy.prior
    data = _data(note_rnn)
    quirks = Quirks(True, learn.method == "g") if config.original_quirks else Quirks()
    graph, _ = trained.make_graph(note_rnn.model, domain.num_events, context.compute)
    learner = TutorLearner(learn, graph, domain.num_events, domain.environment, quirks)
    composer = Composer(note_rnn.graph, learn.method, domain.environment, domain.length)

    def validate(
        state: LearnState, seed: int, step: int, tick: Tick
    ) -> tuple[dict[str, float], None]:
        key = jax.random.fold_in(jax.random.key(seed), step)
        made = composer.compose(policy_of(state), key, evaluation.compositions, tick=tick)
        return made.metrics("eval", last_only=config.original_quirks), None

    def measure(state: LearnState, seed: int, tick: Tick) -> dict[str, float]:
        tuned = note_rnn._replace(policy=policy_of(state), method=learn.method, data=data)
        path = context.seed_path(seed)
        trained.save(path, tuned)
        number, key = evaluation.final_compositions, jax.random.key(seed)
        made = composer.compose(tuned.policy, key, number, tick=tick)
        context.place.lead(partial(domain.write, made, path, tuned.notes))
        metrics = made.metrics("composed") | judge_prior(note_rnn.graph, prior)
        return metrics | domain.judge(made)

    population = Population(learner, context.seeds, threads=device.threads())
    outcomes = train(
        context.place,
        population,
        population.initial_state(partial(learner.initial_state, prior)),
        Schedule(
            total=learn.iterations,
            report_every=learn.report_every,
            evaluate_every=evaluation.every,
            items_per_update=len(context.seeds),
            item="events",
            stage="evaluation",
            multiple=learner.round_steps,
        ),
        context.seeds,
        validate=validate,
        measure=measure,
        describe=_describe,
        curve=lambda rows: [row for row in rows if "eval/reward" in row],
        parameters=sum(leaf.size for leaf in jax.tree.leaves(prior)),
        data=data,
    )
    for seed, outcome in outcomes.items():
        if not isinstance(outcome, Exception):
            path, title = context.seed_path(seed), context.experiment.title
            context.place.lead(partial(_draw, path, learn.method, title, outcome.curve))
    return outcomes


def _require_memory(config: TutorConfig, seeds: int) -> None:
    """Refuse a memory of transitions, or compositions, that can't fit, before anything trains."""
    if config.note_rnn.run:
        model = trained.load(Path(config.note_rnn.run)).model
    else:
        model = registry.find("note_rnn").preset(config.note_rnn.preset).config.model
    graph, prior = trained.make_graph(model, MELODIES.num_events)
    learner = TutorLearner(config.learn, graph, MELODIES.num_events, MELODIES.environment)
    state = jax.eval_shape(partial(learner.initial_state, prior, 0))
    held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    device.require_memory(seeds * held, "learn.replay_capacity or learn.environments")
    needed = compositions_bytes(config.evaluation.final_compositions, MELODIES.length)
    device.require_memory(needed, "evaluation.final_compositions")


def _data(note_rnn: Trained) -> DataUsed:
    """What a tutor learns from: the prior, and what that learned from."""
    return replace(note_rnn.data, checksums={**note_rnn.data.checksums, **_checksum(note_rnn)})


def _checksum(note_rnn: Trained) -> dict[str, str]:
    return {"Note RNN": digest(note_rnn.policy.prior)}


def inputs(config: TutorConfig, options: Options) -> dict[str, str]:
    """Return the checksum of the Note RNN that a run would tune now; none where it isn't there."""
    note_rnn = config.note_rnn
    path = Path(note_rnn.run) if note_rnn.run else _note_rnn_path(note_rnn, options)
    finished = (path / FILE_NAME).exists() and (path / trained.FOLDER).is_dir()
    return _checksum(trained.load(path)) if finished else {}


def _note_rnn_path(wanted: NoteRNNRun, options: Options) -> Path:
    experiment = registry.find("note_rnn")
    options = replace(options, preset=experiment.preset_name(wanted.preset))
    return seed_path(experiment, options, wanted.seed)


def policy_of(state: LearnState) -> Policy:
    """Copy the networks of a seed that choose events into host memory."""
    return Policy(*jax.device_get((state.params, state.prior)))


def find_note_rnn(config: TutorConfig, options: Options) -> Trained:
    """Return the Note RNN to tune, trained first where it hasn't been.

    Raises:
      ConfigError: its quirks aren't those of the configuration, or another one lies where the
        preset's would.
      DataError: the directory given isn't a finished run of it.
    """
    path = Path(config.note_rnn.run) if config.note_rnn.run else None
    if path is None:
        path = _run_note_rnn(config.note_rnn, options, quirks=config.original_quirks)
    found = trained.load(path)
    if found.notes[SWAPPED] != config.original_quirks:
        raise ConfigError(
            f"{path}: this Note RNN has original_quirks={str(found.notes[SWAPPED]).lower()}, and "
            f"this experiment {str(config.original_quirks).lower()}.\n{_SAME_QUIRKS}"
        )
    return found


def _run_note_rnn(wanted: NoteRNNRun, options: Options, *, quirks: bool) -> Path:
    """The directory of a preset's Note RNN, run first where it hasn't been."""
    experiment = registry.find("note_rnn")
    name = experiment.preset_name(wanted.preset)
    preset = experiment.presets[name].config
    if quirks != preset.original_quirks:  # said before hours of training
        raise ConfigError(
            f"original_quirks=true, but the Note RNN of preset {name} is without.\n{_SAME_QUIRKS}"
        )
    options = replace(
        options, preset=name, overrides=(), seeds=(wanted.seed,), fresh=False, devices=1
    )
    path = _note_rnn_path(wanted, options)
    made = _finished(path, partial(run_experiment, experiment, options, report=lambda text: None))
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


def _finished(path: Path, run_it: Callable[[], Sequence[Record]]) -> Record:
    """The record of a run; where another process runs it, this one waits for that."""
    progress = Progress("note_rnn", visible=this_process().leads)
    waits = f"{path}: another process trains this Note RNN; waits for it."
    while not (path / FILE_NAME).exists():
        try:
            return run_it()[0]
        except RunInUse:
            with RunDirectory.when_free(path, partial(progress.note, waits)):
                pass  # what the other has left is seen in the next round
    return read_record(path / FILE_NAME)


def _describe(row: Row) -> str:
    """Reward and log p of a row of metrics."""
    names = {"reward": "reward", "log_prior": "log p"}
    found = {name.rpartition("/")[2]: value for name, value in row.items()}
    return "  ".join(f"{names[name]} {found[name]:.3f}" for name in names if name in found)


def _draw(path: Path, method: str, title: str, curve: list[dict[str, float]]) -> None:
    """The course of reward and log p(a|s), as in the paper's Figure 2."""
    for name, label in FIGURES.items():
        learning_curves(
            {method: [(row["step"], row[f"eval/{name}"]) for row in curve]},
            path / f"{name}.png",
            x_label="environment steps",
            y_label=f"{label}, mean over events",
            title=title,
        )
