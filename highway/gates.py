"""What a trained recurrence does: its gates over time, lesions of its layers, its Jacobian's discs.

Zilly et al. 2017, sections 4 and 6. Everything here is a pure function of a core with its
parameters (an `RHN` or a `DeepTransitionRNN` merged from its graph) and of arrays.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.recurrent import NO_MASKS
from highway.core import RHN, DeepTransitionRNN

CLOSED = 1e4
"""Size of a bias that no preactivation outweighs: its gate is shut, or open, to the last bit."""
TRANSFORM, CARRY = 1, 2
"""Places of the gates among the biases of a highway layer."""


class Trace(NamedTuple):
    """What the highway layers of a recurrence did with sequences."""

    states: jax.Array
    """s_0 ... s_L of each time step, [time, depth + 1, batch, units]."""
    transform: jax.Array
    """t_1 ... t_L, [time, depth, batch, units]."""


class Discs(NamedTuple):
    """Geršgorin discs of matrices [..., n, n], by rows: all eigenvalues lie in their union."""

    centres: Any
    """Diagonal entries, a real array [..., n]."""
    radii: Any
    """Sums of the other entries' absolute values, [..., n]."""


def trace(core: RHN, state: jax.Array, xs: jax.Array) -> Trace:
    """Run an RHN without dropout, and keep what every highway layer did.

    Args:
      core: of `depth` layers.
      state: before the first time step, [batch, units].
      xs: inputs, [time, batch, input].
    """

    def step(state: jax.Array, projected: jax.Array) -> tuple[jax.Array, Trace]:
        states, transform = [state], []
        for place, layer in enumerate(core.layers):
            gates = layer.compute_gates(states[-1], projected if place == 0 else None)
            states.append(gates.mix(states[-1]))
            transform.append(gates.transform)
        return states[-1], Trace(jnp.stack(states), jnp.stack(transform))

    return jax.lax.scan(step, state, core.project(xs, NO_MASKS))[1]


def movement(states: jax.Array) -> jax.Array:
    """Return how far each layer moves the state, ‖s_l − s_{l−1}‖: [time, depth, batch].

    Args:
      states: of a `Trace`, [time, depth + 1, batch, units].
    """
    return jnp.linalg.norm(states[:, 1:] - states[:, :-1], axis=-1)


def lesion(params: dict[str, Any], layers: Iterable[int]) -> dict[str, Any]:
    """Return an RHN's parameters with some layers made to carry, whatever comes (section 6).

    Their transform gates' biases go to a large negative number, those of carry gates with weights
    of their own to a large positive one. The other arrays are the same ones.

    Args:
      params: of a core, as documented at `highway.core.RHN`.
      layers: numbers of the layers to take out, from 0; none changes nothing.
    """
    lesioned = dict(params["layers"])
    for number in layers:
        layer = lesioned[number]
        bias = layer["bias"].at[TRANSFORM].set(-CLOSED)
        if len(bias) > CARRY:
            bias = bias.at[CARRY].set(CLOSED)
        lesioned[number] = {**layer, "bias": bias}
    return {**params, "layers": lesioned}


def jacobian(core: RHN | DeepTransitionRNN, state: jax.Array, x: jax.Array) -> jax.Array:
    """Compute the temporal Jacobian ∂y[t]/∂y[t−1] of one time step from the equations.

    It is the product of the layers' (`layer_jacobians`); a DT(S)-RNN's last layer adds what it
    reads from y[t−1] itself.

    Args:
      core: of one recurrent layer.
      state: y[t−1], [units].
      x: the input, [input].

    Returns:
      [units, units]; row i is the gradient of y_i[t].
    """
    if isinstance(core, RHN):
        return _product(_highway_layers(core, state, x))
    layers, slope = _plain_layers(core, state, x)
    if not core.shortcut:
        return _product(layers)
    return _product(layers) + slope[:, None] * core.state_shortcut[...][:, 0].T


def layer_jacobians(core: RHN | DeepTransitionRNN, state: jax.Array, x: jax.Array) -> jax.Array:
    """Compute the Jacobian ∂s_l/∂s_{l−1} of every layer in one time step from the equations.

    For a highway layer (section 4) with preactivations of proposal h, transform t and carry c it is
    diag(c) + diag(t · h') R_Hᵀ + diag(h · t') R_Tᵀ + diag(s · c') R_Cᵀ, where h' = 1 − h² and
    t' = t (1 − t); with c = 1 − t the last two are diag((h − s) · t') R_Tᵀ. For a plain layer it is
    diag(1 − s_l²) R_lᵀ.

    Args:
      core: of one recurrent layer.
      state: y[t−1], [units].
      x: the input, [input].

    Returns:
      [depth, units, units]; row i of each is the gradient of unit i of s_l.
    """
    if isinstance(core, RHN):
        return jnp.stack(_highway_layers(core, state, x))
    return jnp.stack(_plain_layers(core, state, x)[0])


def _product(layers: list[jax.Array]) -> jax.Array:
    total = jnp.eye(len(layers[0]), dtype=layers[0].dtype)
    for local in layers:
        total = local @ total
    return total


def _highway_layers(core: RHN, state: jax.Array, x: jax.Array) -> list[jax.Array]:
    found, s = [], state[None]
    projected = core.project(x[None], NO_MASKS)
    for place, layer in enumerate(core.layers):
        gates = layer.compute_gates(s, projected if place == 0 else None)
        kernel = layer.kernel[...]
        h, t, c = gates.proposal[0], gates.transform[0], gates.carry[0]
        by_transform = (h - s[0] if layer.coupled else h) * t * (1 - t)
        local = jnp.diag(c) + (t * (1 - h**2))[:, None] * kernel[:, 0].T
        local += by_transform[:, None] * kernel[:, TRANSFORM].T
        if not layer.coupled:
            local += (s[0] * c * (1 - c))[:, None] * kernel[:, CARRY].T
        found.append(local)
        s = gates.proposal * gates.transform + s * gates.carry
    return found


def _plain_layers(
    core: DeepTransitionRNN, state: jax.Array, x: jax.Array
) -> tuple[list[jax.Array], jax.Array]:
    """The layers' Jacobians, and the slopes 1 − s² of the last one's units."""
    found, s = [], state
    first, last = core.project(x[None], NO_MASKS)
    for place, (kernel, bias) in enumerate(zip(core.kernels, core.biases, strict=True)):
        recurrent = kernel[...][:, 0]
        preactivation = s @ recurrent + bias[...][0]
        if place == 0:
            preactivation += first[0]
        if last is not None and place == len(core.kernels) - 1:
            preactivation += last[0] + state @ core.state_shortcut[...][:, 0]
        s = jnp.tanh(preactivation)
        found.append((1 - s**2)[:, None] * recurrent.T)
    return found, 1 - s**2


def discs(matrices: Any) -> Discs:
    """Return the Geršgorin discs of real matrices [..., n, n] (Geršgorin 1931; section 4)."""
    centres = matrices.diagonal(0, -2, -1)
    return Discs(centres, abs(matrices).sum(-1) - abs(centres))


def eigenvalues(matrix: np.ndarray) -> np.ndarray:
    """Return the eigenvalues of a real matrix [n, n], complex [n], the largest first."""
    found = np.linalg.eigvals(np.asarray(matrix, np.float64))
    return found[np.argsort(-np.abs(found), kind="stable")]
