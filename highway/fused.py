"""Custom VJPs of the first paper's recurrences: what `common.deferred.unroll` goes back by."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from common.deferred import (
    Recurrence,
    backward_kernel,
    product,
    product_back,
    unroll,
    weight_gradient,
)
from common.product import rounded
from highway import kernel

VECTOR = 16
"""Units are filled up to a multiple of this for JAX's products: float32 numbers in 512 bits."""


class LayerWeights(NamedTuple):
    """A highway or transition layer: kernel [units, gates, units] and bias [gates, units]."""

    kernel: jax.Array
    """[units, gates, units], [from, gate, to]."""
    bias: jax.Array
    """[gates, units]"""


class HighwaySaved(NamedTuple):
    """What a highway layer saves of a time step, [batch, units] each."""

    state: jax.Array
    """What entered."""
    proposal: jax.Array
    """h."""
    transform: jax.Array
    """t."""
    carry: jax.Array | None
    """None where it is 1 − transform."""


@dataclass(frozen=True)
class HighwayRecurrence(Recurrence):
    """All highway layers of a time step (Zilly et al. 2017, section 4, equations 6 to 9).

    Weights are a tuple of `LayerWeights`, the state [batch, units], the projected input
    [batch, gates, units], the mask [1 or gates, batch, units] or None.
    """

    coupled: bool
    precision: str = "float32"
    """Of what products read, those of a step and the weights' gradients over time: `float32` (as it
    is) or `bfloat16`. Their sums are float32 in any case, and so are the gates."""

    def prepare(self, weights: tuple[LayerWeights, ...]) -> tuple[LayerWeights, ...]:
        """Kernels in the products' precision."""
        return tuple(
            layer._replace(kernel=rounded(layer.kernel, self.precision)) for layer in weights
        )

    def prepare_backward(self, weights: tuple[LayerWeights, ...]) -> tuple[jax.Array, ...]:
        """Kernels as the products of the backward pass read them."""
        return tuple(backward_kernel(layer.kernel, self.precision) for layer in weights)

    def forward(
        self, weights: Any, state: jax.Array, projected: jax.Array, mask: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, tuple[HighwaySaved, ...]]:
        """s_l = h_l · t_l + s_{l−1} · c_l for every layer l; the output is the last state."""
        saved = []
        for depth, layer in enumerate(weights):
            z = product(state, layer.kernel, mask) + layer.bias
            if depth == 0:
                z = z + projected
            h, t = jnp.tanh(z[:, 0]), jax.nn.sigmoid(z[:, 1])
            c = None if self.coupled else jax.nn.sigmoid(z[:, 2])
            saved.append(HighwaySaved(state, h, t, c))
            state = h * t + state * (1 - t if c is None else c)
        return state, state, tuple(saved)

    def backward(
        self,
        weights: Any,
        saved: tuple[HighwaySaved, ...],
        mask: jax.Array | None,
        state_bar: jax.Array,
        output_bar: jax.Array,
    ) -> tuple[jax.Array, jax.Array, tuple[jax.Array, ...]]:
        """Errors of the layers' products, [batch, gates, units] each."""
        bar = state_bar + output_bar
        errors: list[jax.Array] = []
        for kernel_back, (s, h, t, c) in zip(reversed(weights), reversed(saved), strict=True):
            carried = bar * (1 - t if c is None else c)
            through_t = bar * ((h - s) if c is None else h)
            gates = [bar * t * (1 - h * h), through_t * t * (1 - t)]
            if c is not None:
                gates.append(bar * s * c * (1 - c))
            error = jnp.stack(gates, axis=1)
            errors.append(error)
            bar = carried + product_back(error, kernel_back, mask, self.precision)
        return bar, errors[-1], tuple(reversed(errors))

    def weight_gradients(
        self,
        weights: Any,
        saved: tuple[HighwaySaved, ...],
        errors: tuple[jax.Array, ...],
        mask: jax.Array | None,
    ) -> tuple[LayerWeights, ...]:
        """Of every layer's kernel one product over time and batch, of its bias a sum."""
        return tuple(
            LayerWeights(
                weight_gradient(s.state, error, mask, self.precision), jnp.sum(error, axis=(0, 1))
            )
            for s, error in zip(saved, errors, strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class KernelRecurrence(HighwayRecurrence):
    """The same through the CPU kernel, forward and backward; what it can't do goes the JAX way.

    It takes float32 arrays. On other platforms and for other types it is `HighwayRecurrence`.
    """

    library: kernel.Library
    threads: int | None = None
    """None: one for each core that this process may use. They don't change the bits."""

    def forward_all(
        self,
        weights: tuple[LayerWeights, ...],
        state: jax.Array,
        projected: jax.Array,
        masks: jax.Array | None,
        *,
        save: bool,
    ) -> tuple[jax.Array, jax.Array, Any]:
        """Run all time steps in one call."""

        def run(*arguments: Any) -> tuple[jax.Array, jax.Array, Any]:
            weights, state, projected, masks = arguments
            last, outputs, arrays = self.library.forward(
                [layer.kernel for layer in weights],
                [layer.bias for layer in weights],
                state,
                projected,
                masks,
                save=save,
                narrow=self.precision == "bfloat16",
                threads=self.threads,
            )
            carry = (None,) if self.coupled else ()
            saved = tuple(HighwaySaved(*layer, *carry) for layer in arrays) if save else None
            return last, outputs, saved

        jax_way = partial(super().forward_all, save=save)
        arguments = (weights, state, projected, masks)
        if not kernel.takes(arguments) or not len(projected):
            return jax_way(*arguments)
        return jax.lax.platform_dependent(*arguments, cpu=run, default=jax_way)

    def backward_all(
        self,
        weights: tuple[LayerWeights, ...],
        saved: tuple[HighwaySaved, ...],
        masks: jax.Array | None,
        state_bar: jax.Array,
        output_bars: jax.Array,
    ) -> tuple[jax.Array, jax.Array, tuple[jax.Array, ...]]:
        """Run all time steps in one call."""

        def run(*arguments: Any) -> tuple[jax.Array, jax.Array, tuple[jax.Array, ...]]:
            weights, saved, masks, state_bar, output_bars = arguments
            state_bar, errors = self.library.backward(
                [layer.kernel for layer in weights],
                [jax.tree.leaves(layer) for layer in saved],
                masks,
                state_bar,
                output_bars,
                narrow=self.precision == "bfloat16",
                threads=self.threads,
            )
            return state_bar, errors[0], errors

        arguments = (weights, saved, masks, state_bar, output_bars)
        if not kernel.takes(arguments) or not len(output_bars):
            return super().backward_all(*arguments)
        return jax.lax.platform_dependent(*arguments, cpu=run, default=super().backward_all)


def highway_recurrence(
    coupled: bool, *, use_kernel: bool = True, precision: str = "float32"
) -> HighwayRecurrence:
    """Return the fastest way for highway layers here; one line says if there is no kernel.

    Args:
      coupled: whether the carry gate is 1 − transform.
      use_kernel: whether to take the CPU kernel if there is a CPU to run it.
      precision: see `HighwayRecurrence`.
    """
    if use_kernel and jax.default_backend() == "cpu" and (library := kernel.load()) is not None:
        return KernelRecurrence(coupled, precision, library=library)
    return HighwayRecurrence(coupled, precision)


def unroll_highway(
    recurrence: HighwayRecurrence,
    weights: tuple[LayerWeights, ...],
    state: jax.Array,
    projected: jax.Array,
    mask: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """`common.deferred.unroll` of highway layers, widened to whole vectors for JAX's products.

    Units that are added stay 0: their proposal is tanh(0), and no weight leads out of them.
    """
    units = state.shape[-1]
    added = 0 if isinstance(recurrence, KernelRecurrence) else -units % VECTOR

    def widen(array: jax.Array) -> jax.Array:
        return jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, added)])

    if added:
        weights = tuple(
            LayerWeights(jnp.pad(layer.kernel, ((0, added), (0, 0), (0, added))), widen(layer.bias))
            for layer in weights
        )
        state, projected = widen(state), widen(projected)
        mask = None if mask is None else widen(mask)
    last, outputs = unroll(recurrence, weights, state, projected, mask)
    return last[..., :units], outputs[..., :units]


