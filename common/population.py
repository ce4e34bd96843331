"""Several members of one learner, trained side by side.

A `Population` runs several members of one learner (seeds, learning rates) as one program under
vmap, or each by itself in threads, and is itself a `common.training.Learner`.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jax.stages import Traced

from common.learner import Divisible, Member, advance
from common.mesh import (
    each,
    held_bytes,
    own,
    placed_shapes,
    put,
    replicate,
    require_even,
    shardings,
    spec,
)


def take_member(stacked: Any, place: int) -> Any:
    """Return the member at a place, of a population's `seeds` or of any part of it."""
    return jax.tree.map(lambda leaf: leaf[place], stacked)


class PopulationState(NamedTuple):
    """All members' states; saved whole in a checkpoint."""

    step: jax.Array
    """Steps of each member, int32 scalar. Shared, so that what is computed from it (a place in a
    memory) is one number for all: a number per member would turn slices into gathers."""
    seeds: Any
    """A member's state, whose leaves have a leading axis [members]."""

    @property
    def diverged_at(self) -> jax.Array:
        """The step at which the last member diverged, or −1 while one goes on; int32 scalar."""
        steps = self.seeds.diverged_at
        return jnp.where(jnp.all(steps >= 0), jnp.max(steps), -1)


PIECES = 8
"""Into how many calls a member's steps of one `Population.advance` are divided among threads."""


@dataclass(frozen=True)
class Apart:
    """A population's state while each member trains by itself, in threads."""

    parts: tuple[PopulationState, ...]
    """Of one member each; one that diverged may have stopped at a step before the others'."""

    @property
    def step(self) -> int:
        """Steps of the members that go on."""
        return max(int(part.step) for part in self.parts)

    @property
    def diverged_at(self) -> int:
        """See `PopulationState.diverged_at`."""
        steps = [int(part.diverged_at) for part in self.parts]
        return max(steps) if min(steps) >= 0 else -1


def whole(state: Any) -> Any:
    """Return a state as checkpoints hold it: members that are apart together, others as it is."""
    if not isinstance(state, Apart):
        return state
    members = [part.seeds for part in state.parts]
    seeds = jax.tree.map(lambda *leaf: jnp.concatenate(leaf), *members)
    return PopulationState(jnp.asarray(state.step, jnp.int32), seeds)


