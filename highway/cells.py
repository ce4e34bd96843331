"""The recurrences of Zilly et al. 2017 as cells of Flax NNX, for models of your own.

`RHNCell` and `DeepTransitionCell` go wherever Flax's own cells go: `nnx.RNN`, `nnx.Bidirectional`,
any transformation; `highway.fast_rnn.FastRNN` is `nnx.RNN` with a custom VJP. The
mathematics is that of `highway.core`, and so are the parameters (`cell.core`). docs/library.md
shows all of it in use.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from common.compute import Compute
from common.recurrent import NO_MASKS, Core, Masks
from highway.config import ModelConfig
from highway.core import RHN, DeepTransitionRNN
from highway.parameters import (
    LECUN_NORMAL,
    ORTHOGONAL,
    ZEROS,
    Initializer,
    cast,
    check_depth,
    check_width,
    draw,
)

BY_HAND = Compute("jax")
"""How `FastRNN` computes by default; `Compute("cpu")` takes the CPU kernel, where there is one."""


class DroppedCarry(NamedTuple):
    """The carry of a cell with dropout: its state, and the masks of the sequences under way."""

    state: jax.Array
    """[..., hidden_features]"""
    input_mask: jax.Array | None
    """[..., 1 or gates, in_features], entries 0 or 1 / (1 − rate); None where nothing drops, and in
    carries that were begun in evaluation."""
    state_mask: jax.Array | None
    """[..., 1 or gates, hidden_features], likewise."""


Carry = jax.Array | DroppedCarry


class HighwayCell(nnx.RNNCellBase):
    """What `RHNCell` and `DeepTransitionCell` share: a core behind Flax's protocol of cells.

    Dropout is variational (Gal & Ghahramani 2016): masks are drawn by `initialize_carry`, once for
    each sequence, and travel in the carry. After `model.eval()`, and in `nnx.view(model,
    deterministic=True)`, nothing is dropped, whatever the carry.
    """

    def __init__(
        self,
        core: Core,
        *,
        kernel_init: Initializer,
        recurrent_kernel_init: Initializer,
        bias_init: Initializer,
        input_dropout: float,
        state_dropout: float,
        separate_masks: bool = False,
        dtype: Any,
        param_dtype: Any,
        rngs: nnx.Rngs,
    ):
        """Put a core's parameters into the wanted type, drawn anew; see the cells."""
        for name, share in (("input_dropout", input_dropout), ("state_dropout", state_dropout)):
            if not 0 <= share < 1:
                raise ValueError(f"{name} is a share, from 0 to below 1, not {share}.")
        self.core = core
        self.in_features, self.hidden_features = core.input_size, core.output_size
        self.input_dropout, self.state_dropout = input_dropout, state_dropout
        self.separate_masks, self.deterministic = separate_masks, False
        self.dtype, self.param_dtype = dtype, param_dtype
        drops = input_dropout > 0 or state_dropout > 0
        self.rngs = rngs.dropout.fork() if drops else nnx.data(None)
        draw(core, kernel_init, recurrent_kernel_init, bias_init, param_dtype, rngs)

    def set_view(self, deterministic: bool | None = None) -> None:
        """Serve `nnx.view`: `deterministic` switches dropout off."""
        if deterministic is not None:
            self.deterministic = deterministic

    @property
    def num_feature_axes(self) -> int:
        """Inputs have one axis of features, the last."""
        return 1

    def initialize_carry(
        self,
        input_shape: tuple[int, ...],
        rngs: nnx.Rngs | nnx.RngStream | None = None,
        carry_init: Initializer | None = None,
    ) -> Carry:
        """Begin sequences: with the state of `carry_init`, by default zeros, and new masks.

        Args:
          input_shape: of an input of one time step, [..., in_features].
          rngs: from which `carry_init` draws; masks have a stream of the cell's own, "dropout".
          carry_init: of the state, as Flax's initialisers.

        Returns:
          The state [..., hidden_features], in `dtype` or else in `param_dtype`; for a cell with
          dropout a `DroppedCarry`.

        Raises:
          ValueError: `carry_init` is given without `rngs`.
        """
        shape = (*input_shape[:-1], self.hidden_features)
        if carry_init is None:
            state = jnp.zeros(shape, self.dtype or self.param_dtype)
        elif rngs is None:
            raise ValueError("carry_init draws from rngs: give them to initialize_carry.")
        else:
            stream = rngs.carry if isinstance(rngs, nnx.Rngs) else rngs
            state = carry_init(stream(), shape, self.dtype or self.param_dtype)
        return state if self.rngs is None else self.resample(DroppedCarry(state, None, None))

    def resample(self, carry: Carry) -> Carry:
        """Go on from a carry, or from a state alone, with new masks.

        For the next window of a long sequence, and to begin from the state of another network.
        """
        if self.rngs is None:
            return carry
        state = carry.state if isinstance(carry, DroppedCarry) else carry
        if self.deterministic:
            return DroppedCarry(state, None, None)
        batch = state.shape[:-1]
        count = state[..., 0].size
        masks = self.core.sample_masks(
            self.rngs(),
            count,
            self.input_dropout,
            self.state_dropout,
            separate=self.separate_masks,
        )
        each = [
            mask if mask is None else jnp.moveaxis(mask, 0, 1).reshape(*batch, *mask.shape[::2])
            for mask in masks
        ]
        return DroppedCarry(state, *each)

    def __call__(self, carry: Carry, inputs: jax.Array) -> tuple[Carry, jax.Array]:
        """Take one time step.

        Args:
          carry: of the sequences; for a cell with dropout in training, one that has masks.
          inputs: [..., in_features].

        Returns:
          The carry after it, and the outputs [..., hidden_features].

        Raises:
          ValueError: the inputs have another width, or the carry lacks masks.
        """
        core, state, masks = self._open(carry, inputs)
        flat = inputs.reshape(-1, self.in_features).astype(state.dtype)
        after, _ = core.step(state, flat, masks)
        after = after.reshape(*inputs.shape[:-1], self.hidden_features)
        return _with_state(carry, after), after

    def unroll(
        self, carry: Carry, inputs: jax.Array, seq_lengths: jax.Array | None = None
    ) -> tuple[Carry, jax.Array]:
        """Take all time steps at once; `core.compute` says how.

        Args:
          carry: of the sequences; for a cell with dropout in training, one that has masks.
          inputs: [time, ..., in_features].
          seq_lengths: after how many steps of each sequence its carry is taken, int [...]; by
            default after all.

        Returns:
          That carry, and the outputs [time, ..., hidden_features].

        Raises:
          ValueError: the inputs have another width, or the carry lacks masks.
        """
        core, state, masks = self._open(carry, inputs)
        flat = inputs.reshape(len(inputs), -1, self.in_features).astype(state.dtype)
        after, outputs = core.unroll(state, flat, masks)
        outputs = outputs.reshape(*inputs.shape[:-1], self.hidden_features)
        if seq_lengths is not None:  # the state is the output
            last = jnp.expand_dims(seq_lengths - 1, (0, -1))
            after = jnp.take_along_axis(outputs, last, axis=0)
        return _with_state(carry, after.reshape(outputs.shape[1:])), outputs

    def _open(self, carry: Carry, inputs: jax.Array) -> tuple[Core, jax.Array, Masks]:
        """The core in the type of the computation, its state [batch, units], and its masks."""
        check_width(inputs, self.in_features)
        state = carry.state if isinstance(carry, DroppedCarry) else carry
        dtype = self.dtype or jnp.result_type(inputs.dtype, self.param_dtype, state.dtype)
        core = cast(self.core, dtype)
        masks = NO_MASKS
        if self.rngs is not None and not self.deterministic:
            each = carry[1:] if isinstance(carry, DroppedCarry) else (None, None)
            rates = (self.input_dropout, self.state_dropout)
            if any(rate > 0 and mask is None for rate, mask in zip(rates, each, strict=True)):
                raise ValueError(
                    "a cell with dropout needs masks in its carry: begin with "
                    "`cell.resample(carry)`, of a carry from evaluation or a state alone, or call "
                    "`model.eval()`."
                )
            masks = Masks(*(None if mask is None else _of_core(mask, dtype) for mask in each))
        return core, state.reshape(-1, self.hidden_features).astype(dtype), masks


