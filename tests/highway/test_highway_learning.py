"""Training on real text: it learns, repeats itself to the bit, and stops when it must."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cost_case import cost
from highway_case import (
    ALL_CORES,
    assert_same_bits,
    experiment,
    named,
    random_state,
    snapshot,
    tokens_of,
)

from common.window import make_windows
from highway.config import LanguageModelConfig, ModelConfig, TrainConfig
from highway.learner import LanguageModelLearner


def params_of(state, config):
    return named(state.params, config.model)


def make_learner(config, vocabulary, windows_per_epoch, tokens=None):
    batch, steps = config.train.batch_size, config.train.steps
    count = batch * (windows_per_epoch * steps + 1)
    tokens = tokens_of(vocabulary, count) if tokens is None else tokens[:count]
    return LanguageModelLearner(
        config, vocabulary, make_windows(tokens, batch, steps, split="train")
    )


# The entropy of single characters of this text is 3.3 nats: below it, the model uses its memory.
@pytest.mark.parametrize(
    ("core", "rate", "loss"),
    [
        ("rhn", 0.5, 2.5),
        pytest.param("dt_rnn", 0.2, 2.7, marks=pytest.mark.slow),
        ("dts_rnn", 0.2, 2.6),
        pytest.param("lstm", 0.5, 2.5, marks=pytest.mark.slow),
    ],
)
def test_the_loss_falls_on_real_text_and_every_parameter_moves(shakespeare, core, rate, loss):
    vocabulary = len(shakespeare.vocabulary)
    config = LanguageModelConfig(
        model=ModelConfig(core=core, depth=1 if core == "lstm" else 2, units=32, tied=False),
        train=TrainConfig(batch_size=16, steps=20, learning_rate=rate, weight_decay=0.0),
    )
    learner = make_learner(config, vocabulary, 300, shakespeare.train)
    state = random_state(config, vocabulary, 300, bound=0.2)
    start = params_of(state, config)

    state, first = learner.collect(learner.advance(state, 1))
    state, _ = learner.collect(learner.advance(state, 180))
    state, last = learner.collect(learner.advance(state, 200))  # the mean over the last 20

    assert first["train/loss"] == pytest.approx(np.log(vocabulary), abs=0.1)
    assert last["train/loss"] < loss
    assert int(state.diverged_at) == -1
    seen = np.isin(np.arange(vocabulary), learner.windows.inputs[:200])
    for name, array in params_of(state, config).items():
        moved = array != start[name]
        if name == "E":  # a character that didn't occur can't have moved: decay is off
            assert moved[seen].all()
            assert not moved[~seen].any()
        else:
            assert moved.all(), name


# ------------------------------------------------------------------------------- the same bits


@pytest.fixture(scope="module")
def dropping(shakespeare):
    """A learner with every kind of dropout on and epochs of 12 windows."""
    config, vocabulary = experiment(
        vocabulary_size=len(shakespeare.vocabulary), batch_size=4, steps=6, units=8, depth=2
    )
    return make_learner(config, vocabulary, 12, shakespeare.train)


@pytest.mark.usefixtures("full_optimisation")
def test_training_repeats_itself_to_the_bit_however_it_is_divided(dropping):
    in_one = snapshot(dropping.advance(dropping.initial_state(0), 40))
    again = snapshot(dropping.advance(dropping.initial_state(0), 40))
    in_two = snapshot(dropping.advance(dropping.advance(dropping.initial_state(0), 17), 40))
    state = dropping.initial_state(0)
    for number in range(1, 41):
        state = dropping.advance(state, number)

    assert int(in_one.step) == 40
    assert_same_bits(again, in_one)
    assert_same_bits(in_two, in_one)
    assert_same_bits(snapshot(state), in_one)


@pytest.mark.usefixtures("full_optimisation")
def test_another_seed_another_result(dropping):
    one, other = (dropping.advance(dropping.initial_state(seed), 5) for seed in (0, 1))
    start = dropping.initial_state(0)
    same_start = dropping.advance(start._replace(key=dropping.initial_state(1).key), 5)
    expected = params_of(one, dropping.config)

    assert (params_of(other, dropping.config)["E"] != expected["E"]).all()
    # Other masks alone are enough.
    assert (params_of(same_start, dropping.config)["E"] != expected["E"]).any()


@pytest.mark.usefixtures("full_optimisation")
def test_nothing_happens_where_the_updates_are_done(dropping):
    before = dropping.advance(dropping.initial_state(0), 3)
    expected = snapshot(before)

    assert_same_bits(snapshot(dropping.advance(before, 2)), expected)


# --------------------------------------------------------------------------------- divergence


@pytest.fixture(scope="module")
def exploding():
    """Epochs of three windows; in the second the learning rate becomes 2e29."""
    config, vocabulary = experiment(
        train={"constant_epochs": 1, "learning_rate_decay": 1e-30, "weight_decay": 1e-19},
        units=4, dropout_x=0, dropout_i=0, dropout_h=0, dropout_o=0,
    )  # fmt: skip
    return make_learner(config, vocabulary, 3)


def state_for(learner):
    return random_state(learner.config, learner.vocabulary_size, learner.steps_per_epoch)


def test_a_step_that_is_not_finite_is_named_and_not_taken(exploding):
    # Updates 0 to 2 are harmless, update 3 leaps, and update 4 finds that it was too far.
    leapt = snapshot(exploding.advance(state_for(exploding), 4))
    assert leapt.diverged_at == -1
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(leapt.params)) > 1e25

    stopped = exploding.advance(state_for(exploding), 100)

    assert int(stopped.diverged_at) == int(stopped.step) == 4
    assert_same_bits(snapshot(stopped._replace(diverged_at=jnp.full((), -1, jnp.int32))), leapt)
    value_and_gradient = jax.value_and_grad(cost, has_aux=True)
    (value, _), gradient = jax.jit(value_and_gradient, static_argnums=(1, 2))(
        stopped.params,
        exploding.graph,
        exploding.config.train,
        stopped.recurrent,
        exploding.windows.inputs[1],
        exploding.windows.targets[1],
        None,
    )
    with np.errstate(over="ignore"):
        squares = [np.sum(np.square(leaf)) for leaf in jax.tree.leaves(snapshot(gradient))]
    assert not np.isfinite([value, np.sum(squares)]).all()
    # And it stays stopped.
    expected = snapshot(stopped)
    assert_same_bits(snapshot(exploding.advance(stopped, 200)), expected)


@pytest.mark.parametrize("bad", ["parameter", "gradient only", "loss only"])
def test_a_bad_number_stops_training_at_once(exploding, bad):
    targets = exploding.windows.targets[2]
    occurrences = np.bincount(targets.ravel(), minlength=11)
    word, value = {
        "parameter": (0, np.nan),
        # Never a target, so the loss is finite; but the decay's gradient overflows when squared.
        "gradient only": (occurrences.argmin(), -3e38),
        # A target three times: the sum of its losses overflows, and no gradient does.
        "loss only": (occurrences.argmax(), -1.5e38),
    }[bad]
    assert occurrences.min() == 0
    assert occurrences.max() >= 3
    state = exploding.advance(state_for(exploding), 2)
    bias = state.params["softmax_bias"].at[word].set(value)
    state = state._replace(params=state.params | {"softmax_bias": bias})
    expected = snapshot(state._replace(diverged_at=jnp.full((), 2, jnp.int32)))

    assert_same_bits(snapshot(exploding.advance(state, 3)), expected)


def test_all_cores_are_covered_here():
    from typing import get_args, get_type_hints

    assert set(get_args(get_type_hints(ModelConfig)["core"])) == set(ALL_CORES)
