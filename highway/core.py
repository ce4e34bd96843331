"""The recurrent cores of Zilly et al. 2017 (RHN, DT-RNN, DT(S)-RNN), and any core by its name."""

import jax
import jax.numpy as jnp
from flax import nnx

from common.compute import SCAN, Compute
from common.deferred import unroll
from common.lstm import LSTM
from common.product import projected
from common.recurrent import NO_MASKS, Core, Masks, Stack, masked_product, uniform
from highway import fused
from highway.config import LanguageModelConfig, ModelConfig
from highway.layer import HighwayLayer

SHORTEST_FOR_KERNEL = 4
"""Time steps from which on it pays to lay the weights out for the kernel, as each call does."""


def trains_by_kernel(config: LanguageModelConfig) -> bool:
    """Return whether the CPU kernel computes the recurrence when this language model is trained.

    It doesn't for other cores than the RHN, nor where a call has too few time steps.
    """
    steps, chunk = config.train.steps, config.train.recurrence_chunk
    return config.model.core == "rhn" and min(steps, chunk or steps) >= SHORTEST_FOR_KERNEL


class RHN(Core):
    """Recurrent highway layer of any depth (Zilly et al. 2017, section 4, equations 6 to 9).

    The state passes through `depth` highway layers at each time step; the input enters the first.
    All of them share one dropout mask of the state.

    Parameters (gates in the order h, t and, where not coupled, c):

    - `input_kernel` [input, gates, units]: W.
    - `layers.l.kernel` [units, gates, units]: R of highway layer l = 0, 1, ...
    - `layers.l.bias` [gates, units]
    """

    def __init__(
        self, input_size: int, config: ModelConfig, *, rngs: nnx.Rngs, compute: Compute = SCAN
    ):
        """Draw the initial parameters.

        Args:
          input_size: width of the input.
          config: of these settings `units`, `depth`, `coupled`, `transform_bias` and
            `initial_range` are used.
          rngs: its stream "params" is drawn from.
          compute: how `unroll` goes about it.
        """
        self.compute = compute
        self.input_size = input_size
        self.output_size = config.units
        self.gates = 2 if config.coupled else 3
        shape = (input_size, self.gates, config.units)
        self.input_kernel = nnx.Param(uniform(rngs, shape, config.initial_range))
        self.layers = nnx.List(
            HighwayLayer(
                config.units,
                coupled=config.coupled,
                transform_bias=config.transform_bias,
                initial_range=config.initial_range,
                rngs=rngs,
            )
            for _ in range(config.depth)
        )

    def initial_state(self, batch_size: int) -> jax.Array:
        """Return zeros [batch, units]."""
        return jnp.zeros((batch_size, self.output_size))

    def project(self, x: jax.Array, masks: Masks) -> jax.Array:
        """Compute W x of an input [..., batch, input]: [..., batch, gates, units]."""
        return masked_product(x, self.input_kernel[...], masks.input)

    def transition(
        self, state: jax.Array, projected: jax.Array, masks: Masks
    ) -> tuple[jax.Array, jax.Array]:
        """Apply all highway layers of one time step.

        Args:
          state: [batch, units].
          projected: `project`'s result for this time step, [batch, gates, units].
          masks: of which `state` is used.

        Returns:
          The new state [batch, units], and the output, which is the same.
        """
        for depth, layer in enumerate(self.layers, start=1):
            state = layer(state, projected if depth == 1 else None, masks.state)
        return state, state

    def unroll(
        self, state: jax.Array, xs: jax.Array, masks: Masks = NO_MASKS
    ) -> tuple[jax.Array, jax.Array]:
        """Take all time steps of xs [time, batch, input]; see `common.recurrent.Core.unroll`."""
        if self.compute.kernel == "scan":
            return super().unroll(state, xs, masks)
        recurrence = fused.highway_recurrence(
            self.gates == 2,
            use_kernel=self.compute.kernel == "cpu" and len(xs) >= SHORTEST_FOR_KERNEL,
            precision=self.compute.precision,
        )
        weights = tuple(
            fused.LayerWeights(layer.kernel[...], layer.bias[...]) for layer in self.layers
        )
        inputs = projected(xs, self.input_kernel[...], masks.input, self.compute.precision)
        return fused.unroll_highway(recurrence, weights, state, inputs, masks.state)


