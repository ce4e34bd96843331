"""The protocol of a recurrent core, and how cores are stacked and unrolled over time.

A core is a Flax NNX module with a state, a projection of the input that can be taken for all time
steps at once, and a transition from one time step to the next. Whatever follows it (RHN, LSTM, ...)
can drive a language model of `highway` or a policy of `tutor`.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

State = Any
"""A core's recurrent state: a pytree of arrays [batch, ...]."""


class Masks(NamedTuple):
    """Variational dropout masks of one core, constant over time (Gal & Ghahramani 2016).

    Each is an array [1 or gates, batch, width], its entries 0 or 1 / (1 − rate), or None where
    nothing is dropped. A leading 1 means that all gates share the mask.
    """

    input: jax.Array | None = None
    """Of the inputs, [1 or gates, batch, input_size]."""
    state: jax.Array | None = None
    """Of the state as it enters the recurrent products, [1 or gates, batch, output_size]."""


NO_MASKS = Masks()


class Core(nnx.Module):
    """One recurrent layer. Subclasses hold the parameters and define the three abstract methods."""

    input_size: int
    """Width of the inputs."""
    output_size: int
    """Width of the outputs."""
    gates: int
    """How many affine maps of input and state a transition computes; separate masks count by it."""

    @abc.abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """Return the zero state of `batch_size` sequences."""

    @abc.abstractmethod
    def project(self, x: jax.Array, masks: Masks) -> Any:
        """Compute the input's share of a transition, without the state: x [..., batch, input_size].

        Of the masks it uses `input`. The result has the same leading axes: one matrix product
        serves all time steps.
        """

    @abc.abstractmethod
    def transition(self, state: State, projected: Any, masks: Masks) -> tuple[State, jax.Array]:
        """Take one time step from `project`'s result: new state and output [batch, output_size].

        Of the masks it uses `state`: those of the input are in `project`'s result.
        """

    def step(self, state: State, x: jax.Array, masks: Masks = NO_MASKS) -> tuple[State, jax.Array]:
        """Take one time step for an input x [batch, input_size]."""
        return self.transition(state, self.project(x, masks), masks)

    def unroll(
        self, state: State, xs: jax.Array, masks: Masks = NO_MASKS
    ) -> tuple[State, jax.Array]:
        """Take all time steps of xs [time, batch, input_size].

        Returns the last state and the outputs [time, batch, output_size].
        """
        return jax.lax.scan(
            lambda carry, projected: self.transition(carry, projected, masks),
            state,
            self.project(xs, masks),
        )

    def unroll_events(self, state: State, events: jax.Array) -> tuple[State, jax.Array]:
        """Take all time steps of one-hot inputs: events, int [time, batch], below `input_size`.

        Returns the last state and the outputs [time, batch, output_size].
        """
        return self.unroll(state, jax.nn.one_hot(events, self.input_size))

    def sample_masks(
        self,
        key: jax.Array,
        batch_size: int,
        input_rate: float | jax.Array,
        state_rate: float | jax.Array,
        *,
        separate: bool,
    ) -> Masks:
        """Draw the masks of `batch_size` sequences.

        Args:
          key: of the draw.
          batch_size: sequences, each with masks of its own.
          input_rate: share of the inputs that is dropped, from 0 to below 1.
          state_rate: share of the state, likewise.
          separate: whether every gate has masks of its own.

        Returns:
          Masks [gates if separate, else 1, batch, width].
        """
        input_key, state_key = jax.random.split(key)
        count = self.gates if separate else 1
        return Masks(
            input=dropout_mask(input_key, input_rate, (count, batch_size, self.input_size)),
            state=dropout_mask(state_key, state_rate, (count, batch_size, self.output_size)),
        )


