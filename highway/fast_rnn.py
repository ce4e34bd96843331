"""`nnx.RNN` for the cells of `highway.cells`, with a backward pass of its own (a custom VJP)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.recurrent import flip_sequences

from highway.cells import HighwayCell


class FastRNN(nnx.RNN):
    """`nnx.RNN` of a cell of `highway.cells`, its backward pass a custom VJP instead of a scan's.

    It takes the same arguments and gives the same results, to rounding. Without a scan, `unroll`,
    `state_axes` and `broadcast_rngs` have nothing to do.

    A custom VJP (`jax.custom_vjp`) has no forward mode: `jax.jvp`, `jax.jacfwd` and `jax.hessian`
    raise TypeError; `jax.grad`, also of a gradient, `jax.jacrev` and `jax.vmap` work. With
    `Compute("cpu")` second derivatives raise ValueError, too, and `jax.vmap` takes one member after
    the other. `nnx.RNN` of the same cell, and `Compute("scan")`, have all of them.
    """

    cell: HighwayCell

    def __init__(self, cell: HighwayCell, **options: Any):
        """Wrap a cell; options are those of `nnx.RNN`.

        Raises:
          TypeError: the cell isn't one of `highway.cells`.
        """
        if not isinstance(cell, HighwayCell):
            raise TypeError(
                "FastRNN is for RHNCell and DeepTransitionCell: "
                f"{type(cell).__name__} goes into nnx.RNN."
            )
        super().__init__(cell, **options)

    def __call__(
        self,
        inputs: jax.Array,
        *,
        initial_carry: Any = None,
        seq_lengths: jax.Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | None = None,
    ) -> Any:
        """Apply the cell over sequences.

        Args:
          inputs: [..., time, in_features], or [time, ..., in_features] if `time_major`.
          initial_carry: where to begin; by default where the cell's `initialize_carry` does.
          seq_lengths: events of each sequence that count, int [...]: what is reversed, and which
            step's carry is returned.
          return_carry: whether to return the carry, too; this and what follows are by default as
            given to `FastRNN`.
          time_major: whether the first axis is time.
          reverse: whether to go from each sequence's end to its beginning.
          keep_order: whether what was reversed comes back in the order of the inputs.
          rngs: for `initialize_carry`.

        Returns:
          The outputs, with features as the last axis; if `return_carry`, (carry, outputs).
        """
        return_carry = self.return_carry if return_carry is None else return_carry
        time_major = self.time_major if time_major is None else time_major
        reverse = self.reverse if reverse is None else reverse
        keep_order = self.keep_order if keep_order is None else keep_order
        time_axis = 0 if time_major else inputs.ndim - 2
        xs = jnp.moveaxis(inputs, time_axis, 0)

        def flip(sequences: jax.Array) -> jax.Array:
            return flip_sequences(sequences, seq_lengths, xs.ndim - 2, time_major=True)

        if reverse:
            xs = flip(xs)
        carry = initial_carry
        if carry is None:
            carry = self.cell.initialize_carry(xs.shape[1:], self.rngs if rngs is None else rngs)
        last, outputs = self.cell.unroll(carry, xs, seq_lengths)
        if reverse and keep_order:
            outputs = flip(outputs)
        outputs = jnp.moveaxis(outputs, 0, time_axis)
        return (last, outputs) if return_carry else outputs
