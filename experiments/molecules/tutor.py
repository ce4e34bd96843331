"""Tunes the model of molecules, several seeds together, and measures what it generates."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from common import device
from common.error import ConfigError, DivergedError
from common.mesh import make_mesh
from common.molecule import BEGIN, MOSES
from common.plot import learning_curves
from common.population import Population
from common.progress import Progress
from common.training import Schedule, Tick
from experiments import trained
from experiments.molecules.catalogue import NAMES, WORDS
from experiments.molecules.domain import LENGTH, MOLECULES, REWARD, of_each, optima, smiles_of
from experiments.run import Context, Options
from experiments.train import Outcomes, Row, train
from experiments.upstream import Upstream
from tutor import start
from tutor.actor import Environment
from tutor.config import LearnConfig
from tutor.evaluation import Composer, Compositions, Policy
from tutor.kl_control import METHODS, SOFTMAX
from tutor.learner import TutorLearner
from tutor.molecules import statistics
from tutor.molecules.chemistry import require_rdkit
from tutor.molecules.config import (
    AlarmConfig,
    MoleculeTutorConfig,
    ReinventConfig,
    RewardConfig,
)
from tutor.molecules.environment import make_environment
from tutor.molecules.reward import TERM, Reward, function_checksums
from tutor.policy_gradient import PolicyGradientLearner
from tutor.sequence_model import Graph, Params
from tutor.size import compositions_bytes

MOLECULE_RNN = Upstream("molecule_rnn", MOLECULES)
CENTRED_OVER = 256
"""Molecules over which the prior's logits are centred."""
VALID_PRIOR = 0.8
"""Share of valid molecules of a prior, below which a tuning says that it starts from a poor one."""
FLOORED = 0.2
"""Share of a prior's valid molecules with the least reward, from which on a tuning says so."""
Config = MoleculeTutorConfig | ReinventConfig


def run(context: Context) -> Outcomes:
    """Tune the model of molecules; measure what each seed's policy generates."""
    require_rdkit()
    config: Config = context.config
    _require_one_seed_to_stop(config, context.seeds)
    mesh = make_mesh(context.options.devices)
    _refuse_early(config, context.seeds, mesh)
    reward = Reward(config.reward, config.scoring, cores=device.cores())
    try:
        reward(["C"])  # a wrong function of the user's is told before a prior is trained
        found = MOLECULE_RNN.load(MOLECULE_RNN.find(config.molecule_rnn, context.options))
        return _tune(context, config, found, reward, mesh)
    except jax.errors.JaxRuntimeError:
        if reward.failure is not None:  # JAX shows it as a bug of ours
            raise reward.failure from None
        raise
    finally:
        reward.scorer.close()


def _tune(
    context: Context, config: Config, prior: trained.Trained, reward: Reward, mesh: Mesh | None
) -> Outcomes:
    """Train, and measure; see `run`."""
    learn, evaluation = config.learn, config.evaluation
    progress = Progress(context.place.label, visible=context.place.run.process.leads)
    drawn = draw(prior, max(config.reward.baseline, CENTRED_OVER))
    each = of_each(drawn, reward)
    before = known_before(each, learn.c)
    if before["prior/valid"] < VALID_PRIOR:
        progress.note(
            f"only {before['prior/valid']:.0%} of the prior's molecules are valid: a better prior, "
            "trained for longer or on more molecules, would be easier to tune."
        )
    if why := why_floored(each, config.reward):
        progress.note(f"note: {why}")
    environment = make_environment(MOSES, LENGTH, reward)
    graph, _ = trained.make_graph(prior.model, MOLECULES.num_events, context.compute)
    learner = make_learner(config, graph, environment, baseline(config, before))
    method = learn.method if isinstance(learn, LearnConfig) else SOFTMAX
    # What is measured is scored at once afterwards, which keeps all processes busy.
    composer = Composer(prior.graph, method, MOLECULES.environment, LENGTH)
    data = MOLECULE_RNN.data(prior)
    data = replace(data, checksums=data.checksums | function_checksums(config.reward))
    scoring, taken = ScoringTime(reward), dict[str, float]()

    def validate(state: Any, seed: int, step: int, tick: Tick) -> tuple[dict[str, float], None]:
        key = jax.random.fold_in(jax.random.key(seed), step)
        taken.update(scoring.metrics())
        made = composer.compose(policy_of(state), key, evaluation.samples, tick=tick)
        found = measured(made, reward, config.alarm, "eval") | taken
        if why := why_collapsed(found, config.alarm, "eval"):
            progress.note(f"the policy has collapsed. seed {seed} after {step:,} steps: {why}")
        return found, None

    def accept(metrics: dict[str, float]) -> None:
        if config.alarm.stop:
            (seed,) = context.seeds
            name = f"seed{seed}/"
            found = {one.removeprefix(name): value for one, value in metrics.items()}
            if why := why_collapsed(found, config.alarm, "eval"):
                raise DivergedError(f"{context.place.path}: the policy has collapsed. {why}")

    def measure(state: Any, seed: int, tick: Tick) -> dict[str, float]:
        notes = {**prior.notes, REWARD: asdict(config.reward)}
        policy, path = policy_of(state), context.seed_path(seed)
        tuned = prior._replace(policy=policy, method=method, data=data, notes=notes)
        trained.save(path, tuned)
        number, key = evaluation.final_samples, jax.random.key(seed)
        found = before | taken
        made = composer.compose(policy, key, number, tick=tick)
        context.place.lead(partial(MOLECULES.write, made, path, notes))
        found |= measured(made, reward, config.alarm, "composed")
        return found | MOLECULES.judge(made)

    population = Population(learner, context.seeds, threads=device.threads(), mesh=mesh)
    outcomes = train(
        context.place,
        population,
        population.initial_state(partial(begin, learner, method, start_of(prior, drawn))),
        Schedule(
            total=learn.iterations,
            report_every=learn.report_every,
            evaluate_every=evaluation.every,
            items_per_update=len(context.seeds),
            item="tokens",
            stage="evaluation",
            multiple=learner.round_steps,
        ),
        context.seeds,
        validate=validate,
        measure=measure,
        describe=_describe,
        curve=lambda rows: [row for row in rows if "eval/reward" in row],
        parameters=sum(leaf.size for leaf in jax.tree.leaves(prior.policy.prior)),
        data=data,
        accept=accept,
    )
    for seed, outcome in outcomes.items():
        if not isinstance(outcome, Exception):
            row, path = context.experiment, context.seed_path(seed)
            name = NAMES.get(row.name, row.name)
            context.place.lead(partial(_draw, path, name, row.title, outcome.curve))
    return outcomes


