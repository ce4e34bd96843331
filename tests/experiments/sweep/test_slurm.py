"""Runs as Slurm's tasks, without Slurm: submitit's local executor, and programs that stand in."""

import contextlib
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import psutil
import pytest
from run_case import folder
from sweep_case import RHN, wait_for
from toy_job import given, steps, times_run, toy

from common.error import ConfigError
from common.process import Process
from common.run_directory import RunDirectory
from experiments.cli import main
from experiments.registry import find
from experiments.sweep import slurm
from experiments.sweep.child import LOG, last_said
from experiments.sweep.local import SweepUnfinished
from experiments.sweep.slurm import (
    FOLDER,
    NOTE,
    REQUEUES,
    SlurmRun,
    minutes,
    missing_upstream,
    parameters,
    time_limit,
)
from experiments.sweep.state import read_state

submitit = pytest.importorskip("submitit")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("90", 90), ("1:30", 2), ("2:00:00", 120), ("1-0", 1440), ("1-2", 1560),
        ("1-2:30", 1590), ("0-0:0:1", 1),
    ],
)  # fmt: skip
def test_times_as_slurm_reads_them(text, found):
    assert minutes(text) == found


@pytest.mark.parametrize("text", ["", "x", "1:2:3:4", "-1", "1-", "1.5"])
def test_what_is_no_time(text):
    with pytest.raises(ConfigError, match="--slurm time="):
        minutes(text)


def test_options_of_sbatch():
    found = parameters(
        ["partition=gpu", "time=2:00:00", "gpus-per-node=1", "--hold=true", "nice=5"]
    )
    assert found == {
        "partition": "gpu",
        "time": 120,
        "gpus_per_node": "1",
        "additional_parameters": {"hold": True, "nice": "5"},
    }
    for wrong in ("time", "=3", "partition="):
        with pytest.raises(ConfigError, match="expected key=value"):
            parameters([wrong])
    assert (time_limit(0.01), time_limit(2.0), time_limit(90.0)) == (30, 180, 1440)


OPTIONS = [
    "setup=module load cuda", "setup=source env.sh", "teardown=echo end",
    "srun_args=--mpi=none --cpu-bind='map_cpu:0 1'", "account=00123", "cpus_per_task=8",
    "array_parallelism=2", "use_srun=true", "gpus_per_node=a100:2",
]  # fmt: skip


def test_lists_and_digits_reach_the_job_as_they_were_given(tmp_path, empty_queue):
    (tmp_path / "bin" / "srun").symlink_to(tmp_path / "bin" / "sbatch")
    executor = slurm._configured(tmp_path / "submitit", parameters([*OPTIONS, "time=7"]))
    lines = executor._make_submission_file_text("work", "id").splitlines()
    assert lines[lines.index("# setup") + 1 :][:2] == ["module load cuda", "source env.sh"]
    assert lines[lines.index("# teardown") + 1] == "echo end"
    (srun,) = (line for line in lines if line.startswith("srun "))
    assert " --mpi=none '--cpu-bind=map_cpu:0 1' work" in srun
    for option in ("account=00123", "cpus-per-task=8", "gpus-per-node=a100:2", "time=7"):
        assert f"#SBATCH --{option}" in lines
    without = slurm._configured(tmp_path / "submitit", parameters(["use_srun=false"]))
    assert "srun" not in without._make_submission_file_text("work", "id")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("use_srun=no", "use_srun=no: expected true or false"),
        ("array_parallelism=two", "array_parallelism=two: expected a whole number"),
        ("srun_args=--comment='x", "no closing quotation"),
    ],
)
def test_options_whose_values_cannot_be_read(option, said):
    with pytest.raises(ConfigError, match=said):
        parameters([option])


def test_without_submitit_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match=r'pip install -e "\.\[slurm\]"'):
        parameters([])


