"""`sweep` as a user meets it: real commands, real runs, real signals."""

import io
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from run_case import folder, record, result, run
from sweep_case import RHN, SHORT, wait_for
from toy_job import given, toy

from common import device
from common.config import override, to_dict
from common.process import Process
from common.record import Record, write_record
from experiments.cli import main
from experiments.registry import find
from experiments.sweep import command as command_module
from experiments.sweep import local
from experiments.sweep.child import LOG
from experiments.sweep.live import Live
from experiments.sweep.local import Entry
from experiments.sweep.machine import Machine
from experiments.sweep.state import find_runs, read_state


def command(out: Path, *arguments: str) -> list[str]:
    words = [sys.executable, "-m", "experiments", "sweep", *arguments]
    return [*words, "--preset", "smoke", "--jobs", "2", "--out", str(out)]


def swept(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(out, *arguments), capture_output=True, text=True, check=False, timeout=580
    )


def starts(path: Path) -> int:
    return sum(line.startswith("$ ") for line in (path / LOG).read_text().splitlines())


def test_a_sweep_makes_the_runs_that_run_makes(tmp_path):
    """One of two points of a grid fails on purpose; the other is as `run` makes it."""
    out = tmp_path / "sweep"
    arguments = (RHN, "--set", *SHORT, "--grid", "model.units=9,10")
    damaged = folder(out / "model.units=10", RHN) / "checkpoints"
    damaged.parent.mkdir(parents=True)
    damaged.touch()
    done = swept(out, *arguments)
    assert done.returncode == 1, done.stderr
    assert "1 of 2 runs failed" in done.stderr
    assert f"all of it: {damaged.parent / LOG}" in done.stderr
    assert "Traceback" not in done.stderr
    table = done.stdout.splitlines()
    assert [line.split("|")[1].strip() for line in table if "perplexity" in line]
    assert "model.units" not in done.stdout  # of one run nothing tells it apart
    alone = tmp_path / "alone"
    assert run(alone, RHN, "--set", *SHORT, "model.units=9") == 0
    made = record(out / "model.units=9", RHN)
    assert result(made) == result(record(alone, RHN))
    assert made.overrides == [*SHORT, "model.units=9"]


def test_at_the_end_a_table_tells_the_points_of_a_grid_apart(tmp_path, capsys):
    experiment, losses = find(RHN), {9: 1.234, 10: 2.345}
    preset = experiment.preset("smoke").config
    for units, loss in losses.items():
        overrides = [f"model.units={units}"]
        path = folder(tmp_path / overrides[0], experiment.name)
        made = Record(
            experiment.name, "smoke", 0, "done", "", to_dict(override(preset, overrides)),
            overrides, 1, {"valid/perplexity": 100 * loss}, [], [], {"training": 1.0}, {}, {}, "",
            [], False, "",
        )  # fmt: skip
        path.mkdir(parents=True)
        write_record(made, path, Process())
    words = ["sweep", experiment.name, "--preset", "smoke", "--out", str(tmp_path)]
    assert main([*words, "--grid", "model.units=9,10"]) == 0
    shown = capsys.readouterr().out
    for units, loss in losses.items():
        (line,) = re.findall(rf"^.*model\.units={units}\b.*$", shown, re.MULTILINE)
        assert f"{100 * loss:.1f}" in line


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nope*"], 2, "no experiment matches 'nope*'"),
        ([RHN, "--grid", "model.dept=1"], 2, "unknown key 'model.dept'"),
        ([RHN, "--jobs", "4000"], 2, "--jobs 4000: there are"),
        ([RHN, "--launcher", "slurm"], 2, "sbatch"),
        ([RHN, "--slurm", "time=1"], 2, "--slurm is for --launcher slurm"),
        ([RHN, "--data-dir", "/nowhere"], 3, "there is no such folder"),
        ([RHN, "--out", "/dev/null/x"], 3, "can't be written"),
    ],
)
def test_bad_input_is_a_line_before_anything_starts(
    tmp_path, monkeypatch, capsys, arguments, code, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # no Slurm here
    assert main(["sweep", "--preset", "smoke", *arguments]) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not list(tmp_path.rglob("seed*"))


def test_a_full_disk_is_refused_before_anything_starts(small_disk, capsys):
    with (small_disk / "full").open("wb") as stream, pytest.raises(OSError, match="No space"):
        stream.write(bytes(2**23))
    assert main(["sweep", RHN, "--preset", "smoke", "--out", str(small_disk / "x")]) == 3
    assert "can't be written: No space left on device" in capsys.readouterr().err
    assert not list(small_disk.rglob("seed*"))


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """Makes `sweep` one of these jobs, which are looked at often."""
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.setattr(local, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(local, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(command_module, "results", lambda jobs: "")  # no experiment is called toy

    def make(*jobs):
        monkeypatch.setattr(command_module, "expand", lambda _: list(jobs))
        return ["sweep", "toy", "--jobs", str(len(jobs)), "--out", str(tmp_path)]

    return make


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_after_a_signal_it_says_what_a_table_that_is_gone_showed(
    tmp_path, toys, monkeypatch, capsys, number, code
):
    jobs = [toy(tmp_path, 0, "fail"), toy(tmp_path, 1, seconds=30.0)]

    class Table(Live):
        def look(self, entries: Sequence[Entry], *, stopping: bool) -> None:
            super().look(entries, stopping=stopping)
            if entries[0].stage == "failed" and entries[1].state.step and not stopping:
                os.kill(os.getpid(), number)

    monkeypatch.setattr(command_module, "make_watcher", lambda places: Table(places, io.StringIO()))
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it may be ignored, as under nohup
    try:
        assert main(toys(*jobs)) == code
    finally:
        signal.signal(signal.SIGHUP, before)
    log = jobs[0].paths[0] / LOG
    told = "toy smoke seed 0: exit code 1.\n    error: it fails on purpose\n    all of it: "
    shown = capsys.readouterr()
    assert shown.out == ""  # there is no table of no results
    error = shown.err
    assert "stopped; 2 of 2 runs are left. The same command continues them.\n" in error
    assert f"{told}{log}\n" in error
    assert read_state(jobs[1].paths[0]).kind == "stopped"


def test_ctrl_c_in_a_terminal_lets_all_save(tmp_path):
    """The terminal sends its signal to the sweep, which passes it on to runs of other groups."""
    leader, follower = pty.openpty()
    tests = Path(__file__).parent
    with subprocess.Popen(
        [sys.executable, str(tests / "toy_sweep.py"), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), str(tests)])},
        stdin=follower,
        stdout=subprocess.DEVNULL,
        stderr=follower,
        start_new_session=True,
    ) as sweep:
        os.close(follower)
        shown = b""
        paths = [toy(tmp_path, seed).paths[0] for seed in range(2)]
        while not all(read_state(path).step for path in paths):
            assert sweep.poll() is None, shown
            shown += os.read(leader, 4096)
        os.write(leader, b"\x03")
        shown += rest_of(leader)
    os.close(leader)
    assert sweep.returncode == 130
    assert b"stopped; 2 of 2 runs are left." in shown
    assert [read_state(path).kind for path in paths] == ["stopped", "stopped"]
    assert [starts(path) for path in paths] == [1, 1]


