"""The trunk over toy learners: what each part is given, and what comes out."""

import json
import signal
import time
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from common.error import InterruptedRun
from common.interrupt import Interrupt
from common.population import Population
from common.record import DataUsed
from common.run_directory import EVALUATIONS, RunDirectory
from common.training import Schedule
from experiments.train import DivergedRun, Outcome, Place, data_used, merge, train

DATA = DataUsed("toy", "1.0.0", None, {"train": 3}, {"toy.txt": "0" * 64})
SCHEDULE = Schedule(total=40, report_every=10, evaluate_every=20, items_per_update=1, item="items")


class Totals(NamedTuple):
    steps: jax.Array


class One(NamedTuple):
    """The state of one seed by itself."""

    step: jax.Array
    diverged_at: jax.Array
    weight: jax.Array


class Alone:
    """A learner of one seed whose weight is the number of updates."""

    def __init__(self, breaks_at: int = 1000):
        self.breaks_at = breaks_at

    def advance(self, state, stop):
        diverged = self.breaks_at if stop > self.breaks_at else -1
        return One(jnp.int32(stop), jnp.int32(diverged), jnp.float32(stop))

    def collect(self, state):
        return state, {"train/loss": float(state.weight)}


class Member(NamedTuple):
    """The state of one seed among several."""

    diverged_at: jax.Array
    weight: jax.Array
    growth: jax.Array
    totals: Totals


class Several:
    """A population's learner whose weight grows by its seed; it diverges beyond a limit."""

    round_steps = 1

    def __init__(self, limit: float = 1e9):
        self.limit = limit

    def initial_state(self, seed):
        zero = jnp.float32(0)
        return Member(jnp.int32(-1), zero, jnp.float32(seed), Totals(zero))

    def round(self, state, step):
        weight = state.weight + state.growth
        goes_on = (state.diverged_at < 0) & (weight <= self.limit)
        breaks = (state.diverged_at < 0) & ~goes_on
        return state._replace(
            diverged_at=jnp.where(breaks, step, state.diverged_at),
            weight=jnp.where(goes_on, weight, state.weight),
        )

    def metrics(self, totals, step):
        return {"train/steps": step}


def population(seeds, limit=1e9):
    learner = Several(limit)
    group = Population(learner, seeds)
    return group, group.initial_state(learner.initial_state)


def alone(**changes):
    return Alone(**changes), One(jnp.int32(0), jnp.int32(-1), jnp.float32(0))


def run(path, learner, initial, seeds, *, schedule=SCHEDULE, interrupt=None, **changes):
    """Trains; what `validate` and `measure` were given is in the two lists returned."""
    validated, measured, described = [], [], []

    def validate(state, seed, step, tick):
        validated.append((seed, step, float(state.weight)))
        score = None if isinstance(state, Member) else abs(float(state.weight) - 20)
        return {"valid/loss": float(state.weight)}, score

    def measure(state, seed, tick):
        measured.append((seed, float(state.weight)))
        return {"test/loss": float(state.weight)}

    def describe(row):
        described.append(row)
        return ""

    with RunDirectory(path) as directory:
        outcomes = train(
            changes.pop("place", Place(directory, "toy")),
            learner,
            initial,
            schedule,
            seeds,
            validate=validate,
            measure=changes.pop("measure", measure),
            describe=describe,
            curve=lambda rows: [row for row in rows if "valid/loss" in row],
            parameters=7,
            data=DATA,
        )
    return outcomes, validated, measured, described


def test_one_seed_is_measured_at_its_best_state(tmp_path):
    outcomes, validated, measured, _ = run(tmp_path, *alone(), (3,))
    assert validated == [(3, 20, 20.0), (3, 40, 40.0)]
    assert measured == [(3, 20.0)]  # the lower score, not the last state
    (outcome,) = outcomes.values()
    assert list(outcomes) == [3]
    assert (outcome.parameters, outcome.data, outcome.metrics) == (7, [DATA], {"test/loss": 20.0})
    assert [(row["step"], row["valid/loss"]) for row in outcome.curve] == [(20, 20.0), (40, 40.0)]
    assert set(outcome.seconds) == {"training", "evaluation"}


