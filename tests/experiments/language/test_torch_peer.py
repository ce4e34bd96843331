"""The peer in PyTorch trains what we train; needs the extra `torch`."""

import jax
import numpy as np
import pytest

from highway.config import DataConfig, LanguageModelConfig, ModelConfig, TrainConfig
from highway.language_model import make_graph
from highway.learner import mean_loss

torch = pytest.importorskip("torch")
from experiments.language.torch_peer import TorchTraining  # noqa: E402

VOCABULARY = 11


def trainings():
    model = ModelConfig(depth=3, units=6, tied=True)
    config = LanguageModelConfig(DataConfig(), model, TrainConfig(batch_size=4, steps=5))
    each = [TorchTraining(config, VOCABULARY, deferred=way) for way in (False, True)]
    return config, each


def gradients(training):
    loss, _ = training.model(training.state, training.inputs, training.targets)
    loss.backward()
    training.model.add_deferred()
    return loss.item(), {
        name: parameter.grad.numpy() for name, parameter in training.model.named_parameters()
    }


def ours(model):
    """The peer's parameters as our model has them."""

    def split(array):  # [2 units, ...] → [..., 2, units]
        array = array.detach().numpy()
        return np.moveaxis(
            array.reshape(2, array.shape[0] // 2, *array.shape[1:]), (0, 1), (-2, -1)
        )

    layers = {
        place: {"kernel": split(layer.weight), "bias": split(layer.bias)}
        for place, layer in enumerate(model.layers)
    }
    return {
        "embedding": model.embedding.weight.detach().numpy(),
        "softmax_bias": model.softmax_bias.detach().numpy(),
        "core": {"cores": {0: {"input_kernel": split(model.input.weight), "layers": layers}}},
    }


def test_its_loss_and_gradients_are_ours():
    config, (plain, deferred) = trainings()
    loss, found = gradients(plain)
    graph, params = make_graph(config, VOCABULARY), ours(plain.model)
    inputs, targets = plain.inputs.numpy(), plain.targets.numpy()
    state = np.zeros((config.train.batch_size, config.model.units), np.float32)

    def total(params):
        return mean_loss(params, graph, config.train, (state,), inputs, targets, None)[0]

    value, gradient = jax.value_and_grad(total)(params)
    assert loss == pytest.approx(float(value), rel=1e-5)
    np.testing.assert_allclose(found["embedding.weight"], gradient["embedding"], atol=1e-5)
    for name, other in gradients(deferred)[1].items():
        np.testing.assert_allclose(found[name], other, atol=1e-5)


def test_it_learns():
    _, each = trainings()
    for training in each:
        first = training.update()
        assert [training.update() for _ in range(20)][-1] < first
