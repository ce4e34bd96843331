"""A process that fails ends the others, whatever they wait in, unless all of them fail."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from together import run_together

from common import process
from common.process import is_lost


def run_both(folder: Path, *failing: int, **more) -> list[str]:
    """Runs alarmed.py twice, as process 0 and 1; what each printed."""
    codes = [3 if index in failing else 5 for index in range(2)]
    script = Path(__file__).with_name("alarmed.py")
    return run_together(
        lambda index, port: [
            *(sys.executable, str(script), str(index), str(port)),
            *map(str, failing),
        ],
        folder,
        **{"codes": codes, **more},
    )


@pytest.mark.parametrize("failing", [0, 1])
def test_one_that_fails_ends_the_other(tmp_path, failing):
    printed = run_both(tmp_path, failing)
    assert f"error of {failing}" in printed[failing]
    assert "together" not in printed[failing]
    told = printed[1 - failing]
    assert (
        f"error: another process of this training has ended, or can't be reached (process {failing}"
        in told
    )
    assert "Give all of them the same command again" in told
    assert not any(word in text for word in ("Traceback", "absl::") for text in printed)


def test_where_all_fail_each_ends_by_itself(tmp_path):
    for index, text in enumerate(run_both(tmp_path, 0, 1)):
        assert text.splitlines() == [f"error of {index}", "together"]


def test_a_killed_process_0_takes_the_others_with_it(tmp_path):
    """JAX's service ends with it, and JAX then aborts the process that it runs in."""

    def kill(started: list[subprocess.Popen]) -> None:
        if all("joined" in (tmp_path / f"{index}.log").read_text() for index in range(2)):
            started[0].kill()

    printed = run_both(tmp_path, codes=(-signal.SIGKILL, -signal.SIGABRT), meanwhile=kill)
    assert "Terminating process because the JAX distributed service detected" in printed[1]


def test_one_process_has_nobody_to_tell():
    assert process.joined() is None


@pytest.mark.parametrize(
    ("words", "lost"),
    [
        ("UNKNOWN: Gloo AllGather failed: Connection closed by peer [127.0.0.1]:37609", True),
        ("INTERNAL: NCCL operation ncclAllReduce failed: unhandled system error", True),
        ("UNAVAILABLE: The following tasks are unhealthy (stopped sending heartbeats)", True),
        ("UNAVAILABLE: Failed to send RPC to coordination service.", True),
        ("INTERNAL: Coordination service agent is in error state", True),
        ("Connection reset by peer", True),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes", False),
        ("Incompatible shapes for dot: got (2, 3) and (2, 3)", False),
    ],
)
def test_errors_of_a_lost_process_are_known_by_their_words(words, lost):
    assert is_lost(ValueError(words)) is lost
