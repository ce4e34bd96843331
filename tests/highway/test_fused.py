"""Recurrences with hand-written backward passes: equal to differentiating the plain scan."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from highway_case import precision

from common.compute import Compute
from common.deferred import weight_gradient
from highway.config import ModelConfig
from highway.core import make_core

CORES = [("rhn", True), ("rhn", False), ("dt_rnn", True), ("dts_rnn", True)]


@pytest.mark.parametrize("name", ["rhn", "dts_rnn", "lstm"])
def test_all_products_read_the_precision_asked_for(name):
    """Those of a step, forward and backward, and those over time and batch: 6 steps of 4 rows."""
    found = {}
    for kind in ("float32", "bfloat16"):
        config = ModelConfig(core=name, depth=1 if name == "lstm" else 2, units=16)
        compute = Compute("jax", kind)
        graph, params = nnx.split(make_core(5, config, rngs=nnx.Rngs(0), compute=compute))

        def total(params, graph=graph):
            core = nnx.merge(graph, params)
            return jnp.sum(core.unroll(core.initial_state(4), jnp.ones((6, 4, 5)))[1])

        text = str(jax.make_jaxpr(jax.grad(total))(params))
        assert ("bf16[24,16]" in text) == (kind == "bfloat16")
        found[kind] = list(products(jax.make_jaxpr(jax.grad(total))(params).jaxpr))
        assert {kind} == {str(argument.aval.dtype) for one in found[kind] for argument in one}
    assert len(found["float32"]) >= 4


def products(jaxpr):
    """The arguments of all matrix products in a program."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.invars
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns")):
            if hasattr(inner, "eqns"):
                yield from products(getattr(inner, "jaxpr", inner))


@pytest.mark.parametrize(("separate", "rate"), [(False, 0.0), (True, 0.4)])
@pytest.mark.parametrize("name", ["rhn", "dt_rnn", "dts_rnn", "lstm"])
def test_in_bfloat16_only_products_are_rounded(name, separate, rate):
    """All gradients are those of float32 to the 8 bits that products read, side by side too."""
    config = ModelConfig(
        core=name, depth=1 if name == "lstm" else 3, units=24, initial_range=0.3, coupled=False
    )
    xs = jax.random.normal(jax.random.key(1), (3, 6, 4, 16))
    weigh = jax.random.normal(jax.random.key(2), (6, 4, 24))
    found = {}
    for kind in ("float32", "bfloat16"):
        compute = Compute("jax", kind)
        graph, params = nnx.split(make_core(16, config, rngs=nnx.Rngs(0), compute=compute))

        def total(params, xs, graph=graph):
            core = nnx.merge(graph, params)
            masks = core.sample_masks(jax.random.key(3), 4, rate, rate, separate=separate)
            return jnp.sum(core.unroll(core.initial_state(4), xs, masks)[1] * weigh)

        gradients = jax.vmap(jax.grad(total, (0, 1)), (None, 0))(params, xs)
        alone = jax.grad(total, (0, 1))(params, xs[1])
        for one, other in zip(jax.tree.leaves(gradients), jax.tree.leaves(alone), strict=True):
            assert one.dtype == jnp.float32
            np.testing.assert_allclose(one[1], other, atol=1e-5 * np.abs(other).max())
        found[kind] = jax.tree.leaves(gradients)
    for one, other in zip(*found.values(), strict=True):
        off = np.linalg.norm(one - other) / np.linalg.norm(one)
        assert 1e-4 < off < 0.02  # rounded to 8 bits, and not coarser


@pytest.mark.parametrize("gates", [None, 1, 2])
def test_weight_gradients_with_masks_read_it_too(gates):
    keys = jax.random.split(jax.random.key(0), 3)
    x, error = jax.random.normal(keys[0], (6, 4, 5)), jax.random.normal(keys[1], (6, 4, 2, 3))
    mask = None if gates is None else jax.random.bernoulli(keys[2], 0.5, (gates, 4, 5)) * 2.0
    plain = np.einsum("tbgn,tbgm->ngm", masked_per_gate(x, mask), error)
    found = {kind: weight_gradient(x, error, mask, kind) for kind in ("float32", "bfloat16")}
    np.testing.assert_allclose(found["float32"], plain, atol=1e-5)
    off = np.max(np.abs(found["bfloat16"] - plain))
    assert 1e-4 < off < 0.1  # rounded to 8 bits, and not coarser


def masked_per_gate(x, mask):
    """What each of two gates reads, [time, batch, gate, n]."""
    masks = np.ones((2, 4, 5)) if mask is None else np.broadcast_to(mask, (2, 4, 5))
    return x[:, :, None] * np.moveaxis(masks, 0, 1)


def test_an_lstm_of_a_language_model_has_the_backward_pass_too():
    config = ModelConfig(core="lstm", units=7, depth=1)
    for kernel in ("scan", "jax"):
        core = make_core(5, config, rngs=nnx.Rngs(0), compute=Compute(kernel))
        xs = jnp.ones((6, 4, 5))
        text = str(jax.make_jaxpr(lambda xs, core=core: core.unroll(core.initial_state(4), xs))(xs))
        assert ("custom_vjp" in text) == (kernel == "jax")


@pytest.mark.parametrize(("separate", "rate"), [(False, 0.0), (False, 0.4), (True, 0.4)])
@pytest.mark.parametrize("depth", [pytest.param(1, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize(("name", "coupled"), CORES)
def test_gradients_equal_those_of_the_scan(name, coupled, depth, separate, rate):
    with precision("float64"):
        config = ModelConfig(core=name, depth=depth, units=7, coupled=coupled, initial_range=0.5)
        graph, params = nnx.split(make_core(5, config, rngs=nnx.Rngs(0)))
        keys = map(jax.random.key, itertools.count(1))
        xs = jax.random.normal(next(keys), (6, 4, 5))
        state = jax.random.normal(next(keys), (4, 7))
        masks = nnx.merge(graph, params).sample_masks(next(keys), 4, rate, rate, separate=separate)
        weigh = jax.random.normal(next(keys), (7, 4, 7))

        def weighed(run, params, state, xs):
            last, outputs = run(nnx.merge(graph, params), state, xs)
            return jnp.sum(jnp.concatenate([outputs, last[None]]) * weigh)

        def plain(core, state, xs):
            return core.unroll(state, xs, masks)

        def fused(core, state, xs):
            core.compute = Compute("jax")
            return core.unroll(state, xs, masks)

        arguments = nnx.to_pure_dict(params), state, xs
        expected = jax.value_and_grad(weighed, (1, 2, 3))(plain, *arguments)
        actual = jax.value_and_grad(weighed, (1, 2, 3))(fused, *arguments)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 0, 1e-10), actual, expected)


@pytest.mark.parametrize("masked", [False, True])
def test_layers_are_widened_to_whole_vectors(masked):
    """7 units are 16 to the products; state and outputs are 7 again."""
    config = ModelConfig(core="rhn", depth=2, units=7)
    core = make_core(5, config, rngs=nnx.Rngs(0), compute=Compute("jax"))
    rate = 0.4 if masked else 0.0
    masks = core.sample_masks(jax.random.key(1), 4, rate, rate, separate=False)
    state, xs = core.initial_state(4), jnp.ones((6, 4, 5))
    text = str(jax.make_jaxpr(lambda xs: core.unroll(state, xs, masks))(xs))
    assert "f32[16,2,16]" in text
    last, outputs = core.unroll(state, xs, masks)
    assert (last.shape, outputs.shape) == ((4, 7), (6, 4, 7))
