"""The recurrences of Zilly et al. 2017 as cells of Flax NNX, for models of your own.

`RHNCell` and `DeepTransitionCell` go wherever Flax's own cells go: `nnx.RNN`, `nnx.Bidirectional`,
any transformation. `FastRNN` is `nnx.RNN` with the backward pass by hand. The mathematics is that
of `highway.core`, and so are the parameters (`cell.core`).
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.recurrent import flip_sequences

from common.compute import Compute
from common.recurrent import NO_MASKS, Core, Masks
from highway.config import ModelConfig
from highway.core import RHN, DeepTransitionRNN
from highway.layer import Activation, HighwayLayer

Initializer = Callable[..., jax.Array]
BY_HAND = Compute("jax")
"""How `FastRNN` computes by default; `Compute("cpu")` takes the CPU kernel, where there is one."""


class DroppedCarry(NamedTuple):
    """The carry of a cell with dropout: its state, and the masks of the sequences under way."""

    state: jax.Array
    """[*batch, hidden_features]"""
    input_mask: jax.Array | None
    """[*batch, 1 or gates, in_features], entries 0 or 1 / (1 − rate); None where nothing drops."""
    state_mask: jax.Array | None
    """[*batch, 1 or gates, hidden_features], likewise."""


Carry = jax.Array | DroppedCarry


class HighwayCell(nnx.RNNCellBase):
    """What `RHNCell` and `DeepTransitionCell` share: a core behind Flax's protocol of cells.

    Dropout is variational (Gal & Ghahramani 2016): masks are drawn by `initialize_carry`, once for
    each sequence, and travel in the carry. After `model.eval()` nothing is dropped.
    """

    def __init__(
        self,
        core: Core,
        *,
        kernel_init: Initializer,
        recurrent_kernel_init: Initializer,
        input_dropout: float,
        state_dropout: float,
        separate_masks: bool,
        dtype: Any,
        param_dtype: Any,
        rngs: nnx.Rngs,
    ):
        """Put a core's parameters into the wanted type, drawn anew; see the cells."""
        self.core = core
        self.in_features, self.hidden_features = core.input_size, core.output_size
        self.input_dropout, self.state_dropout = input_dropout, state_dropout
        self.separate_masks, self.deterministic = separate_masks, False
        self.dtype, self.param_dtype = dtype, param_dtype
        drops = input_dropout > 0 or state_dropout > 0
        self.rngs = rngs.dropout.fork() if drops else nnx.data(None)
        _draw(core, kernel_init, recurrent_kernel_init, param_dtype, rngs)

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
          input_shape: of an input of one time step, [*batch, in_features].
          rngs: from which `carry_init` draws; masks have a stream of the cell's own, "dropout".
          carry_init: of the state, as Flax's initialisers.

        Returns:
          The state [*batch, hidden_features]; for a cell with dropout a `DroppedCarry`.

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
        """Go on from a carry with new masks, as for the next window of a long sequence."""
        if self.rngs is None:
            return carry
        assert isinstance(carry, DroppedCarry)
        if self.deterministic:
            return DroppedCarry(carry.state, None, None)
        batch = carry.state.shape[:-1]
        count = carry.state[..., 0].size
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
        return DroppedCarry(carry.state, *each)

    def __call__(self, carry: Carry, inputs: jax.Array) -> tuple[Carry, jax.Array]:
        """Take one time step: inputs [*batch, in_features] to the carry and outputs after it."""
        core, state, masks = self._open(carry, inputs.dtype)
        flat = inputs.reshape(-1, self.in_features).astype(state.dtype)
        after, _ = core.step(state, flat, masks)
        after = after.reshape(*inputs.shape[:-1], self.hidden_features)
        return _with_state(carry, after), after

    def unroll(self, carry: Carry, inputs: jax.Array) -> tuple[Carry, jax.Array]:
        """Take all time steps at once; `core.compute` says how.

        Args:
          carry: of the sequences.
          inputs: [time, *batch, in_features].

        Returns:
          The carry after the last step, and the outputs [time, *batch, hidden_features].
        """
        core, state, masks = self._open(carry, inputs.dtype)
        flat = inputs.reshape(len(inputs), -1, self.in_features).astype(state.dtype)
        after, outputs = core.unroll(state, flat, masks)
        batch = inputs.shape[1:-1]
        after = after.reshape(*batch, self.hidden_features)
        return _with_state(carry, after), outputs.reshape(len(inputs), *batch, self.hidden_features)

    def _open(self, carry: Carry, given: Any) -> tuple[Core, jax.Array, Masks]:
        """The core in the type of the computation, its state [batch, units], and its masks."""
        state = carry.state if isinstance(carry, DroppedCarry) else carry
        dtype = self.dtype or jnp.result_type(given, self.param_dtype, state.dtype)
        core = nnx.merge(*_cast(nnx.split(self.core), dtype))
        masks = NO_MASKS
        if isinstance(carry, DroppedCarry):
            masks = Masks(
                *(
                    m
                    if m is None
                    else jnp.moveaxis(m.reshape(-1, *m.shape[-2:]), 1, 0).astype(dtype)
                    for m in (carry.input_mask, carry.state_mask)
                )
            )
        return core, state.reshape(-1, self.hidden_features).astype(dtype), masks


