"""Models and training against the plain NumPy implementation, in float32 and in float64.

Relative errors are taken row by row (see `highway_case.assert_close`): at most 1e-5 in float32 and
1e-10 in float64. The reference always computes in float64, from the values that JAX holds.
"""

from functools import cache
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx

import highway_numpy as reference
from common.window import make_windows
from highway.learner import Learner, cost, graph
from highway_case import (
    TOLERANCE,
    assert_all_close,
    assert_close,
    experiment,
    named,
    precision,
    random_params,
    random_state,
    reference_masks,
    reference_states,
    snapshot,
    tokens_of,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")

DECAY = {"weight_decay": 0.03}  # large enough to be seen beside the cross entropy

CASES = {
    # name: (precisions, sizes and switches)
    "depth 1": ("32 64", {"units": 7}),
    "depth 2, untied, two cells": (
        "32 64",
        {"units": 6, "depth": 2, "tied": False, "layers": 2, "vocabulary_size": 13},
    ),
    "depth 4, separate masks": (
        "32 64",
        {"units": 5, "depth": 4, "masks": "separate", "batch_size": 2, "steps": 7},
    ),
    "uncoupled, separate masks, narrow embedding, one sequence": (
        "64",
        {
            "units": 9,
            "depth": 2,
            "coupled": False,
            "masks": "separate",
            "tied": False,
            "vocabulary_size": 4,
            "batch_size": 1,
            "steps": 9,
        },
    ),
    "no dropout, one time step": (
        "64",
        {"units": 6, "steps": 1, "dropout_x": 0, "dropout_i": 0, "dropout_h": 0, "dropout_o": 0},
    ),
    "DT-RNN depth 3": ("64", {"core": "dt_rnn", "units": 4, "depth": 3}),
    "DT(S)-RNN depth 3": (
        "64",
        {"core": "dts_rnn", "units": 4, "depth": 3, "steps": 4, "tied": False},
    ),
    "LSTM, separate masks": ("32 64", {"core": "lstm", "units": 4, "masks": "separate"}),
}
RUNS = [
    pytest.param(name, f"float{bits}", id=f"{name}-float{bits}")
    for name, (precisions, _) in CASES.items()
    for bits in precisions.split()
]
RHN_RUNS = [run for run in RUNS if CASES[run.values[0]][1].get("core", "rhn") == "rhn"]


@cache
def drawn_masks(name):
    """The masks of a case, drawn by the model; both precisions and both sides use the same."""
    config, vocabulary = experiment(**CASES[name][1])
    network = nnx.merge(graph(config, vocabulary), random_params(config, vocabulary))
    return network.sample_masks(jax.random.key(1), config.train.batch_size)


@cache
def probe(name, precision_name):
    """What JAX computes on one window, from random parameters and a state that isn't zero."""
    config, vocabulary = experiment(train=DECAY, **CASES[name][1])
    model, batch, steps = config.model, config.train.batch_size, config.train.steps
    tokens = tokens_of(vocabulary, batch * (steps + 1), seed=5)
    windows = make_windows(tokens, batch, steps, split="train")
    inputs, targets = windows.inputs[0], windows.targets[0]
    masks = drawn_masks(name)
    random = np.random.default_rng(3)
    with precision(precision_name):
        graph_ = graph(config, vocabulary)

        @jax.jit
        def run(params, state, masks):
            return (
                nnx.merge(graph_, params).token_losses(state, inputs, targets, masks),
                jax.value_and_grad(cost, has_aux=True)(
                    params, graph_, config.train, state, inputs, targets, masks
                ),
            )

        params = random_params(config, vocabulary)
        network = nnx.merge(graph_, params)
        start = jax.tree.map(
            lambda zero: random.uniform(-1, 1, zero.shape).astype(zero.dtype),
            network.initial_state(batch),
        )
        (state, losses), ((value, (state_of_cost, summed_loss)), gradient) = run(
            params, start, jax.tree.map(lambda mask: mask.astype(precision_name), masks)
        )
        assert losses.dtype == precision_name
    return SimpleNamespace(
        model=model,
        tolerance=TOLERANCE[precision_name],
        # arguments of the reference's functions
        given=(named(params, model), model, reference_states(start), inputs),
        targets=targets,
        masks=reference_masks(masks, model),
        # what JAX computed
        losses=losses,
        states=(reference_states(state), reference_states(state_of_cost)),
        cost=value,
        summed_loss=summed_loss,
        gradient=named(gradient, model),
    )


@pytest.mark.parametrize(("name", "bits"), RUNS)
def test_forward_equals_the_reference(name, bits):
    case = probe(name, bits)

    states, logits, _ = reference.forward(*case.given, case.masks)

    assert_close(case.losses, reference.token_losses(logits, case.targets), case.tolerance, "losses")
    for actual in case.states:
        jax.tree.map(lambda a, b: assert_close(a, b, case.tolerance, "state"), actual, states)


@pytest.mark.parametrize(("name", "bits"), RUNS)
def test_cost_equals_the_reference(name, bits):
    case = probe(name, bits)
    value = reference.cost(*case.given, case.targets, case.masks, **DECAY)
    plain = reference.cost(*case.given, case.targets, case.masks)

    assert_close(case.cost, value, case.tolerance, "cost")
    assert value - plain > 0.01 * value  # the decay is seen
    assert_close(case.summed_loss, plain * len(case.targets), case.tolerance, "summed loss")


@pytest.mark.parametrize(("name", "bits"), RUNS)
def test_gradient_equals_the_reference(name, bits):
    case = probe(name, bits)
    by = reference.gradient if case.model.core == "rhn" else reference.complex_step_gradient

    expected = by(*case.given, case.targets, case.masks, **DECAY)

    assert_all_close(case.gradient, expected, case.tolerance)


@pytest.mark.parametrize("name", [run.values[0] for run in RHN_RUNS if run.values[1] == "float64"])
def test_hand_written_backward_pass_is_the_derivative_of_the_forward_pass(name):
    case = probe(name, "float64")

    by_hand = reference.gradient(*case.given, case.targets, case.masks, **DECAY)
    by_complex_step = reference.complex_step_gradient(*case.given, case.targets, case.masks, **DECAY)

    assert_all_close(by_hand, by_complex_step, 1e-11)


# Three windows an epoch; the rate falls in the second epoch; some gradients are clipped, some not.
TRAINING = {
    "learning_rate": 0.5,
    "learning_rate_decay": 1.5,
    "constant_epochs": 1,
    "clip_norm": 2.45,
} | DECAY
TRAININGS = [
    ("float32", {"units": 6, "depth": 2}),
    ("float64", {"units": 6, "depth": 2}),
    (
        "float64",
        {"units": 4, "tied": False, "coupled": False, "layers": 2, "masks": "separate"},
    ),
]


@pytest.mark.parametrize(("bits", "sizes"), TRAININGS)
def test_training_over_two_epochs_equals_the_reference(bits, sizes):
    config, vocabulary = experiment(train=TRAINING, **sizes)
    tokens = tokens_of(vocabulary, 3 * 16, seed=9)
    windows = make_windows(tokens, 3, 5, split="train")
    tolerance = TOLERANCE[bits]
    with precision(bits):
        learner = Learner(config, vocabulary, windows)
        assert learner.steps_per_epoch == 3
        state = random_state(config, vocabulary, 3)
        start, key = named(state.params, config.model), jax.random.clone(state.key)
        network = nnx.merge(learner.graph, state.params)
        draw = jax.jit(lambda number: network.sample_masks(jax.random.fold_in(key, number), 3))
        drawn = [reference_masks(draw(number), config.model) for number in range(5)]
        history, rates = [], []
        for number in range(1, 6):
            state, metrics = learner.collect(learner.advance(state, number))
            if bits == "float64":  # collect puts float32 zeros there
                state = state._replace(totals=jax.tree.map(lambda a: a.astype(bits), state.totals))
            history.append((named(state.params, config.model), snapshot(state.recurrent), metrics))
            rates.append(metrics["train/learning_rate"])

    clipped, before = set(), start
    updates = reference.train_windows(
        start, config.model, config.train, windows, drawn.__getitem__, 5
    )
    for (params, recurrent, metrics), expected in zip(history, updates, strict=True):
        expected_params, expected_states, losses, norm = expected
        assert_all_close(params, expected_params, tolerance)
        moved = {name: params[name] - before[name] for name in params}
        expected_moved = {name: expected_params[name] - before[name] for name in params}
        if bits == "float64":
            assert_all_close(moved, expected_moved, 100 * tolerance)
        for actual, state in zip(reference_states(recurrent), expected_states, strict=True):
            assert_close(actual, state, tolerance, "state")
        assert metrics["train/loss"] == pytest.approx(losses.mean(), rel=tolerance)
        assert metrics["train/gradient_norm"] == pytest.approx(norm, rel=tolerance)
        assert metrics["train/tokens"] == 15
        clipped.add(bool(norm > config.train.clip_norm))
        before = expected_params
    assert clipped == {True, False}  # both kinds of update were seen
    assert rates == pytest.approx([0.5, 0.5, 0.5, 0.5 / 1.5, 0.5 / 1.5], rel=1e-6)
