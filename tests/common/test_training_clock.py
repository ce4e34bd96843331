"""The training loop by a clock that the tests turn: what lasts how long, and what is said of it."""

from itertools import pairwise

import jax.numpy as jnp
import pytest
from test_training import Toy, schedule, train

from common import progress as progress_module
from common import training as training_module
from common.checkpoint import Checkpoints


class TimedToy(Toy):
    """Each update takes 10 ms of a clock that the training reads; a first call 5 s more."""

    def __init__(self):
        super().__init__()
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def advance(self, state, stop):
        self.now += 0.01 * (stop - int(state.step)) + (0 if self.calls else 5)
        self.calls.append(stop)
        return state._replace(step=jnp.int32(stop))


@pytest.fixture
def learner(monkeypatch):
    """A learner whose clock the training reads."""
    timed = TimedToy()
    monkeypatch.setattr(training_module, "time", timed)
    return timed


@pytest.mark.parametrize(("multiple", "first"), [(1, [1, 1, 4, 16]), (8, [8, 8, 32])])
def test_calls_grow_to_about_half_a_second(tmp_path, learner, multiple, first):
    whole = schedule(total=1000, report_every=1000, evaluate_every=1000, multiple=multiple)
    train(tmp_path, learner, whole)
    sizes = [stop - before for before, stop in pairwise([0, *learner.calls])]
    assert sizes[: len(first)] == first  # one is compiled; then at most 4 times as many
    assert 40 <= max(sizes) <= 50


def test_checkpoints_come_at_intervals_not_at_every_call(tmp_path, learner, monkeypatch):
    monkeypatch.setattr(training_module, "CHECKPOINT_SECONDS", 8.0)
    saved = []
    save = Checkpoints.save

    def noted(self, state, *rest):
        saved.append(int(state.step))
        save(self, state, *rest)

    monkeypatch.setattr(Checkpoints, "save", noted)
    train(tmp_path, learner, schedule(total=2000, report_every=50, evaluate_every=2000))
    # Compiling took 5 of the first 8 seconds, each 100 updates take one; the last is the best.
    assert saved == [pytest.approx(after, abs=100) for after in (300, 1100, 1900, 2000)]


def test_seconds_are_those_of_all_sessions(tmp_path, learner, monkeypatch):
    class Killed(BaseException):
        pass

    def advance(state, stop):
        if stop > 20:
            raise Killed
        return TimedToy.advance(learner, state, stop)

    monkeypatch.setattr(learner, "advance", advance)
    with pytest.raises(Killed):
        train(tmp_path, learner, schedule())
    second = TimedToy()
    monkeypatch.setattr(training_module, "time", second)
    training, (_, seconds) = train(tmp_path, second, schedule())
    assert seconds == pytest.approx(5 + 0.2 + 5 + 0.2)
    rows = training.run.read_metrics("metrics.jsonl")
    assert rows[-1]["seconds"] == pytest.approx(10.4)


def test_an_evaluation_takes_time_too(tmp_path, learner):
    def evaluate(step):
        learner.now += 2.0
        return 1.0

    _, (_, seconds) = train(tmp_path, learner, schedule(), score=evaluate)
    assert seconds == pytest.approx(5 + 0.4 + 4 * 2)


def test_the_line_shows_speed_and_time_left_without_the_time_of_compiling(
    tmp_path, learner, monkeypatch, capsys
):
    monkeypatch.setattr(progress_module, "PLAIN_SECONDS", -1.0)  # every line
    train(tmp_path, learner, schedule(items_per_update=2000))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "toy  step 0/40  compiling"
    speeds = [line for line in lines if "items/s" in line]
    assert speeds[0].startswith("toy  step 2/40")
    assert all("  200,000 items/s  0 s left" in line for line in speeds)


def test_the_time_left_is_that_of_the_updates_left(tmp_path, learner, monkeypatch, capsys):
    monkeypatch.setattr(progress_module, "PLAIN_SECONDS", -1.0)
    train(tmp_path, learner, schedule(total=1000, report_every=100, evaluate_every=1000))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[-3:] for line in lines if "step 100/1000" in line] == [["9", "s", "left"]]
