"""Initial parameters as published: uniform in ± 0.04, the transform gates' biases constant."""

import itertools

import jax
import numpy as np
import pytest
from flax import nnx
from highway_case import experiment, named, random_params
from scipy import stats

from highway.config import ModelConfig
from highway.language_model import LanguageModel, make_graph

SIZES = {
    "rhn": {"depth": 3, "units": 40},
    "uncoupled": {"depth": 2, "units": 40, "coupled": False, "tied": False},
    "dt_rnn": {"core": "dt_rnn", "depth": 2, "units": 40, "layers": 2},
    "dts_rnn": {"core": "dts_rnn", "depth": 2, "units": 40},
    "lstm": {"core": "lstm", "depth": 1, "units": 40, "tied": False, "embedding": 30},
}
CONSTANT = {  # the gates whose biases are no random numbers: what they are at the default settings
    "rhn": {"T": -2.0},
    "uncoupled": {"T": -2.0, "C": 2.0},
    "lstm": {"F": 1.0},
}


def initial(vocabulary_size=40, seed=0, **model):
    config = ModelConfig(**model)
    network = LanguageModel(vocabulary_size, config, rngs=nnx.Rngs(params=jax.random.key(seed)))
    return nnx.to_pure_dict(nnx.state(network, nnx.Param)), config


@pytest.mark.parametrize("name", SIZES)
def test_weights_and_biases_are_uniform_and_gate_biases_constant(name):
    constants = CONSTANT.get(name, {})
    drawn = {}
    for key, array in named(*initial(**SIZES[name])).items():
        gate = key[2] if key.startswith("b_") else None
        if gate in constants:
            assert (array == constants[gate]).all(), key
        else:
            drawn[key] = array

    for key, array in drawn.items():
        assert np.abs(array).max() <= np.float32(0.04), key
        # The chance of a false alarm is 1e-6 an array, were the seed not fixed.
        assert stats.kstest(array.ravel(), stats.uniform(-0.04, 0.08).cdf).pvalue > 1e-6, key
    everything = np.concatenate([array.ravel() for array in drawn.values()])
    assert everything.std() == pytest.approx(0.04 / np.sqrt(3), rel=0.02)
    assert abs(everything.mean()) < 5 * everything.std() / np.sqrt(everything.size)
    assert np.abs(everything).max() > 0.0399
    # No two arrays, gates or layers share their numbers.
    for (one, a), (other, b) in itertools.combinations(drawn.items(), 2):
        count = min(a.size, b.size)
        assert not np.array_equal(a.ravel()[:count], b.ravel()[:count]), (one, other)


def test_range_and_transform_bias_are_settings():
    parameters = named(*initial(depth=2, units=40, initial_range=0.3, transform_bias=-4.0))

    for key, array in parameters.items():
        if key.startswith("b_T"):
            assert (array == -4).all(), key
        else:
            assert 0.2 < np.abs(array).max() <= np.float32(0.3), key


def test_the_seed_decides_the_parameters():
    one, same, other = (named(*initial(depth=1, units=40, seed=seed)) for seed in (0, 0, 1))

    for key in one:
        np.testing.assert_array_equal(one[key], same[key])
        assert key.startswith("b_T") or (one[key] != other[key]).any(), key


@pytest.mark.parametrize(
    ("vocabulary", "model", "width"),
    [
        (10_000, {"units": 830, "tied": True}, 830),
        (10_000, {"units": 830, "tied": False}, 830),
        (205, {"units": 1500, "tied": False}, 205),  # enwik8: one-hot width
        (27, {"units": 1500, "tied": False}, 27),
        (27, {"units": 1500, "tied": True}, 1500),
        (27, {"units": 1500, "tied": False, "embedding": 100}, 100),
        (1500, {"units": 1500, "tied": False}, 1500),
    ],
)
def test_embedding_width(vocabulary, model, width):
    config = ModelConfig(depth=1, **model)
    network = nnx.eval_shape(lambda: LanguageModel(vocabulary, config, rngs=nnx.Rngs(params=0)))

    assert config.embedding_size(vocabulary) == width
    assert network.embedding.shape == (vocabulary, width)
    assert network.core.cores[0].input_kernel.shape == (width, 2, model["units"])


@pytest.mark.parametrize("tied", [True, False])
def test_parameter_sets_of_tied_and_untied_models(tied):
    config = ModelConfig(depth=1, units=6, tied=tied)
    network = nnx.eval_shape(lambda: LanguageModel(9, config, rngs=nnx.Rngs(params=0)))
    params = nnx.to_pure_dict(nnx.state(network, nnx.Param))

    extra = set() if tied else {"softmax_kernel"}
    assert set(params) == {"embedding", "core", "softmax_bias"} | extra


def test_tied_logits_are_products_with_the_embedding():
    config, vocabulary = experiment(units=4, tied=True)
    network = nnx.merge(make_graph(config, vocabulary), random_params(config, vocabulary))
    features = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)

    embedding, bias = np.asarray(network.embedding[...]), np.asarray(network.softmax_bias[...])
    expected = features @ embedding.T + bias
    np.testing.assert_allclose(network.logits(features), expected, rtol=1e-5, atol=1e-6)
