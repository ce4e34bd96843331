"""Fixtures of the tests of melody runs: few optimisations, and runs that are finished."""

from pathlib import Path

import jax
import pytest
from melody_case import SMALL, Q
from run_case import folder, run


@pytest.fixture(scope="module", autouse=True)
def compilation():
    """XLA compiles with few optimisations, three times faster, here and in processes begun here."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> Path:
    """Two seeds tuned together, where no Note RNN was."""
    out = tmp_path_factory.mktemp("tuned")
    assert run(out, Q, "--seeds", "0", "1", "--set", *SMALL) == 0
    return out


@pytest.fixture(scope="module")
def note_rnn(tuned) -> Path:
    """The Note RNN that `tuned` had trained first."""
    return folder(tuned, "note_rnn")


@pytest.fixture(scope="module")
def highway(tmp_path_factory) -> Path:
    """A Note RNN with the core of the other paper."""
    out = tmp_path_factory.mktemp("highway")
    settings = ["model.core=rhn", "model.depth=2", "prior.iterations=30"]
    assert run(out, "note_rnn", "--set", *settings) == 0
    return out


@pytest.fixture(scope="module")
def quirky(tmp_path_factory) -> Path:
    """A Note RNN of the released code's data."""
    out = tmp_path_factory.mktemp("quirky")
    assert run(out, "note_rnn", "--set", "original_quirks=true") == 0
    return out
