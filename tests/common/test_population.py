"""Members side by side against the same members one at a time."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.checkpoint import Checkpoints, abstract, digest
from common.learner import apply_finite, is_finite, zero_totals
from common.population import Population, PopulationState, take_member, whole


class Totals(NamedTuple):
    loss: jax.Array
    updates: jax.Array


class State(NamedTuple):
    weight: jax.Array
    """[3]"""
    rate: jax.Array
    """Learning rate: a member's own."""
    slope: jax.Array
    key: jax.Array
    diverged_at: jax.Array
    totals: Totals


class Descent:
    """Noisy gradient descent on Σ w² / 2, two updates to a round; it diverges at a large rate."""

    round_steps = 2

    def __init__(self):
        self.steps: list[Any] = []

    def initial_state(self, seed: int, rate: float = 0.1) -> State:
        key = jax.random.key(seed)
        weight = jax.random.normal(key, (3,))
        slope = jnp.float32(1)
        return State(weight, jnp.float32(rate), slope, key, jnp.int32(-1), zero_totals(Totals))

    def round(self, state: State, step: jax.Array, scale: Any = 1.0) -> State:
        self.steps.append(step)
        new = state
        for k in range(self.round_steps):
            noise = jax.random.normal(jax.random.fold_in(state.key, step + k), (3,))
            gradient = new.slope * new.weight + 0.1 * noise * scale
            totals = Totals(new.totals.loss + jnp.sum(new.weight**2), new.totals.updates + 1)
            new = new._replace(weight=new.weight - new.rate * gradient, totals=totals)
        return apply_finite(is_finite(new.weight), new, state, step)

    def metrics(self, totals: Totals, step: int) -> dict[str, float]:
        if not totals.updates:
            return {}
        return {"train/loss": float(totals.loss / totals.updates), "train/step": step}


def alone(rate: float, seed: int, stop: int, **changes: Any) -> State:
    """One member by itself, in Python's own loop."""
    learner = Descent()
    state = learner.initial_state(seed, rate)._replace(**changes)
    for step in range(0, stop, 2):
        state = jax.jit(learner.round)(state, jnp.int32(step))
    return state


def assert_close(one: Any, other: Any) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(a, b, rtol=1e-6)


RATES = {0: 0.1, 1: 0.5, 2: 1.5}


@pytest.mark.parametrize("threads", [None, 1, 2])
@pytest.mark.parametrize("seeds", [(0, 1, 2), (2, 0), (1,)])
def test_members_with_their_own_rates_are_what_each_is_alone(seeds, threads):
    population = Population(Descent(), seeds, threads=threads)
    state = population.initial_state(lambda seed: Descent().initial_state(seed, RATES[seed]))
    state = population.advance(state, 20)
    assert int(state.step) == 20
    for seed, member in zip(seeds, population.members(state), strict=True):
        assert_close(member, alone(RATES[seed], seed, 20))


def test_how_an_advance_is_divided_changes_no_bit():
    def run(*stops, threads=None, seeds=(0, 1, 2)):
        state = None
        for stop in stops:
            population = Population(Descent(), seeds, threads=threads)
            state = population.advance(
                state or population.initial_state(Descent().initial_state), stop
            )
        return digest(whole(state))

    assert run(20) == run(2, 8, 20)
    assert run(20) != run(18)
    assert run(20) == run(20, threads=1) == run(20, threads=2) == run(2, 8, 20, threads=3)
    assert run(2, 20, threads=2, seeds=(0, 1)) != run(2, 20, threads=2)


@pytest.mark.parametrize("seeds", [(4,), (4, 5)])
def test_steps_are_shared_scalars(seeds):
    """A number per member would turn slices at a step into gathers."""
    learner = Descent()
    population = Population(learner, seeds)
    population.advance(population.initial_state(learner.initial_state), 4)
    for step in learner.steps:
        assert jnp.shape(step) == ()
        assert not isinstance(step, jax.core.Tracer) or "Batch" not in type(step).__name__


def explode(state: PopulationState, places: list[int]) -> PopulationState:
    """Members whose weight is squared in size with each update, and so soon infinite."""
    slope = state.seeds.slope
    for place in places:
        slope = slope.at[place].set(-1e30)
    return state._replace(seeds=state.seeds._replace(slope=slope))


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_a_member_that_diverges_stays_as_it_was_and_others_go_on(threads):
    population = Population(Descent(), (0, 1), threads=threads)
    state = explode(population.initial_state(Descent().initial_state), [0])
    before = jax.device_get(take_member(state.seeds, 0).weight)
    state = whole(population.advance(state, 30))
    assert state.seeds.diverged_at.tolist() == [0, -1]
    assert int(state.diverged_at) == -1
    assert int(state.step) == 30
    np.testing.assert_array_equal(take_member(state.seeds, 0).weight, before)
    assert_close(take_member(state.seeds, 1), alone(0.1, 1, 30))
    state, metrics = population.collect(state)
    assert "seed0/train/loss" not in metrics
    assert np.isfinite(metrics["seed1/train/loss"])


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_where_all_have_diverged_the_loop_stops_there(threads):
    population = Population(Descent(), (0, 1), threads=threads)
    state = population.advance(population.initial_state(Descent().initial_state), 10)
    state = population.advance(explode(whole(state), [0]), 14)
    state = whole(population.advance(explode(whole(state), [0, 1]), 30))
    assert state.seeds.diverged_at.tolist() == [10, 14]
    assert int(state.diverged_at) == 14
    assert int(state.step) == 16


def test_metrics_carry_their_members_name_and_totals_begin_again():
    population = Population(Descent(), (7, 3))
    state = population.advance(population.initial_state(Descent().initial_state), 6)
    sums = np.asarray(state.seeds.totals.loss)
    state, metrics = population.collect(state)
    assert metrics == {
        "seed7/train/loss": pytest.approx(sums[0] / 6),
        "seed7/train/step": 6,
        "seed3/train/loss": pytest.approx(sums[1] / 6),
        "seed3/train/step": 6,
    }
    assert not np.any(state.seeds.totals.loss)
    assert population.collect(state)[1] == {}


def test_data_reach_every_round():
    learner = Descent()
    quiet = Population(learner, (0, 1), data=(jnp.float32(0),))
    state = quiet.advance(quiet.initial_state(learner.initial_state), 2)
    for place in (0, 1):
        start = learner.initial_state(place).weight
        np.testing.assert_allclose(
            take_member(state.seeds, place).weight, start * 0.9**2, rtol=1e-5
        )


def test_a_population_is_saved_and_goes_on_to_the_same_bits(tmp_path):
    population = Population(Descent(), (0, 1))
    begun = population.initial_state(Descent().initial_state)
    structure = abstract(begun)
    half = population.advance(begun, 10)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(half, {})
    whole = digest(population.advance(half, 20))
    restored, _ = checkpoints.restore_latest(structure, pytest.fail)
    checkpoints.close()
    assert digest(population.advance(restored, 20)) == whole
