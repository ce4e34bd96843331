"""The highway layer: a gated, possibly partial, replacement of a state by a new proposal."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from common.recurrent import masked_product, uniform


class Gates(NamedTuple):
    """What a highway layer computes from its state; arrays [batch, units]."""

    proposal: jax.Array
    """h, in (−1, 1)."""
    transform: jax.Array
    """t, in (0, 1): how much of the proposal comes in."""
    carry: jax.Array
    """c, in (0, 1): how much of the old state stays."""


class HighwayLayer(nnx.Module):
    """One highway layer (Zilly et al. 2017, section 3, equations 6 to 9).

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
        rngs: nnx.Rngs,
    ):
        """Weights and the proposal's bias start uniform in ± `initial_range`.

        The transform gate's bias starts at `transform_bias`, an uncoupled carry gate's at its
        negative, so that both kinds of layer carry at first.
        """
        self.gates = 2 if coupled else 3
        self.coupled = coupled
        kernel = uniform(rngs, (units, self.gates, units), initial_range)
        bias = uniform(rngs, (self.gates, units), initial_range).at[1].set(transform_bias)
        if not coupled:
            bias = bias.at[2].set(-transform_bias)
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(bias)

    def compute_gates(
        self, s: jax.Array, projected: jax.Array | None = None, mask: jax.Array | None = None
    ) -> Gates:
        """Proposal and gates for states s [batch, units].

        projected [batch, gates, units] is the input's share; mask [1 or gates, batch, units]
        drops units of s on their way into the matrices, never on the carry path.
        """
        preactivation = masked_product(s, self.kernel[...], mask) + self.bias[...]
        if projected is not None:
            preactivation = preactivation + projected
        proposal = jnp.tanh(preactivation[..., 0, :])
        transform = jax.nn.sigmoid(preactivation[..., 1, :])
        carry = 1 - transform if self.coupled else jax.nn.sigmoid(preactivation[..., 2, :])
        return Gates(proposal, transform, carry)

    def __call__(
        self, s: jax.Array, projected: jax.Array | None = None, mask: jax.Array | None = None
    ) -> jax.Array:
        """The new state [batch, units]; arguments as for `compute_gates`."""
        gates = self.compute_gates(s, projected, mask)
        return gates.proposal * gates.transform + s * gates.carry