class Stack(nnx.Module):
    """Cores on top of one another: each reads the outputs of the one below.

    States and masks are tuples with one entry per core.
    """

    def __init__(self, cores: list[Core]):
        """Stack cores.

        Args:
          cores: at least one, the lowest first; each one's `input_size` is the `output_size` of the
            one below.
        """
        self.cores = nnx.List(cores)
        self.input_size = cores[0].input_size
        self.output_size = cores[-1].output_size

    def initial_state(self, batch_size: int) -> tuple[State, ...]:
        """Return the zero states of `batch_size` sequences."""
        return tuple(core.initial_state(batch_size) for core in self.cores)

    def step(
        self, states: tuple[State, ...], x: jax.Array, masks: tuple[Masks, ...] | None = None
    ) -> tuple[tuple[State, ...], jax.Array]:
        """Take one time step for an input x [batch, input_size]."""
        return self._pass(lambda core, *arguments: core.step(*arguments), states, x, masks)

    def unroll(
        self,
        states: tuple[State, ...],
        xs: jax.Array,
        masks: tuple[Masks, ...] | None = None,
        *,
        chunk: int = 0,
    ) -> tuple[tuple[State, ...], jax.Array]:
        """Take all time steps of xs [time, batch, input_size], one core after the other.

        Args:
          states: where it starts.
          xs: the inputs.
          masks: of each core.
          chunk: time steps whose intermediate results a backward pass keeps at a time, computing
            them again from the state before (gradient checkpointing, also rematerialisation); 0
            keeps those of all.
        """

        def advance(
            states: tuple[State, ...], xs: jax.Array
        ) -> tuple[tuple[State, ...], jax.Array]:
            return self._pass(lambda core, *arguments: core.unroll(*arguments), states, xs, masks)

        if not 0 < chunk < len(xs):
            return advance(states, xs)
        again = jax.checkpoint(advance)
        whole = len(xs) - len(xs) % chunk
        states, ys = jax.lax.scan(again, states, xs[:whole].reshape(-1, chunk, *xs.shape[1:]))
        ys = ys.reshape(whole, *ys.shape[2:])
        if whole == len(xs):
            return states, ys
        states, rest = again(states, xs[whole:])
        return states, jnp.concatenate([ys, rest])

    def sample_masks(
        self,
        key: jax.Array,
        batch_size: int,
        input_rate: float | jax.Array,
        state_rate: float | jax.Array,
        *,
        separate: bool,
    ) -> tuple[Masks, ...]:
        """Draw every core's masks, each with keys of its own; see `Core.sample_masks`."""
        keys = jax.random.split(key, len(self.cores))
        return tuple(
            core.sample_masks(keys[i], batch_size, input_rate, state_rate, separate=separate)
            for i, core in enumerate(self.cores)
        )

    def _pass(
        self,
        advance: Callable[..., tuple[State, jax.Array]],
        states: tuple[State, ...],
        xs: jax.Array,
        masks: tuple[Masks, ...] | None,
    ) -> tuple[tuple[State, ...], jax.Array]:
        """Passes the input up the stack, each core advanced by `advance`."""
        each = masks if masks is not None else (NO_MASKS,) * len(self.cores)
        new_states = []
        for core, state, mask in zip(self.cores, states, each, strict=True):
            state, xs = advance(core, state, xs, mask)
            new_states.append(state)
        return tuple(new_states), xs


def dropout_mask(
    key: jax.Array, rate: float | jax.Array, shape: tuple[int, ...]
) -> jax.Array | None:
    """Draw a mask of this shape: 0 with probability `rate` and 1 / (1 − rate) otherwise.

    None where the rate is the number 0. A rate that is an array, traced or not, always gives a
    mask: whether it is 0 isn't known while a function is traced.
    """
    if not isinstance(rate, jax.Array) and rate == 0:
        return None
    keep = 1.0 - rate
    return jax.random.bernoulli(key, keep, shape) / jnp.asarray(keep, jnp.result_type(float))


def masked_product(x: jax.Array, kernel: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Return x · kernel for several gates at once, x dropped by the mask on its way in.

    x [..., batch, n], kernel [n, gates, m], mask [1 or gates, batch, n] or None.
    Returns [..., batch, gates, m].
    """
    n, gates, m = kernel.shape
    if mask is not None and mask.shape[0] > 1:
        return jnp.einsum("...gbn,ngm->...bgm", jnp.expand_dims(x, -3) * mask, kernel)
    if mask is not None:
        x = x * mask[0]
    return (x @ kernel.reshape(n, gates * m)).reshape(*x.shape[:-1], gates, m)


def uniform(rngs: nnx.Rngs, shape: tuple[int, ...], bound: float) -> jax.Array:
    """Draw initial values of a parameter, uniform in ± bound."""
    return jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound, dtype=float)
