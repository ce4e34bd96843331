"""The local launcher with real processes, signals and locks; the runs are toys."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

import pytest
from toy_job import given, sessions, steps, times_run, toy

from common.error import DivergedError
from common.run_lock import in_use
from experiments.sweep import local
from experiments.sweep.child import Child
from experiments.sweep.live import Lines
from experiments.sweep.local import Entry, Signals, SweepUnfinished, launch, require_done
from experiments.sweep.machine import Places, Slot
from experiments.sweep.plan import Job, state_of
from experiments.sweep.state import read_state

ALL = list(range(1, 11))
PLACES = Places(2, cores=2, accelerators=0)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(local, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(local, "LOOK_SECONDS", 0.05)
    monkeypatch.setenv("PYTHONPATH", os.getcwd())


class Recorder:
    """Notes every change; calls a function once the run of `seed`, or all that run, train."""

    def __init__(self, act: Callable[[Entry], None] | None = None, seed: int | None = None):
        self.told: list[tuple[int, str]] = []
        self.most = 0
        self._act, self._seed = act, seed

    def changed(self, entry: Entry) -> None:
        self.told.append((entry.job.seeds[0], entry.shown))

    def look(self, entries: Sequence[Entry], *, stopping: bool) -> None:
        self.most = max(self.most, sum(entry.stage == "running" for entry in entries))
        trained = [entry for entry in entries if entry.child is not None and entry.state.step]
        if self._seed is not None:
            trained = [entry for entry in trained if entry.job.seeds[0] == self._seed]
        elif len(trained) < self.most:
            return
        if self._act and trained:
            act, self._act = self._act, None
            act(trained[0])


def launched(jobs: Sequence[Job], watcher: Recorder | None = None, slots: int = 2) -> list[Entry]:
    with Signals() as signals:
        return launch(jobs, [Slot(())] * slots, watcher or Recorder(), signals)


def stages(entries: Sequence[Entry]) -> list[str]:
    return [entry.stage for entry in entries]


def test_all_are_run_side_by_side_and_none_again(tmp_path):
    jobs = [toy(tmp_path, seed, seconds=0.4) for seed in range(3)]
    recorder = Recorder()
    assert stages(launched(jobs, recorder)) == ["done"] * 3
    assert recorder.most == 2
    assert [steps(job) for job in jobs] == [ALL] * 3
    assert stages(launched(jobs)) == ["done"] * 3
    assert [times_run(job) for job in jobs] == [1] * 3


def test_one_that_fails_diverges_or_is_killed_stops_no_other(tmp_path):
    jobs = [
        toy(tmp_path, 0, "fail"),
        toy(tmp_path, 1, "diverge"),
        toy(tmp_path, 2, seconds=30.0),
        toy(tmp_path, 3),
    ]
    kill = Recorder(lambda entry: os.kill(entry.child.pid, signal.SIGKILL), seed=2)
    entries = launched(jobs, kill)
    assert stages(entries) == ["failed", "done", "failed", "done"]
    assert entries[0].why == "exit code 1."
    assert entries[0].said == ["error: it fails on purpose"]
    assert entries[2].why == "killed by SIGKILL."
    with pytest.raises(SweepUnfinished) as unfinished:
        require_done(entries)
    text = str(unfinished.value)
    assert unfinished.value.exit_code == 1
    for words in (
        "2 of 4 runs failed",
        "toy smoke seed 0: exit code 1.\n    error: it fails on purpose\n    all of it: ",
        f"all of it: {jobs[2].paths[0] / 'run.log'}",
        "toy smoke seed 1: diverged.\n    error: the loss is infinite\n    all of it: ",
    ):
        assert words in text
    again = [toy(tmp_path, seed) for seed in range(4)]  # what made it fail is put right
    entries = launched(again)
    assert stages(entries) == ["done"] * 4
    assert [steps(job) for job in again] == [ALL] * 4
    assert [times_run(job) for job in again] == [2, 1, 2, 1]
    log = jobs[1].paths[0] / "run.log"
    told = rf"1 of 4 runs diverged\.\ntoy smoke seed 1: diverged\.\n    all of it: {log}$"
    with pytest.raises(DivergedError, match=told):
        require_done(entries)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_signal_lets_all_save_and_the_same_sweep_goes_on(tmp_path, number):
    jobs = [toy(tmp_path, seed, seconds=3.0) for seed in range(3)]
    with Signals() as signals:
        entries = launch(
            jobs, [Slot(())] * 2, Recorder(lambda _: os.kill(os.getpid(), number)), signals
        )
    assert signals.received == number
    assert stages(entries) == ["stopped", "stopped", "waiting"]
    assert [read_state(job.paths[0]).kind for job in jobs] == ["stopped", "stopped", "waiting"]
    assert not any(entry.child for entry in entries)
    jobs = [toy(tmp_path, seed) for seed in range(3)]
    assert stages(launched(jobs)) == ["done"] * 3
    assert [steps(job) for job in jobs] == [ALL] * 3


def test_another_signal_kills(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "SAME_SECONDS", 0.05)

    def impatient(_: Entry) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    begin = time.monotonic()
    (entry,) = launched([toy(tmp_path, 0, "stubborn", seconds=60.0)], Recorder(impatient))
    assert time.monotonic() - begin < 20
    assert entry.stage == "stopped"


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_one_that_dies_while_the_sweep_stops_has_failed(tmp_path, number):
    def stop_and_die(entry: Entry) -> None:
        os.kill(entry.child.pid, number)
        os.kill(os.getpid(), signal.SIGINT)

    (entry,) = launched([toy(tmp_path, 0, "stubborn", seconds=60.0)], Recorder(stop_and_die))
    assert (entry.stage, entry.why) == ("failed", f"killed by {number.name}.")


def test_what_another_program_runs_is_left_to_it_until_it_stops(tmp_path):
    jobs = [toy(tmp_path, seed) for seed in range(3)]
    stops, ends = (
        subprocess.Popen(toy(tmp_path, seed, seconds=seconds).command(), start_new_session=True)
        for seed, seconds in ((0, 60.0), (2, 1.5))
    )
    while not all(map(in_use, (jobs[0].paths[0], jobs[2].paths[0]))):
        time.sleep(0.01)
    recorder = Recorder()
    threading.Timer(1.0, stops.kill).start()
    assert stages(launched(jobs, recorder)) == ["done"] * 3
    stops.wait()
    assert ends.wait() == 0
    first, last = ([told for told in recorder.told if told[0] == seed] for seed in (0, 2))
    assert first == [(0, "elsewhere"), (0, "running"), (0, "finished")]
    assert last == [(2, "elsewhere"), (2, "finished")]
    assert recorder.told.index((1, "running")) < recorder.told.index((0, "running"))
    assert [steps(job) for job in jobs] == [ALL] * 3


def test_two_sweeps_of_the_same_runs_at_once_run_each_once(tmp_path):
    jobs = [toy(tmp_path, seed, seconds=1.0) for seed in range(3)]
    found: dict[int, list[Entry]] = {}
    signals, watchers = Signals(), (Recorder(), Recorder())

    def sweep(k: int) -> None:
        found[k] = launch(jobs, [Slot(())] * 2, watchers[k], signals)

    sweeps = [threading.Thread(target=sweep, args=(k,)) for k in range(2)]
    for one in sweeps:
        one.start()
    for one in sweeps:
        one.join()
    assert [stages(found[k]) for k in range(2)] == [["done"] * 3] * 2
    assert [steps(job) for job in jobs] == [ALL] * 3
    assert [sessions(job) for job in jobs] == [1] * 3
    for watcher in watchers:
        for seed in range(3):  # whoever was late leaves it to the other
            assert "running" not in [stage for one, stage in watcher.told if one == seed][1:]


def test_what_others_start_from_is_run_before_them(tmp_path):
    first = toy(tmp_path, 0, seconds=0.5)
    rest = [toy(tmp_path, seed, after=first.paths[0]) for seed in (1, 2)]
    recorder = Recorder()
    assert stages(launched([first, *rest, toy(tmp_path, 3)], recorder)) == ["done"] * 4
    assert recorder.told.index((0, "finished")) < recorder.told.index((1, "running"))
    assert recorder.told[:2] == [(0, "running"), (3, "running")]  # what can go on does


def test_what_waits_is_looked_at_only_when_something_may_have_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "LOOK_SECONDS", 60.0)
    looks = []
    monkeypatch.setattr(local, "state_of", lambda job: looks.append(job) or state_of(job))
    first = toy(tmp_path, 0, seconds=1.0)
    entries = launched([first, toy(tmp_path, 1, after=first.paths[0])])
    assert stages(entries) == ["done"] * 2
    assert len(looks) <= 8  # two a run for it to start and two for its end


@pytest.mark.parametrize("what", ["fail", "diverge"])
def test_without_it_they_are_not_run(tmp_path, what):
    first = toy(tmp_path, 0, what)
    entries = launched([first, toy(tmp_path, 1, after=first.paths[0])])
    assert entries[1].stage == "failed"
    assert entries[1].why.startswith("toy smoke seed 0, which it starts from, ")
    assert not entries[1].job.paths[0].exists()


def test_a_log_that_cannot_be_written_is_a_failed_run(tmp_path):
    (tmp_path / "toy" / "smoke").mkdir(parents=True)
    (tmp_path / "toy" / "smoke" / "seed0").touch()
    entries = launched([toy(tmp_path, 0), toy(tmp_path, 1)])
    assert stages(entries) == ["failed", "done"]
    assert "can't be started" in entries[0].why


def test_a_slot_is_the_cores_and_variables_of_its_run(tmp_path):
    core = max(os.sched_getaffinity(0))
    code = "import os; print(os.sched_getaffinity(0), os.environ['NPROC'])"

    class Look(Job):
        def command(self):
            return [sys.executable, "-c", code]

    before = os.sched_getaffinity(0)
    slot = Slot((core,))
    child = Child(Look("toy", "smoke", (0,), tmp_path), slot.environment(os.environ), slot.cores)
    while child.ended() is None:
        time.sleep(0.01)
    assert child.said() == [f"{{{core}}} 1"]
    assert os.sched_getaffinity(0) == before


def test_a_system_that_confines_no_process_to_cores_runs_it_anyway(tmp_path, monkeypatch):
    """As macOS; the number of threads is still that of the slot's cores."""
    for name in ("sched_getaffinity", "sched_setaffinity"):
        monkeypatch.delattr(os, name)
    job, slot = toy(tmp_path, 0), Slot((0,))
    with Signals() as signals:
        (entry,) = launch([job], [slot], Recorder(), signals)
    assert entry.stage == "done", entry.why
    assert given(job)["NPROC"] == "1"


