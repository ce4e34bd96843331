"""Models and training against the plain NumPy implementation, in float32 and in float64.

Relative errors are taken row by row (see `highway_case.assert_close`): at most 1e-5 in float32 and
1e-10 in float64. The reference always computes in float64, from the values that JAX holds.
"""

from types import SimpleNamespace

import highway_numpy as reference
import jax
import numpy as np
import pytest
from cost_case import cost
from flax import nnx
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

from common.window import make_windows
from highway.language_model import make_graph
from highway.learner import LanguageModelLearner

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


def probe(name, precision_name):
    """What JAX computes on one window, from random parameters and a state that isn't zero."""
    config, vocabulary = experiment(train=DECAY, **CASES[name][1])
    model, batch, steps = config.model, config.train.batch_size, config.train.steps
    tokens = tokens_of(vocabulary, batch * (steps + 1), seed=5)
    windows = make_windows(tokens, batch, steps, split="train")
    inputs, targets = windows.inputs[0], windows.targets[0]
    network = nnx.merge(make_graph(config, vocabulary), random_params(config, vocabulary))
    masks = network.sample_masks(jax.random.key(1), batch)  # the same in both precisions
    random = np.random.default_rng(3)
    with precision(precision_name):
        graph_ = make_graph(config, vocabulary)

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
def test_one_window_equals_the_reference(name, bits):
    case = probe(name, bits)
    states, logits, _ = reference.forward(*case.given, case.masks)
    plain = reference.cost(*case.given, case.targets, case.masks)
    cost_ = reference.cost(*case.given, case.targets, case.masks, **DECAY)
    losses = reference.token_losses(logits, case.targets)
    by_hand = case.model.core == "rhn"
    gradient_of = reference.gradient if by_hand else reference.complex_step_gradient

    assert_close(case.losses, losses, case.tolerance, "losses")
    for actual in case.states:
        jax.tree.map(lambda a, b: assert_close(a, b, case.tolerance, "state"), actual, states)
    assert cost_ - plain > 0.01 * cost_  # the decay is seen
    assert_close(case.cost, cost_, case.tolerance, "cost")
    assert_close(case.summed_loss, plain * len(case.targets), case.tolerance, "summed loss")
    expected = gradient_of(*case.given, case.targets, case.masks, **DECAY)
    assert_all_close(case.gradient, expected, case.tolerance)


# Three windows an epoch; the rate falls in the second epoch; some gradients are clipped, some not.
TRAINING = {
    "learning_rate": 0.5,
    "learning_rate_decay": 1.5,
    "constant_epochs": 1,
    "clip_norm": 2.45,
} | DECAY
TRAININGS = [
    pytest.param("float32", {"units": 6, "depth": 2}, marks=pytest.mark.slow),
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
        learner = LanguageModelLearner(config, vocabulary, windows)
        assert learner.steps_per_epoch == 3
        state = random_state(config, vocabulary, 3)
        start, key = named(state.params, config.model), jax.random.clone(state.key)
        network = nnx.merge(learner.graph, state.params)
        draw = jax.jit(lambda number: network.sample_masks(jax.random.fold_in(key, number), 3))
        drawn = [reference_masks(draw(number), config.model) for number in range(5)]
        history, rates = [], []
        for number in range(1, 6):
            state, metrics = learner.collect(learner.advance(state, number))
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


@pytest.mark.parametrize(
    "sizes",
    [
        {"units": 3, "depth": 2, "layers": 2},
        {"units": 3, "depth": 2, "coupled": False, "tied": False, "embedding": 2},
    ],
)
def test_hand_written_backward_pass_is_the_derivative_of_the_forward_pass(sizes):
    """The reference itself: two ways to the same gradient, no JAX in either."""
    config, vocabulary = experiment(vocabulary_size=5, **sizes)
    model, random = config.model, np.random.default_rng(0)
    params = named(random_params(config, vocabulary), model)
    tokens = random.integers(0, vocabulary, (2, 5))

    def mask(*shape):
        return random.integers(0, 2, shape) * 1.7

    gates, widths = reference.gate_names(model), [params["E"].shape[1], model.units]
    masks = {
        "x": mask(2, vocabulary),
        "i": [{g: mask(2, widths[k]) for g in gates} for k in range(model.layers)],
        "h": [{g: mask(2, model.units) for g in gates} for _ in range(model.layers)],
        "o": mask(2, model.units),
    }
    start = [random.uniform(-1, 1, (2, model.units)) for _ in range(model.layers)]
    given = (params, model, start, tokens[:, :-1], tokens[:, 1:], masks, 0.03)

    assert_all_close(reference.gradient(*given), reference.complex_step_gradient(*given), 1e-12)