def test_cores_and_gpus_are_dealt_out_to_the_runs(tmp_path, toys, monkeypatch):
    cores = device.core_numbers()[:2]
    if len(cores) < 2:
        pytest.skip("there is one core")
    machine = Machine(cores, 2**34, gpus=("4", "7"))
    monkeypatch.setattr(command_module, "look", {"gpu": machine}.__getitem__)
    jobs = [toy(tmp_path, seed, seconds=1.0) for seed in range(2)]
    assert main([*toys(*jobs), "--platform", "gpu"]) == 0
    assert [given(job) for job in jobs] == [
        {"cores": [core], "NPROC": "1", "CUDA_VISIBLE_DEVICES": gpu}
        for core, gpu in zip(cores, machine.gpus, strict=True)
    ]


@pytest.mark.slow
def test_failing_killed_and_interrupted_runs_end_as_six_single_ones(tmp_path):
    out, alone = tmp_path / "sweep", tmp_path / "alone"
    arguments = ("rhn_penn_treebank_depth[123]_tied", "--seeds", "0", "1")
    names = [f"rhn_penn_treebank_depth{depth}_tied" for depth in (1, 2, 3)]
    bad, killed = folder(out, names[0]), folder(out, names[1])
    bad.mkdir(parents=True)
    (bad / "checkpoints").touch()

    with subprocess.Popen(command(out, *arguments), stderr=subprocess.PIPE, text=True) as sweep:
        wait_for(lambda: read_state(killed).step > 0)
        (child,) = subprocess.run(
            ["pgrep", "-P", str(sweep.pid), "-f", names[1]],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        os.kill(int(child), signal.SIGKILL)
        wait_for(lambda: read_state(folder(out, names[0], 1)).step > 0)
        sweep.send_signal(signal.SIGINT)
        told = sweep.communicate(timeout=60)[1]
    assert sweep.returncode == 130
    assert f"{names[0]} smoke seed 0: failed" in told
    assert "killed by SIGKILL" in told
    assert "The same command continues them." in told
    assert "Traceback" not in told
    (bad / "checkpoints").unlink()
    finished = sum(read_state(path).kind == "finished" for path in find_runs(out))
    done = swept(out, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(": finished") == 6 - finished  # those alone are run

    for name in names:
        assert run(alone, name, "--seeds", "0", "1") == 0
        for seed in (0, 1):
            assert result(record(out, name, seed)) == result(record(alone, name, seed))
    assert starts(bad) == starts(killed) == 2
    assert starts(folder(out, names[2], 1)) == 1
    before = {path: (path / "record.json").stat().st_mtime_ns for path in find_runs(out)}
    assert len(before) == 6
    assert swept(out, *arguments).returncode == 0
    after = {path: (path / "record.json").stat().st_mtime_ns for path in find_runs(out)}
    assert after == before


@pytest.mark.slow
def test_two_sweeps_at_once_run_nothing_twice(tmp_path):
    arguments = ("tutor_melodies_psi", RHN, "--seeds", "0", "1")
    sweeps = [
        subprocess.Popen(command(tmp_path, *arguments), stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [sweep.communicate(timeout=580)[1] for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0], told
    runs = find_runs(tmp_path)
    assert len(runs) == 5  # with the Note RNN, which both tune
    for path in runs:
        sessions = (path / "manifest.json").read_text().count('"started"')
        assert sessions == 1, path


def rest_of(terminal):
    """What is still written to it, until the other end is closed."""
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # closed
        pass
    return shown


@pytest.mark.slow
def test_in_a_terminal_a_table_is_rewritten(tmp_path):
    leader, follower = pty.openpty()
    with subprocess.Popen(
        command(tmp_path, RHN, "--set", *SHORT), stderr=follower, stdout=subprocess.PIPE
    ) as sweep:
        os.close(follower)
        shown = rest_of(leader)
    os.close(leader)
    assert sweep.returncode == 0
    assert b"running" in shown
    assert b"1 run: 1 finished" in shown
    assert b"\x1b[" in shown
