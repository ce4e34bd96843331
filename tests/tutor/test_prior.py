"""Learning the Note RNN: windows, loss, optimiser and evaluation against NumPy, and the bits."""

import math
import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

from common.checkpoint import Checkpoints, abstract, digest
from common.error import DataError
from experiments.trained import core_factory
from tutor import prior
from tutor.config import PriorConfig, SequenceModelConfig
from tutor.prior import (
    PriorLearner,
    cost,
    draw_windows,
    evaluate,
    learning_rate,
    make_optimizer,
    make_windows,
    sum_losses,
)
from tutor.sequence_model import make_model

EVENTS = 9
LSTM = SequenceModelConfig(units=6)
RHN = SequenceModelConfig(core="rhn", units=6, depth=2)
BOTH = pytest.mark.parametrize("model", [LSTM, RHN], ids=["lstm", "rhn"])
CONFIG = PriorConfig(
    iterations=40, batch_size=5, steps=7, masked=2, learning_rate=0.01, decay_every=10
)


def sequences(seed=0, lengths=(12, 3, 9, 8, 30, 2, 1, 7)):
    """Random ones; of the lengths some are longer than a window, some have nothing to learn."""
    random = np.random.default_rng(seed)
    return [random.integers(0, EVENTS, length).astype(np.int32) for length in lengths]


def melodies(count=12, length=40):
    """Each repeats its own way through three events, so that memory tells what comes next."""
    random = np.random.default_rng(5)
    motifs = [random.permutation(EVENTS)[:3] for _ in range(count)]
    return [np.resize(motif, length).astype(np.int32) for motif in motifs]


def make_learner(config=CONFIG, model=LSTM, data=None, bound=0.1):
    data = sequences() if data is None else data
    return PriorLearner(config, EVENTS, core_factory(model), data, initial_range=bound)


def make_params(model=LSTM, seed=0, bound=1.0):
    """Structure and parameters, wide enough that nothing is nearly uniform."""
    return make_model(EVENTS, core_factory(model), jax.random.key(seed), initial_range=bound)


@pytest.fixture(scope="module")
def learner():
    return make_learner()


# ---------------------------------------------------------------------------- NumPy's own opinion


def plain_logits(params, events):
    """What an LSTM says after each event of one sequence, int [time]: [time, A], in float64."""
    core = {name: np.asarray(value, np.float64) for name, value in params["core"].items()}
    kernel, bias = (np.asarray(params[f"output_{name}"], np.float64) for name in ("kernel", "bias"))
    cell = output = np.zeros(kernel.shape[0])
    logits = []
    for event in events:
        gates = core["input_kernel"][event] + core["bias"]
        gates = gates + np.einsum("n,ngm->gm", output, core["kernel"])
        i, f, o = 1 / (1 + np.exp(-gates[:3]))
        cell = f * cell + i * np.tanh(gates[3])
        output = o * np.tanh(cell)
        logits.append(output @ kernel + bias)
    return np.array(logits).reshape(-1, kernel.shape[1])


def plain_losses(params, events):
    """Cross entropy of each prediction of one sequence, and whether it was right."""
    logits = plain_logits(params, events[:-1])
    log_p = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    return -log_p[np.arange(len(log_p)), events[1:]], np.argmax(logits, axis=1) == events[1:]


# ---------------------------------------------------------------------------------------- windows


def test_windows_lie_within_their_sequences():
    """The last ones of a sequence end with it; a short sequence has one window, filled up."""
    data = [np.arange(10, 20), np.arange(30, 33), np.arange(50, 55)]
    windows = make_windows(data, steps=4, masked=1)
    assert windows.events.tolist() == [*range(10, 20), *range(30, 33), *range(50, 55), *[0] * 5]
    starts = windows.events[windows.first]
    assert starts.tolist() == [*range(10, 15), *[15] * 5, *[30] * 3, *[50] * 5]
    assert windows.end.tolist() == [10] * 10 + [13] * 3 + [18] * 5
    assert windows.beginning.tolist() == [0, 10, 13]
    assert all(array.dtype == np.int32 for array in windows)


