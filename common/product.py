"""Matrix products whose operands are rounded to bfloat16 on request; sums are never rounded.

XLA's products of bfloat16 on CPUs are native for a · b and a · bᵀ only; it computes aᵀ · b in
float32, and slower than that. So a is laid out anew first.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

_BY_ROWS = Layout(major_to_minor=(0, 1))


def rounded(x: jax.Array, precision: str) -> jax.Array:
    """x as products read it: itself in `float32`, otherwise in `bfloat16`."""
    return x.astype(jnp.bfloat16) if precision == "bfloat16" else x


def contract(a: jax.Array, b: jax.Array, axes: tuple[int, int], precision: str) -> jax.Array:
    """Sum the products of two matrices over one axis of each: the product of what is left.

    Args:
      a: a matrix, rounded before or not.
      b: likewise.
      axes: which of a's axes, and which of b's, is summed over.
      precision: of what is read, `float32` (as it is) or `bfloat16`. Sums have the wider type of a
        and b, float32 at least.
    """
    kind = jnp.promote_types(jnp.promote_types(a.dtype, b.dtype), jnp.float32)
    a, b = rounded(a, precision), rounded(b, precision)

    def plain(a: jax.Array, b: jax.Array) -> jax.Array:
        left, right = axes
        return jax.lax.dot_general(
            a, b, (((left,), (right,)), ((), ())), preferred_element_type=kind
        )

    def laid_out(a: jax.Array, b: jax.Array) -> jax.Array:
        # A transpose alone would be folded back into the product.
        by_rows = with_layout_constraint(a.T, _BY_ROWS)
        return jnp.matmul(by_rows, b, preferred_element_type=kind)

    if precision != "bfloat16" or axes != (0, 0):
        return plain(a, b)
    return jax.lax.platform_dependent(a, b, cpu=laid_out, default=plain)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def product(precision: str, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [n, k] · kernel [k, m] whose gradients' products read the same precision as its own.

    Its type is the wider one of x and kernel, and gradients have the types of what they are of.
    """
    return contract(x, kernel, (1, 0), precision).astype(jnp.result_type(x, kernel))


def _forward(
    precision: str, x: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return product(precision, x, kernel), (x, kernel)


def _backward(
    precision: str, saved: tuple[jax.Array, jax.Array], bar: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    x_bar = contract(bar, kernel, (1, 1), precision)
    return x_bar.astype(x.dtype), contract(x, bar, (0, 0), precision).astype(kernel.dtype)


product.defvjp(_forward, _backward)


def projected(x: jax.Array, kernel: jax.Array, mask: jax.Array | None, precision: str) -> jax.Array:
    """`common.recurrent.masked_product` of all time steps at once, in this precision.

    Args:
      x: [time, batch, n].
      kernel: [n, gates, m].
      mask: dropout of x, [1 or gates, batch, n] or None.
      precision: see `contract`.

    Returns:
      [time, batch, gates, m].
    """
    n, gates, m = kernel.shape
    time, batch, _ = x.shape

    def rows(mask: jax.Array | None) -> jax.Array:
        return (x if mask is None else x * mask).reshape(time * batch, n)

    if mask is None or mask.shape[0] == 1:
        whole = None if mask is None else mask[0]
        flat = product(precision, rows(whole), kernel.reshape(n, gates * m))
        return flat.reshape(time, batch, gates, m)
    each = [product(precision, rows(mask[gate]), kernel[:, gate]) for gate in range(gates)]
    return jnp.stack(each, axis=1).reshape(time, batch, gates, m)
