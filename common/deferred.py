"""Unrolls a recurrence with a custom VJP (`jax.custom_vjp`): one product for a weight's gradient.

Differentiating `lax.scan` adds up a weight's gradient step by step: as many small products as there
are time steps, and as many passes over an array of the weight's size. Here the backward scan only
passes on what is as small as a state, and saves each layer's errors; afterwards a weight's gradient
is one product over all time steps. What the forward pass saves is what the backward pass would
otherwise have to compute again.

A recurrence says how one time step goes forward and backward, or how all of them do; `unroll` does
the rest. Its numbers are those of the scan that it replaces, up to the order of sums.
"""

import abc
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from common.product import contract, rounded


class Recurrence(abc.ABC):
    """A core's time steps, forward and backward; hashable, without arrays of its own.

    Arrays are pytrees of its own making. `masks` are constant over time and get no gradient.
    `common.product.rounded` and `backward_kernel` give kernels the precision of the products.
    """

    @abc.abstractmethod
    def prepare(self, weights: Any) -> Any:
        """Return what `forward` reads of the weights: cast, padded, laid out for its products."""

    @abc.abstractmethod
    def prepare_backward(self, weights: Any) -> Any:
        """Return what `backward` reads of the weights."""

    @abc.abstractmethod
    def forward(self, weights: Any, state: Any, projected: Any, masks: Any) -> tuple[Any, Any, Any]:
        """(prepared weights, state, projected input, masks) → (new state, output, saved)."""

    @abc.abstractmethod
    def backward(
        self, weights: Any, saved: Any, masks: Any, state_bar: Any, output_bar: Any
    ) -> tuple[Any, Any, Any]:
        """Gradients of new state and output → (of the old state, of the projected input, errors).

        Errors are the gradients of the results of the step's matrix products.
        """

    @abc.abstractmethod
    def weight_gradients(self, weights: Any, saved: Any, errors: Any, masks: Any) -> Any:
        """Gradients like `weights`, from what all time steps saved, leaves [time, ...]."""

    def forward_all(
        self, weights: Any, state: Any, projected: Any, masks: Any, *, save: bool
    ) -> tuple[Any, Any, Any]:
        """Run all time steps: (last state, outputs, saved), leaves [time, ...] but of the state.

        Args:
          weights: the parameters as they are.
          state: where it starts.
          projected: leaves [time, ...].
          masks: as for `forward`.
          save: whether the backward pass will follow; without it `saved` is None.
        """
        prepared = self.prepare(weights)

        def step(state: Any, projected: Any) -> tuple[Any, Any]:
            state, output, saved = self.forward(prepared, state, projected, masks)
            return state, (output, saved if save else None)

        last, (outputs, saved) = jax.lax.scan(step, state, projected)
        return last, outputs, saved

    def backward_all(
        self, weights: Any, saved: Any, masks: Any, state_bar: Any, output_bars: Any
    ) -> tuple[Any, Any, Any]:
        """`backward` for all time steps, from the last one: (state_bar, projected_bars, errors)."""
        prepared = self.prepare_backward(weights)

        def step(state_bar: Any, xs: Any) -> tuple[Any, Any]:
            saved, output_bar = xs
            state_bar, projected_bar, errors = self.backward(
                prepared, saved, masks, state_bar, output_bar
            )
            return state_bar, (projected_bar, errors)

        state_bar, (projected_bars, errors) = jax.lax.scan(
            step, state_bar, (saved, output_bars), reverse=True
        )
        return state_bar, projected_bars, errors


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def unroll(
    recurrence: Recurrence, weights: Any, state: Any, projected: Any, masks: Any
) -> tuple[Any, Any]:
    """Run all time steps.

    Args:
      recurrence: the step.
      weights: its parameters.
      state: where it starts.
      projected: the inputs' share of every step, leaves [time, ...].
      masks: dropout masks, or whatever else is constant; no gradient reaches them.

    Returns:
      The last state, and the outputs, leaves [time, ...].
    """
    last, outputs, _ = recurrence.forward_all(weights, state, projected, masks, save=False)
    return last, outputs