def test_a_task_saves_when_time_is_up_and_goes_on_when_requeued(tmp_path, monkeypatch):
    """As submitit's local executor plays it, with the signal that Slurm would send."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.getcwd(), str(Path(__file__).parent)]))
    executor = submitit.LocalExecutor(tmp_path / "submitit", max_num_timeout=3)
    executor.update_parameters(timeout_min=5, signal_delay_s=60)
    first = toy(tmp_path, 0, seconds=4.0)
    task = executor.submit(SlurmRun(first))
    wait_for(lambda: read_state(first.paths[0]).step > 1)
    (process,) = psutil.Process(task._process.pid).children()
    for one in (*process.children(), process):  # as Slurm does, to all of a task
        one.send_signal(signal.SIGUSR2)
    wait_for(lambda: task.done() and read_state(first.paths[0]).ended)
    task.result()
    assert steps(first) == list(range(1, 11))
    assert times_run(first) == 2
    bad = executor.submit(SlurmRun(toy(tmp_path, 1, "fail")))
    wait_for(bad.done)
    assert "exit code 1" in str(bad.exception())
    assert "it fails on purpose" in str(bad.exception())


def test_a_run_without_the_one_it_starts_from_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    first = toy(tmp_path, 0, "fail")
    second = toy(tmp_path, 1, after=first.paths[0])
    with pytest.raises(RuntimeError, match="it fails on purpose"):
        SlurmRun(first)()
    with pytest.raises(RuntimeError, match="seed0, which it starts from, failed"):
        SlurmRun(second)()
    assert last_said(second.paths[0] / LOG) == [
        f"error: {first.paths[0]}, which it starts from, failed."
    ]
    with RunDirectory(first.paths[0], Process()):  # it waits, then, by itself
        assert missing_upstream(second) == ""
    SlurmRun(toy(tmp_path, 0))()
    SlurmRun(second)()
    assert steps(second) == list(range(1, 11))
    with pytest.raises(RuntimeError, match="exit code 4"):
        SlurmRun(toy(tmp_path, 2, "diverge"))()
    assert missing_upstream(toy(tmp_path, 3, after=toy(tmp_path, 2).paths[0])) == (
        f"{toy(tmp_path, 2).paths[0]}, which it starts from, diverged."
    )


def test_a_task_has_the_threads_of_its_cores(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.delenv("NPROC", raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    alone, three = toy(tmp_path, 0), toy(tmp_path, 1)
    SlurmRun(alone)()
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    SlurmRun(three)()
    assert [given(job)["NPROC"] for job in (alone, three)] == [None, "3"]
    assert given(three)["cores"] == sorted(os.sched_getaffinity(0))  # Slurm says which


@pytest.fixture
def empty_queue(tmp_path, monkeypatch):
    """Programs by the names of Slurm's: nothing is in its queue."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "squeue"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


class Executor:
    """In the place of submitit's: keeps what it is told, and submits nothing."""

    made: ClassVar[list["Executor"]] = []

    def __init__(self, folder, max_num_timeout):
        self.made.append(self)
        self.folder, self.max_num_timeout = folder, max_num_timeout
        self.jobs = []

    @staticmethod
    def _valid_parameters():
        return submitit.SlurmExecutor._valid_parameters()

    def update_parameters(self, **told):
        self.told = told

    def batch(self):
        return contextlib.nullcontext()

    def submit(self, run):
        self.jobs.append(run.job)
        return SimpleNamespace(job_id=f"{len(self.made)}_{len(self.jobs) - 1}")


@pytest.fixture
def executors(empty_queue, monkeypatch):
    monkeypatch.setattr(Executor, "made", [])
    monkeypatch.setattr(slurm, "_executor", lambda: Executor)
    return Executor.made


def test_what_submitit_is_told(tmp_path, executors):
    names = ["note_rnn", "tutor_melodies_psi"]
    words = ["sweep", *names, "--preset", "smoke", "--out", str(tmp_path), "--launcher", "slurm"]
    assert main([*words, "--jobs", "3", "--slurm", "partition=gpu"]) == 0
    first, second = executors
    assert [job.experiment for one in executors for job in one.jobs] == names
    assert first.folder == tmp_path / FOLDER
    assert first.max_num_timeout == second.max_num_timeout == REQUEUES
    hours = max(find(name).preset("smoke").hours for name in names)
    usual = {"job_name": "sweep", "partition": "gpu", "time": time_limit(hours)}
    assert first.told == usual | {"array_parallelism": 3}
    assert second.told == first.told | {"dependency": "afterany:1_0"}
    assert (second.jobs[0].paths[0] / NOTE).read_text() == "2_0\n"


