"""Plain and highway feed-forward networks and their population."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.error import ConfigError
from common.population import Population, take_member
from highway import feed_forward as ff
from highway.config import FeedForwardConfig, NetworkSearchConfig

PIXELS, CLASSES = 6, 3
SEARCH = NetworkSearchConfig(members=3, batch_size=8, largest_rate=0.2, smallest_rate=0.05)
HIGHWAY = FeedForwardConfig("highway", layers=4, units=5)
PLAIN = replace(HIGHWAY, kind="plain")


def examples(count=30, seed=0) -> ff.Examples:
    """Points around a centre for each class: easy to learn."""
    generator = np.random.default_rng(seed)
    labels = (np.arange(count) % CLASSES).astype(np.int32)
    centres = np.random.default_rng(9).normal(size=(CLASSES, PIXELS))
    pixels = centres[labels] + 0.3 * generator.normal(size=(count, PIXELS))
    return ff.Examples(pixels.astype(np.float32), labels)


def learner(config=HIGHWAY, search=SEARCH, seed=0) -> ff.FeedForwardLearner:
    return ff.FeedForwardLearner(config, search, examples(), CLASSES, seed)


def train(one: ff.FeedForwardLearner, members, steps: int, state=None):
    population = Population(one, members, one.data)
    state = population.initial_state(one.initial_state) if state is None else state
    return population.advance(state, steps)


def by_hand(params: ff.Network, rectified: bool, x: np.ndarray) -> np.ndarray:
    """The equations in NumPy, layer by layer."""
    bend = (lambda a: np.maximum(a, 0)) if rectified else np.tanh
    p = [np.asarray(leaf, np.float64) for leaf in params]
    y = bend(x @ p[0] + p[1])
    for kernel, bias in zip(p[2], p[3], strict=True):
        h = bend(y @ kernel[:, 0] + bias[0])
        if kernel.shape[1] == 1:
            y = h
        else:
            t = 1 / (1 + np.exp(-(y @ kernel[:, 1] + bias[1])))
            y = h * t + y * (1 - t)
    return y @ p[4] + p[5]


@pytest.mark.parametrize("config", [HIGHWAY, PLAIN])
@pytest.mark.parametrize("rectified", [True, False])
def test_logits_follow_the_equations(config, rectified):
    setting = ff.Setting(jnp.float32(0.1), jnp.float32(-1.5), jnp.array(rectified))
    params = ff.initial_network(jax.random.key(1), config, setting, PIXELS, CLASSES)
    pixels = examples().pixels
    expected = by_hand(params, rectified, pixels)
    np.testing.assert_allclose(ff.logits(params, rectified, pixels), expected, atol=1e-5)
    score = ff.evaluate(params, rectified, examples())
    assert score.error == pytest.approx(np.mean(expected.argmax(1) != examples().labels))
    assert sum(leaf.size for leaf in params) == ff.parameter_count(config, PIXELS, CLASSES)


def test_a_lesioned_layer_hands_its_input_on():
    state = learner().initial_state(0)
    shut = state.params
    for layer in range(HIGHWAY.layers - 1):
        shut = ff.lesion(shut, layer)
    pixels = examples().pixels
    first = pixels @ shut.input_kernel + shut.input_bias
    first = np.maximum(first, 0) if bool(state.setting.rectified) else np.tanh(first)
    expected = first @ shut.output_kernel + shut.output_bias
    found = ff.logits(shut, state.setting.rectified, pixels)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    one = ff.lesion(state.params, 1)
    assert int(jnp.sum(one.bias != state.params.bias)) == HIGHWAY.units


@pytest.mark.parametrize("layers", [10, 20, 50, 100])
@pytest.mark.parametrize(("pixels", "classes"), [(64, 10), (784, 10)])
def test_plain_networks_get_as_many_parameters(layers, pixels, classes):
    highway = FeedForwardConfig("highway", layers, 50)
    count = ff.parameter_count(highway, pixels, classes)
    plain = FeedForwardConfig("plain", layers, 50)
    units = ff.units_nearest(plain, pixels, classes, count)
    assert abs(ff.parameter_count(replace(plain, units=units), pixels, classes) / count - 1) < 0.01


def test_settings_come_from_their_ranges_and_are_the_same_for_both_kinds():
    one = learner()
    drawn = [one.initial_state(k).setting for k in range(40)]
    rates = np.array([float(each.learning_rate) for each in drawn])
    biases = np.array([float(each.transform_bias) for each in drawn])
    assert SEARCH.smallest_rate <= rates.min() < rates.max() <= SEARCH.largest_rate
    # Log-uniform: half of them below the geometric middle.
    assert 10 < np.sum(rates < np.sqrt(SEARCH.smallest_rate * SEARCH.largest_rate)) < 30
    assert SEARCH.lowest_bias <= biases.min() < -8
    assert -3 < biases.max() <= SEARCH.highest_bias
    assert {bool(each.rectified) for each in drawn} == {True, False}
    plain = learner(PLAIN).initial_state(3).setting
    assert all(map(np.array_equal, plain, drawn[3]))
    bias = one.initial_state(3).params.bias
    np.testing.assert_array_equal(bias[:, 1], np.full((3, 5), biases[3], np.float32))
    assert not np.any(bias[:, 0])


def test_an_empty_range_is_refused():
    with pytest.raises(ConfigError, match="smallest_rate"):
        NetworkSearchConfig(smallest_rate=0.5, largest_rate=0.1)


def test_members_together_are_each_alone():
    one = learner()
    together = train(one, (0, 1), 9)
    for member in range(2):
        alone = take_member(train(one, (member,), 9).seeds, 0)
        same = partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6)
        jax.tree.map(same, alone.params, take_member(together.seeds, member).params)


def test_the_rate_decays_by_epoch():
    one = learner(search=replace(SEARCH, momentum=0.0, learning_rate_decay=2.0))
    assert one.steps_per_epoch == 3  # of 30 images, 8 a batch
    state = one.initial_state(0)
    sizes, step_once = [], jax.jit(one.round)
    for step in (0, 3):  # the same network, as if it were in that epoch
        after = step_once(state, jnp.int32(step), *one.data)
        batch_gradient = jax.tree.map(jnp.subtract, after.params, state.params)
        sizes.append(batch_gradient)
    # Other batches in other epochs, so compare with the gradient of each by hand.
    pixels, labels, order = one.data
    gradient_of = jax.jit(jax.grad(ff._mean_loss))
    for step, change in zip((0, 3), sizes, strict=True):
        shuffled = jax.random.permutation(jax.random.fold_in(order, step // 3), 30)[:8]
        gradient = gradient_of(
            state.params, state.setting.rectified, pixels[shuffled], labels[shuffled]
        )
        rate = float(state.setting.learning_rate) / 2 ** (step // 3)
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-2, atol=1e-6),
            change,
            jax.tree.map(lambda g, rate=rate: -rate * g, gradient),
        )


def test_an_epoch_reads_every_image_once_and_the_next_in_another_order():
    """Each image has a pixel of its own: only the weights of those that are read change."""
    search = replace(SEARCH, momentum=0.0, batch_size=10)
    images = ff.Examples(np.eye(30, dtype=np.float32), np.arange(30, dtype=np.int32) % CLASSES)
    one = ff.FeedForwardLearner(PLAIN, search, images, CLASSES, 0)
    state = one.initial_state(0)
    state = state._replace(setting=state.setting._replace(rectified=jnp.array(False)))
    update = jax.jit(one.round)

    def read(step):
        changed = update(state, jnp.int32(step), *one.data).params[0] != state.params[0]
        return set(np.flatnonzero(np.any(changed, axis=1)).tolist())

    first, second = ([read(epoch * 3 + place) for place in range(3)] for epoch in range(2))
    for batches in (first, second):
        assert [len(batch) for batch in batches] == [10, 10, 10]
        assert set.union(*batches) == set(range(30))
    assert first != second


def test_seeds_differ_and_repeat():
    a, again, b = (train(learner(seed=seed), (0, 1), 3) for seed in (0, 0, 1))
    equal = jax.tree.map(np.array_equal, a.seeds.params, again.seeds.params)
    assert all(jax.tree.leaves(equal))
    assert not np.array_equal(a.seeds.params.kernel, b.seeds.params.kernel)


def test_a_member_that_diverges_stops_and_the_others_go_on():
    one = learner(PLAIN)
    population = Population(one, (0, 1), one.data)
    state = population.initial_state(one.initial_state)
    rates = jnp.array([1e30, 0.05])
    setting = state.seeds.setting._replace(learning_rate=rates, rectified=jnp.array([True, True]))
    state = population.advance(state._replace(seeds=state.seeds._replace(setting=setting)), 6)
    assert int(state.seeds.diverged_at[0]) >= 0
    assert int(state.seeds.diverged_at[1]) == -1
    assert np.all(np.isfinite(state.seeds.params.kernel))
    assert int(state.diverged_at) == -1


@pytest.mark.parametrize("config", [HIGHWAY, PLAIN])
def test_networks_learn_and_every_parameter_changes(config):
    one = learner(config, replace(SEARCH, lowest_bias=-2.0))
    begin = one.initial_state(0)
    after = take_member(train(one, (0, 1), 120).seeds, 0)
    before_score = ff.evaluate(begin.params, begin.setting.rectified, examples())
    score = ff.evaluate(after.params, after.setting.rectified, examples())
    assert score.loss < 0.3 * before_score.loss
    for name, old, new in zip(ff.Network._fields, begin.params, after.params, strict=True):
        assert not np.array_equal(old, new), name
    metrics = one.metrics(jax.device_get(after.totals), 120)
    assert 0 < metrics["train/loss"] < before_score.loss
    assert one.metrics(jax.device_get(begin.totals), 0) == {}


def test_images_make_a_batch_at_least():
    with pytest.raises(ValueError, match=r"7 images make no batch of 8"):
        ff.FeedForwardLearner(HIGHWAY, SEARCH, examples(7), CLASSES, 0)
