"""Measures the speed of learning melodies, of tuning and of composing them."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from common import device
from common.compute import SCAN, Compute
from common.mesh import make_mesh
from common.population import Population
from experiments import bench
from experiments.melodies.domain import MELODIES
from experiments.registry import find
from experiments.trained import core_factory, make_graph
from tutor.config import LearnConfig, NoteRNNConfig, PriorConfig, SequenceModelConfig, TutorConfig
from tutor.evaluation import Composer, Policy
from tutor.kl_control import SOFTMAX
from tutor.learner import TutorLearner
from tutor.optimizer import clip_each_by_norm
from tutor.prior import PriorLearner

SETTINGS = ("original", "vectorised")
"""Presets whose loops are measured."""
SEEDS = 3
COMPOSITIONS = 20_000


def tutor(seconds: float) -> dict[str, float]:
    """Measure the loop of the presets `original` and `vectorised`, and composing.

    Args:
      seconds: about how long each piece of a measurement runs.

    Returns:
      SETTING/steps_per_second, SETTING/updates_per_second: environment steps and gradient steps of
        one seed;
      SETTING/scan_steps_per_second: of one, by differentiating the plain LSTM;
      SETTING/flat_adam_steps_per_second: of one, with Adam on one flat vector of parameters;
      SETTING/3_seeds_time_ratio: time of three seeds together over that of one;
      SETTING/arithmetic_share: floating-point operations a second of one seed's loop over those of
        a large matrix product;
      compositions_per_second: composing from a policy, with rewards, exact KL, and Table 1;
      matmul_flops_per_second: of that product;
      peak_memory_bytes: the most this process held so far.
    """
    graph, prior = make_graph(SequenceModelConfig(), MELODIES.num_events)
    flops = bench.product_flops()
    measured: dict[str, float] = {}
    for setting in SETTINGS:
        config: TutorConfig = find("tutor_melodies_q").preset(setting).config
        learn = config.learn
        trainings = {
            "one": _tuning(learn, 1, Compute("jax"), seconds),
            "several": _tuning(learn, SEEDS, Compute("jax"), seconds),
            "scan": _tuning(learn, 1, SCAN, seconds),
            "flat": _tuning(learn, 1, Compute("jax"), seconds, flat_adam=True),
        }
        speeds = _speeds(trainings, seconds)
        measured |= {
            f"{setting}/steps_per_second": speeds["one"],
            f"{setting}/updates_per_second": speeds["one"] / learn.update_every,
            f"{setting}/scan_steps_per_second": speeds["scan"],
            f"{setting}/flat_adam_steps_per_second": speeds["flat"],
            f"{setting}/{SEEDS}_seeds_time_ratio": speeds["one"] / speeds["several"],
            f"{setting}/arithmetic_share": speeds["one"] * _flops_per_step(learn) / flops,
        }
    composer = Composer(graph, SOFTMAX, MELODIES.environment, MELODIES.length)
    policy = Policy(prior, prior)

    def compose() -> None:
        MELODIES.judge(composer.compose(policy, jax.random.key(1), COMPOSITIONS))

    compose()
    measured["compositions_per_second"] = COMPOSITIONS / bench.median_seconds(compose)
    measured["matmul_flops_per_second"] = flops
    measured["peak_memory_bytes"] = bench.peak_memory()
    return measured


def note_rnn(seconds: float, devices: int = 1) -> dict[str, float]:
    """Measure the updates of the Note RNN's preset `paper`, ways interleaved, medians.

    Args:
      seconds: about how long each piece of a measurement runs.
      devices: among how many an update is divided.

    Returns:
      updates_per_second: with the hand-written backward pass, divided among `devices`;
      one_device_updates_per_second: by one of them;
      plain_updates_per_second: by one, by differentiating the plain scan;
      times_plain: the first over the last;
      arithmetic_share: floating-point operations a second of its matrix products over those of a
        large one;
      matmul_flops_per_second: of that product;
      peak_memory_bytes: the most this process held so far.
    """
    flops = bench.product_flops()
    ways = {"": make_mesh(devices), "one_device_": None, "plain_": None}
    trainings = {
        name: _prior_training(mesh, SCAN if name == "plain_" else Compute("jax"))
        for name, mesh in ways.items()
    }
    speeds = _speeds(trainings, seconds)
    measured = {f"{way}updates_per_second": speed for way, speed in speeds.items()}
    paper: NoteRNNConfig = find("note_rnn").preset("paper").config
    arithmetic = speeds[""] * _flops_per_prior_update(paper.prior)
    return measured | {
        "devices": devices,
        "times_plain": speeds[""] / speeds["plain_"],
        "arithmetic_share": arithmetic / flops,
        "matmul_flops_per_second": flops,
        "peak_memory_bytes": bench.peak_memory(),
    }


def _prior_training(mesh: Mesh | None, compute: Compute) -> bench.LearnerTraining:
    """Learning random melodies by the preset's settings, but a rate that can't diverge."""
    config: NoteRNNConfig = find("note_rnn").preset("paper").config
    random = np.random.default_rng(0)
    melodies = [random.integers(0, MELODIES.num_events, 200).astype(np.int32) for _ in range(100)]
    model = config.model
    learner = PriorLearner(
        replace(config.prior, learning_rate=1e-3),
        MELODIES.num_events,
        core_factory(model, compute),
        melodies,
        initial_range=model.initial_range,
        mesh=mesh,
    )
    return bench.LearnerTraining(learner, learner.initial_state(0))


def _speeds(trainings: dict[str, bench.LearnerTraining], seconds: float) -> dict[str, float]:
    """Steps a second of each training, in pieces of about `seconds`."""
    for training in trainings.values():
        training.warm_up(seconds)
    found = bench.in_turns({name: training.piece for name, training in trainings.items()})
    return {name: 1 / took for name, took in found.items()}


def _flops_per_prior_update(config: PriorConfig) -> float:
    """Floating-point operations of an update's matrix products; one-hot inputs aren't counted."""
    units, events = SequenceModelConfig().units, MELODIES.num_events
    return 3 * config.batch_size * config.steps * 2.0 * (4 * units * units + units * events)


def _tuning(
    config: LearnConfig,
    seeds: int,
    compute: Compute,
    seconds: float,
    *,
    flat_adam: bool = False,
) -> bench.LearnerTraining:
    """A tuning of several seeds together, and steps counted of each.

    Where pieces of a second and more are measured, its memory is full, as it mostly is.
    """
    graph, prior = make_graph(SequenceModelConfig(), MELODIES.num_events, compute)
    learner = TutorLearner(config, graph, MELODIES.num_events, MELODIES.environment)
    if flat_adam:
        learner.optimizer = optax.chain(
            clip_each_by_norm(config.clip_norm), optax.flatten(optax.adam(config.learning_rate))
        )
    population = Population(learner, range(seeds), threads=device.threads())
    state = population.initial_state(partial(learner.initial_state, prior))
    training = bench.LearnerTraining(population, state, learner.round_steps)
    if seconds >= 1:
        training.advance(-(-config.replay_capacity // learner.round_steps) * learner.round_steps)
    return training


def _flops_per_step(config: LearnConfig) -> float:
    """Floating-point operations of the matrix products behind one environment step.

    Two networks act; at each update the value network goes forward and backward (once for each of
    its weights' gradients and once for the output kernel's input), the target network forward.
    One-hot inputs are counted as products.
    """
    units, events = SequenceModelConfig().units, MELODIES.num_events
    core, output = 2.0 * (events + units) * 4 * units, 2.0 * units * events
    forward = core + output
    update = config.batch_size * (3 * forward + output)
    return 2 * forward + update / config.update_every
