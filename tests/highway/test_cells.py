"""Cells in Flax's own protocol: the numbers of the language model's cores, in any of its loops."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from common.compute import Compute
from common.recurrent import Masks
from highway import DeepTransitionCell, FastRNN, Highway, RHNCell
from highway.config import ModelConfig
from highway.core import make_core
from highway.kernel import load as library

IN, UNITS, BATCH, TIME = 5, 7, 3, 6
XS = np.random.default_rng(0).normal(size=(BATCH, TIME, IN)).astype(np.float32)
LENGTHS = jnp.array([6, 2, 4])
CELLS = {
    "rhn": lambda **more: RHNCell(IN, UNITS, depth=3, rngs=nnx.Rngs(0, dropout=1), **more),
    "uncoupled": lambda **more: RHNCell(
        IN, UNITS, depth=2, coupled=False, rngs=nnx.Rngs(0, dropout=1), **more
    ),
    "dt": lambda **more: DeepTransitionCell(
        IN, UNITS, depth=2, rngs=nnx.Rngs(0, dropout=1), **more
    ),
    "dts": lambda **more: DeepTransitionCell(
        IN, UNITS, depth=2, shortcut=True, rngs=nnx.Rngs(0, dropout=1), **more
    ),
}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("rhn", ModelConfig(depth=3, units=UNITS)),
        ("uncoupled", ModelConfig(depth=2, units=UNITS, coupled=False)),
        ("dt", ModelConfig(core="dt_rnn", depth=2, units=UNITS)),
        ("dts", ModelConfig(core="dts_rnn", depth=2, units=UNITS)),
    ],
)
def test_the_numbers_of_the_language_models_core(kind, settings):
    cell = CELLS[kind](input_dropout=0.4, state_dropout=0.3)
    core = make_core(IN, settings, rngs=nnx.Rngs(5))
    nnx.update(core, nnx.state(cell.core, nnx.Param))
    carry = cell.initialize_carry((BATCH, IN))
    state = core.initial_state(BATCH)
    masks = Masks(*(jnp.swapaxes(mask, 0, 1) for mask in carry[1:]))
    for t in range(TIME):
        carry, output = cell(carry, XS[:, t])
        state, expected = core.step(state, XS[:, t], masks)
        np.testing.assert_allclose(output, expected, atol=1e-6)
        np.testing.assert_allclose(carry.state, state, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "dropout"), [("rhn", 0.5), ("uncoupled", 0.0), ("dt", 0.0), ("dts", 0.5)]
)
def test_the_fast_loop_is_flaxs_own(kind, dropout):
    """Outputs, carries and gradients, backwards and over sequences of several lengths too."""

    def loss(cell, loop, options):
        carry, outputs = loop(cell, return_carry=True)(XS, seq_lengths=LENGTHS, **options)
        carry = carry if dropout == 0.0 else carry.state
        return jnp.sum(jnp.sin(outputs)) + jnp.sum(carry**2), (carry, outputs)

    for options in ({}, {"reverse": True, "keep_order": True}):
        found = {}
        for loop in (nnx.RNN, FastRNN):
            cell = CELLS[kind](input_dropout=dropout, state_dropout=dropout)
            found[loop] = nnx.grad(loss, has_aux=True)(cell, loop, options)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), *map(jax.tree.leaves, (
                found[nnx.RNN], found[FastRNN],
            ))
        )  # fmt: skip


def test_masks_last_for_a_sequence_and_not_longer():
    """A cell that copies what it is given shows which inputs are dropped."""
    cell = RHNCell(
        IN, IN, input_dropout=0.5,
        kernel_init=lambda key, shape, dtype: jnp.eye(*shape, dtype=dtype),
        recurrent_kernel_init=nnx.initializers.zeros, transform_bias=20.0,
        rngs=nnx.Rngs(0, dropout=1),
    )  # fmt: skip
    rnn, ones = nnx.RNN(cell), jnp.ones((40, TIME, IN))
    first, second = rnn(ones) > 0.5, rnn(ones) > 0.5
    assert np.all(first == first[:, :1])
    assert 0.3 < np.mean(first) < 0.7
    assert np.any(first != second)
    rnn.eval()
    assert np.all(rnn(ones) > 0.5)
    assert rnn.cell.initialize_carry((40, IN)).input_mask is None
    rnn.train()
    carry = rnn.cell.initialize_carry((40, IN))
    again = rnn.cell.resample(carry)
    assert np.any(again.input_mask != carry.input_mask)


def test_separate_masks_for_each_gate():
    cell = RHNCell(IN, UNITS, state_dropout=0.5, separate_masks=True, rngs=nnx.Rngs(0, dropout=1))
    carry = cell.initialize_carry((4, IN))
    assert carry.input_mask is None
    assert carry.state_mask.shape == (4, 2, UNITS)
    assert np.any(carry.state_mask[:, 0] != carry.state_mask[:, 1])


def test_initial_parameters_are_those_asked_for():
    cell = RHNCell(
        IN, UNITS, coupled=False, transform_bias=-1.0, param_dtype=jnp.bfloat16,
        kernel_init=nnx.initializers.constant(2.0),
        recurrent_kernel_init=nnx.initializers.orthogonal(), rngs=nnx.Rngs(0),
    )  # fmt: skip
    layer = cell.core.layers[0]
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(nnx.state(cell, nnx.Param)))
    assert np.all(cell.core.input_kernel[...] == 2.0)
    for gate in range(3):
        kernel = np.asarray(layer.kernel[:, gate], np.float32)
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(UNITS), atol=0.05)
    assert [set(np.asarray(b, float)) for b in layer.bias[...]] == [{0.0}, {-1.0}, {1.0}]


def test_types_of_the_computation():
    cell = RHNCell(IN, UNITS, depth=2, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    full = RHNCell(IN, UNITS, depth=2, rngs=nnx.Rngs(0))
    for loop in (nnx.RNN, FastRNN):
        outputs = loop(cell)(XS)
        assert outputs.dtype == jnp.bfloat16
        np.testing.assert_allclose(outputs.astype(np.float32), loop(full)(XS), atol=0.03)


def test_several_batch_axes_and_a_carry_of_ones_own():
    cell = RHNCell(IN, UNITS, depth=2, rngs=nnx.Rngs(0))
    carry = cell.initialize_carry((2, 4, IN), nnx.Rngs(carry=3), nnx.initializers.normal(1.0))
    assert carry.shape == (2, 4, UNITS)
    xs = jnp.ones((2, 4, IN))
    after, _ = cell(carry, xs)
    flat, _ = cell(carry.reshape(8, UNITS), xs.reshape(8, IN))
    np.testing.assert_allclose(after.reshape(8, UNITS), flat, atol=1e-6)
    with pytest.raises(ValueError, match="carry_init draws from rngs"):
        cell.initialize_carry((2, IN), None, nnx.initializers.normal(1.0))


def test_in_flaxs_transformations_and_both_directions(tmp_path):
    """A bidirectional model learns, is vmapped, saved and restored."""

    class Tagger(nnx.Module):
        def __init__(self, rngs):
            cells = [RHNCell(IN, UNITS, depth=2, state_dropout=0.1, rngs=rngs) for _ in range(2)]
            self.rnn = nnx.Bidirectional(*map(FastRNN, cells), rngs=rngs)
            self.out = nnx.Linear(2 * UNITS, 1, rngs=rngs)

        def __call__(self, xs):
            return self.out(self.rnn(xs))[..., 0]

    model = Tagger(nnx.Rngs(0, dropout=1))
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
    wanted = jnp.roll(jnp.asarray(XS[..., 0]), -1, axis=1)  # needs the future

    @nnx.jit
    def update(model, optimizer):
        loss, gradient = nnx.value_and_grad(
            lambda model: jnp.mean((model(XS) - wanted)[:, :-1] ** 2)
        )(model)
        optimizer.update(model, gradient)
        return loss

    losses = [float(update(model, optimizer)) for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]
    model.eval()
    each = nnx.vmap(lambda model, x: model(x[None])[0], in_axes=(None, 0))(model, XS)
    np.testing.assert_allclose(each, model(XS), atol=1e-5)
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as saver:
        saver.save(tmp_path / "model", nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    with ocp.StandardCheckpointer() as saver:
        kept = saver.restore(tmp_path / "model")
    other = Tagger(nnx.Rngs(7, dropout=1))
    state = nnx.state(other, nnx.Param)
    nnx.replace_by_pure_dict(state, kept)
    nnx.update(other, state)
    other.eval()
    np.testing.assert_array_equal(other(XS), model(XS))


def test_a_highway_block_carries_at_first_and_can_transform():
    x = jnp.linspace(-1, 1, 6).reshape(2, 3)
    carried = Highway(3, depth=4, transform_bias=-40.0, rngs=nnx.Rngs(0))(x)
    np.testing.assert_allclose(carried, x, atol=1e-6)
    block = Highway(
        3, activation=nnx.relu, transform_bias=40.0,
        kernel_init=lambda key, shape, dtype: jnp.eye(*shape, dtype=dtype), rngs=nnx.Rngs(0),
    )  # fmt: skip
    np.testing.assert_allclose(block(x), jnp.maximum(x, 0), atol=1e-6)
    assert block(x.astype(jnp.bfloat16)).dtype == jnp.float32


def test_the_cpu_kernel_serves_too():
    plain, kernel = (
        RHNCell(IN, UNITS, depth=2, rngs=nnx.Rngs(0), compute=Compute(way))
        for way in ("jax", "cpu")
    )
    np.testing.assert_allclose(FastRNN(kernel)(XS), FastRNN(plain)(XS), atol=1e-5)
    for cell, expected in ((plain, False), (kernel, library() is not None)):
        text = jax.jit(lambda xs, cell=cell: FastRNN(cell)(xs)).lower(XS).as_text()
        assert ("highway_forward" in text) == expected


def test_settings_come_without_jax():
    code = "import sys, highway.config; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