def _with_state(carry: Carry, state: jax.Array) -> Carry:
    """A carry that has gone on to a state, in the type that it had, as a scan wants."""
    if isinstance(carry, DroppedCarry):
        return carry._replace(state=state.astype(carry.state.dtype))
    return state.astype(carry.dtype)


def _cast(split: tuple[Any, Any], dtype: Any) -> tuple[Any, Any]:
    """A module taken apart, its arrays in a type."""
    graph, state = split
    return graph, jax.tree.map(lambda leaf: leaf.astype(dtype), state)


class RHNCell(HighwayCell):
    """Recurrent highway cell of any depth (Zilly et al. 2017, section 4, equations 6 to 9).

    Its carry is its output, [*batch, hidden_features].

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
        kernel_init: Initializer = nnx.initializers.lecun_normal(),  # noqa: B008 - as Flax's cells
        recurrent_kernel_init: Initializer = nnx.initializers.orthogonal(),  # noqa: B008 - likewise
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
          dtype: of the computation; by default what inputs and parameters promote to.
          param_dtype: of the parameters.
          compute: how `unroll` and `FastRNN` go about it.
          rngs: "params" for the parameters, "dropout" for masks.
        """
        core = RHN(
            in_features,
            ModelConfig(
                depth=depth, units=hidden_features, coupled=coupled, transform_bias=transform_bias
            ),
            rngs=rngs,
            compute=compute,
        )
        _start_gates(core.layers)
        super().__init__(
            core,
            kernel_init=kernel_init,
            recurrent_kernel_init=recurrent_kernel_init,
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
    is its output, [*batch, hidden_features].
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
        kernel_init: Initializer = nnx.initializers.lecun_normal(),  # noqa: B008 - as Flax's cells
        recurrent_kernel_init: Initializer = nnx.initializers.orthogonal(),  # noqa: B008 - likewise
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        compute: Compute = BY_HAND,
        rngs: nnx.Rngs,
    ):
        """Draw the initial parameters; biases start at 0, arguments are those of `RHNCell`."""
        core = DeepTransitionRNN(
            in_features,
            ModelConfig(core="dt_rnn", depth=depth, units=hidden_features),
            shortcut=shortcut,
            rngs=rngs,
            compute=compute,
        )
        for bias in core.biases:
            bias[...] = jnp.zeros_like(bias[...])
        super().__init__(
            core,
            kernel_init=kernel_init,
            recurrent_kernel_init=recurrent_kernel_init,
            input_dropout=input_dropout,
            state_dropout=state_dropout,
            separate_masks=False,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )


