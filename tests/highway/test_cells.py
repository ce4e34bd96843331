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
        found = []
        for loop in (nnx.RNN, FastRNN):
            cell = CELLS[kind](input_dropout=dropout, state_dropout=dropout)
            found.append(nnx.grad(loss, has_aux=True)(cell, loop, options))
        assert_close(*found)


def assert_close(found, expected, atol=2e-5):
    """Leaf by leaf."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol),
        jax.tree.leaves(found),
        jax.tree.leaves(expected),
    )


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((TIME, IN), {}),
        ((2, BATCH, TIME, IN), {}),
        ((TIME, BATCH, IN), {"time_major": True, "seq_lengths": LENGTHS}),
        ((TIME, 2, BATCH, IN), {"time_major": True, "reverse": True}),
        ((BATCH, TIME, IN), {"reverse": True, "seq_lengths": LENGTHS}),
        ((BATCH, TIME, IN), {"initial_carry": jnp.full((BATCH, UNITS), 0.3)}),
    ],
)
def test_the_fast_loop_takes_what_flaxs_does(shape, options):
    xs = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    fast, plain = (loop(CELLS["rhn"](), return_carry=True) for loop in (FastRNN, nnx.RNN))
    found, expected = fast(xs, **options), plain(xs, **options)
    assert [leaf.shape for leaf in jax.tree.leaves(found)] == [
        leaf.shape for leaf in jax.tree.leaves(expected)
    ]
    assert_close(found, expected)


def test_lengths_of_sequences_with_several_batch_axes():
    xs = jnp.stack([XS, -XS])
    fast = FastRNN(CELLS["dt"](), return_carry=True)
    options = {"reverse": True, "keep_order": True}
    carry, outputs = fast(xs, seq_lengths=jnp.stack([LENGTHS, LENGTHS[::-1]]), **options)
    for one, lengths in enumerate((LENGTHS, LENGTHS[::-1])):
        assert_close((carry[one], outputs[one]), fast(xs[one], seq_lengths=lengths, **options))


@pytest.mark.parametrize("loop", [nnx.RNN, FastRNN])
def test_windows_of_a_long_sequence_go_on_with_its_masks(loop):
    rnn = loop(CELLS["rhn"](input_dropout=0.5, state_dropout=0.5), return_carry=True)
    carry = rnn.cell.initialize_carry((BATCH, IN))
    _, whole = rnn(XS, initial_carry=carry)
    carry, first = rnn(XS[:, :4], initial_carry=carry)
    _, second = rnn(XS[:, 4:], initial_carry=carry)
    assert_close(jnp.concatenate([first, second], axis=1), whole)
    _, other = rnn(XS[:, 4:], initial_carry=rnn.cell.resample(carry))
    assert np.any(other != second)


@pytest.mark.parametrize("kind", [nnx.GRUCell, RHNCell, DeepTransitionCell])
def test_a_program_for_flaxs_cells_takes_ours(kind):
    """The arguments of a GRU cell, in an order of transformations."""
    cell = kind(
        IN, UNITS, kernel_init=nnx.initializers.he_normal(),
        recurrent_kernel_init=nnx.initializers.glorot_uniform(),
        bias_init=nnx.initializers.normal(0.1),
        dtype=jnp.float32, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0),
    )  # fmt: skip
    assert (cell.in_features, cell.hidden_features, cell.num_feature_axes) == (IN, UNITS, 1)
    carry = cell.initialize_carry((BATCH, IN), nnx.Rngs(3), nnx.initializers.ones)
    assert np.all(carry == 1.0)
    rnn = nnx.RNN(cell, time_major=True, return_carry=True, unroll=2, rngs=nnx.Rngs(carry=1))
    xs = jnp.swapaxes(jnp.asarray(XS), 0, 1)
    for options in ({}, {"initial_carry": carry.astype(jnp.float32)}, {"rngs": nnx.Rngs(2)}):
        if kind is not nnx.GRUCell or "initial_carry" in options:  # whose carry has no type else
            last, outputs = rnn(xs, **options)
            assert (last.shape, outputs.shape) == ((BATCH, UNITS), (TIME, BATCH, UNITS))
            assert outputs.dtype == jnp.float32
    gradient = nnx.grad(lambda cell: cell(carry, xs[0])[1].sum())(cell)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(gradient)} == {"bfloat16"}


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


@pytest.mark.parametrize("loop", [nnx.RNN, FastRNN])
def test_nothing_is_dropped_in_evaluation_whatever_the_carry(loop):
    rnn = loop(CELLS["rhn"](input_dropout=0.5, state_dropout=0.5))
    carry = rnn.cell.initialize_carry((BATCH, IN))
    plain = loop(CELLS["rhn"]())(XS)
    assert np.any(rnn(XS, initial_carry=carry) != plain)
    view = nnx.view(rnn, deterministic=True)
    for start in (carry, None, carry.state):
        assert_close(view(XS, initial_carry=start), plain)
    with pytest.raises(ValueError, match="needs masks in its carry"):
        rnn(XS, initial_carry=carry.state)
    rnn(XS, initial_carry=rnn.cell.resample(carry.state))


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
        recurrent_kernel_init=nnx.initializers.orthogonal(),
        bias_init=nnx.initializers.constant(0.5), rngs=nnx.Rngs(0),
    )  # fmt: skip
    layer = cell.core.layers[0]
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(nnx.state(cell, nnx.Param)))
    assert np.all(cell.core.input_kernel[...] == 2.0)
    for gate in range(3):
        kernel = np.asarray(layer.kernel[:, gate], np.float32)
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(UNITS), atol=0.05)
    assert [set(np.asarray(b, float)) for b in layer.bias[...]] == [{0.5}, {-1.0}, {1.0}]
    assert not np.any(CELLS["dts"]().core.biases[1][...])
    assert set(np.asarray(Highway(3, rngs=nnx.Rngs(0)).layers[0].bias[0])) == {0.0}


def test_what_cannot_be_is_refused():
    rngs = nnx.Rngs(0, dropout=1)
    cell, block = RHNCell(IN, UNITS, rngs=rngs), Highway(3, rngs=rngs)
    for call in (nnx.RNN(cell), FastRNN(cell)):
        with pytest.raises(ValueError, match=r"inputs have shape \[..., 5\] here, not"):
            call(jnp.ones((2, TIME, 2 * IN)))
    with pytest.raises(ValueError, match=r"\[..., 3\] here, not \[2, 6\]"):
        block(jnp.ones((2, 6)))
    for kind in (RHNCell, DeepTransitionCell):
        with pytest.raises(ValueError, match="depth is 1 or more, not 0"):
            kind(IN, UNITS, depth=0, rngs=rngs)
        with pytest.raises(ValueError, match="state_dropout is a share"):
            kind(IN, UNITS, state_dropout=1.0, rngs=rngs)
    with pytest.raises(TypeError, match=r"GRUCell goes into nnx\.RNN"):
        FastRNN(nnx.GRUCell(IN, UNITS, rngs=rngs))


def test_types_of_the_computation():
    cell = RHNCell(IN, UNITS, depth=2, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    full = RHNCell(IN, UNITS, depth=2, rngs=nnx.Rngs(0))
    for loop in (nnx.RNN, FastRNN):
        outputs = loop(cell)(XS)
        assert outputs.dtype == jnp.bfloat16
        np.testing.assert_allclose(outputs.astype(np.float32), loop(full)(XS), atol=0.03)
        gradients = [
            nnx.grad(lambda one, loop=loop: loop(one)(XS).sum())(one) for one in (cell, full)
        ]
        assert {leaf.dtype.name for leaf in jax.tree.leaves(gradients)} == {"float32"}
        assert_close(*gradients, atol=0.3)
    half = XS.astype(jnp.bfloat16)
    small = RHNCell(IN, UNITS, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    for one, given, expected in (
        (small, half, "bfloat16"), (small, XS, "float32"), (full, half, "float32"),
    ):  # fmt: skip
        assert nnx.RNN(one)(given).dtype == FastRNN(one)(given).dtype == expected
    deep = CELLS["dts"](input_dropout=0.5, dtype=jnp.bfloat16)
    assert FastRNN(deep)(XS).dtype == nnx.RNN(deep)(XS).dtype == "bfloat16"


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


def test_a_whole_model_is_saved_and_goes_on_with_the_same_masks(tmp_path):
    """As Flax's guide has it: an abstract model says what is to be restored, keys included."""
    import orbax.checkpoint as ocp

    def make():
        return FastRNN(CELLS["rhn"](input_dropout=0.5))

    model = make()
    model(XS)
    with ocp.StandardCheckpointer() as saver:
        saver.save(tmp_path / "model", nnx.state(model))
    graph, abstract = nnx.split(nnx.eval_shape(make))
    with ocp.StandardCheckpointer() as saver:
        restored = nnx.merge(graph, saver.restore(tmp_path / "model", abstract))
    for _ in range(2):
        np.testing.assert_array_equal(restored(XS), model(XS))


