"""Several processes in one training: one decides and writes, the others do the same work."""

import signal
import threading
import time

import pytest
from test_training import Toy, initial, score_of

from common import training as training_module
from common.error import ConfigError, DataError, InterruptedRun
from common.interrupt import Interrupt
from common.process import Process
from common.run_directory import RunDirectory
from common.training import Schedule, Training


class Meeting:
    """Where fake processes, threads of this one, exchange what they have."""

    def __init__(self, count: int):
        self.values: list = [None] * count
        self.barrier = threading.Barrier(count, timeout=30)

    def exchange(self, index, value):
        self.values[index] = value
        self.barrier.wait()
        found = list(self.values)
        self.barrier.wait()
        return found


class Fake(Process):
    """A process that meets the others in a `Meeting`; `object.__setattr__`: it is frozen."""

    def __init__(self, index, meeting):
        super().__init__(index, len(meeting.values))
        object.__setattr__(self, "meeting", meeting)

    def gather(self, value):
        return self.meeting.exchange(self.index, value)


def together(work, count=2):
    """Runs work(process) in each of several fake processes; their results, or their errors."""
    meeting, results = Meeting(count), [None] * count

    def run(index):
        try:
            results[index] = work(Fake(index, meeting))
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(k,), name=f"process{k}") for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_one_process_decides_and_needs_nobody():
    alone = Process()
    assert alone.leads
    assert alone.gather("x") == ["x"]
    assert alone.decide(3.5) == 3.5
    assert alone.lead(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        alone.lead(lambda: 1 / 0)


def test_what_process_0_says_goes_for_all():
    assert together(lambda process: process.decide(process.index + 10)) == [10, 10]
    assert together(lambda process: process.gather(process.index)) == [[0, 1], [0, 1]]
    done = []
    assert together(lambda process: process.lead(lambda: done.append(process.index))) == [None] * 2
    assert done == [0]
    errors = together(lambda process: process.lead(lambda: 1 / 0))
    assert [type(error) for error in errors] == [ZeroDivisionError] * 2


def test_a_run_directory_is_process_0s(tmp_path):
    def work(process):
        with RunDirectory(tmp_path / "run", process) as run:
            run.claim({"depth": 3})
            sessions = run.begin_session({"command": f"process {process.index}"})
            run.append_metrics({"step": 1, "process": process.index}, "metrics.jsonl")
            return sessions, run.read_metrics("metrics.jsonl"), run.finished

    first, second = together(work)
    assert first == second
    assert first == ([{"command": "process 0"}], [{"step": 1, "process": 0}], False)

    def other(process):
        with RunDirectory(tmp_path / "run", process) as run:
            run.claim({"depth": 4})

    errors = together(other)
    assert [type(error) for error in errors] == [ConfigError, ConfigError]
    assert "another configuration" in str(errors[1])
    with RunDirectory(tmp_path / "run"):
        errors = together(other)
    assert all("another process is running here" in str(error) for error in errors)
    (tmp_path / "run" / "config.json").write_text("{")
    assert all(isinstance(error, DataError) for error in together(other))


def test_a_signal_to_any_process_stops_all_at_the_same_call():
    def work(process):
        interrupt = Interrupt(process)
        calls = 0
        try:
            while True:
                if process.index == 1 and calls == 3:
                    interrupt.received = signal.SIGTERM
                interrupt.check()
                calls += 1
        except InterruptedRun as stop:
            return calls, stop.exit_code

    assert together(work) == [(3, 143), (3, 143)]


class Saves:
    """Checkpoints that only say when something was saved."""

    def __init__(self, directory, process):
        self.process, self.saved = process, []

    def restore_latest(self, structure, report):
        return None

    def restore_best(self, structure, score):
        return score

    def save(self, state, notes, score=None):
        self.saved.append((int(state.step), notes["rows"], notes["seconds"], score))

    def close(self):
        pass


def test_a_second_process_stops_and_saves_where_the_first_decides(tmp_path, monkeypatch):
    """Its clock runs a thousand times as fast: by itself it would save before every update and do
    one update a call."""
    real = time.monotonic

    def clock():
        return real() * (1000 if threading.current_thread().name == "process1" else 1)

    monkeypatch.setattr(training_module.time, "monotonic", clock)
    monkeypatch.setattr(training_module, "CHECKPOINT_SECONDS", 5.0)
    monkeypatch.setattr(training_module, "Checkpoints", Saves)

    class Slow(Toy):
        def advance(self, state, stop):
            time.sleep(0.01)
            return super().advance(state, stop)

    def work(process):
        learner, sunk = Slow(), []
        with RunDirectory(tmp_path, process) as run:
            training = Training(
                run,
                learner,
                Schedule(40, report_every=20, evaluate_every=20, items_per_update=1, item="x"),
                # A score that differs in its last bits, as sums on other devices may.
                evaluate=lambda state, tick: (
                    {"valid/loss": process.index + 0.5},
                    score_of(int(state.step)) + 1e-9 * process.index,
                ),
                describe=str,
                label="toy",
                sink=sunk.append,
            )
            best, _ = training.fit(initial(), Interrupt(process))
            rows = run.read_metrics("metrics.jsonl")
        assert training.progress.visible == process.leads
        return learner.calls, training.checkpoints.saved, best, len(sunk), rows

    first, second = together(work)
    assert first[0] == second[0]
    assert len(first[0]) < 40
    assert first[1] == second[1]
    assert [step for step, *_ in first[1]] == [20, 40]
    assert first[2] == second[2] == score_of(20)
    assert (first[3], second[3]) == (len(first[4]), 0)
    assert {row["valid/loss"] for row in first[4] if "valid/loss" in row} == {0.5}
