"""Fixtures of the tests of `highway`."""

import jax
import pytest


@pytest.fixture(scope="module")
def quick_compilation():
    """XLA compiles with few optimisations, several times faster; what it computes is the same."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
