"""Runs as tasks of a real Slurm, which is started here: `-m slurm`."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_here
from run_case import folder, record, result, run
from sweep_case import RHN, SHORT, wait_for

from experiments.sweep.child import LOG
from experiments.sweep.local import SweepUnfinished
from experiments.sweep.state import read_state

pytest.importorskip("submitit")

LONG = ["train.epochs=250", "data.train_tokens=4000", "data.evaluation_tokens=600"]
"""Over a minute on any core."""


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Iterator[None]:
    if why := slurm_here.missing():
        pytest.skip(why)
    with contextlib.ExitStack() as stack:
        try:
            slurm = slurm_here.slurm(tmp_path_factory.mktemp("slurm") / "x")
            environment = stack.enter_context(slurm)
        except slurm_here.NotReady as why:
            pytest.skip(str(why))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SLURM_CONF", environment["SLURM_CONF"])
        patch.setenv("PYTHONPATH", os.getcwd())
        yield


def sweep(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "experiments", "sweep", *arguments, "--preset", "smoke"]
    words += ["--launcher", "slurm", "--out", str(out)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


def in_queue() -> list[str]:
    words = ["squeue", "--noheader", "--array", "--format=%i %T"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def finished(path: Path) -> bool:
    return read_state(path).kind == "finished"


@pytest.mark.slurm
def test_submit_and_finish(here, tmp_path):
    arguments = (RHN, "tutor_melodies_psi", "--seeds", "0", "1")
    done = sweep(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert "5 of 5 runs submitted" in done.stdout
    again = sweep(tmp_path, *arguments)
    assert "0 of 5 runs submitted" in again.stdout  # they are in the queue
    wait_for(lambda: sweep(tmp_path, *arguments, "--status").stdout.count("(Dependency)") == 2)
    runs = [folder(tmp_path, name, seed) for name in (RHN, "tutor_melodies_psi") for seed in (0, 1)]
    runs.append(folder(tmp_path, "note_rnn"))
    wait_for(lambda: all(map(finished, runs)), 400)
    assert all((path / "manifest.json").read_text().count('"started"') == 1 for path in runs)
    wait_for(lambda: not in_queue())
    assert "5 runs: 5 finished" in sweep(tmp_path, *arguments, "--status").stdout
    assert "0 of 5 runs submitted" in sweep(tmp_path, *arguments).stdout
    assert run(tmp_path / "alone", RHN) == 0
    assert result(record(tmp_path, RHN)) == result(record(tmp_path / "alone", RHN))


@pytest.mark.slurm
def test_the_time_limit_requeues_to_the_same_bits(here, tmp_path):
    path = folder(tmp_path, RHN)
    done = sweep(tmp_path, RHN, "--set", *LONG, "--slurm", "time=1", "signal_delay_s=20")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: finished(path), 580)
    starts = [line for line in (path / LOG).read_text().splitlines() if line.startswith("$ ")]
    assert len(starts) > 1
    assert run(tmp_path / "alone", RHN, "--set", *LONG) == 0
    assert result(record(tmp_path, RHN)) == result(record(tmp_path / "alone", RHN))


@pytest.mark.slurm
def test_cancel_and_go_on(here, tmp_path):
    path = folder(tmp_path, RHN)
    arguments = (RHN, "--seeds", "0", "1", "2", "3", "--set", *LONG)
    assert sweep(tmp_path, *arguments).returncode == 0
    wait_for(lambda: read_state(path).step > 0, 120)
    told = sweep(tmp_path, *arguments, "--cancel")
    assert "4 of 4 runs were in Slurm's queue; cancelled." in told.stdout
    wait_for(lambda: not in_queue(), 90)
    assert sweep(tmp_path, *arguments, "--status").returncode == 0
    state = read_state(path)
    assert (state.kind, state.step > 0) == ("stopped", True)
    assert list((path / "checkpoints").iterdir())
    assert "4 of 4 runs submitted" in sweep(tmp_path, *arguments).stdout
    wait_for(lambda: read_state(path).step > state.step, 120)
    sweep(tmp_path, *arguments, "--cancel")
    wait_for(lambda: not in_queue(), 90)
    assert "continues at update" in (path / LOG).read_text()


@pytest.mark.slurm
def test_what_fails_is_told_and_submitted_again(here, tmp_path):
    path = folder(tmp_path, RHN)
    path.mkdir(parents=True)
    (path / "checkpoints").touch()
    arguments = (RHN, "--set", *SHORT)
    assert sweep(tmp_path, *arguments).returncode == 0
    wait_for(lambda: not in_queue(), 200)
    told = sweep(tmp_path, *arguments, "--status")
    assert told.returncode == SweepUnfinished.exit_code
    assert "1 of 1 runs failed" in told.stderr
    assert f"all of it: {path / LOG}" in told.stderr
    (path / "checkpoints").unlink()
    assert "Submitted again, after they failed:" in sweep(tmp_path, *arguments).stdout
    wait_for(lambda: finished(path), 200)
    wait_for(lambda: not in_queue())
    assert sweep(tmp_path, *arguments, "--status").returncode == 0


@pytest.mark.slurm
def test_what_slurm_refuses_is_a_line_before_anything_starts(here, tmp_path):
    done = sweep(tmp_path, RHN, "--slurm", "partition=nowhere")
    assert done.returncode == 2
    assert "\nerror: Slurm takes no job: invalid partition specified: nowhere.\n" in done.stderr
    assert not list(tmp_path.rglob("seed*"))


STANDS_IN = """\
trap 'echo saved; exit 143' TERM
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then echo goes on; exit 0; fi
while true; do sleep 1; done
"""
"""A training of the guide's: it saves at the signal, and goes on once it was requeued."""


@pytest.mark.slurm
def test_a_job_of_the_guide_requeues_itself_when_its_time_is_up(here, tmp_path):
    guide = Path(__file__).parents[3] / "docs/accelerators.md"
    (script,) = re.findall(r"^(#!/bin/bash\n.*?)^```", guide.read_text(), re.DOTALL | re.MULTILINE)
    work, job, out = tmp_path / "work.sh", tmp_path / "job.sh", tmp_path / "out"
    work.write_text(STANDS_IN)
    small = f"--nodes=1 --ntasks-per-node=2 --time=1 --output={out}"
    for pattern, instead in (
        (r"--nodes=.*", small),
        (r"--signal=TERM@\d+", "--signal=TERM@20"),
        (r"^srun .*", f"srun sh {work}"),
    ):
        script, found = re.subn(pattern, instead, script, flags=re.MULTILINE)
        assert found == 1
    job.write_text(script)
    subprocess.run(["sbatch", str(job)], check=True)
    wait_for(lambda: not in_queue(), 300)
    assert out.read_text().count("saved\n") == 2
    assert out.read_text().endswith("goes on\ngoes on\n")