def test_an_ensemble_in_one_module():
    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def make(rngs):
        return FastRNN(RHNCell(IN, UNITS, depth=2, state_dropout=0.5, rngs=rngs))

    models = make(nnx.Rngs(0, dropout=1))
    run = nnx.vmap(lambda model, xs: model(xs), in_axes=(0, None))
    outputs = run(models, XS)
    assert outputs.shape == (3, BATCH, TIME, UNITS)
    assert np.any(outputs[0] != outputs[1])
    models.eval()
    graph, state = nnx.split(models)
    alone = nnx.merge(graph, jax.tree.map(lambda leaf: leaf[1], state))
    assert_close(run(models, XS)[1], alone(XS))


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


@pytest.mark.parametrize("loop", [nnx.RNN, FastRNN])
@pytest.mark.parametrize("rates", [(0.5, 0.0), (0.0, 0.5), (0.5, 0.5)])
def test_a_carry_from_evaluation_has_no_masks_to_train_with(loop, rates):
    rnn = loop(CELLS["rhn"](input_dropout=rates[0], state_dropout=rates[1]))
    rnn.eval()
    carry = rnn.cell.initialize_carry((BATCH, IN))
    rnn(XS, initial_carry=carry)
    rnn.train()
    with pytest.raises(ValueError, match="needs masks in its carry"):
        rnn(XS, initial_carry=carry)
    rnn(XS, initial_carry=rnn.cell.resample(carry))