@pytest.mark.parametrize("masked", [0, 2, 6])
def test_drawn_windows_and_what_counts_in_them(masked):
    """Every sequence has its own events here, so a window that strays would show."""
    lengths = (12, 3, 9, 8, 30, 7)
    data = [np.arange(40 * n + 1, 40 * n + 1 + length) for n, length in enumerate(lengths)]
    config = replace(CONFIG, batch_size=500, masked=masked)
    windows = make_windows(data, config.steps, masked)
    inputs, targets, counted = jax.device_get(draw_windows(jax.random.key(3), windows, config))
    assert inputs.shape == targets.shape == counted.shape == (500, 7)
    assert not counted[:, :masked].any()
    for x, y, counts in zip(inputs, targets, counted, strict=True):
        sequence = (x[0] - 1) // 40
        length = lengths[sequence]
        predictions = min(7, length - 1)
        assert np.array_equal(x[:predictions], x[0] + np.arange(predictions))
        assert np.array_equal(y[:predictions], x[:predictions] + 1)
        assert np.array_equal(counts, (np.arange(7) >= masked) & (np.arange(7) < predictions))
        assert counts.any()
    drawn = {(first - 1) // 40 for first in inputs[:, 0]}
    assert drawn == {n for n, length in enumerate(lengths) if length > masked + 1}


def test_a_share_of_the_windows_are_beginnings_of_which_all_counts():
    """The others are drawn as without that share, to the bit."""
    lengths = (12, 4, 9, 8, 30, 7)
    data = [np.arange(40 * n + 1, 40 * n + 1 + length) for n, length in enumerate(lengths)]
    plain = replace(CONFIG, batch_size=400)
    windows = make_windows(data, plain.steps, plain.masked)
    key = jax.random.key(3)
    usual = jax.device_get(draw_windows(key, windows, plain))
    drawn = jax.device_get(draw_windows(key, windows, replace(plain, beginnings=0.25)))
    for one, other in zip(usual, drawn, strict=True):
        assert np.array_equal(one[100:], other[100:])
    inputs, targets, counted = (array[:100] for array in drawn)
    tunes = inputs[:, 0] // 40
    assert np.array_equal(inputs[:, 0], 40 * tunes + 1)
    assert np.bincount(tunes).min() >= 8  # uniform over six tunes, however long
    for x, y, counts, tune in zip(inputs, targets, counted, tunes, strict=True):
        predictions = min(7, lengths[tune] - 1)
        assert counts.tolist() == [True] * predictions + [False] * (7 - predictions)
        assert np.array_equal(y[:predictions], x[:predictions] + 1)


def test_sequences_without_a_counted_prediction_are_left_out():
    windows = make_windows(sequences(lengths=(4, 3, 2, 1, 0, 4)), steps=5, masked=2)
    assert len(windows.first) == 8
    assert len(windows.events) == 8 + 6


def test_nothing_to_learn_from_is_told():
    with pytest.raises(DataError, match=r"no sequence has more than 3 events.*prior\.masked=2"):
        make_windows(sequences(lengths=(3, 2, 1)), steps=5, masked=2)
    with pytest.raises(DataError, match="no sequence"):
        make_learner(data=[])


def test_every_event_is_as_likely_to_choose_the_window():
    data = [np.arange(0, 11), np.arange(20, 24), np.arange(30, 39)]
    config = replace(CONFIG, batch_size=24_000, masked=1)
    windows = make_windows(data, config.steps, config.masked)
    inputs, _, _ = draw_windows(jax.random.key(0), windows, config)
    found = np.bincount(inputs[:, 0], minlength=40)
    expected = np.bincount(windows.events[windows.first], minlength=40) * 1000
    assert not found[expected == 0].any()
    found, expected = found[expected > 0], expected[expected > 0]
    chi_square = np.sum((found - expected) ** 2 / expected)
    assert chi_square < 22.5  # 6 degrees of freedom: 1 in 1000


def test_the_windows_of_an_update_depend_on_seed_and_update_only(learner):
    many = replace(CONFIG, batch_size=50)

    def drawn(seed, update):
        key = jax.random.fold_in(learner.initial_state(seed).key, update)
        return np.asarray(draw_windows(key, learner.windows, many)[0])

    assert np.array_equal(drawn(0, 3), drawn(0, 3))
    assert not np.array_equal(drawn(0, 3), drawn(0, 4))
    assert not np.array_equal(drawn(0, 3), drawn(1, 3))


# ------------------------------------------------------------------------------------------- loss


def test_the_sums_behind_a_loss_by_hand():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]]))
    targets = jnp.array([0, 2, 0])
    loss, correct, count = sum_losses(logits, targets, jnp.array([True, True, False]))
    assert float(loss) == pytest.approx(-math.log(0.5) - math.log(0.3), rel=1e-6)
    assert (float(correct), float(count)) == (1.0, 2.0)


