"""Fixtures of the tests of language runs."""

from pathlib import Path

import pytest
from language_case import SMALL, run


@pytest.fixture(scope="session")
def done(tmp_path_factory) -> Path:
    """A finished run of each of two seeds."""
    out = tmp_path_factory.mktemp("done")
    assert run(out, "--seeds", "0", "1", "--set", *SMALL) == 0
    return out
