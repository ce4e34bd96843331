"""How speed and memory are measured on the machine at hand, whatever is measured."""

import abc
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from common.training import Learner

PIECES = 5
"""Times that each thing is measured; the median counts."""
PRODUCT_SIZE = 2048
"""Rows and columns of the matrices whose product stands for the most that the device can do."""


def median_seconds(work: Callable[[], object]) -> float:
    """Return the median of the seconds that a piece of work takes, measured a few times."""
    return statistics.median(seconds_of(work) for _ in range(PIECES))


def seconds_of(work: Callable[[], object]) -> float:
    """Return the seconds that a piece of work takes, until what it returns is there."""
    begin = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - begin


def in_turns(works: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """Return medians of what pieces of works return, measured one after the other, a few times."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(PIECES):
        for name, work in works.items():
            found[name].append(work())
    return {name: statistics.median(each) for name, each in found.items()}


class Training(abc.ABC):
    """A training that goes on from measurement to measurement, a piece at a time."""

    round_steps = 1
    """Steps that are indivisible."""
    rounds = 1
    """In a piece."""

    @abc.abstractmethod
    def advance(self, steps: int) -> None:
        """Do so many steps more, and wait for their end."""

    def piece(self) -> float:
        """Return the seconds of a step, over one piece of them."""
        steps = self.rounds * self.round_steps
        return seconds_of(partial(self.advance, steps)) / steps

    def warm_up(self, seconds: float) -> None:
        """Compile, and make pieces take about so many seconds."""
        self.piece()
        self.rounds = max(1, round(seconds / (self.piece() * self.round_steps)))


class LearnerTraining(Training):
    """A training of a `common.training.Learner`."""

    def __init__(self, learner: Learner, state: Any, round_steps: int = 1):
        """Begin at a state of the learner's."""
        self.learner, self.state, self.round_steps = learner, state, round_steps

    def advance(self, steps: int) -> None:
        """See `Training.advance`.

        Raises:
          RuntimeError: an update wasn't finite.
        """
        stop = int(self.state.step) + steps
        self.state = jax.block_until_ready(self.learner.advance(self.state, stop))
        if int(self.state.step) != stop:
            raise RuntimeError("an update wasn't finite: what was measured is no training")


def product_flops() -> float:
    """Return the floating-point operations a second of one large matrix product."""
    a = jnp.ones((PRODUCT_SIZE, PRODUCT_SIZE))
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, a))
    return 2.0 * PRODUCT_SIZE**3 / median_seconds(lambda: product(a, a))


def peak_memory() -> int:
    """Return the most bytes that this process has held so far."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        status = ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):  # `getrusage` may tell of the parent's memory instead
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