class Population:
    """Members of one learner that train side by side; a `common.training.Learner`.

    Members may differ in every array of their states: weights, random keys, a learning rate kept
    there. Shapes, and what the learner's own settings say, are the same for all.

    They are computed together, under vmap, or each by itself in `threads`, which is faster where
    the arrays are too small for a core of several; or divided among the devices of a mesh. By
    itself a member has the bits that it has alone, in any number of threads. Under vmap all draw
    the same random numbers, but sums may round differently in a batch of members, and a mesh whose
    devices have several each computes these under vmap. A single member of a `Divisible` learner is
    itself divided by a mesh, and is the same to rounding.
    """

    def __init__(
        self,
        learner: Member,
        seeds: Sequence[int],
        data: tuple[Any, ...] = (),
        *,
        threads: int | None = None,
        mesh: Mesh | None = None,
    ):
        """A population without states.

        Args:
          learner: what each member is one of.
          seeds: names of the members, in order.
          data: arrays that all members read, given on to `learner.round`.
          threads: in how many threads members train at a time, each by itself; None for all of them
            under vmap.
          mesh: devices among which members, or the work of a single one, are divided, whatever
            `threads` says; None for one.

        Raises:
          ConfigError: the devices can't divide the members, or a single one's work, evenly.
        """
        self.learner, self.seeds, self.mesh = learner, tuple(seeds), mesh
        self._specs = PopulationState(spec(None), spec(0))  # type: ignore[arg-type]
        self._member_specs: Any = spec(None)
        self._deals_members = mesh is not None
        if mesh is not None and len(self.seeds) == 1 and isinstance(learner, Divisible):
            self.learner, self._deals_members = learner.divided(mesh), False
            self._member_specs = learner.specs
            stacked = jax.tree.map(lambda one: PartitionSpec(None, *one), learner.specs)
            self._specs = self._specs._replace(seeds=stacked)
        else:
            require_even(mesh, len(self.seeds), "seeds")
        self.data = replicate(data, mesh)
        self.threads = threads if mesh is None and len(self.seeds) > 1 else None
        self._compiled = False
        self._advance = jax.jit(
            self._advance_until,
            donate_argnums=0,
            out_shardings=None if mesh is None else shardings(mesh, self._specs),
        )

    def initial_state(self, make: Callable[[int], Any]) -> PopulationState:
        """Make a member of each seed, at step 0."""
        made = [make(seed) for seed in self.seeds]
        seeds = jax.tree.map(lambda *leaf: jnp.stack(leaf), *made)
        return self._placed(PopulationState(step=jnp.zeros((), jnp.int32), seeds=seeds))

    def held_bytes(self, member: Any) -> int:
        """Return how many bytes of all states lie in one memory, see `common.mesh.held_bytes`.

        Args:
          member: the state of one, or its shapes and types.
        """
        count = len(self.seeds)
        stacked = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype), member
        )
        return held_bytes(stacked, self.mesh, self._specs.seeds)

    def advance(self, state: PopulationState | Apart, stop: int) -> PopulationState | Apart:
        """Run rounds until `stop` steps are done, or every member has diverged.

        A member that diverged stays as it was while others go on. Consumes `state`. How a training
        is divided into calls doesn't change its bits.
        """
        if self.threads is not None:
            apart = state if isinstance(state, Apart) else _apart(state)
            return self._advance_apart(apart, stop, min(self.threads, len(self.seeds)))
        return self._advance(self._placed(whole(state)), np.int32(stop), *self.data)

    def collect(
        self, state: PopulationState | Apart
    ) -> tuple[PopulationState | Apart, dict[str, float]]:
        """Return the state with its totals at zero, and metrics since the last call.

        They are called `seed<k>/<metric>`; a member that diverged before then has none.
        """
        metrics = {
            f"seed{seed}/{name}": value
            for seed, member in zip(self.seeds, self.members(state), strict=True)
            for name, value in self.learner.metrics(
                jax.device_get(member.totals), int(state.step)
            ).items()
        }
        if isinstance(state, Apart):
            return Apart(tuple(map(_at_zero, state.parts))), metrics
        return self._placed(_at_zero(state)), metrics

    def traced(self, state: PopulationState) -> Traced:
        """Trace `advance` of members side by side; the state's shapes are enough."""
        placed = placed_shapes(state, self.mesh, self._specs)
        return self._advance.trace(placed, np.int32(0), *self.data)

    def members(self, state: PopulationState | Apart) -> Iterator[Any]:
        """Yield each member's state, in the order of `seeds`.

        What devices divide of a single member stays where it is.
        """
        for place in range(len(self.seeds)):
            if isinstance(state, Apart):
                yield take_member(state.parts[place].seeds, 0)
            else:
                yield self._readable(take_member(state.seeds, place))

    def _readable(self, member: Any) -> Any:
        """A member's state, of which every process has what isn't divided."""

        def read(held: PartitionSpec, part: Any) -> Any:
            if held != spec(None):
                return part
            return own(replicate(part, self.mesh), self.mesh)

        return jax.tree.map(read, self._member_specs, member)

    def _placed(self, state: PopulationState) -> PopulationState:
        """A state that devices hold as they do between calls."""
        return put(state, self.mesh, self._specs)

    def _advance_apart(self, state: Apart, stop: int, count: int) -> Apart:
        """Advance members in threads, by pieces, so that threads end at about the same time."""
        parts = list(state.parts)
        piece = max(self.learner.round_steps, -(-(stop - state.step) // PIECES))
        waiting = deque(range(len(parts)))

        def advance_next() -> bool:
            """Advance the member that waits longest by a piece; return False where none waits."""
            try:
                place = waiting.popleft()
            except IndexError:  # the last ones are in the hands of other threads
                return False
            until = min(stop, int(parts[place].step) + piece)
            done = self._advance(parts[place], jnp.asarray(until, jnp.int32), *self.data)
            parts[place] = jax.block_until_ready(done)
            if int(done.step) < stop and int(done.diverged_at) < 0:
                waiting.append(place)
            return True

        def work() -> None:
            while advance_next():
                pass

        if not self._compiled:  # once, not by each thread
            self._compiled = advance_next()
        with ThreadPoolExecutor(count) as threads:
            for thread in [threads.submit(work) for _ in range(count)]:
                thread.result()
        return Apart(tuple(parts))

    def _advance_until(
        self, state: PopulationState, stop: jax.Array, *data: Any
    ) -> PopulationState:
        # One alone goes without vmap, which costs even at one.
        alone = not self._deals_members and len(state.seeds.diverged_at) == 1
        one_round = self.learner.round
        if alone:
            state = state._replace(seeds=take_member(state.seeds, 0))
        else:
            one_round = partial(each, _side_by_side(one_round), self.mesh)

        def update(state: PopulationState) -> PopulationState:
            step = state.step + self.learner.round_steps
            return PopulationState(step, one_round(state.seeds, state.step, *data))

        state = advance(update, state, stop)
        if alone:
            state = state._replace(seeds=jax.tree.map(lambda leaf: leaf[None], state.seeds))
        return state


def _side_by_side(one_round: Callable[..., Any]) -> Callable[..., Any]:
    """A round of one member as one of those members that a device has; all read the same data."""

    def round_of(members: Any, *data: Any) -> Any:
        if len(members.diverged_at) > 1:
            return jax.vmap(one_round, in_axes=(0, *(None for _ in data)))(members, *data)
        done = one_round(take_member(members, 0), *data)
        return jax.tree.map(lambda leaf: leaf[None], done)

    return round_of


def _apart(state: PopulationState) -> Apart:
    """Take a population's members apart."""

    def part(place: int) -> PopulationState:
        seeds = jax.tree.map(lambda leaf: leaf[place : place + 1], state.seeds)
        return PopulationState(state.step + 0, seeds)  # arrays of its own: they are consumed

    return Apart(tuple(part(place) for place in range(len(state.seeds.diverged_at))))


def _at_zero(state: PopulationState) -> PopulationState:
    """A state whose totals begin anew."""
    zeros = jax.tree.map(jnp.zeros_like, state.seeds.totals)
    return state._replace(seeds=state.seeds._replace(totals=zeros))
