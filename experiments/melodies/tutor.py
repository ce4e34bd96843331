"""Tunes the Note RNN, several seeds together, and counts what it composes."""

from functools import partial
from pathlib import Path

import jax
from jax.sharding import Mesh

from common import device
from common.error import ConfigError
from common.mesh import make_mesh
from common.plot import learning_curves
from common.population import Population
from common.progress import Progress
from common.training import Schedule, Tick
from experiments import trained
from experiments.melodies.catalogue import FIGURES, figure_label
from experiments.melodies.domain import (
    EIGHT_BARS,
    MELODIES,
    SWAPPED,
    judge_phrases,
    judge_prior,
    of_bars,
)
from experiments.run import Context, Options
from experiments.train import Outcomes, Row, train
from experiments.trained import Trained
from experiments.upstream import Upstream
from tutor.config import LearnConfig, NoteRNNConfig, Quirks, TutorConfig
from tutor.evaluation import Composer, Policy
from tutor.learn_state import LearnState
from tutor.learner import TutorLearner
from tutor.sequence_model import Graph
from tutor.size import compositions_bytes

NOTE_RNN = Upstream("note_rnn", MELODIES)
FAR_FROM_BEST = 2.0
"""c from which on softmax(Q) is no longer much like its maximum (docs/table_1.md)."""


def run(context: Context) -> Outcomes:
    """Tune the Note RNN by Q-learning; count what each seed's policy composes."""
    config: TutorConfig = context.config
    learn, evaluation = config.learn, config.evaluation
    if doubt := unlike_exploration(learn):
        progress = Progress(context.place.label, visible=context.place.run.process.leads)
        progress.note(f"note: {doubt}")
    mesh = make_mesh(context.options.devices)
    _refuse_early(config, context.seeds, mesh)
    note_rnn = find_note_rnn(config, context.options)
    domain, prior = note_rnn.domain, note_rnn.policy.prior
    data = NOTE_RNN.data(note_rnn)
    graph, _ = trained.make_graph(note_rnn.model, domain.num_events, context.compute)
    learner = make_learner(config, graph)
    composer = Composer(
        note_rnn.graph,
        learn.method,
        domain.environment,
        domain.length,
        temperature=evaluation.temperature,
    )
    longer = of_bars(8)
    long_composer = Composer(note_rnn.graph, learn.method, longer.environment, longer.length)

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
        metrics |= domain.judge(made)
        if pieces := config.eight_bar_pieces:
            long = long_composer.compose(tuned.policy, key, pieces, tick=tick)
            metrics |= judge_phrases(long.events, "composed_8_bars")
        return metrics

    population = Population(learner, context.seeds, threads=device.threads(), mesh=mesh)
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
            context.place.lead(
                partial(
                    _draw,
                    path,
                    learn.method,
                    title,
                    outcome.curve,
                    original_quirks=config.original_quirks,
                )
            )
    return outcomes


def make_learner(config: TutorConfig, graph: Graph) -> TutorLearner:
    """Make the learner of the settings, with the quirks that they ask for."""
    original, learn = config.original_quirks, config.learn
    quirks = Quirks(
        stores_best_action=original,
        trains_prior=config.trains_prior or (original and learn.method == "g"),
        early_epsilon=original,
    )
    return TutorLearner(learn, graph, MELODIES.num_events, MELODIES.environment, quirks)


def unlike_exploration(learn: LearnConfig) -> str:
    """Say in words that compositions come from states unlike those of training; "" if they don't.

    Compositions are drawn from softmax(Q) of values divided by c. With a small c that is nearly the
    best event, which ε-greedy exploration follows; with a large one it is not.
    """
    if learn.exploration != "epsilon_greedy" or learn.c < FAR_FROM_BEST:
        return ""
    return (
        f"with learn.c={learn.c:g}, what is composed (events drawn from softmax(Q)) strays from "
        "the best events, along which ε-greedy exploration trains: compositions may be worse than "
        "this training's reward says. learn.exploration=boltzmann trains where they go."
    )


def _refuse_early(config: TutorConfig, seeds: tuple[int, ...], mesh: Mesh | None) -> None:
    """Refuse what can't fit into memory, or be divided among devices, before anything trains."""
    model = NOTE_RNN.model(config.note_rnn)
    graph, prior = trained.make_graph(model, MELODIES.num_events)
    learner = make_learner(config, graph)
    population = Population(learner, seeds, mesh=mesh)
    state = jax.eval_shape(partial(learner.initial_state, prior, 0))
    held = population.held_bytes(state)
    device.require_memory(held, "learn.replay_capacity or learn.environments")
    needed = compositions_bytes(config.evaluation.final_compositions, MELODIES.length)
    device.require_memory(needed, "evaluation.final_compositions")
    needed = compositions_bytes(config.eight_bar_pieces, EIGHT_BARS)
    device.require_memory(needed, "eight_bar_pieces")


def inputs(config: TutorConfig, options: Options) -> dict[str, str]:
    """Return the checksum of the Note RNN that a run would tune now; none where it isn't there."""
    return NOTE_RNN.inputs(config.note_rnn, options)


def policy_of(state: LearnState) -> Policy:
    """Copy the networks of a seed that choose events into host memory."""
    return Policy(*jax.device_get((state.params, state.prior)))


def find_note_rnn(config: TutorConfig, options: Options) -> Trained:
    """Return the Note RNN to tune, trained first where it hasn't been.

    Raises:
      ConfigError: its quirks aren't those of the configuration, it is no model of melodies, or
        another one lies where the preset's would.
      DataError: the directory given isn't a finished run of it.
    """

    def check(name: str, preset: NoteRNNConfig) -> None:  # before hours of training
        _require_same_quirks(f"the Note RNN of preset {name}", preset.original_quirks, config)

    path = NOTE_RNN.find(config.note_rnn, options, check)
    found = NOTE_RNN.load(path)
    _require_same_quirks(f"{path}: this Note RNN", found.notes[SWAPPED], config)
    return found


def _require_same_quirks(note_rnn: str, has: bool, config: TutorConfig) -> None:
    """Refuse a Note RNN, named in words, with or without quirks where the tuning isn't."""
    if has != config.original_quirks:
        theirs, ours = (str(one).lower() for one in (has, config.original_quirks))
        raise ConfigError(
            f"{note_rnn} has original_quirks={theirs}, and this experiment {ours}.\n"
            f"Set original_quirks={theirs}; or train a Note RNN with original_quirks={ours} into "
            "another --out, and give it with --set note_rnn.run=DIR."
        )


def _describe(row: Row) -> str:
    """Reward and log p of a row of metrics."""
    names = {"reward": "reward", "log_prior": "log p"}
    found = {name.rpartition("/")[2]: value for name, value in row.items()}
    return "  ".join(f"{names[name]} {found[name]:.3f}" for name in names if name in found)


def _draw(
    path: Path, method: str, title: str, curve: list[dict[str, float]], *, original_quirks: bool
) -> None:
    """The course of reward and log p(a|s), as in the paper's Figure 2."""
    for name in FIGURES:
        label = figure_label(name, original_quirks)
        learning_curves(
            {method: [(row["step"], row[f"eval/{name}"]) for row in curve]},
            path / f"{name}.png",
            x_label="environment steps",
            y_label=label,
            title=title,
            description=label,
        )
