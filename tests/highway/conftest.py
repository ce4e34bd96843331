"""Fixtures of the tests of `highway`."""

import jax
import pytest


@pytest.fixture(autouse=True)
def compilation(request):
    """XLA compiles with few optimisations, several times faster; what it computes is the same.

    Tests of bits ask for `full_optimisation`, which is what users get.
    """
    before = jax.config.read("jax_disable_most_optimizations")
    full = "full_optimisation" in request.fixturenames
    jax.config.update("jax_disable_most_optimizations", not full)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def full_optimisation():
    """See `compilation`."""


@pytest.fixture(scope="session")
def shakespeare(tmp_path_factory):
    """Real text: tiny Shakespeare, prepared in a folder of the tests' own."""
    from common.datasets import load

    return load("tiny_shakespeare", cache_dir=tmp_path_factory.mktemp("cache"), download=False)
