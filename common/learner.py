"""The guarded loop of every learner, and what a learner is to the rest.

A learner's update refuses results that aren't finite and notes in `diverged_at` where that was;
`advance` repeats it until enough is done or nobody is left. Several members side by side are a
`common.population.Population`.
"""

import abc
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.stages import Traced

from common.mesh import assemble, placed_shapes, replicate, shardings, spec

State = TypeVar("State")
Totals = TypeVar("Totals", bound=tuple)


def advance(update: Callable[[State], State], state: State, stop: jax.Array) -> State:
    """Repeat an update until `stop` steps are done, or every member has diverged.

    Args:
      update: a pure function from state to state that raises `step`, or sets `diverged_at`.
      state: has fields `step` (int32 scalar) and `diverged_at` (int32, a scalar or [members]; −1
        for whoever goes on).
      stop: int32 scalar.
    """

    def goes_on(state: Any) -> jax.Array:
        return (state.step < stop) & jnp.any(state.diverged_at < 0)

    return jax.lax.while_loop(goes_on, update, state)


def keep_finite(finite: jax.Array, new: State, old: State) -> State:
    """Choose `new` where `finite` (bool scalar), else `old`, by leaf; PRNG keys never change."""

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        is_key = jnp.issubdtype(jnp.result_type(new), jax.dtypes.prng_key)
        return old if is_key else jnp.where(finite, new, old)

    return jax.tree.map(choose, new, old)


def is_finite(tree: Any) -> jax.Array:
    """Return whether every number of a pytree is finite, bool scalar."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def zero_totals(kind: type[Totals]) -> Totals:
    """Return a NamedTuple of sums to collect from here on: float scalars at 0."""
    return kind(*(jnp.zeros(()) for _ in kind._fields))  # type: ignore[attr-defined]


class Member(Protocol):
    """What a population asks of its learner; a member's state has `diverged_at` and `totals`.

    A round is the least that is trained at once, one update or more (`round_steps` of what a state
    counts as steps): a training stops, reports and resumes between rounds only.
    """

    round_steps: int
    """Steps of one round."""

    def round(self, state: Any, step: jax.Array, *data: Any) -> Any:
        """Run a round of one member from `step` (int32 scalar) on; pure, to be traced under vmap.

        A round that gives a number that isn't finite sets `diverged_at` and leaves what was learned
        unchanged; later rounds of that member change nothing.
        """

    def metrics(self, totals: Any, step: int) -> dict[str, float]:
        """Return the metrics of one member's totals (NumPy scalars) after `step` steps.

        An empty dictionary if nothing was done since they were last collected.
        """


@runtime_checkable
class Divisible(Member, Protocol):
    """A `Member` whose own work devices can divide, where it trains alone."""

    specs: Any
    """How devices hold the parts of a member's state once it is divided, see `common.mesh.put`.
    """

    def divided(self, mesh: Mesh) -> "Divisible":
        """Return this learner as one whose rounds several devices compute.

        Raises:
          ConfigError: they can't divide the work evenly.
        """


class ModelLearner(abc.ABC):
    """Trains one model by itself, a round being one update; each member of a `Population`, too.

    A training lives in its state alone: methods take one and return another.
    """

    round_steps = 1

    def __init__(self, windows: Any, mesh: Mesh | None = None, axis: int | None = None):
        """Keep the data on the devices.

        Args:
          windows: the data, as `common.mesh.assemble` takes them; `round` is given them whole.
          mesh: devices that train together, each holding all of the state, or None for one.
          axis: of the data, which devices divide; None for each to hold all of them.
        """
        self.mesh = mesh
        self.windows = assemble(windows, mesh, axis)
        whole = None if mesh is None else shardings(mesh, spec(None))
        self._advance = jax.jit(self._advance_until, donate_argnums=0, out_shardings=whole)

    @abc.abstractmethod
    def round(self, state: Any, step: jax.Array, *data: Any) -> Any:
        """See `Member.round`."""

    @abc.abstractmethod
    def metrics(self, totals: Any, step: int) -> dict[str, float]:
        """See `Member.metrics`."""

    def advance(self, state: Any, stop: int) -> Any:
        """Update a model until `stop` updates are done in all, or one isn't finite.

        How a training is divided into calls doesn't change its bits.

        Args:
          state: consumed by the call.
          stop: the number of updates, those that `state` has behind it included.
        """
        return self._advance(self.placed(state), self.windows, np.int32(stop))

    def traced(self, state: Any) -> Traced:
        """Trace `advance`; the state's shapes are enough."""
        placed = placed_shapes(state, self.mesh, spec(None))
        return self._advance.trace(placed, self.windows, np.int32(0))

    def placed(self, state: Any) -> Any:
        """Return a state whose arrays every device has the whole of, as they are between calls."""
        return replicate(state, self.mesh)

    def collect(self, state: Any) -> tuple[Any, dict[str, float]]:
        """Return the state with its totals at zero, and metrics since the last call."""
        metrics = self.metrics(jax.device_get(state.totals), int(state.step))
        return self.placed(state._replace(totals=zero_totals(type(state.totals)))), metrics

    def _advance_until(self, state: Any, windows: Any, stop: jax.Array) -> Any:
        """Compute `advance`, to be compiled."""
        return advance(lambda state: self.round(state, state.step, windows), state, stop)


def apply_finite(finite: jax.Array, new: Any, old: Any, step: jax.Array) -> Any:
    """Return `new` if the update to it was finite and none before diverged.

    Args:
      finite: bool scalar.
      new: the state after the update.
      old: the state before it, which stays otherwise; it gets `diverged_at` = step if it had none.
      step: number of the update, int32 scalar.
    """
    goes_on = old.diverged_at < 0
    refused = old._replace(diverged_at=jnp.where(goes_on, step, old.diverged_at))
    return keep_finite(finite & goes_on, new, refused)
