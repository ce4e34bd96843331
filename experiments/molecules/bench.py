"""Measures the speed of learning molecules, of tuning on them and of scoring them."""

import statistics
from functools import partial
from typing import Any

import jax

from common import device
from common.compute import Compute
from common.molecule import MOSES
from common.population import Population
from experiments import bench
from experiments.molecules.domain import LENGTH
from experiments.molecules.molecule_rnn import load_molecules
from experiments.molecules.tutor import make_learner
from experiments.registry import find
from experiments.trained import core_factory, make_graph
from tutor.molecules.config import MoleculeDataConfig
from tutor.molecules.environment import make_environment
from tutor.molecules.reward import Reward
from tutor.prior import PriorLearner

PRESET = "cpu"


def molecules(seconds: float) -> dict[str, float]:
    """Measure each part of the preset `cpu` by itself.

    Args:
      seconds: about how long each piece of a measurement runs.

    Returns:
      prior_updates_per_second: of the molecule RNN, on one device, a median;
      psi/steps_per_second, reinvent/steps_per_second: tuning with rewards of 0, without scoring,
        medians;
      scored_per_second: molecules of which the reward's properties are computed by the processes,
        timed once;
      known_per_second: the same molecules, whose properties then are known, timed once;
      peak_memory_bytes: the most this process held so far.
    """
    config = find("molecule_rnn").preset(PRESET).config
    sample = load_molecules(MoleculeDataConfig("moses_sample"), None)
    encoded = [MOSES.encode(one) for one in sample.valid]
    factory = core_factory(config.model, Compute("jax"))
    learner = PriorLearner(
        config.prior, len(MOSES), factory, encoded, initial_range=config.model.initial_range
    )
    measured = {"prior_updates_per_second": _speed(learner, learner.initial_state(0), 1, seconds)}
    graph, prior = make_graph(config.model, len(MOSES), Compute("jax"))
    for name in ("psi", "reinvent"):
        tuning = find(f"tutor_molecules_{name}").preset(PRESET).config
        tuner = make_learner(tuning, graph, make_environment(MOSES, LENGTH, None))
        population = Population(tuner, (0,))
        state = population.initial_state(partial(tuner.initial_state, prior))
        speed = _speed(population, state, tuner.round_steps, seconds)
        measured[f"{name}/steps_per_second"] = speed
    tuning = find("tutor_molecules_psi").preset(PRESET).config
    reward = Reward(tuning.reward, tuning.scoring, cores=device.cores())
    try:
        reward(sample.test[:1])  # starts the processes
        number = max(20, min(len(sample.valid), round(300 * seconds)))
        chosen = sample.valid[:number]
        measured["scored_per_second"] = number / bench.seconds_of(lambda: reward(chosen))
        measured["known_per_second"] = number / bench.seconds_of(lambda: reward(chosen))
    finally:
        reward.scorer.close()
    return measured | {"peak_memory_bytes": bench.peak_memory()}


def _speed(learner: Any, state: Any, round_steps: int, seconds: float) -> float:
    """Steps a second, the median of pieces of about so many seconds."""
    held = [state]

    def advance(rounds: int) -> None:
        stop = int(held[0].step) + rounds * round_steps
        held[0] = jax.block_until_ready(learner.advance(held[0], stop))

    advance(1)  # compiles
    rounds = max(1, round(seconds / bench.seconds_of(lambda: advance(1))))
    took = [bench.seconds_of(lambda: advance(rounds)) for _ in range(bench.PIECES)]
    return rounds * round_steps / statistics.median(took)
