"""The output layer's cross entropy with a custom VJP, and the embedding's lookup.

Differentiating a cross entropy keeps the logits and makes arrays of their size again and again.
Here one is kept, of exp(z − max z), which both passes share: its rows over their sums are the
probabilities, and since a product doesn't mind on which side a row is scaled, the division is done
to the much smaller features. The ones at the targets are subtracted from the products' results,
where bfloat16 hasn't rounded them. (XLA's CPU writes down a second one, briefly, to find the
maxima.)
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from common.product import contract, rounded


@dataclass(frozen=True)
class Softmax:
    """How an output layer is computed. Whatever is chosen, results agree up to rounding."""

    tied: bool
    """The kernel is [vocabulary, units], an embedding; otherwise [units, vocabulary]."""
    precision: str = "float32"
    """Of what the products read, `float32` (as it is) or `bfloat16`."""
    chunk: int = 0
    """Rows whose logits are there at a time, and computed again going backward; 0 for all."""


def cross_entropies(
    softmax: Softmax, features: jax.Array, kernel: jax.Array, bias: jax.Array, targets: jax.Array
) -> jax.Array:
    """Compute the cross entropy in nats of each target, shaped like `targets`.

    Args:
      softmax: how.
      features: [..., units].
      kernel: [vocabulary, units] or [units, vocabulary]; see `Softmax.tied`.
      bias: [vocabulary].
      targets: int [...].
    """
    rows, flat = features.reshape(-1, features.shape[-1]), targets.reshape(-1)
    count = len(flat)
    if not softmax.chunk or softmax.chunk >= count:
        return _whole(softmax, rows, kernel, bias, flat).reshape(targets.shape)
    missing = -count % softmax.chunk
    rows = jnp.pad(rows, ((0, missing), (0, 0))).reshape(-1, softmax.chunk, rows.shape[-1])
    flat = jnp.pad(flat, (0, missing)).reshape(-1, softmax.chunk)
    losses = _chunked(softmax, rows, kernel, bias, flat).reshape(-1)
    return losses[:count].reshape(targets.shape)


@jax.custom_vjp
def lookup(table: jax.Array, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the rows [..., width] of tokens, and the table for all its other uses.

    The table is [vocabulary, width], tokens are int [...].

    The rows' gradients are added into the array in which the other uses left theirs, where
    differentiating two uses of a table would fill a second array of its size and add the two.
    """
    return table[tokens], table


def _lookup_forward(
    table: jax.Array, tokens: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    return lookup(table, tokens), tokens


def _lookup_backward(
    tokens: jax.Array, bars: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, None]:
    rows, table = bars
    return table.at[tokens].add(rows), None


lookup.defvjp(_lookup_forward, _lookup_backward)


def _powers(
    softmax: Softmax, rows: jax.Array, kernel: jax.Array, bias: jax.Array, targets: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The losses [n], exp(z − max z) [n, vocabulary] and its sums [n], of rows [n, units]."""
    z = contract(rows, kernel, (1, 1 if softmax.tied else 0), softmax.precision) + bias
    right = jnp.take_along_axis(z, targets[:, None], axis=1)[:, 0]
    # It is among those of z. To say so makes XLA read it before the powers may take z's place.
    largest = jnp.maximum(jnp.max(z, axis=1), right)
    powers = jnp.exp(z - largest[:, None])
    sums = jnp.sum(powers, axis=1)
    return jnp.log(sums) + largest - right, rounded(powers, softmax.precision), sums


def _gradients(
    softmax: Softmax,
    rows: jax.Array,
    kernel: jax.Array,
    targets: jax.Array,
    powers: jax.Array,
    sums: jax.Array,
    bars: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradients of rows, kernel and bias from those of the losses, [n]."""
    scale = (bars / sums)[:, None]
    scaled, weighed = rows * scale, rows * bars[:, None]
    back = contract(powers, kernel, (1, 0 if softmax.tied else 1), softmax.precision) * scale
    if softmax.tied:
        rows_bar = back - kernel[targets] * bars[:, None]
        kernel_bar = contract(powers, scaled, (0, 0), softmax.precision)
        kernel_bar = kernel_bar.at[targets].add(-weighed)
    else:
        rows_bar = back - kernel[:, targets].T * bars[:, None]
        kernel_bar = contract(scaled, powers, (0, 0), softmax.precision)
        kernel_bar = kernel_bar.at[:, targets].add(-weighed.T)
    bias_bar = jnp.sum(powers * scale, axis=0).at[targets].add(-bars)
    return rows_bar, kernel_bar, bias_bar


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _whole(
    softmax: Softmax, rows: jax.Array, kernel: jax.Array, bias: jax.Array, targets: jax.Array
) -> jax.Array:
    """The losses [n] of rows [n, units]."""
    return _powers(softmax, rows, kernel, bias, targets)[0]


def _whole_forward(
    softmax: Softmax, rows: jax.Array, kernel: jax.Array, bias: jax.Array, targets: jax.Array
) -> tuple[jax.Array, Any]:
    losses, powers, sums = _powers(softmax, rows, kernel, bias, targets)
    return losses, (rows, kernel, targets, powers, sums)


def _whole_backward(softmax: Softmax, saved: Any, bars: jax.Array) -> tuple[Any, ...]:
    rows, kernel, targets, powers, sums = saved
    return *_gradients(softmax, rows, kernel, targets, powers, sums, bars), None


_whole.defvjp(_whole_forward, _whole_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _chunked(
    softmax: Softmax, rows: jax.Array, kernel: jax.Array, bias: jax.Array, targets: jax.Array
) -> jax.Array:
    """The losses [chunks, chunk] of rows [chunks, chunk, units]."""
    return jax.lax.map(
        lambda chunk: _whole(softmax, chunk[0], kernel, bias, chunk[1]), (rows, targets)
    )


def _chunked_forward(
    softmax: Softmax, rows: jax.Array, kernel: jax.Array, bias: jax.Array, targets: jax.Array
) -> tuple[jax.Array, Any]:
    return _chunked(softmax, rows, kernel, bias, targets), (rows, kernel, bias, targets)


def _chunked_backward(softmax: Softmax, saved: Any, bars: jax.Array) -> tuple[Any, ...]:
    rows, kernel, bias, targets = saved

    def step(sums_so_far: Any, chunk: Any) -> tuple[Any, jax.Array]:
        rows, targets, bars = chunk
        _, powers, sums = _powers(softmax, rows, kernel, bias, targets)
        rows_bar, *bars_here = _gradients(softmax, rows, kernel, targets, powers, sums, bars)
        return jax.tree.map(jnp.add, sums_so_far, tuple(bars_here)), rows_bar

    zeros = (jnp.zeros_like(kernel), jnp.zeros_like(bias))
    (kernel_bar, bias_bar), rows_bar = jax.lax.scan(step, zeros, (rows, targets, bars))
    return rows_bar, kernel_bar, bias_bar, None


_chunked.defvjp(_chunked_forward, _chunked_backward)
