"""A recurrent model of polyphonic music: which of a piano's keys sound next.

Piano rolls differ in length. They are padded to one length, and whatever lies behind a roll's end
is multiplied by zero before anything is summed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common.compute import SCAN, Compute
from highway.config import ModelConfig
from highway.core import make_core

Params = dict[str, Any]
"""A roll model's parameters as nested dictionaries of arrays; see `RollModel`."""

Graph = nnx.GraphDef[Any]
"""A roll model without its parameters."""


class Rolls(NamedTuple):
    """Piano rolls of one split, padded to the longest."""

    keys: jax.Array | np.ndarray
    """uint8 [rolls, time, keys], 1 where a key sounds; zeros behind a roll's end."""
    lengths: jax.Array | np.ndarray
    """Time steps of each roll, int32 [rolls]."""


def pad(rolls: Sequence[np.ndarray]) -> Rolls:
    """Pad piano rolls [time, keys] to the longest, and add one of no steps at all.

    The empty roll fills up a batch for which not enough rolls are left.
    """
    lengths = np.array([len(roll) for roll in rolls] + [0], np.int32)
    keys = np.zeros((len(rolls) + 1, lengths.max(), rolls[0].shape[1]), np.uint8)
    for place, roll in enumerate(rolls):
        keys[place, : len(roll)] = roll
    return Rolls(keys, lengths)


class RollModel(nnx.Module):
    """Predicts each next step of piano rolls from the steps before it.

    Keys are independent given the past. The first step is predicted from an input of zeros, before
    which there is nothing. Its parameters, in the nested dictionaries of `Params`:

    - `core`: as documented at `highway.core.RHN` or `highway.core.DeepTransitionRNN`.
    - `output_kernel` [units, keys]
    - `output_bias` [keys]
    """

    def __init__(self, keys: int, config: ModelConfig, *, rngs: nnx.Rngs, compute: Compute = SCAN):
        """Make a model; the recurrent parameters are drawn, those of the output are zeros.

        Args:
          keys: of a roll.
          config: its settings of the core are used.
          rngs: its stream "params" is drawn from.
          compute: how the recurrence is computed.
        """
        self.core = make_core(keys, config, rngs=rngs, compute=compute)
        self.output_kernel = nnx.Param(jnp.zeros((config.units, keys)))
        self.output_bias = nnx.Param(jnp.zeros(keys))

    def logits(self, rolls: jax.Array) -> jax.Array:
        """Return the logit of every key at every step of float rolls [time, batch, keys]."""
        inputs = jnp.concatenate([jnp.zeros_like(rolls[:1]), rolls[:-1]])
        _, outputs = self.core.unroll(self.core.initial_state(rolls.shape[1]), inputs)
        return outputs @ self.output_kernel[...] + self.output_bias[...]


def make_graph(keys: int, config: ModelConfig, compute: Compute = SCAN) -> Graph:
    """Make a model without parameters."""

    def make() -> RollModel:
        return RollModel(keys, config, rngs=nnx.Rngs(0), compute=compute)

    graph, _ = nnx.split(nnx.eval_shape(make), nnx.Param)
    return graph


def gaussian_params(
    keys: int, config: ModelConfig, key: jax.Array, std: jax.Array, transform_bias: jax.Array
) -> Params:
    """Draw weights from a normal distribution; biases are 0, of transform gates `transform_bias`.

    Args:
      keys: of a roll.
      config: of the core; an RHN's gates must be coupled.
      key: what is drawn from.
      std: standard deviation of all weights, scalar.
      transform_bias: scalar.
    """

    def make() -> RollModel:
        return RollModel(keys, config, rngs=nnx.Rngs(0))

    shapes = nnx.to_pure_dict(nnx.state(nnx.eval_shape(make), nnx.Param))
    leaves, structure = jax.tree.flatten_with_path(shapes)
    drawn = []
    for (path, leaf), own in zip(leaves, jax.random.split(key, len(leaves)), strict=True):
        if "bias" not in jax.tree_util.keystr(path):
            drawn.append(std * jax.random.normal(own, leaf.shape))
        elif config.core == "rhn" and "core" in jax.tree_util.keystr(path):
            drawn.append(jnp.zeros(leaf.shape).at[1].set(transform_bias))
        else:
            drawn.append(jnp.zeros(leaf.shape))
    return jax.tree.unflatten(structure, drawn)


def negative_log_likelihood(graph: Graph, params: Params, rolls: Rolls) -> jax.Array:
    """Sum the binary cross entropies of all keys over all steps of rolls, in nats; scalar.

    What lies behind a roll's end isn't counted, whatever is there. Divide by the sum of lengths
    for the usual mean per time step.
    """
    keys = jnp.swapaxes(rolls.keys, 0, 1).astype(jnp.float32)
    logits = nnx.merge(graph, params).logits(keys)
    within = jnp.arange(len(keys))[:, None] < rolls.lengths
    each = jax.nn.softplus(logits) - keys * logits
    return jnp.sum(jnp.where(within, jnp.sum(each, axis=-1), 0.0))
