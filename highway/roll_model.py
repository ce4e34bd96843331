"""A recurrent model of polyphonic music: which of a piano's keys sound next.

Piano rolls differ in length. They are padded to one length, and whatever lies behind a roll's end
is masked before anything is summed. So that little is computed there, a batch is sorted, its
longest rolls first, and cut in time into parts (`plan`, `cut`): rolls that have ended by then are
left out of a part.
"""

import math
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
    """Pad piano rolls [time, keys] to the longest."""
    lengths = np.array([len(roll) for roll in rolls], np.int32)
    keys = np.zeros((len(rolls), lengths.max(), rolls[0].shape[1]), np.uint8)
    for place, roll in enumerate(rolls):
        keys[place, : len(roll)] = roll
    return Rolls(keys, lengths)


def frequency_nll(rolls: Rolls) -> float:
    """Return the mean loss of a time step, in nats, if each key is predicted by its frequency.

    The frequencies are those of these rolls: no constant prediction has a lower loss.
    """
    from scipy.special import entr

    share = np.sum(rolls.keys, axis=(0, 1), dtype=np.float64) / np.sum(rolls.lengths)
    return float(np.sum(entr(share) + entr(1 - share)))


class Segment(NamedTuple):
    """A stretch of time in which the same rows of a batch are computed."""

    rows: int
    """How many, from the first on."""
    stop: int
    """The time step before which it ends; it begins where the one before ends."""


def plan(lengths: np.ndarray, most: int) -> tuple[Segment, ...]:
    """Divide time so that as few rows as possible are computed behind their ends.

    Args:
      lengths: int [batches, rows], of the rolls of all batches that the segments are for; in each
        the longest first.
      most: segments.

    Returns:
      Segments that together hold every step of every roll.
    """
    longest = np.max(lengths, axis=0)
    ends = [0, *np.unique(longest[longest > 0]).tolist()]
    rows = [int(np.sum(longest > end)) for end in ends]
    # best[j]: the least row steps that lead to ends[j], and the segments that do.
    best: list[tuple[float, tuple[Segment, ...]]] = [(0, ())] + [(math.inf, ())] * (len(ends) - 1)
    for _ in range(most):
        longer = [
            [
                (cost + rows[i] * (end - ends[i]), (*before, Segment(rows[i], end)))
                for i, (cost, before) in enumerate(best[:j])
            ]
            for j, end in enumerate(ends)
        ]
        best = [min([old, *new]) for old, new in zip(best, longer, strict=True)]
    return best[-1][1]


def cut(rolls: Rolls, segments: Sequence[Segment]) -> list[Rolls]:
    """Cut a batch, its longest rolls first, into parts, one a segment."""
    parts, begin = [], 0
    for rows, stop in segments:
        left = (rolls.lengths[:rows] - begin).clip(0, stop - begin)
        parts.append(Rolls(rolls.keys[:rows, begin:stop], left))
        begin = stop
    return parts


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

    def logits(self, state: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the state after inputs [time, batch, keys], and the logits of the next steps."""
        state, outputs = self.core.unroll(state, inputs)
        return state, outputs @ self.output_kernel[...] + self.output_bias[...]


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


def negative_log_likelihood(graph: Graph, params: Params, parts: Sequence[Rolls]) -> jax.Array:
    """Sum the binary cross entropies of all keys over all steps of rolls, in nats; scalar.

    What lies behind a roll's end isn't counted, whatever is there. Divide by the sum of lengths
    for the usual mean per time step.

    Args:
      graph: the model.
      params: its parameters.
      parts: of the rolls, as `cut` returns them; each goes on with the first rows of the one
        before. Whole rolls are one part, in any order.
    """
    model = nnx.merge(graph, params)
    rows, _, keys = parts[0].keys.shape
    state, last = model.core.initial_state(rows), jnp.zeros((1, rows, keys))
    total = jnp.zeros(())
    for part in parts:
        rows = len(part.lengths)
        targets = jnp.swapaxes(part.keys, 0, 1).astype(jnp.float32)
        inputs = jnp.concatenate([last[:, :rows], targets[:-1]])
        state, logits = model.logits(state[:rows], inputs)
        within = jnp.arange(len(targets))[:, None] < part.lengths
        each = jax.nn.softplus(logits) - targets * logits
        total += jnp.sum(jnp.where(within, jnp.sum(each, axis=-1), 0.0))
        last = targets[-1:]
    return total