class DeepTransitionRNN(Core):
    """DT-RNN: `depth` plain tanh layers from one state to the next (Pascanu et al. 2014).

    With `shortcut` (DT(S)-RNN) the last layer also reads the input and the state of the time step
    before; at depth 1, where the last layer is the first, this adds nothing.

    Parameters:

    - `input_kernel` [input, 1, units]: into the first layer.
    - `kernels.l` [units, 1, units]: of layer l = 0, 1, ...
    - `biases.l` [1, units]
    - `input_shortcut` [input, 1, units]: into the last layer; with shortcuts only.
    - `state_shortcut` [units, 1, units]: likewise, from the state of the time step before.
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        config: ModelConfig,
        *,
        shortcut: bool,
        rngs: nnx.Rngs,
        compute: Compute = SCAN,
    ):
        """Draw the initial parameters.

        Args:
          input_size: width of the input.
          config: of these settings `units`, `depth` and `initial_range` are used.
          shortcut: whether the last layer reads input and state as well.
          rngs: its stream "params" is drawn from.
          compute: how `unroll` goes about it; `cpu` is the same as `jax`.
        """
        self.compute = compute
        self.input_size = input_size
        self.output_size = config.units
        units, bound = config.units, config.initial_range
        self.input_kernel = nnx.Param(uniform(rngs, (input_size, 1, units), bound))
        self.kernels = nnx.List(
            nnx.Param(uniform(rngs, (units, 1, units), bound)) for _ in range(config.depth)
        )
        self.biases = nnx.List(
            nnx.Param(uniform(rngs, (1, units), bound)) for _ in range(config.depth)
        )
        self.shortcut = shortcut and config.depth > 1
        if self.shortcut:
            self.input_shortcut = nnx.Param(uniform(rngs, (input_size, 1, units), bound))
            self.state_shortcut = nnx.Param(uniform(rngs, (units, 1, units), bound))

    def initial_state(self, batch_size: int) -> jax.Array:
        """Return zeros [batch, units]."""
        return jnp.zeros((batch_size, self.output_size))

    def project(self, x: jax.Array, masks: Masks) -> tuple[jax.Array, jax.Array | None]:
        """Compute the input's share of the first layer and, with shortcuts, of the last.

        Args:
          x: [..., batch, input].
          masks: of which `input` is used.

        Returns:
          Two arrays [..., batch, units]; the second is None without shortcuts.
        """
        first = masked_product(x, self.input_kernel[...], masks.input)[..., 0, :]
        if not self.shortcut:
            return first, None
        return first, masked_product(x, self.input_shortcut[...], masks.input)[..., 0, :]

    def transition(
        self, state: jax.Array, projected: tuple[jax.Array, jax.Array | None], masks: Masks
    ) -> tuple[jax.Array, jax.Array]:
        """Apply all layers of one time step.

        Args:
          state: [batch, units].
          projected: `project`'s result for this time step.
          masks: of which `state` is used, in all layers.

        Returns:
          The new state [batch, units], and the output, which is the same.
        """
        first, last = projected
        s = state
        for depth, (kernel, bias) in enumerate(
            zip(self.kernels, self.biases, strict=True), start=1
        ):
            preactivation = (masked_product(s, kernel[...], masks.state) + bias[...])[..., 0, :]
            if depth == 1:
                preactivation = preactivation + first
            if last is not None and depth == len(self.kernels):
                past = masked_product(state, self.state_shortcut[...], masks.state)[..., 0, :]
                preactivation = preactivation + last + past
            s = jnp.tanh(preactivation)
        return s, s

    def unroll(
        self, state: jax.Array, xs: jax.Array, masks: Masks = NO_MASKS
    ) -> tuple[jax.Array, jax.Array]:
        """Take all time steps of xs [time, batch, input]; see `common.recurrent.Core.unroll`."""
        if self.compute.kernel == "scan":
            return super().unroll(state, xs, masks)
        layers = tuple(
            fused.LayerWeights(kernel[...], bias[...])
            for kernel, bias in zip(self.kernels, self.biases, strict=True)
        )
        past = self.state_shortcut[...] if self.shortcut else None
        precision = self.compute.precision
        kernels = (
            (self.input_kernel, self.input_shortcut) if self.shortcut else (self.input_kernel,)
        )
        shares = [projected(xs, one[...], masks.input, precision)[..., 0, :] for one in kernels]
        return unroll(
            fused.TransitionRecurrence(precision),
            fused.TransitionWeights(layers, past),
            state,
            (shares[0], shares[1] if self.shortcut else None),
            masks.state,
        )


def make_core(
    input_size: int, config: ModelConfig, *, rngs: nnx.Rngs, compute: Compute = SCAN
) -> Core:
    """Make one recurrent layer of the kind that `config.core` names."""
    match config.core:
        case "rhn":
            return RHN(input_size, config, rngs=rngs, compute=compute)
        case "dt_rnn":
            return DeepTransitionRNN(input_size, config, shortcut=False, rngs=rngs, compute=compute)
        case "dts_rnn":
            return DeepTransitionRNN(input_size, config, shortcut=True, rngs=rngs, compute=compute)
        case "lstm":
            return LSTM(
                input_size,
                config.units,
                initial_range=config.initial_range,
                forget_bias=config.forget_bias,
                rngs=rngs,
                compute=compute,
            )


def make_stack(
    input_size: int, config: ModelConfig, *, rngs: nnx.Rngs, compute: Compute = SCAN
) -> Stack:
    """Make `config.layers` recurrent layers on top of one another."""
    sizes = [input_size] + [config.units] * (config.layers - 1)
    return Stack([make_core(size, config, rngs=rngs, compute=compute) for size in sizes])
