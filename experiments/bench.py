"""Measures speed and memory of what the experiments do, on the machine at hand."""

import resource
import statistics
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from common.melody import NUM_EVENTS
from experiments.melodies.domain import ENVIRONMENT, LENGTH, table_1
from experiments.registry import find
from experiments.trained import make_graph
from tutor.config import LearnConfig, ModelConfig, TutorConfig
from tutor.evaluation import Composer, Policy
from tutor.learner import Learner

PIECES = 5
"""Times that each thing is measured; the median counts."""
SEEDS = 3
COMPOSITIONS = 20_000
PRODUCT_SIZE = 2048
"""Rows and columns of the matrices whose product stands for the most that the device can do."""


def tutor(seconds: float) -> dict[str, float]:
    """Tuning melodies: the loop of the presets `original` and `vectorised`, and composing.

    `seconds` is about how long each piece of a measurement runs. Names of the result:
      SETTING/steps_per_second, SETTING/updates_per_second: environment steps and gradient steps of
        one seed; SETTING/3_seeds_time_ratio: time of three seeds together over that of one;
      SETTING/arithmetic_share: floating-point operations a second of one seed's loop over those of
        a large matrix product;
      compositions_per_second: composing from a policy, with rewards, exact KL, and Table 1;
      matmul_flops_per_second: of that product;
      peak_memory_bytes: the most this process held so far.
    """
    graph, prior = make_graph(ModelConfig())
    flops = _product_flops()
    measured: dict[str, float] = {}
    for setting in ("original", "vectorised"):
        config: TutorConfig = find("tutor_melodies_q").preset(setting).config
        one = _steps_per_second(config.learn, 1, seconds)
        several = _steps_per_second(config.learn, SEEDS, seconds)
        measured |= {
            f"{setting}/steps_per_second": one,
            f"{setting}/updates_per_second": one / config.learn.update_every,
            f"{setting}/{SEEDS}_seeds_time_ratio": one / several,
            f"{setting}/arithmetic_share": one * _flops_per_step(config.learn) / flops,
        }
    composer = Composer(graph, "q", ENVIRONMENT, LENGTH)
    policy = Policy(prior, prior)

    def compose() -> None:
        table_1(composer.compose(policy, jax.random.key(1), COMPOSITIONS).events)

    compose()
    each = [_time(compose) for _ in range(PIECES)]
    measured["compositions_per_second"] = COMPOSITIONS / statistics.median(each)
    measured["matmul_flops_per_second"] = flops
    measured["peak_memory_bytes"] = _peak_memory()
    return measured


BENCHMARKS: dict[str, Callable[[float], dict[str, float]]] = {"tutor": tutor}


def _steps_per_second(config: LearnConfig, seeds: int, seconds: float) -> float:
    """Environment steps a second of each of several seeds together.

    Pieces of a second and more are measured with the replay memory full, as it mostly is.
    """
    graph, prior = make_graph(ModelConfig())
    learner = Learner(config, graph, NUM_EVENTS, ENVIRONMENT)
    state = learner.initial_state(prior, tuple(range(seeds)))
    stride = learner.round_steps
    for _ in range(2):  # compiles, then finds how many steps fill a piece
        begin = time.perf_counter()
        state = jax.block_until_ready(learner.advance(state, int(state.step) + stride))
        took = time.perf_counter() - begin
    stride *= max(1, round(seconds / took))
    if seconds >= 1:
        state = learner.advance(state, config.replay_capacity)
    speeds = []
    for _ in range(PIECES):
        begin, step = time.perf_counter(), int(state.step)
        state = jax.block_until_ready(learner.advance(state, step + stride))
        speeds.append((int(state.step) - step) / (time.perf_counter() - begin))
    return statistics.median(speeds)


def _flops_per_step(config: LearnConfig) -> float:
    """Floating-point operations of the matrix products behind one environment step.

    Two networks act; at each update the value network goes forward and backward (once for each of
    its weights' gradients and once for the output kernel's input), the target network forward.
    One-hot inputs are counted as products.
    """
    units, events = ModelConfig().units, NUM_EVENTS
    core, output = 2.0 * (events + units) * 4 * units, 2.0 * units * events
    forward = core + output
    update = config.batch_size * (3 * forward + output)
    return 2 * forward + update / config.update_every


def _product_flops() -> float:
    a = jnp.ones((PRODUCT_SIZE, PRODUCT_SIZE))
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, a))
    seconds = [_time(lambda: jax.block_until_ready(product(a, a))) for _ in range(PIECES)]
    return 2.0 * PRODUCT_SIZE**3 / statistics.median(seconds)


def _time(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