class FastRNN(nnx.RNN):
    """`nnx.RNN` of a cell of this module, with the backward pass by hand instead of a scan's.

    It takes the same arguments and gives the same results, to rounding; inputs have one batch axis.
    """

    cell: HighwayCell

    def __init__(self, cell: HighwayCell, **options: Any):
        """Wrap a cell; options are those of `nnx.RNN`."""
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
          inputs: [batch, time, in_features], or [time, batch, in_features] if `time_major`.
          initial_carry: where to begin; by default where the cell's `initialize_carry` does.
          seq_lengths: events of each sequence that count, int [batch]: what is reversed, and which
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
        xs = inputs if time_major else jnp.swapaxes(inputs, 0, 1)

        def flip(sequences: jax.Array) -> jax.Array:
            return flip_sequences(sequences, seq_lengths, num_batch_dims=1, time_major=True)

        if reverse:
            xs = flip(xs)
        carry = initial_carry
        if carry is None:
            carry = self.cell.initialize_carry(xs.shape[1:], self.rngs if rngs is None else rngs)
        last, outputs = self.cell.unroll(carry, xs)
        if seq_lengths is not None:  # the state is the output
            last = _with_state(last, outputs[seq_lengths - 1, jnp.arange(outputs.shape[1])])
        if reverse and keep_order:
            outputs = flip(outputs)
        outputs = outputs if time_major else jnp.swapaxes(outputs, 0, 1)
        return (last, outputs) if return_carry else outputs


class Highway(nnx.Module):
    """Feed-forward highway block (Srivastava et al. 2015): `depth` layers of one width.

    y = H(x) · T(x) + x · (1 − T(x)), H an affine map with an activation, T one with a sigmoid.
    Parameters are those of `highway.layer.HighwayLayer`.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from highway import Highway
    >>> Highway(6, depth=20, rngs=nnx.Rngs(0))(jnp.ones((3, 6))).shape
    (3, 6)
    """

    def __init__(
        self,
        features: int,
        *,
        depth: int = 1,
        activation: Activation = nnx.relu,
        transform_bias: float = -2.0,
        kernel_init: Initializer = nnx.initializers.lecun_normal(),  # noqa: B008 - as Flax's layers
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Draw the initial parameters; biases of proposals start at 0.

        Args:
          features: width of input and output.
          depth: layers.
          activation: of the proposals H.
          transform_bias: initial bias of the transform gates T; below 0 they mostly carry at first.
          kernel_init: called with [features, features] for each gate.
          dtype: of the computation; by default what inputs and parameters promote to.
          param_dtype: of the parameters.
          rngs: "params".
        """
        self.features, self.dtype, self.param_dtype = features, dtype, param_dtype
        self.layers = nnx.List(
            HighwayLayer(features, transform_bias=transform_bias, activation=activation, rngs=rngs)
            for _ in range(depth)
        )
        _start_gates(self.layers)
        _draw(self.layers, kernel_init, kernel_init, param_dtype, rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Pass inputs [*batch, features] through all layers."""
        dtype = self.dtype or jnp.result_type(inputs.dtype, self.param_dtype)
        x = inputs.reshape(-1, self.features).astype(dtype)
        for layer in nnx.merge(*_cast(nnx.split(self.layers), dtype)):
            x = layer(x)
        return x.reshape(inputs.shape)


def _start_gates(layers: Iterable[HighwayLayer]) -> None:
    """Set the proposals' biases to 0; those of the gates stay."""
    for layer in layers:
        layer.bias[...] = layer.bias[...].at[0].set(0.0)


def _draw(
    module: nnx.Module | nnx.List,
    kernel_init: Initializer,
    recurrent_kernel_init: Initializer,
    param_dtype: Any,
    rngs: nnx.Rngs,
) -> None:
    """Draw kernels [from, gates, to] anew, each gate's by itself; put all into the type."""
    for path, parameter in nnx.iter_graph(module):
        if not isinstance(parameter, nnx.Param):
            continue
        value = parameter[...]
        if value.ndim == 3:
            of_input = str(path[-1]).startswith("input_")
            draw = kernel_init if of_input else recurrent_kernel_init
            shape = (value.shape[0], value.shape[2])
            drawn = jnp.promote_types(param_dtype, jnp.float32)  # some initialisers know no less
            each = [draw(rngs.params(), shape, drawn) for _ in range(value.shape[1])]
            value = jnp.stack(each, axis=1)
        parameter.set_value(value.astype(param_dtype))
