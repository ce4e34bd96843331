"""Tunings that stop or are killed go on with the same bits."""

import json
import signal
import subprocess
import sys

import pytest
from melody_case import SMALL, Q
from run_case import folder, record, result

from experiments.cli import main

STOPPED = """
import os, sys
from common import training
from common.population import Population
training.CALL_SECONDS = training.CHECKPOINT_SECONDS = 0.0
advance = Population.advance
def stopped(self, state, stop):
    if stop > 600:
        os.kill(os.getpid(), int(sys.argv[1]))
    return advance(self, state, stop)
Population.advance = stopped
from experiments.cli import main
sys.exit(main(sys.argv[2:]))
"""
"""The command line in which a signal comes as the 600th step is done."""


@pytest.mark.parametrize(
    ("number", "code", "at"),
    [
        (signal.SIGTERM, 143, 800),
        pytest.param(signal.SIGKILL, -9, 600, marks=pytest.mark.slow),
    ],
)
def test_two_seeds_stopped_in_the_middle_end_with_the_same_bits(
    tuned, note_rnn, tmp_path, capsys, number, code, at
):
    """Real processes: one is asked to stop and saves, the other is killed and goes back."""
    here = folder(tmp_path, "note_rnn")
    here.parent.mkdir(parents=True)
    here.symlink_to(note_rnn)
    command = ["run", Q, "--preset", "smoke", "--out", str(tmp_path), "--seeds", "0", "1"]
    command += ["--set", *SMALL]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, str(int(number)), *command],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if number == signal.SIGTERM:
        assert "stopped by SIGTERM at update 800 of 1200; saved in" in done.stderr
        assert "The same command continues it." in done.stderr
    assert not (folder(tmp_path, Q) / "record.json").exists()
    capsys.readouterr()
    assert main(command) == 0
    assert f"continues at update {at}" in capsys.readouterr().err
    for seed in (0, 1):
        assert result(record(tmp_path, Q, seed)) == result(record(tuned, Q, seed))
    sessions = json.loads((folder(tmp_path, Q, "s0-1") / "manifest.json").read_text())["sessions"]
    assert len(sessions) == 2
