"""The recurrent network of Sequence Tutor: as prior, as value network and as target network."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from common.recurrent import Core, uniform

Params = Any
"""A model's parameters as nested dictionaries of arrays; see `SequenceModel`."""

CoreFactory = Callable[[int, nnx.Rngs], Core]
"""(input width, rngs) → a recurrent core."""


class SequenceModel(nnx.Module):
    """Computes a number for each possible next event of a sequence from the events so far.

    Events enter one-hot into a recurrent core; its output is mapped linearly to the numbers. In
    the prior (the Note RNN of Jaques et al. 2017) the numbers are logits, in a value network they
    are values. A is the number of different events.

    Its parameters, in the nested dictionaries of `Params`:

    - `core`: the recurrent core's, as documented at its class (`common.lstm.LSTM`,
      `highway.core.RHN`); its input has a unit for each event.
    - `output_kernel` [units, events]
    - `output_bias` [events]
    """

    def __init__(
        self, num_events: int, make_core: CoreFactory, *, initial_range: float, rngs: nnx.Rngs
    ):
        """Draw the initial parameters.

        Args:
          num_events: A.
          make_core: makes the recurrent core.
          initial_range: output weights start uniform in ± this, output biases at 0.
          rngs: its stream "params" is drawn from.
        """
        self.num_events = num_events
        self.core = make_core(num_events, rngs)
        shape = (self.core.output_size, num_events)
        self.output_kernel = nnx.Param(uniform(rngs, shape, initial_range))
        self.output_bias = nnx.Param(jnp.zeros(num_events))

    def initial_state(self, batch_size: int) -> Any:
        """Return the zero recurrent state of `batch_size` sequences."""
        return self.core.initial_state(batch_size)

    def step(self, state: Any, events: jax.Array) -> tuple[Any, jax.Array]:
        """Read one event of each sequence.

        Args:
          state: the recurrent state before it.
          events: int [batch].

        Returns:
          The recurrent state after it, and the numbers for the next event, [batch, A].
        """
        state, output = self.core.step(state, jax.nn.one_hot(events, self.num_events))
        return state, self.read_out(output)

    def unroll(self, state: Any, events: jax.Array) -> tuple[Any, jax.Array]:
        """Read several events of each sequence.

        Args:
          state: the recurrent state before them.
          events: int [batch, time].

        Returns:
          The recurrent state after the last, and the numbers after each, [batch, time, A].
        """
        state, outputs = self.core.unroll_events(state, events.T)
        return state, self.read_out(outputs).swapaxes(0, 1)

    def read_out(self, output: jax.Array) -> jax.Array:
        """Map the core's output [..., units] to a number per event, [..., A]."""
        return output @ self.output_kernel[...] + self.output_bias[...]


Graph = nnx.GraphDef[SequenceModel]
"""The structure into which `nnx.merge` puts a model's parameters."""


def make_model(
    num_events: int, make_core: CoreFactory, key: jax.Array, *, initial_range: float
) -> tuple[Graph, Params]:
    """Make a model.

    Args:
      num_events: number of different events.
      make_core: makes the recurrent core.
      key: of the initial parameters.
      initial_range: output weights start uniform in ± this.

    Returns:
      The model's structure and its parameters.
    """
    model = SequenceModel(
        num_events, make_core, initial_range=initial_range, rngs=nnx.Rngs(params=key)
    )
    graph, params = nnx.split(model)
    return graph, nnx.to_pure_dict(params)
