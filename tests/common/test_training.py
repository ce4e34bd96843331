"""The training loop over a toy learner: what is saved, when, and what comes back."""

import contextlib
import dataclasses
import signal
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common import training as training_module
from common.checkpoint import Checkpoints, digest
from common.error import DivergedError, InterruptedRun
from common.interrupt import Interrupt
from common.progress import Progress
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
            schedule(),
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


def schedule(**changes) -> Schedule:
    usual = Schedule(total=40, report_every=4, evaluate_every=10, items_per_update=1, item="items")
    return dataclasses.replace(usual, **changes)


def train(path, learner, schedule, *, score=score_of, **options):
    """The training itself and what its `fit` returns, where `fit` above says too little."""
    with RunDirectory(path) as run:
        training = Training(
            run,
            learner,
            schedule,
            evaluate=lambda state, tick: ({"valid/loss": 1.0}, score and score(int(state.step))),
            describe=str,
            label="toy",
            **options,
        )
        return training, training.fit(initial(), Interrupt())


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


@pytest.mark.parametrize(
    ("number", "other"), [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)]
)
def test_a_signal_is_remembered_until_a_safe_point_and_another_at_once_is_the_same(number, other):
    before = signal.getsignal(number)  # ignored, where the tests run in the background
    with Interrupt() as interrupt:
        interrupt.check()
        assert signal.getsignal(number) is not before
        signal.raise_signal(number)
        with pytest.raises(InterruptedRun, match=f"stopped by {number.name}") as stop:
            interrupt.check()
        assert stop.value.exit_code == 128 + number
        signal.raise_signal(other)
        signal.raise_signal(number)
        assert interrupt.received == number
    assert signal.getsignal(number) is before


def test_every_row_goes_to_the_sink_too(tmp_path):
    sunk: list[dict] = []
    train(tmp_path, Toy(), schedule(), sink=sunk.append)
    with RunDirectory(tmp_path) as run:
        assert run.read_metrics("metrics.jsonl") == sunk
    assert len(sunk) == 16


def test_a_call_does_whole_multiples_and_what_is_due_on_the_way_follows(
    tmp_path, one_update_a_call
):
    class Blocks(Toy):
        def advance(self, state, stop):
            return super().advance(state, -(-stop // 8) * 8)

    learner, sunk = Blocks(), []
    train(tmp_path, learner, schedule(multiple=8), sink=sunk.append)
    assert all(stop - before <= 8 for before, stop in pairwise([0, *learner.calls]))
    evaluated = [row["step"] for row in sunk if "valid/loss" in row]
    assert evaluated == [16, 24, 32, 40]  # the first multiples of 8 from 10, 20, 30 and 40 on


def test_without_scores_the_last_state_is_the_result_and_is_saved(tmp_path):
    _, (last, _) = train(tmp_path, Toy(), schedule(), score=None)
    assert int(last.step) == 40
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["0"]
    again = Toy()
    _, (same, _) = train(tmp_path, again, schedule(), score=None)
    assert again.calls == []
    assert digest(same) == digest(last)


def test_an_evaluation_is_told_in_a_line_that_stays(tmp_path, capsys):
    train(tmp_path, Toy(), schedule(stage="round"))
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if line.startswith("toy  round ")]
    assert [line.split()[2] for line in told] == ["1", "2", "3", "4"]
    assert "'valid/loss': 1.0" in told[0]


def test_divergence_says_whether_a_checkpoint_is_kept(tmp_path):
    with pytest.raises(DivergedError) as none:
        fit(tmp_path / "a", Toy(bad_update=3))
    with pytest.raises(DivergedError) as some:
        fit(tmp_path / "b", Toy(bad_update=13))
    assert "last good checkpoint is kept" not in str(none.value)
    assert "last good checkpoint is kept" in str(some.value)


def test_trainings_of_one_run_have_folders_of_their_own(tmp_path):
    train(tmp_path, Toy(), schedule(), folder="a")
    train(tmp_path, other := Toy(), schedule(), folder="b")
    assert other.calls
    for name in ("a", "b"):
        assert (tmp_path / name / "metrics.jsonl").exists()
        assert (tmp_path / name / "checkpoints" / "1").exists()


def test_a_training_that_ends_between_evaluations_is_evaluated_at_its_end(tmp_path):
    sunk: list[dict] = []
    train(tmp_path, Toy(), schedule(total=45), sink=sunk.append)
    assert [row["step"] for row in sunk if "valid/loss" in row] == [10, 20, 30, 40, 45]


@pytest.mark.parametrize("bad_update", [None, 13])
def test_what_was_opened_is_closed_however_the_training_ends(tmp_path, monkeypatch, bad_update):
    ends = []
    monkeypatch.setattr(Progress, "note", lambda self, text: None)  # it closes the line too
    for opened in (Checkpoints, Progress):

        def close(self, name=opened.__name__, real=opened.close):
            ends.append(name)
            real(self)

        monkeypatch.setattr(opened, "close", close)
    with contextlib.suppress(DivergedError):
        train(tmp_path, Toy(bad_update), schedule())
    assert sorted(ends) == ["Checkpoints", "Progress"]