def make_learner(
    config: Config, graph: Graph, environment: Environment, baseline: float = 0.0
) -> Any:
    """Make the learner of the settings: of values, or of the policy itself.

    With a discount of 1 no policy gains or loses by a baseline: a molecule ends once.
    """
    if isinstance(config, ReinventConfig):
        return PolicyGradientLearner(config.learn, graph, environment, LENGTH, baseline=baseline)
    events = MOLECULES.num_events
    return TutorLearner(config.learn, graph, events, environment, baseline=baseline)


def draw(prior: trained.Trained, number: int) -> Compositions:
    """Draw molecules of the prior, the same for all seeds, that nothing is measured by later."""
    composer = Composer(prior.graph, SOFTMAX, MOLECULES.environment, LENGTH)
    key = jax.random.fold_in(jax.random.key(0), 2**32 - 1)
    return composer.compose(Policy(prior.policy.prior, prior.policy.prior), key, number)


def baseline(config: Config, before: Mapping[str, float]) -> float:
    """Return what is subtracted from each reward, see `RewardConfig.baseline`.

    Args:
      config: of a tuning.
      before: what `known_before` found.
    """
    if not config.reward.baseline:
        return 0.0
    learns_values = isinstance(config.learn, LearnConfig)
    return before["prior/reward" if learns_values else f"optimum/c{config.learn.c:g}/baseline"]


def known_before(each: Mapping[str, np.ndarray], c: float) -> dict[str, float]:
    """Return what is known of molecules of the prior.

    Args:
      each: what `of_each` measured of them.
      c: the reward's temperature.

    Returns:
      `prior/NAME`: means as of a policy's molecules; `optimum/c…/NAME`: the best policy that tuning
      could find, see `domain.optima`.
    """
    names = ("reward", "valid")
    return statistics.means({name: each[name] for name in names}, "prior") | optima(each, [c])


def why_floored(each: Mapping[str, np.ndarray], config: RewardConfig) -> str:
    """Say in words that many valid molecules get the least reward; "" if few do.

    Args:
      each: what `of_each` measured of molecules of the prior.
      config: of the reward.
    """
    terms = (each[name] for name in each if name.startswith(TERM))
    valid = sum(terms, start=np.zeros(len(each["valid"])))[each["valid"] == 1]
    share = float(np.mean(valid < config.invalid)) if len(valid) else 0.0
    if share < FLOORED:
        return ""
    return (
        f"{share:.0%} of the prior's valid molecules would get less than "
        f"reward.invalid={config.invalid:g}, down to {valid.min():.3g}, and get that: they are "
        "alike to the learner, and no better than what is no molecule. Set reward.invalid below "
        "the rewards that are to be told apart."
    )


def start_of(prior: trained.Trained, drawn: Compositions) -> Params:
    """Return the prior's parameters, its logits centred over the first of its molecules."""
    made = jax.tree.map(lambda leaf: leaf[:CENTRED_OVER], drawn)
    begins = np.full((len(made.events), 1), BEGIN, np.int32)
    inputs = np.concatenate([begins, made.events[:, :-1]], axis=1)
    return start.centred(prior.graph, prior.policy.prior, jnp.asarray(inputs), made.counted)


