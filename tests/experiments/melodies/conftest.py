"""Fixtures of the tests of melody runs: runs that are finished."""

from pathlib import Path

import pytest
from melody_case import SMALL, Q
from run_case import folder, run


@pytest.fixture(scope="session")
def tuned(tmp_path_factory) -> Path:
    """Two seeds tuned together, where no Note RNN was."""
    out = tmp_path_factory.mktemp("tuned")
    assert run(out, Q, "--seeds", "0", "1", "--set", *SMALL) == 0
    return out


@pytest.fixture(scope="session")
def note_rnn(tuned) -> Path:
    """The Note RNN that `tuned` had trained first."""
    return folder(tuned, "note_rnn")


@pytest.fixture(scope="session")
def highway(tmp_path_factory) -> Path:
    """A Note RNN with the core of the other paper."""
    out = tmp_path_factory.mktemp("highway")
    settings = ["model.core=rhn", "model.depth=2", "prior.iterations=30"]
    assert run(out, "note_rnn", "--set", *settings) == 0
    return out


@pytest.fixture(scope="session")
def quirky(tmp_path_factory) -> Path:
    """A Note RNN of the released code's data."""
    out = tmp_path_factory.mktemp("quirky")
    assert run(out, "note_rnn", "--set", "original_quirks=true") == 0
    return out