def test_loss_and_metrics_are_those_of_numpy():
    """The mean cross entropy of what counts and 0.5 · weight decay · Σw² over all parameters."""
    config = replace(CONFIG, weight_decay=0.01, batch_size=20)
    learner = make_learner(config, bound=1.0)
    state = learner.initial_state(4)
    batch = draw_windows(jax.random.fold_in(state.key, 0), learner.windows, config)
    inputs, targets, counted = map(np.asarray, batch)
    params = jax.device_get(state.params)

    losses, right = [], []
    for x, y, counts in zip(inputs, targets, counted, strict=True):
        each, correct = plain_losses(params, np.append(x, y[-1]))
        losses += each[counts].tolist()
        right += correct[counts].tolist()
    assert not counted.all()  # some windows are short
    squares = sum(np.sum(np.square(leaf, dtype=np.float64)) for leaf in jax.tree.leaves(params))
    loss, _ = jax.jit(cost, static_argnums=1)(
        state.params, learner.graph, learner.config.weight_decay, *batch
    )
    assert float(loss) == pytest.approx(np.mean(losses) + 0.5 * 0.01 * squares, rel=1e-5)

    _, metrics = learner.collect(learner.advance(state, 1))
    assert metrics["train/log_perplexity"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert metrics["train/accuracy"] == pytest.approx(np.mean(right), rel=1e-5)
    assert metrics["train/learning_rate"] == pytest.approx(0.01)


def test_the_penalty_is_all_the_gradient_where_nothing_else_pulls():
    """Without a counted prediction, the gradient is weight decay times the weight."""
    learner = make_learner(replace(CONFIG, weight_decay=0.5))
    state = learner.initial_state(0)
    x, y, counted = draw_windows(state.key, learner.windows, learner.config)
    slope = jax.jit(jax.grad(cost, has_aux=True), static_argnums=1)
    gradient, _ = slope(state.params, learner.graph, 0.5, x, y, jnp.zeros_like(counted))
    jax.tree.map(
        lambda g, w: np.testing.assert_allclose(g, 0.5 * w, rtol=1e-6), gradient, state.params
    )


def test_totals_are_collected_over_updates_and_then_begin_again(learner):
    state, first = learner.collect(learner.advance(learner.initial_state(0), 1))
    state, second = learner.collect(learner.advance(state, 2))
    assert not any(np.asarray(total) for total in state.totals)
    _, both = learner.collect(learner.advance(learner.initial_state(0), 2))
    assert both["train/gradient_norm"] == pytest.approx(
        (first["train/gradient_norm"] + second["train/gradient_norm"]) / 2, rel=1e-5
    )
    low, high = sorted(metrics["train/log_perplexity"] for metrics in (first, second))
    assert low < both["train/log_perplexity"] < high


# -------------------------------------------------------------------------------------- optimiser


def test_the_learning_rate_of_the_paper():
    """0.5 · 0.85^⌊k / 1000⌋, and a floor of 2e-4."""
    config = PriorConfig()
    for step in (0, 1, 999, 1000, 1999, 2000, 10_000, 29_999, 48_000, 49_000, 10**6):
        expected = max(0.5 * 0.85 ** (step // 1000), 2e-4)
        assert float(learning_rate(config)(step)) == pytest.approx(expected, rel=1e-4)
        assert float(jax.jit(learning_rate(config))(step)) == pytest.approx(expected, rel=1e-4)
    assert 0.5 * 0.85**48 > 2e-4 > 0.5 * 0.85**49  # the floor is reached among them


def test_the_rate_reaches_the_parameters():
    """Adam's first change of a parameter is the rate itself, whatever the gradient; and with its
    memory emptied, so is that of update 10, after a decay."""
    optimizer = make_optimizer(CONFIG)
    params = {"w": jnp.array([1.0, -2.0, 3.0])}
    gradient = {"w": jnp.array([0.3, -0.2, 1.0])}
    for update, rate in ((0, 0.01), (9, 0.01), (10, 0.0085), (20, 0.007225)):
        state = jax.tree.map(
            lambda leaf, update=update: (
                jnp.full_like(leaf, update) if leaf.dtype == jnp.int32 else leaf
            ),
            optimizer.init(params),
        )
        moments = 1 - 0.9 ** (update + 1), 1 - 0.999 ** (update + 1)
        expected = rate * (0.1 / moments[0]) / math.sqrt(0.001 / moments[1])
        changes, _ = optimizer.update(gradient, state, params)
        np.testing.assert_allclose(np.abs(changes["w"]), expected, rtol=1e-3)


@pytest.mark.parametrize(("limit", "clipped"), [(0.05, True), (CONFIG.clip_norm, False)])
def test_the_gradient_is_clipped_by_its_global_norm(learner, limit, clipped):
    learner = make_learner(replace(CONFIG, clip_norm=limit)) if clipped else learner
    state, metrics = learner.collect(learner.advance(learner.initial_state(0), 1))
    (moments,) = [part.mu for part in jax.tree.leaves(
        state.optimizer, is_leaf=lambda part: hasattr(part, "mu")
    ) if hasattr(part, "mu")]  # fmt: skip
    squares = sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(moments))
    norm = math.sqrt(squares) / 0.1  # of the gradient that Adam was given
    assert (metrics["train/gradient_norm"] > limit) == clipped
    assert norm == pytest.approx(min(limit, metrics["train/gradient_norm"]), rel=1e-4)


def test_adagrad_on_summed_losses_is_that_of_tensorflow():
    """Sums of squares begin at 0.1; what is clipped is the gradient of the summed cross entropy,
    and of a penalty that isn't summed."""
    config = replace(
        CONFIG, optimizer="adagrad", reduction="sum", learning_rate=0.5, decay_every=1,
        learning_rate_decay=0.85, clip_norm=0.7, weight_decay=0.3,
    )  # fmt: skip
    learner = make_learner(config, bound=1.0)
    state = learner.initial_state(2)

    def summed(params, batch):
        inputs, targets, counted = batch
        model = nnx.merge(learner.graph, params)
        _, logits = model.unroll(model.initial_state(inputs.shape[0]), inputs)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
        squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
        return -jnp.sum(jnp.where(counted, chosen, 0.0)) + 0.5 * 0.3 * squares

    slope = jax.jit(jax.grad(summed))
    accumulated = None
    for step, rate in enumerate((0.5, 0.5 * 0.85)):
        batch = draw_windows(jax.random.fold_in(state.key, step), learner.windows, config)
        flat = ravel_pytree(jax.device_get(state.params))[0]
        gradient = np.asarray(ravel_pytree(slope(state.params, batch))[0], np.float64)
        norm = np.sqrt(np.sum(gradient**2))
        assert norm > 0.7
        clipped = gradient * 0.7 / norm
        accumulated = (0.1 if accumulated is None else accumulated) + clipped**2
        expected = np.asarray(flat) - rate * clipped / np.sqrt(accumulated)
        state = learner.advance(state, step + 1)
        np.testing.assert_allclose(ravel_pytree(state.params)[0], expected, rtol=2e-5, atol=2e-6)


def test_adagrad_adds_nothing_to_the_root():
    """Where the gradient is tiny beside the first sum of squares, one step is rate · g / √0.1."""
    optimizer = make_optimizer(replace(CONFIG, optimizer="adagrad"))
    params = {"w": jnp.array([1.0, -2.0])}
    gradient = {"w": jnp.array([1e-4, -3e-5])}
    changes, _ = optimizer.update(gradient, optimizer.init(params), params)
    np.testing.assert_allclose(changes["w"], -0.01 * gradient["w"] / math.sqrt(0.1), rtol=2e-7)


def test_normalisation_is_reduced_as_the_loss_is():
    graph, params = make_params()
    x, y = (jnp.array(rows) for rows in ([[1, 2, 3], [4, 5, 6]], [[2, 3, 4], [5, 6, 7]]))
    counted = jnp.array([[True, True, False], [True, True, True]])
    mean, total = (
        cost(params, graph, 0.0, x, y, counted, normalise=0.5, reduction=one)[0]
        for one in ("mean", "sum")
    )
    assert float(total) == pytest.approx(5 * float(mean), rel=1e-6)


def test_an_update_that_is_not_finite_is_not_applied():
    learner = make_learner(replace(CONFIG, learning_rate=1e30))
    one = jax.device_get(learner.advance(learner.initial_state(0), 1)._replace(key=None))
    state = learner.advance(learner.initial_state(0), 40)
    assert (int(state.step), int(state.diverged_at)) == (1, 1)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(one.params))
    for name in ("params", "optimizer", "totals"):
        assert digest(getattr(state, name)) == digest(getattr(one, name)), name
    again = learner.advance(state, 40)  # it stays where it is
    assert (int(again.step), int(again.diverged_at)) == (1, 1)


# ------------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize("masked", [0, 3])
@pytest.mark.parametrize("batch", [3, 256])
def test_evaluation_is_a_plain_loop_over_whole_sequences(monkeypatch, masked, batch):
    monkeypatch.setattr(prior, "EVALUATION_BATCH", batch)
    data = [*sequences(), *sequences(1, (130, 129, 128))]  # events are padded to multiples of 128
    graph, params = make_params()
    losses, right = [], []
    for sequence in data:
        each, correct = plain_losses(params, sequence)
        losses += each[masked:].tolist()
        right += correct[masked:].tolist()
    ticks = []
    score = evaluate(graph, params, data, masked=masked, tick=lambda: ticks.append(1))
    assert score.predictions == len(losses) == sum(max(len(s) - 1 - masked, 0) for s in data)
    assert score.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert score.accuracy == pytest.approx(np.mean(right), rel=1e-9)
    assert len(ticks) == math.ceil(len(data) / batch)
    assert score.metrics("valid") == {
        "valid/log_perplexity": score.loss,
        "valid/accuracy": score.accuracy,
    }


def test_evaluation_does_not_depend_on_the_order():
    graph, params = make_params(RHN)
    one, other = (
        evaluate(graph, params, data, masked=1) for data in (sequences(), sequences()[::-1])
    )
    assert one.loss == pytest.approx(other.loss, rel=1e-6)
    assert (one.accuracy, one.predictions) == (other.accuracy, other.predictions)


def test_a_model_without_opinions_scores_as_chance():
    graph, params = make_params()
    nothing = jax.tree.map(jnp.zeros_like, params)
    score = evaluate(graph, nothing, sequences(), masked=0)
    assert score.loss == pytest.approx(math.log(EVENTS), rel=1e-6)


def test_evaluation_can_be_stopped_between_batches(monkeypatch):
    monkeypatch.setattr(prior, "EVALUATION_BATCH", 3)
    ticks = []

    def tick():
        ticks.append(1)
        if len(ticks) == 2:
            raise InterruptedError

    graph, params = make_params()
    with pytest.raises(InterruptedError):
        evaluate(graph, params, sequences(), masked=0, tick=tick)


def test_nothing_to_evaluate_is_told():
    graph, params = make_params()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in (sequences(lengths=(3, 4)), sequences(lengths=(0,)), []):
            with pytest.raises(DataError, match="no sequence has more than 4 events"):
                evaluate(graph, params, data, masked=3)


# --------------------------------------------------------------------------------------- learning


@BOTH
def test_it_learns_and_every_parameter_moves(model):
    """From chance, 2.2 nats, to what only knowing the melody's own motif allows."""
    config = replace(
        CONFIG, batch_size=16, steps=12, masked=3, learning_rate=0.03, decay_every=100,
        weight_decay=1e-5,
    )  # fmt: skip
    data = melodies()
    learner = make_learner(config, replace(model, units=16), data)
    state = learner.initial_state(0)
    start = jax.device_get(state.params)
    before = evaluate(learner.graph, state.params, data, masked=3)
    state = learner.advance(state, 150)
    after = evaluate(learner.graph, state.params, data, masked=3)
    assert int(state.diverged_at) == -1
    assert before.loss == pytest.approx(math.log(EVENTS), abs=0.15)
    assert before.accuracy < 0.35
    assert after.loss < 0.3
    assert after.accuracy > 0.9
    jax.tree.map_with_path(
        lambda path, old, new: np.testing.assert_array_equal(
            old != new, np.ones_like(old, bool), err_msg=jax.tree_util.keystr(path)
        ),
        start,
        jax.device_get(state.params),
    )


@pytest.mark.parametrize(
    "model", [pytest.param(LSTM, id="lstm"), pytest.param(RHN, id="rhn", marks=pytest.mark.slow)]
)
@pytest.mark.usefixtures("full_optimisation")
def test_updates_divided_by_a_checkpoint_on_disk_are_the_same_to_the_bit(model, tmp_path):
    learner = make_learner(model=model)
    whole = digest(learner.advance(learner.initial_state(0), 40))
    assert digest(learner.advance(learner.initial_state(0), 40)) == whole

    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(learner.advance(learner.initial_state(0), 17), {"notes": 1})
    checkpoints.close()
    fresh = make_learner(model=model)  # as another session would
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    state, notes = checkpoints.restore_latest(abstract(fresh.initial_state(0)), pytest.fail)
    checkpoints.close()
    assert (int(state.step), notes) == (17, {"notes": 1})
    for stop in (18, 29, 40):
        state = fresh.advance(state, stop)
    assert digest(state) == whole


def test_another_seed_is_another_training(learner):
    one, other = (learner.initial_state(seed) for seed in (0, 1))
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True):
        assert not np.array_equal(a, b) or not np.asarray(a).any()  # output biases begin at 0
    swapped = one._replace(key=jax.random.clone(other.key))  # the same weights, other windows
    ends = [learner.advance(state, 5) for state in (swapped, other, learner.initial_state(0))]
    assert len({digest(end.params) for end in ends}) == 3
