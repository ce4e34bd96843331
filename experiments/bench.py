"""How speed and memory are measured on the machine at hand, whatever is measured."""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

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
