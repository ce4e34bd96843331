"""What the tests of `highway` share: small models, and the bridge to the NumPy reference."""

import contextlib

import highway_numpy as reference
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common.learner import zero_totals
from highway.config import LanguageModelConfig, ModelConfig, TrainConfig
from highway.language_model import LanguageModel, make_graph
from highway.learner import LanguageModelTotals, TrainState, make_optimizer

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}

ALL_CORES = ("rhn", "dt_rnn", "dts_rnn", "lstm")


def precision(name):
    """Everything inside computes in this precision; other tests aren't touched."""
    return jax.enable_x64(True) if name == "float64" else contextlib.nullcontext()


def assert_close(actual, expected, tolerance, what=""):
    """|actual − expected| ≤ tolerance · (largest |expected| of the same row), for every entry.

    A row is the last axis: one time step's logits, one sequence's state, one word's embedding or
    one unit's outgoing weights of one gate. A row of zeros must be exactly zero.
    """
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, what
    if expected.ndim == 0:
        actual, expected = actual[None], expected[None]
    scale = np.abs(expected).max(axis=-1, keepdims=True)
    error = np.abs(actual - expected)
    with np.errstate(divide="ignore", invalid="ignore"):
        worst = np.nanmax(np.where(error == 0, 0.0, error / scale))
    assert np.all(error <= tolerance * scale), f"{what}: relative error {worst:.2e} > {tolerance}"


def assert_all_close(actual, expected, tolerance):
    """`assert_close` for two dictionaries of named arrays."""
    assert actual.keys() == expected.keys()
    for name in expected:
        assert_close(actual[name], expected[name], tolerance, name)


def named(params, model):
    """A JAX model's parameters (or their gradients) under the reference's names, in float64."""
    params = snapshot(params)
    names = {"E": params["embedding"], "softmax_b": params["softmax_bias"]}
    if not model.tied:
        names["softmax_W"] = params["softmax_kernel"]
    gates = reference.gate_names(model)
    for k, core in params["core"]["cores"].items():
        for j, g in enumerate(gates):
            names[f"W_{g}.{k}"] = core["input_kernel"][:, j]
            for n in range(model.depth):
                match model.core:
                    case "rhn":
                        kernel, bias = core["layers"][n]["kernel"], core["layers"][n]["bias"]
                    case "lstm":
                        kernel, bias = core["kernel"], core["bias"]
                    case _:
                        kernel, bias = core["kernels"][n], core["biases"][n]
                names[f"R_{g}.{k}.{n}"] = kernel[:, j]
                names[f"b_{g}.{k}.{n}"] = bias[j]
        if reference.has_shortcut(model):
            names[f"W_S.{k}"] = core["input_shortcut"][:, 0]
            names[f"R_S.{k}"] = core["state_shortcut"][:, 0]
    total = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert total == sum(array.size for array in names.values()), "a parameter was left out"
    return {name: np.array(array, np.float64) for name, array in names.items()}


def reference_masks(masks, model):
    """Masks that the JAX model drew, for the reference."""

    def by_gate(mask):
        if mask is None:
            return None
        gates = reference.gate_names(model)
        assert mask.shape[0] in (1, len(gates))
        return {g: np.array(mask[j % mask.shape[0]], np.float64) for j, g in enumerate(gates)}

    def whole(mask):
        return None if mask is None else np.array(mask, np.float64)

    masks = snapshot(masks)
    return {
        "x": whole(masks.word),
        "i": [by_gate(core.input) for core in masks.core],
        "h": [by_gate(core.state) for core in masks.core],
        "o": whole(masks.output),
    }


def reference_states(states):
    """A JAX model's recurrent states for the reference."""
    return jax.tree.map(
        lambda a: np.array(a, np.float64),
        [tuple(state) if isinstance(state, tuple) else state for state in states],
    )


def random_params(config, vocabulary_size, seed=0, bound=0.5):
    """Parameters large enough for every nonlinearity to matter, shaped as the model's own."""
    shapes = nnx.eval_shape(
        lambda: LanguageModel(vocabulary_size, config.model, rngs=nnx.Rngs(params=0))
    )
    random = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(random.uniform(-bound, bound, leaf.shape), float),
        nnx.to_pure_dict(nnx.state(shapes, nnx.Param)),
    )


def random_module(build, seed=0, bound=0.5):
    """The module that `build` makes, with random parameters; quicker than its own first values."""
    graph_, params = nnx.split(nnx.eval_shape(build))
    random = np.random.default_rng(seed)
    return nnx.merge(
        graph_,
        jax.tree.map(
            lambda leaf: jnp.asarray(random.uniform(-bound, bound, leaf.shape), float), params
        ),
    )


def random_state(config, vocabulary_size, steps_per_epoch, seed=0, bound=0.5):
    """A fresh TrainState around `random_params`."""
    params = random_params(config, vocabulary_size, seed, bound)
    model = nnx.merge(make_graph(config, vocabulary_size), params)
    return TrainState(
        params=params,
        optimizer=make_optimizer(config.train, steps_per_epoch).init(params),
        recurrent=model.initial_state(config.train.batch_size),
        key=jax.random.key(seed + 1),
        step=jnp.zeros((), jnp.int32),
        diverged_at=jnp.full((), -1, jnp.int32),
        totals=zero_totals(LanguageModelTotals),
    )


def experiment(vocabulary_size=11, batch_size=3, steps=5, train=None, **model):
    """A small experiment with all four dropouts on; returns (config, vocabulary size)."""
    rates = {"dropout_x": 0.3, "dropout_i": 0.4, "dropout_h": 0.25, "dropout_o": 0.5}
    return LanguageModelConfig(
        model=ModelConfig(**(rates | {"depth": 1} | model)),
        train=TrainConfig(batch_size=batch_size, steps=steps, **(train or {})),
    ), vocabulary_size


def snapshot(tree):
    """A copy in NumPy that survives the donation of its buffers."""
    return jax.tree.map(
        lambda leaf: np.array(
            jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf,
            copy=True,
        ),
        tree,
    )


def assert_same_bits(one, other):
    """Two snapshots agree exactly, in structure, types and bits (NaNs equal NaNs)."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def tokens_of(vocabulary_size, count, seed=0):
    """Random tokens."""
    return np.random.default_rng(seed).integers(0, vocabulary_size, count).astype(np.int32)