def _forward(
    recurrence: Recurrence, weights: Any, state: Any, projected: Any, masks: Any
) -> tuple[tuple[Any, Any], Any]:
    last, outputs, saved = recurrence.forward_all(weights, state, projected, masks, save=True)
    return (last, outputs), (weights, saved, masks)


def _backward(recurrence: Recurrence, residuals: Any, bars: tuple[Any, Any]) -> tuple[Any, ...]:
    weights, saved, masks = residuals
    state_bar, projected_bars, errors = recurrence.backward_all(weights, saved, masks, *bars)
    gradients = recurrence.weight_gradients(weights, saved, errors, masks)
    return gradients, state_bar, projected_bars, jax.tree.map(jnp.zeros_like, masks)


unroll.defvjp(_forward, _backward)


def masked(x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """x [..., batch, n] dropped by a mask [1 or gates, batch, n]: [..., 1 or gates, batch, n].

    Without a mask the axis of gates is added all the same, with length 1.
    """
    expanded = jnp.expand_dims(x, -3)
    return expanded if mask is None else expanded * mask


def backward_kernel(kernel: jax.Array, precision: str) -> jax.Array:
    """What `product_back` reads of a kernel [n, gates, m]: laid out once, read at every time step.

    Transposed to [gates, m, n] in float32. In bfloat16 as it is: XLA's CPU products are faster so.
    """
    if precision == "bfloat16":
        return rounded(kernel, precision)
    return jnp.transpose(kernel, (1, 2, 0))


def weight_gradient(
    x: jax.Array, error: jax.Array, mask: jax.Array | None, precision: str
) -> jax.Array:
    """Gradient [n, gates, m] of a kernel whose products x · kernel have these errors.

    Args:
      x: what went into the products before masking, [time, batch, n].
      error: gradients of their results, [time, batch, gates, m].
      mask: [1 or gates, batch, n] or None.
      precision: of what the product reads; see `common.product.contract`.
    """
    time, batch, gates, m = error.shape
    n = x.shape[-1]
    if mask is not None and mask.shape[0] > 1:
        rows = jnp.moveaxis(masked(x, mask), 1, 0).reshape(gates, time * batch, n)
        errors = jnp.moveaxis(error, 2, 0).reshape(gates, time * batch, m)
        each = [contract(*pair, (0, 0), precision) for pair in zip(rows, errors, strict=True)]
        return jnp.stack(each, axis=1)
    rows = (x if mask is None else x * mask[0]).reshape(time * batch, n)
    errors = error.reshape(time * batch, gates * m)
    return contract(rows, errors, (0, 0), precision).reshape(n, gates, m)


def product(x: jax.Array, kernel: jax.Array, mask: jax.Array | None) -> jax.Array:
    """`common.recurrent.masked_product` with x rounded to the kernel's type, sums of x's type."""
    n, gates, m = kernel.shape
    rows = masked(x, mask).astype(kernel.dtype)
    if rows.shape[-3] > 1:
        return jnp.einsum("gbn,ngm->bgm", rows, kernel, preferred_element_type=x.dtype)
    flat = jnp.matmul(rows[0], kernel.reshape(n, gates * m), preferred_element_type=x.dtype)
    return flat.reshape(-1, gates, m)


def product_back(
    error: jax.Array, kernel: jax.Array, mask: jax.Array | None, precision: str
) -> jax.Array:
    """Gradient [batch, n] of what went into a product, from its error [batch, gates, m].

    The kernel is that of `backward_kernel`, and the error is rounded to its type. Mask as in
    `weight_gradient`.
    """
    batch, gates, m = error.shape
    transposed = precision != "bfloat16"
    narrow = error.astype(kernel.dtype)
    if mask is not None and mask.shape[0] > 1:
        layout = "bgm,gmn->gbn" if transposed else "bgm,ngm->gbn"
        back = jnp.einsum(layout, narrow, kernel, preferred_element_type=error.dtype)
        return jnp.sum(back * mask, axis=0)
    flat = kernel.reshape((gates * m, -1) if transposed else (-1, gates * m))
    back = jax.lax.dot_general(
        narrow.reshape(batch, gates * m),
        flat,
        (((1,), (0 if transposed else 1,)), ((), ())),
        preferred_element_type=error.dtype,
    )
    return back if mask is None else back * mask[0]
