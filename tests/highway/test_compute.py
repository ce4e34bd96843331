"""How a recurrence is computed reaches the compiled program; results differ by rounding only."""

import jax
import numpy as np
import pytest
from flax import nnx
from highway_case import experiment, random_params, tokens_of

from common.compute import Compute
from common.window import make_windows
from highway import kernel
from highway.language_model import LanguageModel, make_graph
from highway.learner import LanguageModelLearner

WAYS = [Compute("jax"), Compute("cpu"), Compute("jax", "bfloat16"), Compute("cpu", "bfloat16")]


@pytest.fixture(autouse=True)
def compiler():
    if kernel.load() is None:
        pytest.skip("there is no C++ compiler")


def learner(compute, **model):
    config, vocabulary = experiment(units=24, depth=3, **model)
    windows = make_windows(tokens_of(vocabulary, 400), 3, 5, split="train")
    return LanguageModelLearner(config, vocabulary, windows, compute)


@pytest.mark.parametrize("compute", WAYS)
def test_the_chosen_way_is_compiled(compute):
    one = learner(compute)
    state = one.initial_state(0)
    text = one._advance.lower(state, one.windows, 1).as_text()
    assert ("highway_backward" in text) == (compute.kernel == "cpu")
    assert ("xbf16>" in text) == (compute.precision == "bfloat16")
    assert "narrow = true" in text or compute != Compute("cpu", "bfloat16")


@pytest.mark.parametrize(
    ("compute", "core"),
    [
        (WAYS[0], "rhn"),
        pytest.param(WAYS[1], "rhn", marks=pytest.mark.slow),
        pytest.param(WAYS[2], "rhn", marks=pytest.mark.slow),
        (WAYS[3], "rhn"),
        (WAYS[0], "dt_rnn"),
        pytest.param(WAYS[0], "dts_rnn", marks=pytest.mark.slow),
    ],
)
def test_training_is_that_of_the_scan_up_to_rounding(compute, core):
    ends = []
    for way in (Compute(), compute):
        one = learner(way, core=core)
        ends.append(one.advance(one.initial_state(0), 8).params)
    tolerance = 1e-5 if compute.precision == "float32" else 1e-3
    for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)


def test_short_unrolls_do_without_the_kernel():
    config, vocabulary = experiment(units=24, depth=3)
    params = random_params(config, vocabulary)
    graph = make_graph(config, vocabulary, Compute("cpu"))

    def features(params, tokens):
        model: LanguageModel = nnx.merge(graph, params)
        return model.features(model.initial_state(2), tokens)

    for time, uses in ((1, False), (8, True)):
        text = jax.jit(features).lower(params, np.zeros((2, time), np.int32)).as_text()
        assert ("highway_forward" in text) == uses


def test_the_backward_pass_keeps_as_many_time_steps_as_it_is_told():
    """Less memory then, by what the compiler says; the same training."""
    ends, kept = [], []
    for steps in (0, 4):
        config, vocabulary = experiment(
            batch_size=16, steps=32, units=64, depth=6, train={"recurrence_chunk": steps}
        )
        windows = make_windows(tokens_of(vocabulary, 16 * 33), 16, 32, split="train")
        one = LanguageModelLearner(config, vocabulary, windows, Compute("jax"))
        state = one.initial_state(0)
        compiled = one._advance.lower(state, one.windows, 1).compile()
        kept.append(compiled.memory_analysis().temp_size_in_bytes)
        ends.append(one.advance(state, 1).params)
    assert kept[1] < kept[0] / 2
    for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
