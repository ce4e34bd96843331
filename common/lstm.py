"""Long short-term memory: the core that both papers compare with or build on."""

import jax
import jax.numpy as jnp
from flax import nnx

from common import lstm_fused
from common.compute import SCAN, Compute
from common.deferred import unroll
from common.lstm_fused import LSTMState
from common.product import projected
from common.recurrent import NO_MASKS, Core, Masks, masked_product, uniform


class LSTM(Core):
    """Long short-term memory with forget gates and no peepholes (Gers et al. 2000).

    i, f, o = σ(·), g = tanh(·) of W x + R y + b; cell' = f · cell + i · g; y' = o · tanh(cell').

    Parameters (gates in the order i, f, o, g):

    - `input_kernel` [input, 4, units]: W.
    - `kernel` [units, 4, units]: R, [from, gate, to].
    - `bias` [4, units]
    """

    gates = 4

    def __init__(
        self,
        input_size: int,
        units: int,
        *,
        initial_range: float,
        forget_bias: float,
        rngs: nnx.Rngs,
        compute: Compute = SCAN,
    ):
        """Parameters start uniform in ± `initial_range`, forget gates' biases at `forget_bias`.

        `compute` says how it is unrolled: by scan, or with a custom VJP.
        """
        self.compute = compute
        self.input_size = input_size
        self.output_size = units
        bound = initial_range
        self.input_kernel = nnx.Param(uniform(rngs, (input_size, 4, units), bound))
        self.kernel = nnx.Param(uniform(rngs, (units, 4, units), bound))
        self.bias = nnx.Param(uniform(rngs, (4, units), bound).at[1].set(forget_bias))

    def initial_state(self, batch_size: int) -> LSTMState:
        """Return zero cell and output."""
        shape = (batch_size, self.output_size)
        return LSTMState(cell=jnp.zeros(shape), output=jnp.zeros(shape))  # two arrays: donated

    def project(self, x: jax.Array, masks: Masks) -> jax.Array:
        """Return W x + b, [..., batch, 4, units]."""
        return masked_product(x, self.input_kernel[...], masks.input) + self.bias[...]

    def transition(
        self, state: LSTMState, projected: jax.Array, masks: Masks
    ) -> tuple[LSTMState, jax.Array]:
        """Take one time step; the mask drops the recurrent output, never the cell."""
        preactivation = projected + masked_product(state.output, self.kernel[...], masks.state)
        # Splitting transposes to one concatenation; slicing would to padded sums, far slower.
        i, f, o, g = (part[..., 0, :] for part in jnp.split(preactivation, 4, axis=-2))
        cell = jax.nn.sigmoid(f) * state.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        output = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return LSTMState(cell=cell, output=output), output

    def unroll(
        self, state: LSTMState, xs: jax.Array, masks: Masks = NO_MASKS
    ) -> tuple[LSTMState, jax.Array]:
        """Take all time steps of xs [time, batch, input]; see `common.recurrent.Core.unroll`."""
        if self.compute.kernel == "scan":
            return super().unroll(state, xs, masks)
        inputs = projected(xs, self.input_kernel[...], masks.input, self.compute.precision)
        return self._unroll_by_hand(state, inputs + self.bias[...], masks)

    def unroll_events(self, state: LSTMState, events: jax.Array) -> tuple[LSTMState, jax.Array]:
        """Take all time steps of events, int [time, batch]; see `Core.unroll_events`."""
        if self.compute.kernel == "scan":
            return super().unroll_events(state, events)
        table = self.input_kernel[...] + self.bias[...]
        return self._unroll_by_hand(state, lstm_fused.look_up(table, events), NO_MASKS)

    def _unroll_by_hand(
        self, state: LSTMState, projected: jax.Array, masks: Masks
    ) -> tuple[LSTMState, jax.Array]:
        recurrence = lstm_fused.LSTMRecurrence(self.compute.precision)
        return unroll(recurrence, self.kernel[...], state, projected, masks.state)
