"""The custom VJP of the LSTM, for `common.deferred.unroll`."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from common.deferred import (
    Recurrence,
    backward_kernel,
    product,
    product_back,
    weight_gradient,
)
from common.product import rounded

_OUTPUT_GATE = 2
_SCALE = (0.5, 0.5, 0.5, 1.0)
"""σ(z) = tanh(z / 2) / 2 + 1 / 2: with these scales one tanh serves all gates at once."""


class LSTMState(NamedTuple):
    """Cell and output of an LSTM, [batch, units] each."""

    cell: jax.Array
    """c, [batch, units]."""
    output: jax.Array
    """h, [batch, units]."""


class LSTMSaved(NamedTuple):
    """What a time step saves."""

    before: LSTMState
    """The state that entered."""
    gates: jax.Array
    """i, f, o and g after their nonlinearities, [batch, 4, units]."""
    squashed: jax.Array
    """tanh of the new cell, [batch, units]."""


class LSTMFactors(NamedTuple):
    """Derivatives of a time step, from what it saved; none depends on another step's."""

    error: jax.Array
    """Of cell or output (that of gate o) by the gates' preactivations, [batch, 4, units]."""
    cell: jax.Array
    """Of the output by the new cell, [batch, units]."""
    carry: jax.Array
    """Of the new cell by the old one, [batch, units]."""


@dataclass(frozen=True)
class LSTMRecurrence(Recurrence):
    """`common.lstm.LSTM.transition` forward and backward.

    The weights are its kernel [units, 4, units], the projected input [batch, 4, units], the mask
    [1 or 4, batch, units] or None.
    """

    precision: str = "float32"
    """Of what products read, see `common.compute.Compute`; gates and cell aren't rounded."""

    def prepare(self, weights: jax.Array) -> jax.Array:
        """The kernel in the products' precision."""
        return rounded(weights, self.precision)

    def prepare_backward(self, weights: jax.Array) -> jax.Array:
        """The kernel as the products of the backward pass read it."""
        return backward_kernel(weights, self.precision)

    def forward(
        self, weights: jax.Array, state: LSTMState, projected: jax.Array, masks: jax.Array | None
    ) -> tuple[LSTMState, jax.Array, LSTMSaved]:
        """Take a time step; see the equations of `LSTM`."""
        scale = jnp.asarray(_SCALE, projected.dtype)[:, None]
        z = projected + product(state.output, weights, masks)
        gates = jnp.tanh(z * scale) * scale + (1 - scale)
        i, f, o, g = (gates[:, gate] for gate in range(4))
        cell = f * state.cell + i * g
        squashed = jnp.tanh(cell)
        output = o * squashed
        return LSTMState(cell, output), output, LSTMSaved(state, gates, squashed)

    def backward(
        self,
        weights: jax.Array,
        saved: LSTMFactors,
        masks: jax.Array | None,
        state_bar: LSTMState,
        output_bar: jax.Array,
    ) -> tuple[LSTMState, jax.Array, None]:
        """The errors are the gradient of the projected input and aren't returned twice."""
        output_bar = state_bar.output + output_bar
        cell_bar = state_bar.cell + output_bar * saved.cell
        # Choosing within one loop is faster than joining four arrays.
        is_output = jnp.arange(4)[:, None] == _OUTPUT_GATE
        error = jnp.where(is_output, output_bar[:, None], cell_bar[:, None]) * saved.error
        back = LSTMState(
            cell_bar * saved.carry, product_back(error, weights, masks, self.precision)
        )
        return back, error, None

    def backward_all(
        self,
        weights: jax.Array,
        saved: LSTMSaved,
        masks: jax.Array | None,
        state_bar: LSTMState,
        output_bars: jax.Array,
    ) -> tuple[LSTMState, jax.Array, jax.Array]:
        """`backward` for all time steps, with the factors of all of them computed at once."""
        i, f, o, g = (saved.gates[..., gate, :] for gate in range(4))
        squashed, cell = saved.squashed, saved.before.cell
        error = [g * i * (1 - i), cell * f * (1 - f), squashed * o * (1 - o), i * (1 - g * g)]
        factors = LSTMFactors(jnp.stack(error, axis=-2), o * (1 - squashed * squashed), f)
        state_bar, errors, _ = super().backward_all(weights, factors, masks, state_bar, output_bars)
        return state_bar, errors, errors

    def weight_gradients(
        self, weights: jax.Array, saved: LSTMSaved, errors: jax.Array, masks: jax.Array | None
    ) -> jax.Array:
        """One product over time and batch."""
        return weight_gradient(saved.before.output, errors, masks, self.precision)


@jax.custom_vjp
def look_up(table: jax.Array, events: jax.Array) -> jax.Array:
    """Return rows of a table [events, ...] by their numbers, int [...]."""
    return table[events]


def _look_up_forward(table: jax.Array, events: jax.Array) -> tuple[jax.Array, Any]:
    return table[events], (events, len(table))


def _look_up_backward(residuals: Any, bar: jax.Array) -> tuple[jax.Array, None]:
    # A product: adding up rows one by one, as the gather's own transpose does, takes longer.
    events, count = residuals
    one_hot = jax.nn.one_hot(events.reshape(-1), count, dtype=bar.dtype)
    rows = bar.reshape(events.size, -1)
    return (one_hot.T @ rows).reshape(count, *bar.shape[events.ndim :]), None


look_up.defvjp(_look_up_forward, _look_up_backward)