def begin(learner: Any, method: str, prior: Params, seed: int) -> Any:
    """Make a learner's first state; values that multiply the prior start at 0."""
    state = learner.initial_state(prior, seed)
    if METHODS[method].tilts_prior:
        state = state._replace(
            params=start.without_values(state.params), target=start.without_values(state.target)
        )
    return state


def policy_of(state: Any) -> Policy:
    """Copy the networks of a seed that choose tokens into host memory."""
    return Policy(*jax.device_get((state.params, state.prior)))


def measured(
    made: Compositions, reward: Reward, alarm: AlarmConfig, split: str
) -> dict[str, float]:
    """Measure molecules from a policy.

    Returns:
      Means of what `of_each` measures, with their intervals over molecules. `entropy` is that of a
      token. `unique` is the share of different SMILES among the valid ones, `collapsed` whether the
      alarm goes; `speed/...` what the scorer did so far.
    """
    each = of_each(made, reward)
    found = statistics.means(each, split)
    found[f"{split}/entropy"] = float(np.mean(made.entropy[made.counted]))
    found[f"{split}/unique"] = statistics.uniqueness(smiles_of(made), each["valid"])
    found[f"{split}/collapsed"] = float(bool(why_collapsed(found, alarm, split)))
    done = reward.scorer.throughput
    return found | {
        "speed/scored": done.measured / max(done.seconds, 1e-9),
        "speed/known": done.known / max(done.known + done.measured, 1),
        "speed/workers_replaced": float(done.replaced),
        "speed/given_up": float(done.given_up),
    }


class ScoringTime:
    """Tells how much of a session's time, from here on, scoring takes, evaluations included.

    One seed alone waits for that long; of several that train together others go on meanwhile.
    """

    def __init__(self, reward: Reward):
        self.reward, self.begun = reward, time.monotonic()
        self.before = reward.scorer.throughput.seconds

    def metrics(self) -> dict[str, float]:
        """Return the seconds of scoring, and their share of all seconds."""
        seconds = self.reward.scorer.throughput.seconds - self.before
        passed = max(time.monotonic() - self.begun, 1e-9)
        return {"speed/scoring_seconds": seconds, "speed/scoring_share": seconds / passed}


def why_collapsed(found: dict[str, float], alarm: AlarmConfig, split: str) -> str:
    """Return in words which measures of a policy are below their limits; "" if none is."""
    limits = {"entropy": alarm.entropy, "unique": alarm.unique, "valid": alarm.valid}
    below = [
        f"{name} {found[f'{split}/{name}']:.3f} is below alarm.{name}={least:g}"
        for name, least in limits.items()
        if found[f"{split}/{name}"] < least
    ]
    return ", ".join(below)


def inputs(config: Config, options: Options) -> dict[str, str]:
    """Return checksums of the model that a run would tune now and of the user's functions.

    What isn't there has none.
    """
    return MOLECULE_RNN.inputs(config.molecule_rnn, options) | function_checksums(config.reward)


def _require_one_seed_to_stop(config: Config, seeds: Sequence[int]) -> None:
    """Refuse an alarm that would stop others' trainings, too."""
    if config.alarm.stop and len(seeds) > 1:
        raise ConfigError(
            "alarm.stop=true would stop all seeds that train together: give it one seed at a time."
        )


def _refuse_early(config: Config, seeds: tuple[int, ...], mesh: Mesh | None) -> None:
    """Refuse what can't fit into memory, or be divided among devices, before anything trains."""
    graph, prior = trained.make_graph(MOLECULE_RNN.model(config.molecule_rnn), MOLECULES.num_events)
    learner = make_learner(config, graph, MOLECULES.environment)
    population = Population(learner, seeds, mesh=mesh)
    state = jax.eval_shape(partial(learner.initial_state, prior, 0))
    held = population.held_bytes(state)
    device.require_memory(held, "learn.replay_capacity or learn.environments")
    needed = compositions_bytes(config.evaluation.final_samples, LENGTH)
    device.require_memory(needed, "evaluation.final_samples")


def _describe(row: Row) -> str:
    """Reward of a molecule and divergence from the prior; those of a token while it trains."""
    if "eval/reward" in row:
        names = {"reward": "reward", "kl_policy_prior": "KL", "valid": "valid", "unique": "unique"}
        return "  ".join(f"{text} {row[f'eval/{name}']:.3f}" for name, text in names.items())
    names = {"reward": "reward a token", "kl_policy_prior": "KL a token"}
    found = {text: row.get(f"train/{name}") for name, text in names.items()}
    return "  ".join(f"{text} {value:.4f}" for text, value in found.items() if value is not None)


def _draw(path: Path, name: str, title: str, curve: Sequence[dict[str, float]]) -> None:
    for measure in ("reward", "kl_policy_prior"):
        learning_curves(
            {name: [(row["step"], row[f"eval/{measure}"]) for row in curve]},
            path / f"{measure}.png",
            x_label="environment steps",
            y_label=WORDS[measure],
            title=title,
        )
