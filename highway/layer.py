"""The highway layer: gates decide how much of a state is replaced by a new proposal."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from common.recurrent import masked_product, uniform


class Gates(NamedTuple):
    """What a highway layer computes from its state; arrays [batch, units]."""

    proposal: jax.Array
    """h; in (−1, 1) where it is a tanh."""
    transform: jax.Array
    """t, in (0, 1): how much of the proposal comes in."""
    carry: jax.Array
    """c, in (0, 1): how much of the old state stays."""

    def mix(self, s: jax.Array) -> jax.Array:
        """Return the new state h · t + s · c (equation 6)."""
        return self.proposal * self.transform + s * self.carry


Activation = Callable[[jax.Array], jax.Array]


def gates_of(preactivation: jax.Array, activation: Activation = jnp.tanh) -> Gates:
    """Compute gates from affine maps of the state (equations 7 to 9).

    Args:
      preactivation: [..., gates, units], gates in the order h, t, c; without c it is 1 − t.
      activation: the proposal's.
    """
    proposal = activation(preactivation[..., 0, :])
    transform = jax.nn.sigmoid(preactivation[..., 1, :])
    coupled = preactivation.shape[-2] == 2
    carry = 1 - transform if coupled else jax.nn.sigmoid(preactivation[..., 2, :])
    return Gates(proposal, transform, carry)


class HighwayLayer(nnx.Module):
    """One highway layer (Zilly et al. 2017, section 4, equations 6 to 9).

    h = tanh(u_h + R_h s + b_h), t = σ(u_t + R_t s + b_t), c = 1 − t or σ(u_c + R_c s + b_c),
    s' = h · t + s · c, where u is the input's share (zero but in the first layer of a recurrence).

    Parameters (gates in the order h, t and, where not coupled, c):

    - `kernel` [units, gates, units]: R, [from, gate, to].
    - `bias` [gates, units]
    """

    def __init__(
        self,
        units: int,
        *,
        coupled: bool = True,
        transform_bias: float = -2.0,
        initial_range: float = 0.04,
        activation: Activation = jnp.tanh,
        rngs: nnx.Rngs,
    ):
        """Draw the initial parameters.

        Args:
          units: width of the state.
          coupled: whether c = 1 − t; otherwise the carry gate has weights of its own.
          transform_bias: initial bias of the transform gate. That of an uncoupled carry gate is
            its negative, so that both kinds of layer mostly carry at first.
          initial_range: weights and the proposal's bias start uniform in ± this.
          activation: of the proposal.
          rngs: its stream "params" is drawn from.
        """
        self.gates = 2 if coupled else 3
        self.coupled = coupled
        self.activation = activation
        kernel = uniform(rngs, (units, self.gates, units), initial_range)
        bias = uniform(rngs, (self.gates, units), initial_range).at[1].set(transform_bias)
        if not coupled:
            bias = bias.at[2].set(-transform_bias)
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(bias)

    def compute_gates(
        self, s: jax.Array, projected: jax.Array | None = None, mask: jax.Array | None = None
    ) -> Gates:
        """Compute proposal and gates (Zilly et al. 2017, equations 7 to 9).

        Args:
          s: the state, [batch, units].
          projected: the input's share u, [batch, gates, units], or None for none.
          mask: dropout of s where it enters the matrices, [1 or gates, batch, units]. The carried
            state is never dropped.
        """
        preactivation = masked_product(s, self.kernel[...], mask) + self.bias[...]
        if projected is not None:
            preactivation = preactivation + projected
        return gates_of(preactivation, self.activation)

    def __call__(
        self, s: jax.Array, projected: jax.Array | None = None, mask: jax.Array | None = None
    ) -> jax.Array:
        """Compute the new state [batch, units] (equation 6); arguments as for `compute_gates`."""
        return self.compute_gates(s, projected, mask).mix(s)
