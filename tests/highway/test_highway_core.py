"""The protocol that every recurrent core keeps, and how cores are stacked."""

from functools import partial

import highway_numpy as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from highway_case import ALL_CORES, assert_close, random_module

from common.recurrent import Masks, Stack, masked_product
from highway.config import ModelConfig
from highway.core import RHN, make_core, make_stack

BATCH, TIME, INPUTS, UNITS = 2, 3, 4, 5


@pytest.fixture(scope="module", params=ALL_CORES)
def core(request):
    depth = 1 if request.param == "lstm" else 2
    config = ModelConfig(core=request.param, depth=depth, units=UNITS)
    return random_module(lambda: make_core(INPUTS, config, rngs=nnx.Rngs(params=0)))


def inputs(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def start(core, batch=BATCH, seed=1):
    return jax.tree.map(lambda zero: inputs(*zero.shape, seed=seed), core.initial_state(batch))


@partial(jax.jit, static_argnums=0)
def compiled_unroll(graph, params, state, xs, masks):
    return nnx.merge(graph, params).unroll(state, xs, masks)


def unroll(core, state, xs, masks=None):
    """`core.unroll`, compiled once for each kind of core and masks."""
    return compiled_unroll(*nnx.split(core), state, xs, Masks() if masks is None else masks)


def by_steps(core, state, xs, masks):
    outputs = []
    for x in xs:
        state, output = core.step(state, x, masks)
        outputs.append(output)
    return state, jnp.stack(outputs)


def assert_trees_close(one, other, tolerance=1e-6):
    jax.tree.map(lambda a, b: assert_close(a, b, tolerance), one, other)


def draw(core, kind, key=0):
    if kind == "none":
        return Masks()
    return core.sample_masks(jax.random.key(key), BATCH, 0.5, 0.4, separate=kind == "separate")


@pytest.mark.parametrize("kind", ["none", "shared", "separate"])
def test_unroll_is_step_after_step(core, kind):
    xs, masks = inputs(TIME, BATCH, INPUTS), draw(core, kind)

    state, outputs = unroll(core, start(core), xs, masks)

    assert outputs.shape == (TIME, BATCH, UNITS)
    assert_trees_close((state, outputs), by_steps(core, start(core), xs, masks))


def test_unroll_goes_on_from_its_last_state(core):
    xs = inputs(TIME, BATCH, INPUTS)

    middle, first = unroll(core, start(core), xs[:1])
    last, second = unroll(core, middle, xs[1:])

    whole = unroll(core, start(core), xs)
    assert_trees_close((last, jnp.concatenate([first, second])), whole)


def test_the_initial_state_is_zero(core):
    leaves = jax.tree.leaves(core.initial_state(3))

    assert leaves
    assert all(leaf.shape == (3, UNITS) and not leaf.any() for leaf in leaves)


def test_sequences_do_not_meet(core):
    xs, state = inputs(TIME, BATCH, INPUTS), start(core)
    _, outputs = unroll(core, state, xs)
    _, changed = unroll(core, state, xs.at[0, 1].add(1.0))

    assert (changed[:, 0] == outputs[:, 0]).all()
    assert (changed[:, 1] != outputs[:, 1]).any()


def test_gradients_can_be_mapped_over_seeds(core):
    """Parameters and inputs with one more axis in front: whole trainings side by side."""
    graph, params = nnx.split(core)
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)
    xs, masks = inputs(2, TIME, BATCH, INPUTS), draw(core, "shared")

    def loss(params, xs):
        _, outputs = nnx.merge(graph, params).unroll(start(core), xs, masks)
        return jnp.sum(jnp.sin(outputs * jnp.arange(1.0, UNITS + 1)))

    gradients = jax.grad(loss, argnums=(0, 1))
    mapped = jax.jit(jax.vmap(gradients))(both, xs)
    one_by_one = jax.jit(gradients)

    for seed in range(2):
        of_seed = partial(jax.tree.map, lambda leaf, seed=seed: leaf[seed])
        alone = one_by_one(of_seed(both), xs[seed])
        assert_trees_close(of_seed(mapped), alone, 1e-5)
        assert all((leaf != 0).any() for leaf in jax.tree.leaves(alone))


# -------------------------------------------------------------------------------------- masks


def test_masks_shared_and_separate(core):
    shared, separate = draw(core, "shared"), draw(core, "separate")

    assert [mask.shape for mask in shared] == [(1, BATCH, INPUTS), (1, BATCH, UNITS)]
    gates = core.gates
    assert [mask.shape for mask in separate] == [(gates, BATCH, INPUTS), (gates, BATCH, UNITS)]
    assert core.sample_masks(jax.random.key(0), BATCH, 0.0, 0.0, separate=True) == Masks()


def test_separate_masks_that_are_alike_are_a_shared_one(core):
    xs, shared = inputs(TIME, BATCH, INPUTS), draw(core, "shared")
    repeated = Masks(*(jnp.tile(mask, (core.gates, 1, 1)) for mask in shared))

    assert_trees_close(
        unroll(core, start(core), xs, repeated), unroll(core, start(core), xs, shared)
    )