def test_seconds_are_those_that_training_and_measuring_took(tmp_path):
    class Slow(Alone):
        def advance(self, state, stop):
            time.sleep(0.02)
            return super().advance(state, stop)

    def measure(state, seed, tick):
        time.sleep(0.05)
        return {}

    begin = time.monotonic()
    outcomes = run(tmp_path, Slow(), alone()[1], (3,), measure=measure)[0]
    took = time.monotonic() - begin
    assert 0.04 <= outcomes[3].seconds["training"] < took
    assert 0.05 <= outcomes[3].seconds["evaluation"] < took


def test_several_seeds_each_have_their_own_state_rows_and_outcome(tmp_path):
    seeds = (2, 5)
    outcomes, validated, measured, described = run(tmp_path, *population(seeds), seeds)
    assert validated == [(2, 20, 40.0), (5, 20, 100.0), (2, 40, 80.0), (5, 40, 200.0)]
    assert measured == [(2, 80.0), (5, 200.0)]
    for seed in seeds:
        assert [row["valid/loss"] for row in outcomes[seed].curve] == [20.0 * seed, 40.0 * seed]
        assert outcomes[seed].metrics == {"test/loss": 40.0 * seed}
        assert not any("seed" in name for row in outcomes[seed].curve for name in row)
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert "seed2/valid/loss" in written[2]
    means = [row["valid/loss"] for row in described if "valid/loss" in row]
    assert means == [70.0, 140.0]


def test_a_seed_that_diverges_is_not_measured_and_the_others_are(tmp_path):
    seeds = (2, 5)
    outcomes, _, measured, _ = run(tmp_path, *population(seeds, limit=100.0), seeds)
    assert measured == [(2, 80.0)]
    assert isinstance(outcomes[2], Outcome)
    assert isinstance(outcomes[5], DivergedRun)
    assert "seed 5 diverged at step 20" in str(outcomes[5])
    assert outcomes[5].outcome.metrics == {}
    assert outcomes[5].outcome.curve


def test_where_all_diverge_each_outcome_says_so_with_the_curve_so_far(tmp_path):
    outcomes, _, measured, _ = run(tmp_path, *alone(breaks_at=25), (3,))
    assert measured == []
    assert isinstance(outcomes[3], DivergedRun)
    assert "update 25" in str(outcomes[3])
    assert [row["step"] for row in outcomes[3].outcome.curve] == [20]


def test_a_signal_in_the_final_evaluation_says_what_is_saved(tmp_path, monkeypatch):
    def measure(state, seed, tick):
        signal.raise_signal(signal.SIGTERM)
        return {}

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InterruptedRun, match="in the final evaluation") as stop:
        run(tmp_path, *alone(), (0,), measure=measure)
    assert stop.value.exit_code == 143
    assert str(tmp_path) in str(stop.value)
    assert signal.getsignal(signal.SIGTERM) == before  # signals act at once again
    _, _, measured, _ = run(tmp_path, *alone(), (0,))
    assert measured == [(0, 20.0)]  # nothing was trained again
    assert Interrupt().received is None


class Protocols:
    """A final evaluation of three protocols, which may be stopped in one of them."""

    names = ("valid", "test", "last")

    def __init__(self, of=None, stopped_in=""):
        self.of, self.stopped_in = of or {}, stopped_in
        self.done = []

    def measure(self, place):
        def work(name):
            time.sleep(0.05)
            if name == self.stopped_in:
                raise InterruptedRun("stopped by SIGTERM", signal.SIGTERM)
            self.done.append(name)
            return {f"{name}/loss": 0.1 + len(name) / 3}

        found = {}
        for name in self.names:
            found |= place.once(name, {"settings": {"a": 1}, **self.of}, partial(work, name))
        return found

    def run(self, path, folder=""):
        with RunDirectory(path) as directory:
            place = Place(directory, "toy", folder=folder)
            outcomes = train(
                place,
                *alone(),
                SCHEDULE,
                (0,),
                validate=lambda *_: ({"valid/loss": 1.0}, None),
                measure=lambda *_: self.measure(place),
                describe=lambda row: "",
                curve=lambda rows: [],
                parameters=7,
                data=DATA,
            )
        return outcomes[0]


