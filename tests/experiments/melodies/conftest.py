"""Fixtures of the tests of melody runs: runs that are finished or stop."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from melody_case import SMALL, Q
from run_case import folder, run

from common.interrupt import Interrupt
from common.record import Record, read_record

RESULTS = Path(__file__).parents[3] / "results"


@pytest.fixture(scope="session")
def tuned(made_once) -> Path:
    """Two seeds tuned together, where no Note RNN was."""

    def fill(out: Path) -> None:
        assert run(out, Q, "--seeds", "0", "1", "--set", *SMALL) == 0

    return made_once("tuned", fill)


@pytest.fixture(scope="session")
def note_rnn(tuned) -> Path:
    """The Note RNN that `tuned` had trained first."""
    return folder(tuned, "note_rnn")


@pytest.fixture(scope="session")
def highway(made_once) -> Path:
    """A Note RNN with the core of the other paper."""

    def fill(out: Path) -> None:
        settings = ["model.core=rhn", "model.depth=2", "prior.iterations=30"]
        assert run(out, "note_rnn", "--set", *settings) == 0

    return made_once("highway", fill)


@pytest.fixture(scope="session")
def quirky(made_once) -> Path:
    """A Note RNN of the released code's data."""

    def fill(out: Path) -> None:
        assert run(out, "note_rnn", "--set", "original_quirks=true") == 0

    return made_once("quirky", fill)


class StopAt3(Interrupt):
    """SIGTERM comes at the third look."""

    checks = 0

    def check(self):
        StopAt3.checks += 1
        if StopAt3.checks == 3:
            self.received = signal.SIGTERM
        super().check()


@pytest.fixture
def stopped(monkeypatch) -> Callable[..., None]:
    """Starts a command, which is stopped soon after its first row."""

    def start(*arguments) -> None:
        StopAt3.checks = 0
        with monkeypatch.context() as patch:
            patch.setattr("common.training.CALL_SECONDS", 0.0)
            patch.setattr("experiments.train.Interrupt", StopAt3)
            assert run(*arguments) == 143

    return start


@pytest.fixture(scope="module")
def committed() -> list[Record]:
    """All committed records of melodies and Note RNNs."""
    paths = [*RESULTS.glob("*melod*/**/record.json"), *RESULTS.glob("note_rnn/**/record.json")]
    return [read_record(path) for path in paths]