def test_masked_product_by_hand():
    x = jnp.asarray([[1.0, 2.0]])  # one sequence, two inputs
    kernel = jnp.asarray([[[1.0], [10.0]], [[2.0], [20.0]]])  # [input, gate, unit]

    def product(mask):
        return masked_product(x, kernel, mask).tolist()

    assert product(None) == [[[5.0], [50.0]]]
    assert product(jnp.asarray([[[2.0, 0.0]]])) == [[[2.0], [20.0]]]
    assert product(jnp.asarray([[[2.0, 0.0]], [[0.0, 2.0]]])) == [[[2.0], [80.0]]]


# -------------------------------------------------------------------------------------- stacks


@pytest.mark.parametrize("name", ["rhn", "lstm"])
def test_a_stack_feeds_each_core_the_outputs_of_the_one_below(name):
    config = ModelConfig(core=name, depth=1, units=UNITS, layers=2)
    stack = random_module(lambda: make_stack(INPUTS, config, rngs=nnx.Rngs(params=0)))
    below, above = stack.cores
    xs = inputs(TIME, BATCH, INPUTS)
    states = (start(below), start(above, seed=2))
    masks = stack.sample_masks(jax.random.key(0), BATCH, 0.5, 0.5, separate=False)

    assert isinstance(stack, Stack)
    assert (stack.input_size, stack.output_size, above.input_size) == (INPUTS, UNITS, UNITS)
    for given in (masks, None):
        first, second = given or (Masks(), Masks())
        middle, hidden = below.unroll(states[0], xs, first)
        last, outputs = above.unroll(states[1], hidden, second)
        assert_trees_close(stack.unroll(states, xs, given), ((middle, last), outputs))
        assert_trees_close(by_steps(stack, states, xs, given), ((middle, last), outputs))


def test_stacked_cores_have_parameters_and_masks_of_their_own():
    stack = make_stack(UNITS, ModelConfig(depth=1, units=UNITS, layers=2), rngs=nnx.Rngs(params=0))
    below, above = stack.cores
    masks = stack.sample_masks(jax.random.key(0), 20, 0.5, 0.5, separate=False)

    assert (below.input_kernel[...] != above.input_kernel[...]).all()
    assert (masks[0].input != masks[1].input).any()
    assert (masks[0].state != masks[1].state).any()


# ------------------------------------------------------------------------------- RHN by hand


def one_unit_rhn(depth, *, weights, biases):
    """An RHN with one unit and one input; weights (W_H, W_T, R_H, R_T) at every depth."""
    core = RHN(1, ModelConfig(depth=depth, units=1), rngs=nnx.Rngs(params=0))
    core.input_kernel[...] = jnp.asarray(weights[:2]).reshape(1, 2, 1)
    for layer in core.layers:
        layer.kernel[...] = jnp.asarray(weights[2:]).reshape(1, 2, 1)
        layer.bias[...] = jnp.asarray(biases).reshape(2, 1)
    return core


def test_the_input_enters_the_first_highway_layer_only():
    core = one_unit_rhn(2, weights=(1.0, 0.0, 0.0, 0.0), biases=(0.25, 0.0))
    state, _ = core.step(jnp.asarray([[0.5]]), jnp.asarray([[2.0]]))

    # Gates are σ(0) = 1/2 throughout: halfway to tanh(2 + 1/4), then halfway to tanh(1/4).
    middle = 0.5 * np.tanh(2.25) + 0.5 * 0.5
    assert float(state[0, 0]) == pytest.approx(0.5 * np.tanh(0.25) + 0.5 * middle, rel=1e-6)


def test_gates_decide_between_proposal_and_state():
    def step(bias):
        core = one_unit_rhn(1, weights=(1.0, 0.0, 1.0, 0.0), biases=(0.0, bias))
        return float(core.step(jnp.asarray([[0.5]]), jnp.asarray([[1.0]]))[0][0, 0])

    assert step(-50.0) == pytest.approx(0.5, abs=1e-7)
    assert step(50.0) == pytest.approx(np.tanh(1.5), rel=1e-6)
    gate = reference.sigmoid(1.0)
    assert step(1.0) == pytest.approx(gate * np.tanh(1.5) + (1 - gate) * 0.5, rel=1e-6)


def test_a_dts_rnn_of_depth_one_has_nothing_to_pass_by():
    plain, shortcut = (
        make_core(INPUTS, ModelConfig(core=name, depth=1, units=UNITS), rngs=nnx.Rngs(params=0))
        for name in ("dt_rnn", "dts_rnn")
    )
    xs = inputs(TIME, BATCH, INPUTS)

    assert_trees_close(nnx.to_pure_dict(nnx.state(plain)), nnx.to_pure_dict(nnx.state(shortcut)), 0)
    assert_trees_close(plain.unroll(start(plain), xs), shortcut.unroll(start(plain), xs), 0)
