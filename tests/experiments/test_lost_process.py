"""How the command line ends as one of several processes; leaving itself is in tests/common."""

import pytest

from common.error import ConfigError, DataError, DivergedError, InterruptedRun
from experiments import cli


class Left(BaseException):
    """Stands for the end of this process."""


class Watched:
    """An alarm that notes by which code this process ends, and whether without the others."""

    def __init__(self):
        self.ended: list[int] = []

    def end(self, code):
        self.ended.append(code)

    def leave(self, code):
        raise Left(code)


@pytest.fixture
def alarm(monkeypatch):
    alarm = Watched()
    monkeypatch.setattr(cli, "joined", lambda: alarm)
    return alarm


def failing(monkeypatch, error: BaseException | None) -> None:
    """Has a command raise an error."""

    def command(options):
        if error is not None:
            raise error

    monkeypatch.setitem(cli.COMMANDS, "list", command)


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_the_loss_of_another_is_said_and_ends_this_one_at_once(monkeypatch, capsys, alarm, kind):
    failing(monkeypatch, kind("UNKNOWN: Gloo AllGather failed: Connection closed\nmore"))
    with pytest.raises(Left, match=r"^5$"):
        cli.main(["list"])
    assert capsys.readouterr().err.splitlines() == [
        "error: another process of this training has ended, or can't be reached "
        "(UNKNOWN: Gloo AllGather failed: Connection closed).",
        "Give all of them the same command again: they go on from the last checkpoint.",
    ]


def test_one_process_loses_no_other(monkeypatch):
    failing(monkeypatch, ValueError("Gloo"))
    with pytest.raises(ValueError, match="Gloo"):
        cli.main(["list"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (ConfigError("no"), 2),
        (DataError("no"), 3),
        (OSError(28, "No space left on device"), 3),
        (DivergedError("no"), 4),
        (InterruptedRun("stop", 15), 143),
    ],
)
def test_every_end_is_told_the_others(monkeypatch, alarm, error, code):
    failing(monkeypatch, error)
    assert cli.main(["list"]) == code
    assert alarm.ended == [code]


def test_so_is_that_by_a_fault_of_the_program(monkeypatch, capsys, alarm):
    failing(monkeypatch, TypeError("a fault"))
    assert cli.main(["list"]) == 1
    assert alarm.ended == [1]
    assert "TypeError: a fault" in capsys.readouterr().err
