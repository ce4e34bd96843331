"""The published learning-rate schedules; epochs count from 0 in the code, from 1 in the paper."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from highway.config import TrainConfig
from highway.learner import learning_rate, make_optimizer

PENN_TREEBANK = TrainConfig(learning_rate=0.2, learning_rate_decay=1.02, constant_epochs=20)
WIKIPEDIA = TrainConfig(learning_rate=0.2, learning_rate_decay=1.03, constant_epochs=5)


@pytest.mark.parametrize(
    ("train", "first_drop", "decay"), [(PENN_TREEBANK, 21, 1.02), (WIKIPEDIA, 6, 1.03)]
)
def test_the_rate_drops_first_at_the_published_epoch(train, first_drop, decay):
    def rate(epoch):  # counted from 1
        return float(learning_rate(train, epoch - 1))

    for epoch in range(1, first_drop):
        assert rate(epoch) == pytest.approx(0.2, rel=1e-7)
    for number in range(1, 480):
        expected = 0.2 / decay**number
        assert rate(first_drop - 1 + number) == pytest.approx(expected, rel=1e-4), number
    assert rate(first_drop) == pytest.approx(0.2 / decay, rel=1e-6)
    assert rate(first_drop + 1) == pytest.approx(0.2 / decay**2, rel=1e-6)
    for epochs in (first_drop - 1, first_drop, 90):
        longer = dataclasses.replace(train, epochs=epochs)
        assert longer.last_share == pytest.approx(rate(epochs) / 0.2, rel=1e-4)


def test_the_default_settings_are_penn_treebanks():
    assert TrainConfig() == TrainConfig(
        epochs=500,
        batch_size=20,
        steps=35,
        learning_rate=0.2,
        learning_rate_decay=1.02,
        constant_epochs=20,
        weight_decay=1e-7,
        clip_norm=10,
    )


def test_the_optimiser_drops_at_the_first_update_of_the_epoch():
    train = TrainConfig(learning_rate=1.0, learning_rate_decay=2.0, constant_epochs=2)
    optimizer = make_optimizer(train, steps_per_epoch=3)
    gradient = {"w": jnp.asarray([1.0, -2.0])}
    state = optimizer.init(gradient)
    updates = []
    for _ in range(9):
        update, state = optimizer.update(gradient, state)
        updates.append(np.asarray(update["w"]))

    # Epochs 0 and 1 at rate 1, epoch 2 at 1/2.
    np.testing.assert_allclose(updates, np.outer([-1.0] * 6 + [-0.5] * 3, [1.0, -2.0]), rtol=1e-6)


def test_adam_is_a_setting():
    train = TrainConfig(optimizer="adam", learning_rate=0.5, learning_rate_decay=2.0)
    optimizer = make_optimizer(dataclasses.replace(train, constant_epochs=0), steps_per_epoch=1)
    gradient = {"w": jnp.asarray([1.0, -2.0])}

    update, _ = optimizer.update(gradient, optimizer.init(gradient))

    # Adam's first step is the rate (here 0.5 / 2) against the gradient's sign.
    np.testing.assert_allclose(update["w"], [-0.25, 0.25], rtol=1e-5)


def test_clipping_is_by_the_norm_over_all_arrays():
    optimizer = make_optimizer(TrainConfig(learning_rate=1.0, clip_norm=10.0), 1)
    large = {"a": jnp.asarray([12.0]), "b": jnp.asarray([[0.0, 16.0]])}  # norm 20
    small = {"a": jnp.asarray([3.0]), "b": jnp.asarray([[0.0, 4.0]])}  # norm 5

    clipped, _ = optimizer.update(large, optimizer.init(large))
    kept, _ = optimizer.update(small, optimizer.init(small))

    np.testing.assert_allclose(clipped["a"], [-6], rtol=1e-6)
    np.testing.assert_allclose(clipped["b"], [[0, -8]], rtol=1e-6)
    np.testing.assert_allclose(kept["a"], [-3], rtol=1e-6)
    np.testing.assert_allclose(kept["b"], [[0, -4]], rtol=1e-6)
