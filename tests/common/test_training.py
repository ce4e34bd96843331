"""The training loop over a toy learner: what is saved, when, and what comes back."""

import signal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common import training as training_module
from common.checkpoint import digest
from common.error import DivergedError, InterruptedRun
from common.interrupt import Interrupt
from common.run_directory import RunDirectory
from common.training import Schedule, Training


class State(NamedTuple):
    step: jax.Array
    diverged_at: jax.Array
    weight: jax.Array
    total: jax.Array


class Toy:
    """A learner whose weight after k updates depends on every update before."""

    def __init__(self, bad_update: int | None = None):
        self.bad_update = bad_update
        self.calls: list[int] = []

    def advance(self, state: State, stop: int) -> State:
        self.calls.append(stop)
        step, weight, total = int(state.step), np.float32(state.weight), np.float32(state.total)
        while step < stop:
            if step == self.bad_update:
                return State(
                    jnp.int32(step), jnp.int32(step), jnp.float32(weight), jnp.float32(total)
                )
            weight = np.float32(weight * np.float32(1.1) + np.sin(np.float32(step)))
            total += weight
            step += 1
        return State(jnp.int32(step), jnp.int32(-1), jnp.float32(weight), jnp.float32(total))

    def collect(self, state: State) -> tuple[State, dict[str, float]]:
        return state._replace(total=jnp.float32(0)), {"train/total": float(state.total)}


def initial() -> State:
    return State(jnp.int32(0), jnp.int32(-1), jnp.float32(1), jnp.float32(0))


def score_of(step: int) -> float:
    """Best after 20 of 40 updates."""
    return abs(step - 20) + 1.0


class StopAt(Interrupt):
    """Behaves as if SIGTERM came when the training had done so many updates."""

    def __init__(self, update: int):
        super().__init__()
        self.update = update
        self.training: Training | None = None

    def check(self) -> None:
        assert self.training is not None
        if int(self.training.state.step) >= self.update:
            self.received = signal.SIGTERM
        super().check()


def fit(path, learner=None, interrupt=None, evaluated=None, score=score_of):
    evaluated = [] if evaluated is None else evaluated

    def evaluate(state, tick):
        tick()
        evaluated.append(int(state.step))
        return {"valid/loss": score(int(state.step))}, score(int(state.step))

    with RunDirectory(path) as run:
        training = Training(
            run,
            learner or Toy(),
            Schedule(total=40, report_every=4, evaluate_every=10, items_per_update=1, item="items"),
            evaluate=evaluate,
            describe=str,
            label="toy",
        )
        if isinstance(interrupt, StopAt):
            interrupt.training = training
        best, _ = training.fit(initial(), interrupt or Interrupt())
        rows = run.read_metrics("metrics.jsonl")
    for row in rows:
        row.pop("seconds")
    return best, rows, training.state


@pytest.fixture
def one_update_a_call(monkeypatch):
    monkeypatch.setattr(training_module, "CALL_SECONDS", 0.0)


def test_rows_evaluations_and_best(tmp_path):
    evaluated: list[int] = []
    best, rows, last = fit(tmp_path, evaluated=evaluated)
    assert evaluated == [10, 20, 30, 40]
    assert int(best.step) == 20
    assert int(last.step) == 40
    steps = [row["step"] for row in rows if "train/total" in row]
    assert steps == [4, 8, 10, 12, 16, 20, 24, 28, 30, 32, 36, 40]
    assert [row["epoch"] for row in rows if "valid/loss" in row] == [1.0, 2.0, 3.0, 4.0]


def test_the_number_of_calls_changes_nothing(tmp_path, monkeypatch):
    once = fit(tmp_path / "a")
    monkeypatch.setattr(training_module, "CALL_SECONDS", 0.0)
    learner = Toy()
    one_by_one = fit(tmp_path / "b", learner)
    assert learner.calls == list(range(1, 41))
    assert once[1] == one_by_one[1]
    assert digest(once[2]) == digest(one_by_one[2])


@pytest.mark.parametrize("update", [1, 8, 10, 17, 39])
def test_interrupted_and_continued_equals_never_stopped(tmp_path, one_update_a_call, update):
    whole = fit(tmp_path / "whole")
    with pytest.raises(InterruptedRun, match=f"SIGTERM at update {update} of 40; saved in") as stop:
        fit(tmp_path / "cut", interrupt=StopAt(update))
    assert stop.value.exit_code == 143
    learner = Toy()
    continued = fit(tmp_path / "cut", learner)
    assert learner.calls[0] == update + 1
    assert whole[1] == continued[1]
    assert digest(whole[0]) == digest(continued[0])
    assert digest(whole[2]) == digest(continued[2])


def test_a_kill_without_saving_goes_back_to_the_last_evaluation(tmp_path):
    class Killed(BaseException):
        pass

    class Dies(Toy):
        def advance(self, state, stop):
            if stop > 25:
                raise Killed
            return super().advance(state, stop)

    with pytest.raises(Killed):
        fit(tmp_path / "cut", Dies())
    learner = Toy()
    continued = fit(tmp_path / "cut", learner)
    assert min(learner.calls) == 21
    whole = fit(tmp_path / "whole")
    assert whole[1] == continued[1]  # rows after the checkpoint were dropped, none stands twice
    assert digest(whole[2]) == digest(continued[2])


def test_checkpoints_fall_between_evaluations_when_those_are_far_apart(
    tmp_path, one_update_a_call, monkeypatch
):
    monkeypatch.setattr(training_module, "CHECKPOINT_SECONDS", 0.0)

    class Killed(BaseException):
        pass

    class Dies(Toy):
        def advance(self, state, stop):
            if stop == 27:
                raise Killed
            return super().advance(state, stop)

    with pytest.raises(Killed):
        fit(tmp_path, Dies())
    learner = Toy()
    fit(tmp_path, learner)
    assert learner.calls[0] == 27


def test_a_finished_training_is_not_run_again(tmp_path):
    first = fit(tmp_path)
    learner = Toy()
    again = fit(tmp_path, learner)
    assert learner.calls == []
    assert digest(again[0]) == digest(first[0])
    assert again[1] == first[1]


@pytest.mark.parametrize("update", [0, 13, 20])
def test_divergence_names_the_update_and_keeps_the_checkpoints_before(tmp_path, update):
    with pytest.raises(DivergedError, match=f"cost or gradient at update {update} is not finite"):
        fit(tmp_path, Toy(bad_update=update))
    kept = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {str(number) for number in range(update // 10)}


def test_a_score_that_is_not_finite_is_divergence(tmp_path):
    with pytest.raises(DivergedError, match="validation after update 20 is not finite"):
        fit(tmp_path, score=lambda step: float("nan") if step == 20 else 1.0)


def test_a_signal_is_remembered_until_a_safe_point_and_the_second_kills():
    before = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in the background
    with Interrupt() as interrupt:
        interrupt.check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(InterruptedRun, match="stopped by SIGINT") as stop:
            interrupt.check()
        assert stop.value.exit_code == 130
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is before
