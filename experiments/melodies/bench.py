"""Measures the speed of tuning melodies and of composing them."""

import statistics
import time
from functools import partial

import jax

from common.population import Population
from experiments import bench
from experiments.melodies.domain import MELODIES
from experiments.registry import find
from experiments.trained import make_graph
from tutor.config import LearnConfig, SequenceModelConfig, TutorConfig
from tutor.evaluation import Composer, Policy
from tutor.learner import TutorLearner

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


def _steps_per_second(config: LearnConfig, seeds: int, seconds: float) -> float:
    """Environment steps a second of each of several seeds together.

    Pieces of a second and more are measured with the replay memory full, as it mostly is.
    """
    graph, prior = make_graph(SequenceModelConfig(), MELODIES.num_events)
    learner = TutorLearner(config, graph, MELODIES.num_events, MELODIES.environment)
    population = Population(learner, range(seeds))
    state = population.initial_state(partial(learner.initial_state, prior))
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
