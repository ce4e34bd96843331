"""The update that anyone can call, and the parameter trees as they are documented."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from highway_case import experiment, tokens_of
from jax.sharding import AxisType

from common.lstm import LSTM
from common.mesh import AXIS
from common.population import Population, take_member
from common.window import Windows, make_windows
from highway.config import ModelConfig
from highway.core import RHN, DeepTransitionRNN, make_core
from highway.language_model import LanguageModel
from highway.layer import HighwayLayer
from highway.learner import LanguageModelLearner, make_optimizer, update
from tutor.sequence_model import SequenceModel

DROPPING = {"dropout_x": 0.2, "dropout_i": 0.3, "dropout_h": 0.2, "dropout_o": 0.3}


def learner_of(count=200, **model):
    config, vocabulary = experiment(**({"units": 5, "depth": 2} | DROPPING | model))
    size, steps = config.train.batch_size, config.train.steps
    windows = make_windows(tokens_of(vocabulary, count), size, steps, split="train")
    return LanguageModelLearner(config, vocabulary, windows)


def test_the_learners_updates_are_the_public_one():
    """Written out by hand: windows in order, the state carried, masks from key and step."""
    learner = learner_of()
    state = learner.initial_state(0)
    params, optimizer_state, recurrent = state.params, state.optimizer, state.recurrent
    graph, optimizer = learner.graph, make_optimizer(learner.config.train, learner.steps_per_epoch)
    model, losses = nnx.merge(graph, params), []
    step = jax.jit(partial(update, graph, optimizer, learner.config.train))
    for k in range(3):
        masks = model.sample_masks(jax.random.fold_in(state.key, k), learner.batch_size)
        window = Windows(learner.windows.inputs[k], learner.windows.targets[k])
        done = step(params, optimizer_state, recurrent, *window, masks)
        params, optimizer_state, recurrent = done.params, done.optimizer, done.recurrent
        losses.append(float(done.loss))
        assert bool(done.finite)
    after = learner.advance(state, 3)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), after.params, params)
    assert float(after.totals.loss) == pytest.approx(sum(losses), rel=1e-5)


@pytest.mark.slow
def test_an_update_takes_any_optimiser_and_no_masks():
    learner = learner_of()
    state = learner.initial_state(0)
    window = (learner.windows.inputs[0], learner.windows.targets[0])

    def one(rate):
        done = update(
            learner.graph,
            optax.sgd(rate),
            learner.config.train,
            state.params,
            optax.sgd(rate).init(state.params),
            state.recurrent,
            *window,
            None,
        )
        return jax.tree.map(lambda new, old: new - old, done.params, state.params)

    small, large = one(0.01), one(0.02)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(2 * a, b, rtol=1e-3, atol=5e-7), small, large
    )
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(small))


def test_language_models_side_by_side_are_each_alone():
    learner = learner_of()
    population = Population(learner, (0, 1), data=(learner.windows,))
    together = population.advance(population.initial_state(learner.initial_state), 12)
    for place, seed in enumerate((0, 1)):
        alone = learner.advance(learner.initial_state(seed), 12)
        member = take_member(together.seeds, place)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), member.params, alone.params)
    _, metrics = population.collect(together)
    assert metrics["seed0/train/loss"] != metrics["seed1/train/loss"]


def documented(kind: type) -> dict[str, list[str]]:
    """Name → sizes, of the lines "- `name` [sizes]" in a docstring."""
    lines = re.findall(r"- `([\w.]+)`(?: \[(.*?)\])?", kind.__doc__ or "")
    return {name: sizes.split(", ") if sizes else [] for name, sizes in lines}


def actual(module: nnx.Module) -> dict[str, tuple[int, ...]]:
    """Name → shape of a module's own parameters; a number in a name stands as l."""
    params = nnx.to_pure_dict(nnx.state(module, nnx.Param))
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        keys = [str(entry.key) for entry in path]
        found[".".join("l" if key.isdigit() else key for key in keys)] = leaf.shape
    return found


SIZES = {"input": 3, "units": 5, "1": 1, "4": 4, "vocabulary": 11, "width": 5, "events": 7}


