"""Measures the speed of learning melodies, of tuning and of composing them."""

import statistics
import time
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
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
from tutor.learner import TutorLearner
from tutor.prior import PriorLearner, PriorState

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
        one = _steps_per_second(config.learn, 1, seconds)
        several = _steps_per_second(config.learn, SEEDS, seconds)
        measured |= {
            f"{setting}/steps_per_second": one,
            f"{setting}/updates_per_second": one / config.learn.update_every,
            f"{setting}/{SEEDS}_seeds_time_ratio": one / several,
            f"{setting}/arithmetic_share": one * _flops_per_step(config.learn) / flops,
        }
    composer = Composer(graph, "q", MELODIES.environment, MELODIES.length)
    policy = Policy(prior, prior)

    def compose() -> None:
        MELODIES.judge(composer.compose(policy, jax.random.key(1), COMPOSITIONS))

    compose()
    measured["compositions_per_second"] = COMPOSITIONS / bench.median_seconds(compose)
    measured["matmul_flops_per_second"] = flops
    measured["peak_memory_bytes"] = bench.peak_memory()
    return measured


def note_rnn(seconds: float) -> dict[str, float]:
    """Measure the updates of the Note RNN's preset `paper`, ways interleaved, medians.

    Args:
      seconds: about how long each piece of a measurement runs.

    Returns:
      updates_per_second: with the hand-written backward pass, divided among `devices`, as many as
        --mesh says;
      one_device_updates_per_second: by one of them;
      plain_updates_per_second: by one, by differentiating the plain scan;
      times_plain: the first over the last;
      arithmetic_share: floating-point operations a second of its matrix products over those of a
        large one;
      matmul_flops_per_second: of that product;
      peak_memory_bytes: the most this process held so far.
    """
    flops = bench.product_flops()
    ways = {
        "": _prior_learner(make_mesh(len(jax.devices()))),
        "plain_": _prior_learner(None, plain=True),
    }
    if len(jax.devices()) > 1:
        ways["one_device_"] = _prior_learner(None)
    speeds = _interleaved(ways, seconds)
    speeds.setdefault("one_device_", speeds[""])
    measured = {f"{way}updates_per_second": speed for way, speed in speeds.items()}
    arithmetic = speeds[""] * _flops_per_prior_update(ways[""].config)
    return measured | {
        "devices": len(jax.devices()),
        "times_plain": speeds[""] / speeds["plain_"],
        "arithmetic_share": arithmetic / flops,
        "matmul_flops_per_second": flops,
        "peak_memory_bytes": bench.peak_memory(),
    }


def _prior_learner(mesh: Mesh | None, *, plain: bool = False) -> PriorLearner:
    """A learner of random melodies with the preset's settings, but a rate that can't diverge."""
    config: NoteRNNConfig = find("note_rnn").preset("paper").config
    random = np.random.default_rng(0)
    melodies = [random.integers(0, MELODIES.num_events, 200).astype(np.int32) for _ in range(100)]
    model = config.model

    return PriorLearner(
        replace(config.prior, learning_rate=1e-3),
        MELODIES.num_events,
        core_factory(model, SCAN if plain else Compute("jax")),
        melodies,
        initial_range=model.initial_range,
        mesh=mesh,
    )


def _interleaved(learners: dict[str, PriorLearner], seconds: float) -> dict[str, float]:
    """Updates a second of each learner: medians of pieces measured in turns."""
    states, speeds = {}, {}
    for name, learner in learners.items():
        states[name] = learner.advance(learner.initial_state(0), 1)  # compiles
        speeds[name] = [1.0 / bench.seconds_of(partial(_advance, states, name, learner, 1))]
    strides = {name: max(1, round(seconds * each[0])) for name, each in speeds.items()}
    for piece in range(bench.PIECES):
        for name, learner in learners.items():
            took = bench.seconds_of(partial(_advance, states, name, learner, strides[name]))
            speeds[name] = [*speeds[name][piece == 0 :], strides[name] / took]
    return {name: statistics.median(each) for name, each in speeds.items()}


def _advance(
    states: dict[str, PriorState], name: str, learner: PriorLearner, count: int
) -> PriorState:
    """Do `count` updates of the state of that name."""
    stop = int(states[name].step) + count
    states[name] = learner.advance(states[name], stop)
    if int(states[name].step) != stop:
        raise RuntimeError("an update wasn't finite: what was measured is no training")
    return states[name]


def _flops_per_prior_update(config: PriorConfig) -> float:
    """Floating-point operations of an update's matrix products; one-hot inputs aren't counted."""
    units, events = SequenceModelConfig().units, MELODIES.num_events
    return 3 * config.batch_size * config.steps * 2.0 * (4 * units * units + units * events)


def _steps_per_second(config: LearnConfig, seeds: int, seconds: float) -> float:
    """Environment steps a second of each of several seeds together.

    Pieces of a second and more are measured with the replay memory full, as it mostly is.
    """
    graph, prior = make_graph(SequenceModelConfig(), MELODIES.num_events, Compute("jax"))
    learner = TutorLearner(config, graph, MELODIES.num_events, MELODIES.environment)
    population = Population(learner, range(seeds), threads=device.threads())
    state: Any = population.initial_state(partial(learner.initial_state, prior))
    stride = learner.round_steps
    for _ in range(2):  # compiles, then finds how many steps fill a piece
        begin = time.perf_counter()
        state = jax.block_until_ready(population.advance(state, int(state.step) + stride))
        took = time.perf_counter() - begin
    stride *= max(1, round(seconds / took))
    if seconds >= 1:
        state = population.advance(state, config.replay_capacity)
    speeds = []
    for _ in range(bench.PIECES):
        begin, step = time.perf_counter(), int(state.step)
        state = jax.block_until_ready(population.advance(state, step + stride))
        speeds.append((int(state.step) - step) / (time.perf_counter() - begin))
    return statistics.median(speeds)


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
