"""Recurrences with hand-written backward passes: equal to differentiating the plain scan."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from highway_case import precision

from common.deferred import unroll
from highway.config import ModelConfig
from highway.core import make_core
from highway.fused import (
    HighwayRecurrence,
    LayerWeights,
    TransitionRecurrence,
    TransitionWeights,
)

CORES = [("rhn", True), ("rhn", False), ("dt_rnn", True), ("dts_rnn", True)]


def by_hand(core, config):
    """Weights and recurrence of a core, as `unroll` takes them."""
    if config.core == "rhn":
        weights = tuple(LayerWeights(layer.kernel[...], layer.bias[...]) for layer in core.layers)
        return weights, HighwayRecurrence(config.coupled)
    layers = zip(core.kernels, core.biases, strict=True)
    shortcut = core.state_shortcut[...] if core.shortcut else None
    weights = TransitionWeights(tuple(LayerWeights(k[...], b[...]) for k, b in layers), shortcut)
    return weights, TransitionRecurrence()


@pytest.mark.parametrize(("separate", "rate"), [(False, 0.0), (False, 0.4), (True, 0.4)])
@pytest.mark.parametrize("depth", [1, 3])
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
            weights, recurrence = by_hand(core, config)
            return unroll(recurrence, weights, state, core.project(xs, masks), masks.state)

        arguments = nnx.to_pure_dict(params), state, xs
        expected = jax.value_and_grad(weighed, (1, 2, 3))(plain, *arguments)
        actual = jax.value_and_grad(weighed, (1, 2, 3))(fused, *arguments)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 0, 1e-10), actual, expected)