def test_without_a_time_it_is_what_the_longest_run_needs(tmp_path, executors):
    words = ["sweep", RHN, "note_rnn", "--preset", "paper", "--launcher", "slurm"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    assert main([*words, "--out", str(tmp_path / "b"), "--slurm", "time=7"]) == 0
    hours = [find(name).preset("paper").hours for name in (RHN, "note_rnn")]
    assert time_limit(max(hours)) > time_limit(min(hours))
    assert [one.told["time"] for one in executors] == [time_limit(max(hours)), 7]
    assert not any("array_parallelism" in one.told for one in executors)


def test_without_a_time_it_grows_with_what_settings_lengthen(tmp_path, executors):
    words = ["sweep", RHN, "--preset", "cpu", "--launcher", "slurm"]
    preset = find(RHN).preset("cpu")
    more = [f"train.epochs={4 * preset.config.train.epochs}", "train.learning_rate=1"]
    assert main([*words, "--out", str(tmp_path / "set"), "--set", *more]) == 0
    assert main([*words, "--out", str(tmp_path / "grid"), "--grid", f"{more[0]},1"]) == 0
    wanted = time_limit(4 * preset.hours)
    assert 2 * time_limit(preset.hours) < wanted
    assert [one.told["time"] for one in executors] == [wanted, wanted]


def test_a_task_that_left_the_queue_too_early_is_a_failed_run(tmp_path, empty_queue, capsys):
    words = ["sweep", RHN, "--seeds", "0", "1", "2", "--preset", "smoke", "--out", str(tmp_path)]
    words += ["--launcher", "slurm", "--status"]
    ran, began_not, never = (folder(tmp_path, RHN, seed) for seed in range(3))
    assert main(words) == 0
    for path, number in ((ran, "7_0"), (began_not, "7_1")):
        path.mkdir(parents=True)
        (path / NOTE).write_text(f"{number}\n")
    (ran / LOG).write_text("$ first\nerror: long ago\n$ then\nhalf way\nerror: it fails\n")
    (tmp_path / FOLDER).mkdir()
    other = tmp_path / FOLDER / "7_1_0_log.err"
    other.write_text("python: not found\n")
    capsys.readouterr()
    assert main(words) == SweepUnfinished.exit_code
    told = capsys.readouterr()
    assert "3 runs: " in told.out
    assert told.err == (
        "error: 2 of 3 runs failed; the same sweep runs them again.\n"
        f"{RHN} smoke seed 0: Slurm's task 7_0 ended before the run was done.\n"
        f"    half way\n    error: it fails\n    all of it: {ran / LOG}\n"
        f"{RHN} smoke seed 1: Slurm's task 7_1 ended before the run was done.\n"
        f"    python: not found\n    all of it: {other}\n"
    )
    assert not never.exists()


def test_what_slurm_would_not_take_is_refused_in_a_dry_run_too(tmp_path, empty_queue, capsys):
    words = ["sweep", RHN, "--preset", "smoke", "--launcher", "slurm"]
    words += ["--out", str(tmp_path / "runs")]
    assert main([*words, "--dry-run", "--slurm", "time=soon"]) == 2
    assert "error: --slurm time=soon: write minutes" in capsys.readouterr().err
    capsys.readouterr()
    assert main([*words, "--dry-run", "--slurm", "time=5", "--seeds", "0", "1"]) == 0
    assert " h on 2 CPU cores each expected, 2 at a time" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


def test_nothing_is_submitted_where_a_runs_directory_cannot_be_made(tmp_path, executors, capsys):
    (tmp_path / "note_rnn").touch()
    words = ["sweep", RHN, "note_rnn", "--preset", "smoke", "--out", str(tmp_path)]
    assert main([*words, "--launcher", "slurm"]) == 3
    assert "note_rnn/smoke/seed0: can't be made: " in capsys.readouterr().err
    assert not any(one.jobs for one in executors)
    assert not list(tmp_path.rglob("seed*"))


@pytest.mark.parametrize("kind", [RuntimeError, TypeError])
def test_of_what_slurm_refuses_nothing_is_left(tmp_path, executors, monkeypatch, capsys, kind):
    def refuse(self, run):
        raise kind("sbatch: error: invalid partition specified: nowhere")

    before = folder(tmp_path, RHN, 1)
    before.mkdir(parents=True)
    monkeypatch.setattr(Executor, "submit", refuse)
    words = ["sweep", RHN, "--seeds", "0", "1", "--preset", "smoke", "--out", str(tmp_path)]
    assert main([*words, "--launcher", "slurm", "--slurm", "partition=nowhere"]) == 2
    told = "error: Slurm takes no job: invalid partition specified: nowhere."
    assert told in capsys.readouterr().err
    assert list(tmp_path.rglob("seed*")) == [before]


def test_cancel_takes_back_what_is_in_the_queue_and_that_is_no_failure(
    tmp_path, empty_queue, monkeypatch, capsys
):
    bin_folder = tmp_path / "bin"
    (bin_folder / "squeue").write_text("#!/bin/sh\necho '7_0|RUNNING|None'\necho '8_0|RUNNING|x'\n")
    (bin_folder / "scancel").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n')
    (bin_folder / "scancel").chmod(0o755)
    words = ["sweep", RHN, "--seeds", "0", "1", "2", "--preset", "smoke", "--launcher", "slurm"]
    words += ["--out", str(tmp_path / "runs")]
    queued, left = (folder(tmp_path / "runs", RHN, seed) for seed in (0, 1))
    for path, number in ((queued, "7_0"), (left, "7_1")):
        path.mkdir(parents=True)
        (path / NOTE).write_text(f"{number}\n")
    assert main([*words, "--cancel"]) == 0
    assert "1 of 3 runs were in Slurm's queue; cancelled." in capsys.readouterr().out
    assert (tmp_path / "told").read_text() == "7_0\n"  # not another's
    (bin_folder / "squeue").write_text("#!/bin/sh\n")
    assert main([*words, "--status"]) == SweepUnfinished.exit_code
    told = capsys.readouterr().err
    assert "1 of 3 runs failed" in told
    assert "seed 1: Slurm's task 7_1 ended" in told
    (bin_folder / "scancel").unlink()
    assert main([*words, "--cancel"]) == 0  # nothing to be cancelled
    assert "0 of 3 runs" in capsys.readouterr().out
