"""Cells out of model files compute what the models' own recurrent layers compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from common.error import ConfigError
from common.model_file import write_model
from highway import DeepTransitionCell, RHNCell, load_cells
from highway.config import ModelConfig
from highway.language_model import LanguageModel

TOKENS = np.arange(12).reshape(3, 4) % 7


def model(**settings) -> LanguageModel:
    config = ModelConfig(units=5, initial_range=0.5, **settings)
    return LanguageModel(7, config, rngs=nnx.Rngs(1))


def params(module: nnx.Module) -> dict:
    return nnx.to_pure_dict(nnx.state(module, nnx.Param))


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"depth": 3, "layers": 2}, RHNCell),
        ({"depth": 2, "coupled": False}, RHNCell),
        ({"core": "dt_rnn", "depth": 2}, DeepTransitionCell),
        ({"core": "dts_rnn", "depth": 3, "layers": 2}, DeepTransitionCell),
    ],
)
def test_cells_go_on_as_the_model(tmp_path, settings, kind):
    whole = model(**settings)
    write_model(tmp_path / "model.safetensors", params(whole), {})
    cells = load_cells(tmp_path / "model.safetensors")
    assert [type(cell) for cell in cells] == [kind] * settings.get("layers", 1)
    xs = whole.embedding[...][TOKENS]
    for cell in cells:
        xs = nnx.RNN(cell)(xs)
    _, features = whole.features(whole.initial_state(3), TOKENS)
    np.testing.assert_allclose(xs.swapaxes(0, 1), features, rtol=1e-6, atol=1e-7)
    for cell, core in zip(cells, whole.core.cores, strict=True):
        jax.tree.map(np.testing.assert_array_equal, params(cell.core), params(core))


def test_either_network_of_a_tuned_model_and_options(tmp_path):
    tuned, prior = (RHNCell(4, 5, depth=2, rngs=nnx.Rngs(seed)) for seed in (1, 2))
    networks = {"params": params(tuned), "prior": params(prior)}
    write_model(tmp_path / "model.safetensors", networks, {})
    (first,) = load_cells(tmp_path / "model.safetensors", state_dropout=0.5)
    (second,) = load_cells(str(tmp_path / "model.safetensors"), network="prior")
    jax.tree.map(np.testing.assert_array_equal, params(first), params(tuned))
    jax.tree.map(np.testing.assert_array_equal, params(second), params(prior))
    assert first.state_dropout == 0.5
    dropped = nnx.RNN(first)(jnp.ones((1, 9, 4)))
    assert not np.array_equal(dropped, nnx.RNN(tuned)(jnp.ones((1, 9, 4))))


def test_an_lstm_is_no_such_cell(tmp_path):
    write_model(tmp_path / "lstm.safetensors", params(model(core="lstm", depth=1)), {})
    with pytest.raises(ConfigError, match=r"lstm\.safetensors: no highway layers in it.*kernel"):
        load_cells(tmp_path / "lstm.safetensors")
    write_model(tmp_path / "none.safetensors", {"weight": np.zeros(2)}, {})
    with pytest.raises(ConfigError, match="no recurrent layer"):
        load_cells(tmp_path / "none.safetensors")


def test_there_are_two_networks(tmp_path):
    write_model(tmp_path / "model.safetensors", params(RHNCell(4, 5, rngs=nnx.Rngs(0))), {})
    with pytest.raises(ValueError, match="network is 'params' or 'prior', not 'Prior'"):
        load_cells(tmp_path / "model.safetensors", network="Prior")
