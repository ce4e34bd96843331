"""Gates, lesions and Jacobians of trained recurrences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from highway_case import precision
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from common.recurrent import NO_MASKS
from highway import gates
from highway.config import ModelConfig
from highway.core import make_core

UNITS, INPUTS, BATCH, TIME = 5, 3, 2, 4


def core(kind="rhn", depth=3, seed=0, **changes):
    config = ModelConfig(
        core=kind, depth=depth, units=UNITS, initial_range=0.9, transform_bias=-0.5, **changes
    )
    return make_core(INPUTS, config, rngs=nnx.Rngs(params=seed))


def sequences(seed=1):
    state, xs = (
        jax.random.normal(key, shape)
        for key, shape in zip(
            jax.random.split(jax.random.key(seed)),
            [(BATCH, UNITS), (TIME, BATCH, INPUTS)],
            strict=True,
        )
    )
    return jnp.tanh(state), xs


def parameters(one):
    return nnx.to_pure_dict(nnx.state(one, nnx.Param))


def with_parameters(one, params):
    return nnx.merge(nnx.graphdef(one), params)


def test_a_trace_is_what_the_recurrence_computes():
    one = core()
    state, xs = sequences()
    found = gates.trace(one, state, xs)
    _, outputs = one.unroll(state, xs)
    np.testing.assert_allclose(found.states[:, -1], outputs, rtol=1e-6)
    np.testing.assert_allclose(found.states[0, 0], state)
    np.testing.assert_allclose(found.states[1:, 0], found.states[:-1, -1])
    by_hand = one.layers[1].compute_gates(found.states[2, 1])
    np.testing.assert_allclose(found.transform[2, 1], by_hand.transform, rtol=1e-6)


def test_movement_is_the_length_of_each_layers_change():
    states = jnp.array([[[[0.0, 0.0]], [[3.0, 4.0]], [[3.0, 4.0]], [[3.0, 3.0]]]])
    np.testing.assert_allclose(gates.movement(states), [[[5.0], [0.0], [1.0]]])


def test_no_lesion_changes_nothing():
    params = parameters(core())
    for old, new in zip(
        jax.tree.leaves(params), jax.tree.leaves(gates.lesion(params, ())), strict=True
    ):
        assert old is new


@pytest.mark.parametrize("coupled", [True, False])
def test_a_lesioned_layer_carries_to_the_bit_and_the_others_do_as_before(coupled):
    one = core(coupled=coupled)
    params = parameters(one)
    before = jax.tree.map(np.asarray, params)
    lesioned = with_parameters(one, gates.lesion(params, [1]))
    state, xs = sequences()
    found = gates.trace(lesioned, state, xs)
    np.testing.assert_array_equal(found.states[:, 2], found.states[:, 1])
    assert np.all(found.transform[:, 1] == 0)
    assert np.all(gates.movement(found.states)[:, [0, 2]] > 0)
    jax.tree.map(np.testing.assert_array_equal, before, params)  # the tree itself is as it was


KINDS = [
    ("rhn", 1, {}),
    ("rhn", 3, {}),
    ("rhn", 3, {"coupled": False}),
    ("dt_rnn", 1, {}),
    ("dt_rnn", 3, {}),
    ("dts_rnn", 3, {}),
]


@pytest.mark.parametrize(("kind", "depth", "changes"), KINDS)
def test_the_jacobian_is_that_of_automatic_differentiation(kind, depth, changes):
    with precision("float64"):
        one = core(kind, depth, **changes)
        state, xs = sequences()
        assert state.dtype == jnp.float64

        def step(y):
            return one.step(y[None], xs[0, :1])[1][0]

        found = gates.jacobian(one, state[0], xs[0, 0])
        np.testing.assert_allclose(found, jax.jacfwd(step)(state[0]), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("coupled", [True, False])
def test_each_layers_jacobian_is_that_of_automatic_differentiation(coupled):
    with precision("float64"):
        one = core(depth=3, coupled=coupled)
        state, xs = sequences()
        entered = gates.trace(one, state[:1], xs[:1, :1]).states[0, :, 0]
        found = gates.layer_jacobians(one, state[0], xs[0, 0])
        assert found.shape == (3, UNITS, UNITS)
        for place, layer in enumerate(one.layers):
            projected = one.project(xs[0, :1], NO_MASKS) if place == 0 else None

            def step(s, layer=layer, projected=projected):
                return layer.compute_gates(s[None], projected).mix(s[None])[0]

            wanted = jax.jacfwd(step)(entered[place])
            np.testing.assert_allclose(found[place], wanted, rtol=1e-11, atol=1e-13)


def contain(discs, point, slack=0.0):
    """Whether a point of the complex plane lies in some disc, up to `slack`."""
    return bool(np.any(np.abs(point - discs.centres) <= discs.radii + slack))


@settings(max_examples=200)
@given(
    arrays(
        np.float64,
        st.integers(1, 6).map(lambda n: (n, n)),
        elements=st.floats(-100, 100, allow_subnormal=False),
    )
)
def test_the_discs_contain_every_eigenvalue(matrix):
    found = gates.discs(matrix)
    # A defective matrix' eigenvalues are only known to about the n-th root of the precision.
    # Squares of tiny entries are zero, so the slack follows the largest entry and not the norm.
    slack = 10 * len(matrix) * abs(matrix).max() * np.finfo(float).eps ** (1 / len(matrix))
    assert all(contain(found, value, slack) for value in gates.eigenvalues(matrix))


def test_discs_and_eigenvalues_by_hand():
    found = gates.discs(np.array([[2.0, -1.0], [0.5, -3.0]]))
    np.testing.assert_array_equal(found.centres, [2.0, -3.0])
    np.testing.assert_array_equal(found.radii, [1.0, 0.5])
    assert contain(found, 1.0)
    assert not contain(found, 0.5)
    np.testing.assert_allclose(gates.eigenvalues(np.array([[1.0, 0.0], [5.0, -2.0]])), [-2, 1])


def test_discs_of_a_trained_steps_jacobian_contain_its_eigenvalues():
    one = core(depth=4)
    state, xs = sequences()
    matrix = np.asarray(gates.jacobian(one, state[0], xs[0, 0]))
    found = gates.discs(matrix)
    assert all(contain(found, value, 1e-5) for value in gates.eigenvalues(matrix))


def test_a_closed_layer_puts_the_discs_at_one():
    """Section 4: gates that carry move the spectrum to 1."""
    one = core(depth=2)
    shut = with_parameters(one, gates.lesion(parameters(one), [0, 1]))
    state, xs = sequences()
    found = gates.discs(np.asarray(gates.jacobian(shut, state[0], xs[0, 0])))
    np.testing.assert_array_equal(found.centres, np.ones(UNITS))
    np.testing.assert_array_equal(found.radii, np.zeros(UNITS))
