"""What is measured of a trained RHN: gates, movement, lesions, spectra; all on validation text."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common.error import ConfigError
from common.training import Tick
from common.window import make_windows
from experiments.depth.config import LookConfig
from experiments.text_model import TrainedModel
from highway import evaluation, gates
from highway.core import RHN, DeepTransitionRNN
from highway.language_model import Graph, LanguageModel, Params


class Layers(NamedTuple):
    """Measures of every highway layer, those of stacked cores one after the other."""

    transform: np.ndarray | jax.Array
    """Mean over units of the transform gates, [..., layers]."""
    movement: np.ndarray | jax.Array
    """‖s_l − s_{l−1}‖, [..., layers]."""


class Lesions(NamedTuple):
    """The batched validation loss in nats, with all layers and with one made to carry."""

    whole: float
    lesioned: list[float]
    """For each layer."""

    @property
    def costs(self) -> list[float]:
        """What each lesion adds to the loss."""
        return [loss - self.whole for loss in self.lesioned]


class Spectrum(NamedTuple):
    """The Jacobian of one time step."""

    time: int
    """The step's place in its piece of text."""
    discs: gates.Discs
    eigenvalues: np.ndarray
    """Complex [units], the largest first."""
    layers: gates.Discs
    """Of each layer's own Jacobian, [layers, units]."""


def pieces(model: TrainedModel, look: LookConfig) -> np.ndarray:
    """Return pieces of the validation text, each behind its context: int [pieces, tokens].

    Raises:
      ConfigError: the text is too short.
    """
    tokens, length = model.corpus.valid, look.context + look.tokens
    if len(tokens) < length:
        raise ConfigError(
            f"look.context + look.tokens = {length:,}, but there are only {len(tokens):,} "
            "validation tokens: set them lower."
        )
    starts = np.linspace(0, len(tokens) - length, look.sequences).astype(int)
    return np.stack([tokens[start : start + length] for start in starts])


def over_time(model: TrainedModel, tokens: np.ndarray, context: int) -> Layers:
    """Measure the layers at each step of pieces of text, arrays [pieces, time, layers].

    Args:
      model: with RHN cores.
      tokens: int [pieces, context + time].
      context: tokens at the beginning that only bring the state up.
    """
    state = nnx.merge(model.graph, model.params).initial_state(len(tokens))
    _, found = trace_layers(model.graph, model.params, state, jnp.asarray(tokens))
    return Layers(*(np.asarray(one[context:]).transpose(1, 0, 2) for one in found))


def over_text(model: TrainedModel, tick: Tick) -> tuple[Layers, np.ndarray]:
    """Average the layers' measures over the validation text, read as in training.

    Returns:
      The means, arrays [layers]; and how much each layer's transform gates, averaged over units,
      change over time: their standard deviation [layers].
    """
    settings = model.config.train
    windows = make_windows(model.corpus.valid, settings.batch_size, settings.steps, split="valid")
    state = nnx.merge(model.graph, model.params).initial_state(settings.batch_size)
    each = []
    for inputs in windows.inputs:
        state, found = trace_layers(model.graph, model.params, state, jnp.asarray(inputs))
        each.append(jax.device_get(found))
        tick()
    transform, movement = (np.concatenate(one).astype(float) for one in zip(*each, strict=True))
    means = Layers(transform.mean(axis=(0, 1)), movement.mean(axis=(0, 1)))
    return means, transform.std(axis=(0, 1))


@partial(jax.jit, static_argnums=0)
def trace_layers(graph: Graph, params: Params, state: Any, tokens: jax.Array) -> tuple[Any, Layers]:
    """Run stacked RHNs over tokens [batch, time]: the states, measures [time, batch, layers]."""
    model: LanguageModel = nnx.merge(graph, params)
    xs, states, found = model.embedding[...][tokens.T], [], []
    for core, before in zip(model.core.cores, state, strict=True):
        assert isinstance(core, RHN)
        traced = gates.trace(core, before, xs)
        xs = traced.states[:, -1]
        states.append(xs[-1])
        found.append(Layers(jnp.mean(traced.transform, axis=-1), gates.movement(traced.states)))
    joined = (jnp.concatenate(one, axis=1).transpose(0, 2, 1) for one in zip(*found, strict=True))
    return tuple(states), Layers(*joined)


def lesions(model: TrainedModel, tick: Tick) -> Lesions:
    """Measure the validation loss as it is, and with each layer made to carry."""
    cores = model.params["core"]["cores"]
    each = [(number, layer) for number in cores for layer in cores[number]["layers"]]
    without = [valid_loss(model, lesioned(model.params, *one), tick) for one in each]
    return Lesions(valid_loss(model, model.params, tick), without)


def valid_loss(model: TrainedModel, params: Params, tick: Tick) -> float:
    """Return the batched validation loss in nats of a model with these parameters."""
    settings = model.config.train
    return evaluation.batched(
        model.graph,
        params,
        model.corpus.valid,
        settings.batch_size,
        settings.steps,
        split="valid",
        softmax_chunk=settings.softmax_chunk,
        tick=tick,
    ).loss


def lesioned(params: Params, core: int, layer: int) -> Params:
    """Return a language model's parameters with one layer of one core made to carry."""
    cores = params["core"]["cores"]
    changed = {**cores, core: gates.lesion(cores[core], [layer])}
    return {**params, "core": {**params["core"], "cores": changed}}


def spectra(model: TrainedModel, tokens: np.ndarray, look: LookConfig) -> list[Spectrum]:
    """Compute discs and eigenvalues at even distances in a piece of text, of the lowest core.

    Args:
      model: of an RHN or of a plain deep transition.
      tokens: int [context + time].
      look: how many.
    """
    times = np.unique(np.linspace(0, look.tokens - 1, look.spectra).astype(int))
    places = jnp.asarray(times + look.context)
    found, layers = jax.device_get(
        jacobians(model.graph, model.params, jnp.asarray(tokens), places)
    )
    return [
        Spectrum(
            int(time),
            gates.discs(matrix),
            gates.eigenvalues(matrix),
            gates.Discs(layers.centres[k], layers.radii[k]),
        )
        for k, (time, matrix) in enumerate(zip(times, found, strict=True))
    ]


@partial(jax.jit, static_argnums=0)
def jacobians(
    graph: Graph, params: Params, tokens: jax.Array, places: jax.Array
) -> tuple[jax.Array, gates.Discs]:
    """Compute the Jacobians of a time step, and the discs of its layers', at places of a text.

    Returns:
      [places, units, units], and arrays [places, layers, units].
    """
    model: LanguageModel = nnx.merge(graph, params)
    core, xs = model.core.cores[0], model.embedding[...][tokens]
    assert isinstance(core, RHN | DeepTransitionRNN)
    begin = core.initial_state(1)
    _, outputs = core.unroll(begin, xs[:, None])
    before = jnp.concatenate([begin, outputs[:-1, 0]])

    def look(place: jax.Array) -> tuple[jax.Array, gates.Discs]:
        at = core, before[place], xs[place]
        return gates.jacobian(*at), gates.discs(gates.layer_jacobians(*at))

    return jax.lax.map(look, places)
