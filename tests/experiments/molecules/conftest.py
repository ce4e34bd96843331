"""Fixtures of the tests of molecule runs: a prior that learned next to nothing."""

import importlib.util
from pathlib import Path

import pytest
from run_case import folder, run

# Without RDKit (the extra `molecules`) there is nothing to test here.
collect_ignore_glob = [] if importlib.util.find_spec("rdkit") else ["test_*.py"]

LITTLE = ["prior.iterations=40", "prior.evaluate_every=20", "final_samples=150"]


@pytest.fixture(scope="session")
def molecule_runs(made_once) -> Path:
    """Where the runs lie: a prior, which `prior` names."""

    def fill(out: Path) -> None:
        assert run(out, "molecule_rnn", "--set", *LITTLE) == 0

    return made_once("molecules", fill)


@pytest.fixture(scope="session")
def prior(molecule_runs) -> Path:
    return folder(molecule_runs, "molecule_rnn")