@pytest.mark.parametrize("folder", ["", "part"])
def test_a_cut_between_protocols_leaves_those_that_were_finished(tmp_path, folder):
    wanted = Protocols().run(tmp_path / "whole").metrics
    first, second = Protocols(stopped_in="last"), Protocols()
    with pytest.raises(InterruptedRun, match="in the final evaluation"):
        first.run(tmp_path / "cut", folder)
    found = second.run(tmp_path / "cut", folder)
    assert (first.done, second.done) == (["valid", "test"], ["last"])
    assert found.metrics == wanted
    assert found.seconds["evaluation"] >= 0.15  # of both sessions


@pytest.mark.parametrize("damage", ["", "[", "{}", "[1]"])
def test_what_was_measured_of_something_else_or_is_damaged_is_measured_anew(tmp_path, damage):
    Protocols().run(tmp_path)
    if damage:
        (tmp_path / EVALUATIONS).write_text(damage)
    again = Protocols(of={} if damage else {"settings": {"a": 2}})
    again.run(tmp_path)
    assert tuple(again.done) == Protocols.names
    same = Protocols(of=again.of)
    same.run(tmp_path)
    assert same.done == []


def test_a_part_lies_in_a_folder_of_its_name(tmp_path):
    with RunDirectory(tmp_path) as directory:
        place = Place(directory, "whole", tensorboard=True).part("rhn")
        assert (place.label, place.path) == ("rhn", tmp_path / "rhn")
        place.sink()({"step": 1, "train/loss": 2.0})
    assert list((tmp_path / "rhn" / "tensorboard").glob("events*"))
    with RunDirectory(tmp_path / "other") as directory:
        run_in = Place(directory, "toy").part("rhn")
        assert run_in.sink()({"step": 1}) is None
    outcomes = run(tmp_path / "other", *alone(), (0,), place=run_in)[0]
    assert (tmp_path / "other" / "rhn" / "metrics.jsonl").exists()
    assert (tmp_path / "other" / "rhn" / "checkpoints").exists()
    assert isinstance(outcomes[0], Outcome)


def test_parts_are_merged_under_their_names():
    one = Outcome(1, {"test/loss": 1.0}, [{"step": 1, "valid/loss": 3.0}], [DATA], {"training": 2})
    more = DataUsed("toy", "1.0.0", None, {"train": 3}, {"prior": "1" * 64})
    two = Outcome({"big": 5}, {"test/loss": 2.0}, [], [more], {"training": 3, "evaluation": 0.5})
    merged = merge({"a": one, "b": two})
    assert merged.parameters == {"a": 1, "b/big": 5}
    assert merged.metrics == {"a/test/loss": 1.0, "b/test/loss": 2.0}
    assert merged.curve == [{"step": 1, "a/valid/loss": 3.0}]
    assert merged.data == [DATA]  # what the first part says of it
    assert merged.seconds == {"training": 5, "evaluation": 0.5}


def test_what_a_record_says_of_data():
    class Dataset:
        name, version, checksums = "songs", "2.0.0", {"songs.zip": "1" * 64}

    used = data_used(Dataset, {"train": 9}, ("songs", "others"))
    assert used == DataUsed("songs", "2.0.0", None, {"train": 9}, {"songs.zip": "1" * 64})
    assert data_used(Dataset, {}, ("others", "more")).stand_in_for == "others"