class TransitionSaved(NamedTuple):
    """What a deep transition saves of a time step, [batch, units] each."""

    inputs: tuple[jax.Array, ...]
    """What entered each layer."""
    last: jax.Array
    """What left the last one."""


class TransitionWeights(NamedTuple):
    """A deep transition: its layers, and DT(S)-RNN's kernel [units, 1, units] past them or None."""

    layers: tuple[LayerWeights, ...]
    """From the first one on, each with one gate."""
    shortcut: jax.Array | None
    """From the state before to the last layer, [units, 1, units]; None without."""


@dataclass(frozen=True)
class TransitionRecurrence(Recurrence):
    """The tanh layers of a deep transition, DT-RNN and DT(S)-RNN (Pascanu et al. 2014).

    State [batch, units]; the projected input is a pair, of the first layer's share [batch, units]
    and with a shortcut the last one's, otherwise None.
    """

    precision: str = "float32"
    """See `HighwayRecurrence`."""

    def prepare(self, weights: TransitionWeights) -> TransitionWeights:
        """Kernels in the products' precision."""
        past = weights.shortcut
        return TransitionWeights(
            tuple(
                layer._replace(kernel=rounded(layer.kernel, self.precision))
                for layer in weights.layers
            ),
            None if past is None else rounded(past, self.precision),
        )

    def prepare_backward(self, weights: TransitionWeights) -> tuple[tuple[jax.Array, ...], Any]:
        """Kernels of the layers and of the shortcut as the backward pass's products read them."""
        past = weights.shortcut
        return (
            tuple(backward_kernel(layer.kernel, self.precision) for layer in weights.layers),
            None if past is None else backward_kernel(past, self.precision),
        )

    def forward(
        self, weights: TransitionWeights, state: jax.Array, projected: Any, mask: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, TransitionSaved]:
        """s_l = tanh(R_l s_{l−1} + b_l), the input entering the first layer (and the last)."""
        first, last = projected
        s, inputs = state, []
        for depth, layer in enumerate(weights.layers, start=1):
            z = (product(s, layer.kernel, mask) + layer.bias)[:, 0]
            if depth == 1:
                z = z + first
            if weights.shortcut is not None and depth == len(weights.layers):
                z = z + last + product(state, weights.shortcut, mask)[:, 0]
            inputs.append(s)
            s = jnp.tanh(z)
        return s, s, TransitionSaved(tuple(inputs), s)

    def backward(
        self,
        weights: Any,
        saved: TransitionSaved,
        mask: jax.Array | None,
        state_bar: jax.Array,
        output_bar: jax.Array,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array | None], tuple[jax.Array, ...]]:
        """Errors of the layers' products, [batch, 1, units] each."""
        kernels, shortcut = weights
        bar = state_bar + output_bar
        outputs = (*saved.inputs[1:], saved.last)
        errors: list[jax.Array] = []
        for kernel_back, y in zip(reversed(kernels), reversed(outputs), strict=True):
            error = (bar * (1 - y * y))[:, None, :]
            errors.append(error)
            bar = product_back(error, kernel_back, mask, self.precision)
        if shortcut is not None:
            bar = bar + product_back(errors[0], shortcut, mask, self.precision)
        last = None if shortcut is None else errors[0][:, 0]
        return bar, (errors[-1][:, 0], last), tuple(reversed(errors))

    def weight_gradients(
        self,
        weights: TransitionWeights,
        saved: TransitionSaved,
        errors: tuple[jax.Array, ...],
        mask: jax.Array | None,
    ) -> TransitionWeights:
        """Of every kernel one product over time and batch, of every bias a sum."""
        layers = tuple(
            LayerWeights(
                weight_gradient(x, error, mask, self.precision), jnp.sum(error, axis=(0, 1))
            )
            for x, error in zip(saved.inputs, errors, strict=True)
        )
        past = None
        if weights.shortcut is not None:
            past = weight_gradient(saved.inputs[0], errors[-1], mask, self.precision)
        return TransitionWeights(layers, past)
