"""The three evaluation protocols against the NumPy reference and against one another."""

import math

import highway_numpy as reference
import jax
import numpy as np
import pytest
from flax import nnx
from highway_case import experiment, named, random_params, reference_masks, tokens_of

from highway import evaluation
from highway.evaluation import StreamScore, batched, full, mc_dropout
from highway.language_model import make_graph

RATES = ("dropout_x", "dropout_i", "dropout_h", "dropout_o")
NONE = dict.fromkeys(RATES, 0.0)


class Network:
    """A small model and a stream of 40 tokens, for both sides."""

    def __init__(self, count=40, **model):
        config, vocabulary = experiment(**({"units": 4, "depth": 2} | model))
        self.model = config.model
        self.params = random_params(config, vocabulary)
        self.jax = (make_graph(config, vocabulary), self.params)
        self.tokens = tokens_of(vocabulary, count)

    def reference_losses(self, tokens=None, masks=None):
        """Of all tokens [B, n] but the first of each row; [B, n − 1]."""
        tokens = self.tokens[None] if tokens is None else tokens
        start = reference.zero_state(self.model, len(tokens))
        _, logits, _ = reference.forward(
            named(self.params, self.model), self.model, start, tokens[:, :-1], masks
        )
        return reference.token_losses(logits, tokens[:, 1:])


@pytest.fixture(params=["rhn", "lstm"])
def network(request):
    return Network(core=request.param, depth=2 if request.param == "rhn" else 1)


def test_full_is_the_mean_loss_of_the_whole_stream(network):
    score = full(*network.jax, network.tokens)

    assert score.tokens == 39
    assert score.loss == pytest.approx(network.reference_losses().mean(), rel=1e-6)


@pytest.mark.parametrize("steps", [1, 7, 13, 39, 40])  # 13 and 39 divide 39: no padding
def test_full_does_not_depend_on_how_the_stream_is_cut(monkeypatch, steps):
    network = Network()
    expected = full(*network.jax, network.tokens)
    monkeypatch.setattr(evaluation, "STREAM_STEPS", steps)

    score = full(*network.jax, network.tokens)

    assert score.tokens == expected.tokens
    assert score.loss == pytest.approx(expected.loss, rel=1e-6)


@pytest.mark.parametrize("tokens", [73_760, 82_430])  # Penn Treebank's validation and test sets
def test_full_predicts_every_token_but_the_first(monkeypatch, tokens):
    monkeypatch.setattr(evaluation, "STREAM_STEPS", 8192)
    network = Network(depth=1, units=2, vocabulary_size=3, count=tokens)

    assert full(*network.jax, network.tokens).tokens == tokens - 1


@pytest.mark.parametrize("steps", [3, 39])
def test_batched_at_batch_one_is_full_where_windows_fill_the_stream(steps):
    network = Network()

    score = batched(*network.jax, network.tokens, 1, steps, split="test")

    expected = full(*network.jax, network.tokens)
    assert score.tokens == expected.tokens
    assert score.loss == pytest.approx(expected.loss, rel=1e-6)


def test_batched_runs_slices_side_by_side_from_zero_and_drops_the_tails(network):
    # 40 // 3 = 13 tokens a slice: 12 inputs are two windows of 5, and 2 over.
    rows = network.tokens[:39].reshape(3, 13)[:, :11]

    score = batched(*network.jax, network.tokens, 3, 5, split="test")

    assert score.tokens == 30
    assert score.loss == pytest.approx(network.reference_losses(rows).mean(), rel=1e-6)


# --------------------------------------------------------------------------- Monte-Carlo dropout


@pytest.mark.parametrize("batch_size", [2, 3])
def test_mc_dropout_without_dropout_is_full(batch_size):
    network = Network(**NONE)

    score = mc_dropout(
        *network.jax, network.tokens, jax.random.key(0), passes=3, batch_size=batch_size
    )

    expected = full(*network.jax, network.tokens)
    assert score.tokens == expected.tokens
    assert score.loss == pytest.approx(expected.loss, rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_mc_dropout_averages_probabilities_over_networks(monkeypatch, batch_size):
    monkeypatch.setattr(evaluation, "STREAM_STEPS", 16)  # masks outlive the pieces of the stream
    network = Network(masks="separate")
    key = jax.random.key(5)

    score = mc_dropout(*network.jax, network.tokens, key, passes=3, batch_size=batch_size)

    probabilities = []
    for number in range(3):  # whichever passes run side by side
        masks = nnx.merge(*network.jax).sample_masks(jax.random.fold_in(key, number), 1)
        losses = network.reference_losses(
            network.tokens[None], reference_masks(masks, network.model)
        )
        probabilities.extend(np.exp(-losses))
    assert len(probabilities) == 3
    assert np.std(probabilities, axis=0).min() > 0  # the passes differ
    assert score.loss == pytest.approx(-np.log(np.mean(probabilities, axis=0)).mean(), rel=1e-5)
    assert score.tokens == 39


def test_mc_dropout_of_a_hopeless_model_is_a_large_number_not_infinite():
    network = Network(**NONE)
    graph, params = network.jax
    # Every token's probability is below the smallest float32.
    params = params | {"softmax_bias": params["softmax_bias"].at[0].add(500.0)}
    tokens = np.where(network.tokens == 0, 1, network.tokens)

    score = mc_dropout(graph, params, tokens, jax.random.key(0), passes=3, batch_size=2)

    expected = full(graph, params, tokens)
    assert expected.loss > 400
    assert score.loss == pytest.approx(expected.loss, rel=1e-6)


# ------------------------------------------------------------------------------------- metrics


def test_perplexity_and_bits():
    score = StreamScore(loss=math.log(8), tokens=10)

    assert score.metrics("test", word_level=True) == {
        "test/loss": math.log(8),
        "test/perplexity": pytest.approx(8),
    }
    assert score.metrics("valid/full", word_level=False) == {
        "valid/full/loss": math.log(8),
        "valid/full/perplexity": pytest.approx(8),
        "valid/full/bits_per_character": pytest.approx(3),
    }


def test_a_perplexity_beyond_what_a_float_holds_is_left_out():
    assert "test/perplexity" in StreamScore(709, 1).metrics("test", word_level=True)
    assert StreamScore(710, 1).metrics("test", word_level=True) == {"test/loss": 710}


def test_tick_may_stop_an_evaluation(monkeypatch):
    monkeypatch.setattr(evaluation, "STREAM_STEPS", 7)
    network, calls = Network(**NONE), []

    def stop():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    for run in (
        lambda: full(*network.jax, network.tokens, tick=stop),
        lambda: batched(*network.jax, network.tokens, 1, 3, split="test", tick=stop),
        lambda: mc_dropout(
            *network.jax, network.tokens, jax.random.key(0), passes=1, batch_size=1, tick=stop
        ),
    ):
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            run()
        assert len(calls) == 3


def test_what_has_no_mean_is_refused():
    network = Network()
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="two tokens or more, not 1"):
        full(*network.jax, network.tokens[:1])
    with pytest.raises(ValueError, match="two tokens or more, not 0"):
        mc_dropout(*network.jax, network.tokens[:0], key, passes=1, batch_size=1)
    with pytest.raises(ValueError, match="passes is 1 or more, not 0"):
        mc_dropout(*network.jax, network.tokens, key, passes=0, batch_size=1)
