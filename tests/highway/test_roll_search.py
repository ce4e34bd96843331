"""Random searches over roll models: masks, members side by side, stopping, diverging."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.compute import Compute
from common.population import take_member
from highway.config import ModelConfig, SearchConfig
from highway.roll_model import (
    Rolls,
    Segment,
    cut,
    gaussian_params,
    make_graph,
    negative_log_likelihood,
    pad,
    plan,
)
from highway.roll_search import RollSearch, draw_setting, in_parts
from highway.size import roll_parameter_count

KEYS, UNITS = 5, 6
SEARCH = SearchConfig(
    settings=3,
    patience=3,
    batch_size=3,
    lowest_rate=0.2,
    highest_rate=0.4,
    lowest_std=0.3,
    highest_std=0.6,
)
FAST = Compute(kernel="jax")
CORES = ("rhn", "dt_rnn", "dts_rnn")


def model(core="rhn", depth=2) -> ModelConfig:
    return ModelConfig(core=core, depth=depth, units=UNITS, tied=False)


def rolls(lengths=(7, 3, 5, 2, 6, 4, 1), seed=0) -> list[np.ndarray]:
    """Each roll sounds every second key in turn, with a little noise."""
    random = np.random.default_rng(seed)
    made = []
    for length in lengths:
        steps = np.arange(length)[:, None] + np.arange(KEYS)
        noise = random.random((length, KEYS)) < 0.05
        made.append(((steps % 2 == 0) ^ noise).astype(np.uint8))
    return made


@cache
def make(core="rhn", compute=FAST) -> RollSearch:
    """A search is compiled once for all tests."""
    train, valid = pad(rolls()), pad(rolls((4, 6), seed=1))
    return RollSearch(model(core), SEARCH, train, valid, jax.random.key(9), compute)


def begin(learner: RollSearch):
    return learner.initial_state(jax.random.key(1), jax.random.key(2))


def params_of(config: ModelConfig, std=0.3):
    return gaussian_params(
        KEYS, config, jax.random.key(0), jnp.float32(std), jnp.float32(config.transform_bias)
    )


@pytest.fixture(scope="module")
def trained():
    """A search of three members after two epochs."""
    learner = make()
    return learner, learner.advance(begin(learner), 2)


def close(found, wanted, tolerance=1e-5):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def same(found, wanted):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("core", CORES)
def test_a_batch_of_padded_rolls_counts_each_step_once_and_nothing_else(core):
    config = model(core)
    graph, params = make_graph(KEYS, config, FAST), params_of(config)
    likelihood = jax.jit(lambda rolls: negative_log_likelihood(graph, params, [rolls]))
    chorales = rolls()
    padded = pad(chorales)
    alone = sum(
        float(likelihood(Rolls(roll[None], np.array([len(roll)])))) for roll in chorales[:3]
    )
    first = Rolls(padded.keys[:3], padded.lengths[:3])
    assert float(likelihood(first)) == pytest.approx(alone, rel=1e-5)
    behind = np.arange(first.keys.shape[1])[None, :, None] >= first.lengths[:, None, None]
    dirty = first._replace(keys=np.where(behind, 1, first.keys).astype(np.uint8))
    assert float(likelihood(dirty)) == float(likelihood(first))


def test_the_loss_is_the_sum_of_binary_cross_entropies_given_the_past():
    config = model("dt_rnn", depth=1)
    params = jax.tree.map(np.asarray, params_of(config))
    (roll,) = rolls((4,))
    core, state, past, total = params["core"], np.zeros(UNITS), np.zeros(KEYS), 0.0
    for keys in roll:
        state = np.tanh(past @ core["input_kernel"][:, 0] + state @ core["kernels"][0][:, 0])
        p = 1 / (1 + np.exp(-(state @ params["output_kernel"])))
        total -= np.sum(np.log(np.where(keys == 1, p, 1 - p)))
        past = keys
    found = negative_log_likelihood(make_graph(KEYS, config, FAST), params, [pad([roll])])
    assert float(found) == pytest.approx(total, rel=1e-5)


def test_padding_reaches_no_gradient():
    config = model()
    graph = make_graph(KEYS, config, FAST)
    gradient = jax.jit(jax.grad(lambda p, r: negative_log_likelihood(graph, p, [r])))
    padded = pad(rolls())
    behind = np.arange(padded.keys.shape[1])[None, :, None] >= padded.lengths[:, None, None]
    dirty = padded._replace(keys=np.where(behind, 1, padded.keys).astype(np.uint8))
    same(gradient(params_of(config), dirty), gradient(params_of(config), padded))


@pytest.mark.parametrize("core", CORES)
def test_rolls_in_parts_have_the_loss_and_gradients_of_whole_ones(core):
    config = model(core)
    graph, params = make_graph(KEYS, config, FAST), params_of(config)
    cost = jax.jit(jax.value_and_grad(lambda p, r: negative_log_likelihood(graph, p, r)))
    whole = pad(rolls())
    parts = in_parts(whole)
    assert [part.keys.shape[:2] for part in parts] == [(7, 2), (5, 2), (3, 3)]
    close(cost(params, parts), cost(params, [whole]), 1e-5)


def test_an_epoch_plans_for_every_batch_and_counts_each_roll_once():
    """With a learning rate of 0 its losses are those of all rolls, whatever their order."""
    learner = RollSearch(
        model("dt_rnn"), replace(SEARCH, epochs=6), pad(rolls()), pad(rolls()), jax.random.key(9)
    )
    member = learner.initial_member(jax.random.key(1), jax.random.key(2))
    still = member._replace(
        params=params_of(model("dt_rnn")), setting=member.setting._replace(learning_rate=0.0)
    )
    wanted = negative_log_likelihood(learner.graph, still.params, [pad(rolls())]) / 28
    epoch = jax.jit(learner.epoch)
    for number in range(6):
        found = epoch(still, learner.order(number), learner.train, learner.valid)
        close((found.best_train, found.best_valid), (wanted, wanted))
    with pytest.raises(ValueError, match="epochs=6"):
        learner.advance(begin(learner), 7)


def test_a_plan_holds_every_step_with_the_fewest_rows():
    lengths = np.array([[9, 4, 4, 1], [8, 5, 2, 1]])
    assert plan(lengths, 1) == (Segment(4, 9),)
    assert plan(lengths, 2) == (Segment(4, 5), Segment(1, 9))
    assert plan(lengths, 3) == (Segment(4, 1), Segment(3, 5), Segment(1, 9))
    assert plan(lengths, 9) == plan(lengths, 4)
    batch = Rolls(np.arange(36).reshape(4, 9, 1), lengths[0])
    assert [part.lengths.tolist() for part in cut(batch, plan(lengths, 2))] == [
        [5, 4, 4, 1],
        [4],
    ]


@pytest.mark.parametrize("core", ["rhn", "dts_rnn"])
def test_members_side_by_side_train_as_each_does_alone(core):
    learner = make(core)
    initial = begin(learner)
    alone = [take_member(initial.members, k) for k in range(3)]
    one_epoch = jax.jit(learner.epoch)
    for number in range(2):
        alone = [one_epoch(m, learner.order(number), learner.train, learner.valid) for m in alone]
    together = learner.advance(initial, 2)
    assert int(together.step) == 2
    for k, member in enumerate(alone):
        close(take_member(together.members, k), member)


def test_the_fast_way_back_trains_as_the_scan_does():
    states = []
    for compute in (FAST, Compute()):
        learner = make(compute=compute)
        states.append(learner.advance(begin(learner), 2))
    close(states[0].members, states[1].members, 1e-4)


def test_a_member_that_diverges_leaves_the_bits_of_the_others():
    learner = make()

    def with_rate(rate):
        state = begin(learner)
        rates = state.members.setting.learning_rate.at[1].set(rate)
        setting = state.members.setting._replace(learning_rate=rates)
        return state._replace(members=state.members._replace(setting=setting))

    good = learner.advance(with_rate(0.1), 3)
    bad = learner.advance(with_rate(jnp.inf), 3)
    for k in (0, 2):
        same(take_member(bad.members, k), take_member(good.members, k))
    diverged = take_member(bad.members, 1)
    assert [int(at) for at in bad.members.diverged_at] == [-1, 0, -1]
    assert (int(diverged.epochs), float(diverged.best_train)) == (0, np.inf)
    same(diverged.params, take_member(with_rate(0.1).members, 1).params)  # it was not applied
    assert learner.collect(bad)[1]["search/diverged"] == 1
    assert bad.diverged_at == -1  # the search goes on


def test_a_search_ends_though_all_diverge():
    learner = make()
    state = begin(learner)
    setting = state.members.setting._replace(learning_rate=jnp.full(3, jnp.inf))
    state = state._replace(members=state.members._replace(setting=setting))
    state, found = learner.collect(learner.advance(state, 8))
    assert int(state.step) == 8
    assert found == {"search/training": 0, "search/diverged": 3}


def test_a_member_without_improvement_stops_and_keeps_its_best():
    learner = make()
    state = begin(learner)
    # Away from the minimum: this one's loss only rises.
    rates = state.members.setting.learning_rate.at[1].set(-0.5)
    setting = state.members.setting._replace(learning_rate=rates)
    state = state._replace(members=state.members._replace(setting=setting))
    after_one = learner.advance(jax.tree.map(jnp.copy, state), 1)
    end = learner.advance(state, 8)
    epochs = [int(number) for number in end.members.epochs]
    assert epochs[1] == 4
    assert min(epochs[0], epochs[2]) > 4  # they went on
    stopped = take_member(end.members, 1)
    assert int(stopped.best_epoch) == 1
    same(stopped.best_params, take_member(after_one.members, 1).params)
    assert not np.array_equal(stopped.params["output_bias"], stopped.best_params["output_bias"])
    assert int(stopped.diverged_at) == -1


def test_an_initial_state_has_no_weak_types_with_which_an_epoch_would_compile_twice():
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(begin(make()).members))


def test_the_time_of_a_call_is_that_of_its_epochs():
    learner = make()
    state = learner.advance(begin(learner), 3)
    assert all(leaf.is_ready() for leaf in jax.tree.leaves(state.members))


def test_training_in_parts_gives_the_same_bits(trained):
    learner, state = trained
    again = begin(learner)
    for stop in (1, 2):
        again = learner.advance(again, stop)
    same(again.members, state.members)


def test_members_learn_and_the_best_of_each_is_what_is_measured():
    learner = make()
    state = begin(learner)
    valid = pad(rolls((4, 6), seed=1))
    before = learner.losses(state, valid)
    state = learner.advance(state, 8)
    np.testing.assert_allclose(learner.losses(state, valid), state.members.best_valid, rtol=1e-5)
    assert np.all(state.members.best_valid < 0.95 * before)


def test_every_roll_comes_once_an_epoch_in_another_order():
    learner = make()
    orders = [np.asarray(learner.order(number)) for number in range(2)]
    for order in orders:
        assert sorted(order) == list(range(7))
        whole, last = learner.batches(order)
        assert (whole.shape, last.shape) == ((2, 3), (1, 1))
        np.testing.assert_array_equal(whole.ravel(), order[:6])
        lengths = learner.lengths[whole]
        assert np.all(np.diff(lengths, axis=1) <= 0)  # the longest first
    assert not np.array_equal(*orders)


def test_an_update_is_gradient_descent_with_momentum_on_the_mean_loss_of_a_step():
    search = replace(SEARCH, momentum=0.5)
    train = pad(rolls())
    learner = RollSearch(model("dt_rnn"), search, train, train, jax.random.key(9))
    member = learner.initial_member(jax.random.key(1), jax.random.key(2))
    batch = Rolls(train.keys[:3], train.lengths[:3])  # 15 steps in all

    @jax.jit
    def slope(params):
        return jax.grad(lambda p: negative_log_likelihood(learner.graph, p, [batch]) / 15)(params)

    rate, params, velocity = member.setting.learning_rate, member.params, member.momentum.trace
    update = jax.jit(learner.update)
    for _ in range(2):
        member, loss = update(member, [batch])
        step = slope(params)
        velocity = (
            step if velocity is None else jax.tree.map(lambda v, g: v / 2 + g, velocity, step)
        )
        before = params
        params = jax.tree.map(lambda p, v: p - rate * v, params, velocity)
        close(member.params, params)
    assert float(loss) == pytest.approx(
        float(negative_log_likelihood(learner.graph, before, [batch])), rel=1e-5
    )
    assert int(member.updates) == 2


def test_initial_weights_are_those_of_the_setting():
    learner = make()
    members = begin(learner).members
    for k in range(3):
        member = take_member(members, k)
        spread = np.std(np.asarray(member.params["core"]["layers"][0]["kernel"]))
        assert spread == pytest.approx(float(member.setting.std), rel=0.3)
        bias = member.params["core"]["layers"][1]["bias"]
        same(bias, np.stack([np.zeros(UNITS), np.full(UNITS, member.setting.transform_bias)]))
    assert len(set(np.asarray(members.setting.std).tolist())) == 3
    other = learner.initial_state(jax.random.key(1), jax.random.key(3)).members
    same(other.setting, members.setting)
    assert not np.array_equal(other.params["output_kernel"], members.params["output_kernel"])


def test_settings_are_drawn_over_the_whole_of_their_ranges():
    search = SearchConfig()
    keys = jax.random.split(jax.random.key(0), 500)
    found = jax.vmap(lambda key: draw_setting(search, key))(keys)
    for values, low, high in ((found.learning_rate, 1e-4, 1.0), (found.std, 1e-8, 1e-2)):
        logs = np.log10(values)
        assert np.log10(low) - 1e-4 <= logs.min() < np.log10(low) + 0.1
        assert np.log10(high) - 0.1 < logs.max() <= np.log10(high) + 1e-4
        assert np.median(logs) == pytest.approx((np.log10(low) + np.log10(high)) / 2, abs=0.4)
    assert set(np.unique(found.transform_bias)) == {0.0, -1.0, -2.0, -3.0}


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("depth", [1, 3])
def test_initial_weights_are_normal_and_sizes_are_as_counted(core, depth):
    config = ModelConfig(core=core, depth=depth, units=40, tied=False, transform_bias=-3.0)
    params = gaussian_params(KEYS, config, jax.random.key(2), jnp.float32(0.01), jnp.float32(-3.0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == roll_parameter_count(config, KEYS)
    weights = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params) if leaf.std()])
    if core == "rhn":
        biases = [layer["bias"] for layer in params["core"]["layers"].values()]
        same(biases, [np.stack([np.zeros(40), np.full(40, -3.0)])] * depth)
        weights = weights[np.abs(weights) < 0.1][80 * depth :]
    else:
        same(params["core"]["biases"], {k: np.zeros((1, 40)) for k in range(depth)})
    assert weights.std() == pytest.approx(0.01, rel=0.05)