def test_lines_say_every_change_and_from_time_to_time_how_far_all_is(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.sweep.live.PLAIN_SECONDS", 0.2)
    stream = io.StringIO()
    with Signals() as signals:
        jobs = [
            toy(tmp_path, 0, "fail", hours=5.0),
            toy(tmp_path, 1, seconds=2.0, hours=2.0),
            toy(tmp_path, 2, "diverge"),
        ]
        with Lines(PLACES, stream) as lines:
            launch(jobs, [Slot(())] * 2, lines, signals)
    told = stream.getvalue()
    assert "toy smoke seed 0: failed\n    exit code 1.\n    error: it fails on purpose\n" in told
    assert "\ntoy smoke seed 1: finished\n" in told
    assert "\ntoy smoke seed 2: diverged\n    error: the loss is infinite\n    all of it: " in told
    assert "\n3 runs: 3 waiting; 5 h on 2 CPU cores expected, 2 at a time, " in told
    left = re.findall(r"\n3 runs: .*1 running, .*1 failed; (\S+) h on 2 CPU cores expected", told)
    assert left
    assert all(float(hours) <= 2 for hours in left)  # without the one that failed
    shown = re.findall(r"\n    toy smoke seed 1: (\d+) of 10 .* %\)  (\S+ \S+)  (\d+) s left", told)
    assert shown
    for step, score, left in shown:
        assert (score, int(left)) == (f"valid/loss {1 / int(step):.4g}", 10 - int(step))
    assert told.endswith("\n3 runs: 1 finished, 1 diverged, 1 failed\n")
    assert all(line == line.rstrip() for line in told.splitlines())
