"""Variational dropout by behaviour: what a mask drops, where, and what it must never touch."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from highway_case import experiment, random_module, random_params, tokens_of

from common.recurrent import Masks, dropout_mask
from highway import evaluation
from highway.config import ModelConfig
from highway.core import RHN, make_core
from highway.language_model import LanguageModel, make_graph
from highway.layer import HighwayLayer

BATCH, TIME, UNITS, INPUTS = 2, 3, 5, 4


def small_core(name="rhn", **model):
    model = {"depth": 1 if name == "lstm" else 3, "units": UNITS} | model
    config = ModelConfig(core=name, **model)
    if "transform_bias" in model:
        return make_core(INPUTS, config, rngs=nnx.Rngs(params=2))
    return random_module(lambda: make_core(INPUTS, config, rngs=nnx.Rngs(params=0)), bound=0.8)


def draw_model_masks(batch_size=3, **model):
    config, vocabulary = experiment(**model)
    network = nnx.merge(make_graph(config, vocabulary), random_params(config, vocabulary))
    return network.sample_masks(jax.random.key(7), batch_size)


def random_array(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# ------------------------------------------------------------------------------- what is drawn


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.75])
def test_entries_are_zero_with_the_rate_and_scaled_otherwise(rate):
    count = 100_000
    mask = np.asarray(dropout_mask(jax.random.key(3), rate, (count,)))

    assert set(np.unique(mask)) == {np.float32(0), np.float32(1) / np.float32(1 - rate)}
    deviation = np.sqrt(rate * (1 - rate) / count)
    assert abs(np.mean(mask == 0) - rate) < 4 * deviation
    assert mask.mean() == pytest.approx(1, abs=4 * deviation / (1 - rate))


def test_each_of_the_four_masks_follows_its_own_rate():
    rates = {"dropout_x": 0.1, "dropout_i": 0.4, "dropout_h": 0.6, "dropout_o": 0.8}
    sizes = {"units": 60, "embedding": 50, "vocabulary_size": 70, "tied": False}
    masks = draw_model_masks(batch_size=200, **rates, **sizes)

    (core,) = masks.core
    drawn = [masks.word, core.input, core.state, masks.output]
    assert [mask.shape for mask in drawn] == [(200, 70), (1, 200, 50), (1, 200, 60), (200, 60)]
    for mask, rate in zip(drawn, rates.values(), strict=True):
        mask = np.asarray(mask)
        assert set(np.unique(mask)) == {np.float32(0), np.float32(1) / np.float32(1 - rate)}
        assert np.mean(mask == 0) == pytest.approx(rate, abs=4 * np.sqrt(0.25 / mask.size))
        # Sequences are dropped independently of one another, and units within a sequence too.
        flat = (mask == 0).reshape(200, -1).astype(float)
        for matrix in (flat, flat.T):
            correlations = np.corrcoef(matrix)[np.triu_indices(len(matrix), 1)]
            assert abs(correlations.mean()) < 0.01
            assert correlations.max() < 0.8  # no two alike


def test_the_four_masks_and_the_stacked_cells_are_drawn_independently():
    masks = draw_model_masks(
        batch_size=100, units=40, vocabulary_size=40, layers=2,
        dropout_x=0.5, dropout_i=0.5, dropout_h=0.5, dropout_o=0.5,
    )  # fmt: skip
    drawn = [masks.word, masks.output, *(mask for core in masks.core for mask in core)]
    flat = np.stack([np.ravel(mask) for mask in drawn])

    correlations = np.corrcoef(flat)[np.triu_indices(len(flat), 1)]

    assert len(drawn) == 6
    assert np.abs(correlations).max() < 5 / np.sqrt(flat.shape[1])


def test_shared_masks_serve_all_gates_and_separate_ones_differ():
    shared, separate = (
        draw_model_masks(50, units=20, masks=kind, coupled=False).core[0]
        for kind in ("shared", "separate")
    )

    assert [mask.shape[0] for mask in shared] == [1, 1]
    assert [mask.shape[0] for mask in separate] == [3, 3]
    for mask in separate:
        dropped = np.asarray(mask == 0).reshape(3, -1)
        correlations = np.corrcoef(dropped)[np.triu_indices(3, 1)]
        assert np.abs(correlations).max() < 5 / np.sqrt(dropped.shape[1])


@pytest.mark.parametrize("name", ["dropout_x", "dropout_i", "dropout_h", "dropout_o"])
def test_rate_zero_means_no_mask(name):
    masks = draw_model_masks(units=4, **{name: 0})

    (core,) = masks.core
    by_name = {
        "dropout_x": masks.word,
        "dropout_i": core.input,
        "dropout_h": core.state,
        "dropout_o": masks.output,
    }
    assert [key for key, mask in by_name.items() if mask is None] == [name]


# -------------------------------------------------------------------------------- words and outputs


def test_a_word_is_dropped_wherever_it_stands_in_its_sequence_and_only_there():
    config, vocabulary = experiment(
        units=4, tied=False, batch_size=2, dropout_i=0, dropout_h=0, dropout_o=0
    )
    params = random_params(config, vocabulary)
    graph_ = make_graph(config, vocabulary)
    word = 3
    tokens = jnp.asarray([[word, 1, word, 2, word], [5, word, 1, word, 2]])
    mask = np.full((2, vocabulary), 1 / 0.7, np.float32)
    mask[0, word] = 0  # dropped from the first sequence only
    masks = nnx.merge(graph_, params).sample_masks(jax.random.key(0), 2)._replace(word=mask)

    def features(params):
        network = nnx.merge(graph_, params)
        return network.features(network.initial_state(2), tokens, masks)[1]

    other = params | {"embedding": params["embedding"].at[word].add(1.0)}
    change = np.abs(features(other) - features(params)).max(axis=-1)  # [time, batch]

    assert (change[:, 0] == 0).all()  # no occurrence of the word is seen in the first
    assert (change[1:, 1] > 0).all()  # and all are in the second, from the first on
    assert change[0, 1] == 0


def test_the_output_mask_scales_features_and_leaves_the_state_alone():
    config, vocabulary = experiment(units=4, dropout_x=0, dropout_i=0, dropout_h=0)
    network = nnx.merge(make_graph(config, vocabulary), random_params(config, vocabulary))
    tokens = tokens_of(vocabulary, 15).reshape(3, 5)
    masks = network.sample_masks(jax.random.key(1), 3)
    start = network.initial_state(3)

    state, features = network.features(start, tokens)
    dropped_state, dropped = network.features(start, tokens, masks)

    np.testing.assert_array_equal(dropped, features * np.asarray(masks.output))
    np.testing.assert_array_equal(dropped_state[0], state[0])


# ------------------------------------------------------------------------------ states and gates


def state_jacobian(core, mask):
    """d last output / d first state after TIME steps, of the first sequence: [UNITS, UNITS]."""
    xs = random_array(TIME, 1, INPUTS)
    masks = Masks(state=jnp.asarray(mask)[:, None])
    start = random_array(1, UNITS, seed=1)
    return np.asarray(jax.jit(jax.jacrev(lambda s: core.unroll(s, xs, masks)[0][0]))(start)[:, 0])


@pytest.mark.parametrize("coupled", [True, False])
def test_a_dropped_unit_enters_no_matrix_at_any_depth_or_time_but_is_carried(coupled):
    j = 2
    mask = np.full((1, UNITS), 2.0, np.float32)
    mask[0, j] = 0

    jacobian = state_jacobian(small_core(coupled=coupled), mask)

    others = [i for i in range(UNITS) if i != j]
    # With another mask at any depth or time, unit j would reach the others from there on.
    assert (jacobian[others, j] == 0).all()
    assert jacobian[j, j] != 0  # the carry path isn't dropped
    assert (jacobian[:, others] != 0).all()


@pytest.mark.parametrize("name", ["dt_rnn", "dts_rnn"])
def test_without_a_carry_path_a_dropped_unit_is_gone(name):
    j = 2
    mask = np.full((1, UNITS), 2.0, np.float32)
    mask[0, j] = 0

    jacobian = state_jacobian(small_core(name), mask)

    assert (jacobian[:, j] == 0).all()
    assert (np.delete(jacobian, j, axis=1) != 0).all()


@pytest.mark.parametrize("coupled", [True, False])
def test_closed_transform_gates_pass_the_state_on_whatever_the_mask(coupled):
    core = small_core(coupled=coupled, transform_bias=-1e4)  # carry gates are then wide open
    masks = core.sample_masks(jax.random.key(0), BATCH, 0.5, 0.5, separate=False)
    start = random_array(BATCH, UNITS)

    state, outputs = core.unroll(start, random_array(TIME, BATCH, INPUTS), masks)

    np.testing.assert_array_equal(state, start)
    np.testing.assert_array_equal(outputs, np.broadcast_to(start, outputs.shape))


def test_the_lstm_mask_drops_the_output_on_its_way_back_and_never_the_cell():
    core = small_core("lstm")
    start = core.initial_state(1)._replace(
        cell=random_array(1, UNITS), output=random_array(1, UNITS, seed=1)
    )
    x, nothing = random_array(1, INPUTS), Masks(state=jnp.zeros((1, 1, UNITS)))

    silenced = core.step(start, x, nothing)
    without_output = core.step(start._replace(output=jnp.zeros((1, UNITS))), x)
    without_cell = core.step(start._replace(cell=jnp.zeros((1, UNITS))), x, nothing)

    jax.tree.map(np.testing.assert_array_equal, silenced, without_output)
    assert (silenced[0].cell != without_cell[0].cell).all()


@pytest.mark.parametrize(("gate", "affected"), [(0, "proposal"), (1, "transform"), (2, "carry")])
def test_with_separate_masks_a_unit_dropped_from_one_gate_still_enters_the_others(gate, affected):
    layer = HighwayLayer(UNITS, coupled=False, initial_range=0.8, rngs=nnx.Rngs(params=0))
    mask = np.full((3, 1, UNITS), 2.0, np.float32)
    mask[gate, 0, 1] = 0
    s = random_array(1, UNITS)
    moved = s.copy()
    moved[0, 1] += 1

    before, after = layer.compute_gates(s, mask=mask), layer.compute_gates(moved, mask=mask)

    changed = {key for key in before._fields if (getattr(before, key) != getattr(after, key)).any()}
    assert changed == {"proposal", "transform", "carry"} - {affected}


def test_the_input_mask_is_the_same_at_every_time_step():
    core = small_core()
    mask = np.full((1, 1, INPUTS), 2.0, np.float32)
    mask[0, 0, 1] = 0
    xs = random_array(TIME, 1, INPUTS)

    def last(xs):
        return core.unroll(jnp.zeros((1, UNITS)), xs, Masks(input=jnp.asarray(mask)))[0]

    jacobian = np.asarray(jax.jit(jax.jacrev(last))(xs))[0, :, :, 0]  # [units, time, inputs]

    assert (jacobian[:, :, 1] == 0).all()
    assert (np.delete(jacobian, 1, axis=2) != 0).all()


# ---------------------------------------------------------------------------------- evaluation


def test_evaluation_uses_no_masks():
    dropping, vocabulary = experiment(units=4, depth=2)
    rates = dict.fromkeys(("dropout_x", "dropout_i", "dropout_h", "dropout_o"), 0.0)
    still = replace(dropping, model=replace(dropping.model, **rates))
    params = random_params(dropping, vocabulary)
    tokens = tokens_of(vocabulary, 40)

    scores = [
        (
            evaluation.full(make_graph(config, vocabulary), params, tokens),
            evaluation.batched(make_graph(config, vocabulary), params, tokens, 3, 5, split="test"),
        )
        for config in (dropping, still)
    ]

    assert scores[0] == scores[1]


def test_masks_are_drawn_for_the_cores_own_sizes():
    model = ModelConfig(units=6, depth=2, layers=2, tied=False, embedding=4, dropout_i=0.5)
    network = random_module(lambda: LanguageModel(9, model, rngs=nnx.Rngs(params=0)))

    below, above = network.sample_masks(jax.random.key(0), 3).core

    assert isinstance(network.core.cores[1], RHN)
    assert (below.input.shape, above.input.shape) == ((1, 3, 4), (1, 3, 6))
    assert (below.state, above.state) == (None, None)