def _of_core(mask: jax.Array, dtype: Any) -> jax.Array:
    """A carry's mask [..., 1 or gates, width] as cores take it, [1 or gates, batch, width]."""
    return jnp.moveaxis(mask.reshape(-1, *mask.shape[-2:]), 1, 0).astype(dtype)


def _with_state(carry: Carry, state: jax.Array) -> Carry:
    """A carry that has gone on to a state, in the type that it had, as a scan wants."""
    if isinstance(carry, DroppedCarry):
        return carry._replace(state=state.astype(carry.state.dtype))
    return state.astype(carry.dtype)


class RHNCell(HighwayCell):
    """Recurrent highway cell of any depth (Zilly et al. 2017, section 4, equations 6 to 9).

    Its carry is its output, [..., hidden_features].

    Examples:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from highway import RHNCell
      >>> rnn = nnx.RNN(RHNCell(8, 16, depth=3, rngs=nnx.Rngs(0)))
      >>> rnn(jnp.ones((2, 5, 8))).shape  # batch, time, features
      (2, 5, 16)
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        depth: int = 1,
        coupled: bool = True,
        transform_bias: float = -2.0,
        input_dropout: float = 0.0,
        state_dropout: float = 0.0,
        separate_masks: bool = False,
        kernel_init: Initializer = LECUN_NORMAL,
        recurrent_kernel_init: Initializer = ORTHOGONAL,
        bias_init: Initializer = ZEROS,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        compute: Compute = BY_HAND,
        rngs: nnx.Rngs,
    ):
        """Draw the initial parameters.

        Args:
          in_features: width of the input.
          hidden_features: width of state and output.
          depth: highway layers within a time step, L in the paper.
          coupled: whether the carry gate is 1 − transform; otherwise it has weights of its own.
          transform_bias: initial bias of the transform gates; that of separate carry gates is its
            negative.
          input_dropout: share of the input that is dropped on its way into the cell.
          state_dropout: share of the state that is dropped as it enters the recurrent kernels; what
            is carried is never dropped.
          separate_masks: whether each gate has masks of its own.
          kernel_init: of the input's kernels, called with [in_features, hidden_features] for each
            gate.
          recurrent_kernel_init: of the recurrent ones, [hidden_features, hidden_features].
          bias_init: of the proposals' biases, [hidden_features].
          dtype: of the computation; by default what inputs and parameters promote to.
          param_dtype: of the parameters.
          compute: how `unroll` and `FastRNN` go about it.
          rngs: "params" for the parameters, "dropout" for masks.

        Raises:
          ValueError: the depth is below 1, or a share isn't one.
        """
        check_depth(depth)
        core = RHN(
            in_features,
            ModelConfig(
                depth=depth, units=hidden_features, coupled=coupled, transform_bias=transform_bias
            ),
            rngs=rngs,
            compute=compute,
        )
        super().__init__(
            core,
            kernel_init=kernel_init,
            recurrent_kernel_init=recurrent_kernel_init,
            bias_init=bias_init,
            input_dropout=input_dropout,
            state_dropout=state_dropout,
            separate_masks=separate_masks,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )


class DeepTransitionCell(HighwayCell):
    """DT-RNN cell: `depth` plain tanh layers from one state to the next (Pascanu et al. 2014).

    With `shortcut` (DT(S)-RNN) the last layer also reads the input and the state before. Its carry
    is its output, [..., hidden_features].
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        depth: int = 1,
        shortcut: bool = False,
        input_dropout: float = 0.0,
        state_dropout: float = 0.0,
        kernel_init: Initializer = LECUN_NORMAL,
        recurrent_kernel_init: Initializer = ORTHOGONAL,
        bias_init: Initializer = ZEROS,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        compute: Compute = BY_HAND,
        rngs: nnx.Rngs,
    ):
        """Draw the initial parameters.

        Args:
          in_features: width of the input.
          hidden_features: width of state and output.
          depth: tanh layers within a time step.
          shortcut: whether the last layer also reads the input and the state before; at depth 1,
            where the last layer is the first, this adds nothing.
          input_dropout: share of the input that is dropped on its way into the cell.
          state_dropout: share of the state that is dropped as it enters the recurrent kernels.
          kernel_init: of the input's kernels, [in_features, hidden_features].
          recurrent_kernel_init: of the recurrent ones, [hidden_features, hidden_features].
          bias_init: of the biases, [hidden_features].
          dtype: of the computation; by default what inputs and parameters promote to.
          param_dtype: of the parameters.
          compute: how `unroll` and `FastRNN` go about it; `cpu` is the same as `jax`.
          rngs: "params" for the parameters, "dropout" for masks.

        Raises:
          ValueError: the depth is below 1, or a share isn't one.
        """
        check_depth(depth)
        core = DeepTransitionRNN(
            in_features,
            ModelConfig(core="dt_rnn", depth=depth, units=hidden_features),
            shortcut=shortcut,
            rngs=rngs,
            compute=compute,
        )
        super().__init__(
            core,
            kernel_init=kernel_init,
            recurrent_kernel_init=recurrent_kernel_init,
            bias_init=bias_init,
            input_dropout=input_dropout,
            state_dropout=state_dropout,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )
