"""Fixtures of the tests of language runs."""

import shutil
from pathlib import Path

import pytest
from language_case import SMALL, folder, run


@pytest.fixture(scope="session")
def done(made_once) -> Path:
    """A finished run of each of two seeds."""

    def fill(out: Path) -> None:
        assert run(out, "--seeds", "0", "1", "--set", *SMALL) == 0

    return made_once("done", fill)


@pytest.fixture
def finished(done, tmp_path) -> Path:
    """A finished run of seed 0, for a test to begin anew or to damage."""
    out = tmp_path / "finished"
    shutil.copytree(folder(done), folder(out))
    return out
