"""A language model trained by two processes: the losses of one with two devices."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from language_case import ROW, SMALL, folder, record, run, start
from run_case import result
from together import flags, open_mpi, run_together, slurm


def both(out: Path, *arguments: str, told=flags, before=lambda index: [], **more) -> list[str]:
    """Runs the smoke preset in two processes; `told` is how they find each other.

    What `before` returns of a process's index stands before its command.
    """

    def command(index: int, port: int) -> list[str]:
        run = [*before(index), sys.executable, "-m", "experiments", "run", ROW]
        run += ["--preset", "smoke"]
        run += ["--out", str(out), *arguments]
        if told is flags:
            return [*run, *flags(index, port)]
        return [*told(index, port), *run, "--distributed"]

    out.mkdir(exist_ok=True)
    return run_together(command, out, **more)


def stopped_by(out: Path, lines: int):
    """Sends process 1 a SIGTERM once there are so many rows of metrics."""
    sent: list[int] = []

    def meanwhile(started: list[subprocess.Popen]) -> None:
        rows = folder(out) / "metrics.jsonl"
        if not sent and rows.exists() and len(rows.read_text().splitlines()) >= lines:
            started[1].send_signal(signal.SIGTERM)
            sent.append(lines)

    return meanwhile


def test_two_begin_and_one_ends(tmp_path, done):
    arguments = ["--set", *SMALL]
    printed = both(tmp_path, *arguments, codes=(143, 143), meanwhile=stopped_by(tmp_path, 4))
    assert "epoch 1" in printed[0] or "stopped by SIGTERM at update" in printed[0]
    assert "epoch" not in printed[1]
    assert run(tmp_path, *arguments) == 0
    made = record(tmp_path)
    assert made.metrics == pytest.approx(record(done).metrics, rel=1e-4)
    assert result(made) != result(record(done))  # some of it was computed by two
    assert sessions(tmp_path) == [2, 1]


def sessions(out: Path) -> list[int]:
    """By how many processes each session was computed."""
    manifest = json.loads((folder(out) / "manifest.json").read_text())
    return [session["device"].get("processes", 1) for session in manifest["sessions"]]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_is_killed_ends_the_other_and_all_go_on(tmp_path, done, victim):
    arguments = ["--set", *SMALL]
    # JAX's service lives in process 0: without it JAX aborts whatever process it runs in.
    codes = (5, -signal.SIGKILL) if victim == 1 else (-signal.SIGKILL, -signal.SIGABRT)

    def kill(started: list[subprocess.Popen]) -> None:
        rows = folder(tmp_path) / "metrics.jsonl"
        if rows.exists() and len(rows.read_text().splitlines()) >= 8:
            started[victim].kill()

    printed = both(tmp_path, *arguments, codes=codes, meanwhile=kill)
    if victim == 1:
        assert "error: another process of this training has ended" in printed[0]
        assert "Traceback" not in printed[0]
    else:
        assert "Terminating process because the JAX distributed service detected" in printed[1]
    both(tmp_path, *arguments)
    assert record(tmp_path).metrics == pytest.approx(record(done).metrics, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("without", [0, 1])
def test_one_without_its_data_ends_the_other(tmp_path, without):
    (tmp_path / "file").touch()
    no_place = ["env", "HIGHWAY_TUTOR_NO_COMPILE_CACHE=1", f"HIGHWAY_TUTOR_CACHE={tmp_path}/file"]
    codes = [3 if index == without else 5 for index in range(2)]
    printed = both(
        tmp_path,
        *("--kernel", "jax", "--set", *SMALL),
        codes=codes,
        before=lambda index: no_place if index == without else [],
    )
    assert "error: cannot prepare data" in printed[without]
    assert "error: another process of this training has ended" in printed[1 - without]
    assert not any("Traceback" in text for text in printed)


@pytest.mark.slow
def test_one_begins_and_two_end(tmp_path, done):
    arguments = ["--set", *SMALL]
    process = start(tmp_path, *arguments)
    while process.poll() is None:
        stopped_by(tmp_path, 4)([None, process])  # type: ignore[list-item]
    both(tmp_path, *arguments)
    assert record(tmp_path).metrics == pytest.approx(record(done).metrics, rel=1e-4)
    assert sessions(tmp_path) == [1, 2]


@pytest.fixture(scope="module")
def two_devices(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("devices")
    process = start(out, "--mesh", "data=2", "--set", *SMALL)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return out


@pytest.mark.slow
@pytest.mark.parametrize("told", [flags, slurm, open_mpi])
def test_two_processes_learn_what_one_with_two_devices_does(tmp_path, two_devices, told):
    printed = both(tmp_path, "--set", *SMALL, told=told)
    made, wanted = record(tmp_path), record(two_devices)
    assert made.metrics == pytest.approx(wanted.metrics, rel=1e-6)
    assert [row["valid/loss"] for row in made.curve] == pytest.approx(
        [row["valid/loss"] for row in wanted.curve], rel=1e-6
    )
    assert (made.device["count"], made.device["processes"]) == (2, 2)
    assert "--mesh data=2" in made.command
    assert "epoch 1" in printed[0]
    assert "published" in printed[0]
    assert "epoch" not in printed[1]
    assert "published" not in printed[1]