def core(**settings):
    return make_core(3, ModelConfig(units=5, depth=2, **settings), rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("module", "gates", "absent"),
    [
        (HighwayLayer(5, rngs=nnx.Rngs(0)), 2, set()),
        (HighwayLayer(5, coupled=False, rngs=nnx.Rngs(0)), 3, set()),
        (core(core="rhn"), 2, set()),
        (core(core="rhn", coupled=False), 3, set()),
        (core(core="dts_rnn"), 1, set()),
        (core(core="dt_rnn"), 1, {"input_shortcut", "state_shortcut"}),
        (LSTM(3, 5, initial_range=0.1, forget_bias=1.0, rngs=nnx.Rngs(0)), 4, set()),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nnx.Module) else "",
)
def test_cores_have_the_parameters_that_are_documented(module, gates, absent):
    sizes = SIZES | {"gates": gates}
    expected = {
        name: tuple(sizes[size] for size in shape)
        for name, shape in documented(type(module)).items()
        if name not in absent
    }
    assert actual(module) == expected
    assert isinstance(module, HighwayLayer | RHN | DeepTransitionRNN | LSTM)


@pytest.mark.parametrize("tied", [True, False])
def test_language_models_have_the_parameters_that_are_documented(tied):
    config = ModelConfig(units=5, depth=1, tied=tied, embedding=5)
    model = LanguageModel(11, config, rngs=nnx.Rngs(0))
    expected = documented(LanguageModel)
    assert expected.pop("core.cores.k") == []
    if tied:
        del expected["softmax_kernel"]
    found = {k: v for k, v in actual(model).items() if not k.startswith("core.cores.l.")}
    assert found == {k: tuple(SIZES[size] for size in v) for k, v in expected.items()}
    assert len(actual(model)) == len(found) + len(documented(RHN))


def test_sequence_models_have_the_parameters_that_are_documented():
    model = SequenceModel(
        7,
        lambda size, rngs: LSTM(size, 5, initial_range=0.1, forget_bias=1.0, rngs=rngs),
        initial_range=0.1,
        rngs=nnx.Rngs(0),
    )
    expected = documented(SequenceModel)
    assert expected.pop("core") == []
    found = {k: v for k, v in actual(model).items() if not k.startswith("core.")}
    assert found == {k: tuple(SIZES[size] for size in v) for k, v in expected.items()}


def test_gates_stand_in_the_documented_order():
    """A gate that is forced open or shut does what its name says."""
    layer = HighwayLayer(5, coupled=False, rngs=nnx.Rngs(0))
    s = jax.random.normal(jax.random.key(0), (2, 5))
    force = jnp.array([3.0, -50.0, 50.0])[:, None]  # h, t shut, c open
    layer.bias = nnx.Param(jnp.broadcast_to(force, (3, 5)))
    np.testing.assert_allclose(layer(s), s, rtol=1e-6)
    lstm = LSTM(3, 5, initial_range=0.1, forget_bias=1.0, rngs=nnx.Rngs(0))
    force = jnp.array([-50.0, 50.0, 50.0, 3.0])[:, None]  # i shut, f and o open, g
    lstm.bias = nnx.Param(jnp.broadcast_to(force, (4, 5)))
    state = lstm.initial_state(2)._replace(cell=s)
    after, output = lstm.step(state, jnp.ones((2, 3)))
    np.testing.assert_allclose(after.cell, s, rtol=1e-6)
    np.testing.assert_allclose(output, jnp.tanh(s), rtol=1e-6)


def test_a_mesh_updates_without_masks_too():
    learner = learner_of(depth=1)
    state, sgd = learner.initial_state(0), optax.sgd(0.1)
    window = (learner.windows.inputs[0], learner.windows.targets[0])
    start = (state.params, sgd.init(state.params), state.recurrent)
    one = jax.make_mesh((1,), (AXIS,), axis_types=(AxisType.Auto,))
    alone, divided = (
        jax.jit(partial(update, learner.graph, sgd, learner.config.train, mesh=mesh))(
            *start, *window, None
        )
        for mesh in (None, one)
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), divided, alone)
