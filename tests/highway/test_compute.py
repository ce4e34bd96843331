"""How a recurrence is computed reaches the compiled program; results differ by rounding only."""

import re
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from highway_case import experiment, random_params, tokens_of

from common.compute import Compute
from common.window import make_windows
from highway import kernel
from highway.config import LanguageModelConfig, ModelConfig, TrainConfig
from highway.language_model import LanguageModel, make_graph
from highway.learner import LanguageModelLearner

WAYS = [Compute("jax"), Compute("cpu"), Compute("jax", "bfloat16"), Compute("cpu", "bfloat16")]
ACCELERATORS = Path(__file__).parents[2] / "docs/accelerators.md"


def require_compiler(compute):
    """Skips what goes through the CPU's kernel where that can't be compiled."""
    if compute.kernel == "cpu" and kernel.load() is None:
        pytest.skip("there is no C++ compiler")


def learner(compute, **model):
    require_compiler(compute)
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


def stated_tolerance():
    """The share of its loss by which docs/accelerators.md lets a training in bfloat16 differ."""
    text = " ".join(ACCELERATORS.read_text(encoding="utf-8").split())
    found = re.search(r"80 updates .*? loss in `bfloat16` .*? within ([\d.]+) % of `float32`", text)
    assert found
    return float(found[1]) / 100


@pytest.fixture(scope="module")
def losses(shakespeare):
    """What a short training on real text comes to: (core, way) → its mean losses of 20 updates."""

    @cache
    def losses(core, way):
        require_compiler(way)
        rates = dict.fromkeys(("dropout_x", "dropout_i", "dropout_h", "dropout_o"), 0.1)
        depth = 1 if core == "lstm" else 2
        model = ModelConfig(core=core, depth=depth, units=32, tied=False, **rates)
        train = TrainConfig(batch_size=16, steps=20, optimizer="adam", learning_rate=5e-4)
        windows = make_windows(shakespeare.train[:30_000], 16, 20, split="train")
        config = LanguageModelConfig(model=model, train=train)
        one = LanguageModelLearner(config, len(shakespeare.vocabulary), windows, way)
        state, found = one.initial_state(0), []
        for updates in (20, 40, 60, 80):
            state, metrics = one.collect(one.advance(state, updates))
            found.append(metrics["train/loss"])
        assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
        return found

    return losses


@pytest.mark.parametrize(
    ("compute", "core"),
    [
        (WAYS[2], "rhn"),
        (WAYS[3], "rhn"),
        *(pytest.param(WAYS[2], core, marks=pytest.mark.slow) for core in ("dts_rnn", "lstm")),
    ],
)
def test_bfloat16_learns_real_text_as_float32_does(losses, compute, core):
    """To the tolerance that is stated for users."""
    wanted, found = losses(core, WAYS[0]), losses(core, compute)
    assert wanted[-1] < wanted[0] - 0.4
    assert found != wanted
    assert found == pytest.approx(wanted, rel=stated_tolerance())


def test_short_unrolls_do_without_the_kernel():
    require_compiler(Compute("cpu"))
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
