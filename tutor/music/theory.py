"""The music-theory reward of Sequence Tutor's melodies (Jaques et al. 2017), rule by rule.

`score_composition` scores whole compositions; `reset` and `step` are an environment in gymnax's
conventions that scores a composition as it grows. Both apply the rules through `score`. All are
pure, and work under jit, vmap and scan. The rules are those of the authors' released code
(docs/music_theory.md).

Nothing here divides by the paper's c or adds log p(a|s): the learner does (`tutor.kl_control`).

**Settings.** `MusicParams` holds key, length, rules and weights. It is a pytree whose leaves are
the weights, so they can be traced and vmapped; changing anything else compiles anew.

    params = DEFAULT.without("tonic").weighted(motif=2.0)
    scores = score_composition(events, params)  # {"key": [..., T], ..., "total": [..., T]}

**A rule of your own** is a pure function of a `Move` (one event in its place) and the settings; it
returns the move's reward, a scalar. The move's `before` and `after` are histories
(`tutor.music.history`) without and with the event. This one penalises a second rest in a row:

    def no_long_rest(move, params):
        return jnp.where((move.action == NOTE_OFF) & (move.before.events[0] == NOTE_OFF), -1.0, 0.0)

    params = DEFAULT.with_rule("no_long_rest", no_long_rest, weight=0.5)
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from common.error import ConfigError
from common.melody import FIRST_NOTE, NO_EVENT, NOTE_OFF, NUM_EVENTS
from tutor.music.history import (
    MAX_LENGTH,
    MOTIF_LENGTH,
    History,
    autocorrelation,
    extend_history,
    start_history,
)
from tutor.music.key import Key, in_key_table, interval_reward_table, interval_table

MOTIF_NOTES = 3
"""Least number of distinct notes in a motif."""


class Move(NamedTuple):
    """One event of a composition in its place: what a rule reads."""

    before: History
    """The composition without the event."""
    action: jax.Array
    """The event, an int32 scalar in 0..37."""
    after: History
    """The composition with the event."""


def make_move(history: History, action: jax.Array) -> Move:
    """Put an event, an integer scalar in 0..37, after a history."""
    action = jnp.asarray(action, jnp.int32)
    return Move(history, action, extend_history(history, action))


# Properties of a move, scalars: the rules reward them, the statistics count them.


def is_in_key(move: Move, key: Key) -> jax.Array:
    """Tell whether the event is a rest, a hold or a note of the key's scale; bool scalar."""
    return jnp.asarray(in_key_table(key))[move.action]


def is_repeated_too_often(move: Move) -> jax.Array:
    """Tell whether an event is one too many since the last different note; bool scalar.

    A note or a hold is, if it came 5 times already with nothing else between, or 7 times with
    rests or (for a note) holds between; a rest is, if it came twice already since the last note.
    """
    run = move.before.run
    rests, holds = move.action == NOTE_OFF, move.action == NO_EVENT
    same = jnp.where(move.action == run.note, run.strikes, 0)
    count = jnp.where(rests, run.rests, jnp.where(holds, run.holds, same))
    mixed = jnp.where(rests, run.holds, jnp.where(holds, run.rests, run.mixed)) > 0
    return (count >= jnp.where(mixed, 7, 5)) | (rests & (count >= 2))


def count_motif_notes(move: Move) -> jax.Array:
    """Count the distinct notes in the last 8 events, an int32 scalar; 0 if they are no motif."""
    window = move.after.events[:MOTIF_LENGTH]
    repeats = jnp.any(jnp.tril(window[:, None] == window, -1), axis=1)
    distinct = jnp.sum((window >= FIRST_NOTE) & ~repeats)
    is_motif = (move.after.beat >= MOTIF_LENGTH) & (distinct >= MOTIF_NOTES)
    return jnp.where(is_motif, distinct, 0)


def is_repeated_motif(move: Move) -> jax.Array:
    """Tell whether the last 8 events are a motif that came before, not overlapping; bool scalar."""
    copies = move.after.agreement[MOTIF_LENGTH - 1 :] >= MOTIF_LENGTH
    return (count_motif_notes(move) > 0) & jnp.any(copies)


def interval_code(move: Move, key: Key) -> jax.Array:
    """Return `tutor.music.key.name_interval` from the last note to the event; float32 scalar."""
    return jnp.asarray(interval_table(key))[move.before.run.note, move.action]


def has_unique_high(history: History) -> jax.Array:
    """Tell whether the highest event, rests and holds included, came once; bool scalar."""
    return history.extremes.high_count == 1


def has_unique_low(history: History) -> jax.Array:
    """Tell whether there is a note, and the lowest came once; bool scalar."""
    return history.extremes.low_count == 1


# The rules: functions (move, params) → reward, a scalar.


def key_rule(move: Move, params: "MusicParams") -> jax.Array:
    """Give −1 for a note outside the key. Rests and holds are never outside."""
    return jnp.where(is_in_key(move, params.key), 0.0, -1.0)


def tonic_rule(move: Move, params: "MusicParams") -> jax.Array:
    """Give +3 for the tonic at the beginning, and for an ending on it, event by event.

    With 32 events: for the tonic (this note, not its octaves) at 0 and 28, a hold at 29, a hold or
    rest at 30 and at 31.
    """
    left = params.length - move.before.beat
    tonic = ((move.before.beat == 0) | (left == 4)) & (move.action == params.key.tonic)
    held = (left == 3) & (move.action == NO_EVENT)
    ended = (left <= 2) & (move.action < FIRST_NOTE)
    return jnp.where(tonic | held | ended, 3.0, 0.0)


def penalize_repeating_rule(move: Move, params: "MusicParams") -> jax.Array:
    """Give −100 for an event repeated too often: see `is_repeated_too_often`."""
    return jnp.where(is_repeated_too_often(move), -100.0, 0.0)


def penalize_autocorrelation_rule(move: Move, params: "MusicParams") -> jax.Array:
    """Give −3 · the sum of |autocorrelation| over those of lags 1, 2, 3 where it is above 0.15.

    It is that of all events so far, this one included, as numbers 0..37; 0 if all are the same.
    """
    found = autocorrelation(move.after)
    first, second, third = jnp.where(found.exceeds(), -3.0 * jnp.abs(found.coefficients()), 0.0)
    return first + second + third  # in this order, whatever the batch


def motif_rule(move: Move, params: "MusicParams") -> jax.Array:
    """Give +3 where the last 8 events have three distinct notes, and 0.3 for each further one.

    It is paid at every such event: the window slides, bars don't matter.
    """
    notes = count_motif_notes(move)
    return jnp.where(notes > 0, 3.0 + 0.3 * (notes - MOTIF_NOTES), 0.0)


def repeated_motif_rule(move: Move, params: "MusicParams") -> jax.Array:
    """Give +4 where the last 8 events are a motif that came before, and 1 per note beyond three."""
    notes = count_motif_notes(move)
    return jnp.where(is_repeated_motif(move), 4.0 + (notes - MOTIF_NOTES), 0.0)


def preferred_intervals_rule(move: Move, params: "MusicParams") -> jax.Array:
    """Give the interval from the last note its reward, `INTERVAL_REWARDS` of its code.

    Rests and holds are intervals too, each paid; that they came between two notes changes nothing.
    """
    return jnp.asarray(interval_reward_table(params.key))[move.before.run.note, move.action]


def leap_up_back_rule(move: Move, params: "MusicParams") -> jax.Array:
    """Give +5 where the event resolves a leap, −5 where it leaps on: `tutor.music.history.Leap`."""
    return 5.0 * move.after.leap.outcome


def high_low_unique_rule(move: Move, params: "MusicParams") -> jax.Array:
    """Give at the last event +3 if the highest event is unique, +3 if the lowest note is."""
    unique = has_unique_high(move.after).astype(int) + has_unique_low(move.after)
    return jnp.where(move.after.beat == params.length, 3.0 * unique, 0.0)


class Rule(NamedTuple):
    """A component of the reward."""

    name: str
    """Its name in scores and weights."""
    reward: Callable[[Move, "MusicParams"], jax.Array]
    """The reward of a move under these settings, a scalar."""


RULES = (
    Rule("key", key_rule),
    Rule("tonic", tonic_rule),
    Rule("penalize_repeating", penalize_repeating_rule),
    Rule("penalize_autocorrelation", penalize_autocorrelation_rule),
    Rule("motif", motif_rule),
    Rule("repeated_motif", repeated_motif_rule),
    Rule("preferred_intervals", preferred_intervals_rule),
    Rule("leap_up_back", leap_up_back_rule),
    Rule("high_low_unique", high_low_unique_rule),
)
"""The released code's rules."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MusicParams:
    """Settings of the reward; a pytree with the weights as leaves and the rest static."""

    weights: Mapping[str, Any] = field(default_factory=dict)
    """Factor of each rule, name → scalar; 1 for rules that aren't here."""
    rules: tuple[Rule, ...] = field(default=RULES, metadata={"static": True})
    """What is rewarded; the total is summed in this order."""
    key: Key = field(default=Key(), metadata={"static": True})
    """The key to which rules and statistics refer."""
    length: int = field(default=32, metadata={"static": True})
    """Events of a composition: 16 to a bar."""
    primers: int = field(default=NUM_EVENTS - 1, metadata={"static": True})
    """`reset` draws the first observation uniformly from so many events. The released code leaves
    the highest note out."""

    def __post_init__(self):
        """Raise ConfigError for a number out of range, and for an unknown or doubled rule."""
        if not MOTIF_LENGTH <= self.length <= MAX_LENGTH:
            raise ConfigError(
                f"a composition has {MOTIF_LENGTH} to {MAX_LENGTH} events, not {self.length}."
            )
        if not 1 <= self.primers <= NUM_EVENTS:
            raise ConfigError(f"there are 1 to {NUM_EVENTS} primers, not {self.primers}.")
        names = [rule.name for rule in self.rules]
        if len({*names, "total"}) <= len(names):
            raise ConfigError(f"rules need names of their own, and not 'total': {names}.")
        self._require(self.weights)

    def without(self, *names: str) -> "MusicParams":
        """Leave some rules out: they're neither in the scores nor in the total.

        Raises:
          ConfigError: there is no rule of such a name.
        """
        self._require(names)
        weights = {name: weight for name, weight in self.weights.items() if name not in names}
        rules = tuple(rule for rule in self.rules if rule.name not in names)
        return replace(self, weights=weights, rules=rules)

    def weighted(self, **weights: Any) -> "MusicParams":
        """Give some rules other weights: `weighted(motif=2.0)`.

        Raises:
          ConfigError: there is no rule of such a name.
        """
        return replace(self, weights={**self.weights, **weights})

    def with_rule(
        self, name: str, reward: Callable[[Move, "MusicParams"], jax.Array], weight: Any = 1.0
    ) -> "MusicParams":
        """Add a rule.

        Args:
          name: what the scores call it.
          reward: a pure function of a move and the settings; returns a scalar.
          weight: its factor.

        Raises:
          ConfigError: there is a rule of that name.
        """
        rules = (*self.rules, Rule(name, reward))
        return replace(self, rules=rules, weights={**self.weights, name: weight})

    def _require(self, names: Iterable[str]) -> None:
        """Raise ConfigError where a name is no rule's."""
        known = [rule.name for rule in self.rules]
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise ConfigError(f"no rule is called {unknown}: there are {known}.")


DEFAULT = MusicParams()
"""The released code's reward: C major, 32 events, every rule with weight 1."""


def score(move: Move, params: MusicParams = DEFAULT) -> dict[str, jax.Array]:
    """Score a move: each rule's reward times its weight, and their "total"; float32 scalars."""
    scores = {
        rule.name: jnp.asarray(rule.reward(move, params) * params.weights.get(rule.name, 1.0))
        for rule in params.rules
    }
    scores = {name: value.astype(jnp.float32) for name, value in scores.items()}
    return {**scores, "total": sum(scores.values(), jnp.float32(0))}


@jax.jit
def score_composition(events: jax.Array, params: MusicParams = DEFAULT) -> dict[str, jax.Array]:
    """Score compositions, event by event.

    Args:
      events: integers in 0..37, [..., T], T at most `params.length`; a shorter T scores
        beginnings.
      params: the rules, their weights and what they refer to.

    Returns:
      Rule name → float32 [..., T], weights applied, and "total", their sum.

    Raises:
      TypeError: the events aren't integers.
      ValueError: there are too many.
    """
    check_compositions(events, params)

    def advance(history: History, action: jax.Array) -> tuple[History, dict[str, jax.Array]]:
        move = make_move(history, action)
        return move.after, score(move, params)

    def score_one(composition: jax.Array) -> dict[str, jax.Array]:
        return jax.lax.scan(advance, start_history(params.length), composition)[1]

    scores = jax.vmap(score_one)(events.reshape(-1, events.shape[-1]))
    return {name: value.reshape(events.shape) for name, value in scores.items()}


def check_compositions(events: jax.Array, params: MusicParams) -> None:
    """Refuse what can't be scored.

    Raises:
      TypeError: the events aren't integers.
      ValueError: a composition is longer than `params.length`, or there is no axis of time.
    """
    if not jnp.issubdtype(events.dtype, jnp.integer):
        raise TypeError(f"events are integers in 0..{NUM_EVENTS - 1}, not {events.dtype}")
    if not events.ndim or events.shape[-1] > params.length:
        raise ValueError(
            f"events have shape [..., at most {params.length}], not {list(events.shape)}"
        )


def reset(key: jax.Array, params: MusicParams = DEFAULT) -> tuple[jax.Array, History]:
    """Begin a composition.

    Returns:
      The first observation and the environment's state. An observation is the latest event, an
      int32 scalar. The first is a priming event, uniform over the first `params.primers` events;
      it isn't part of the composition, and no rule sees it.
    """
    primer = jax.random.randint(key, (), 0, params.primers, jnp.int32)
    return primer, start_history(params.length)


def step_env(
    key: jax.Array, state: History, action: jax.Array, params: MusicParams = DEFAULT
) -> tuple[jax.Array, History, jax.Array, jax.Array, dict[str, Any]]:
    """Add an event to the composition.

    Args:
      key: not used; gymnax's environments take one.
      state: from `reset` or a step.
      action: the event, an integer scalar in 0..37.
      params: settings of the reward.

    Returns:
      (observation, state, reward, done, info): the event itself, the new state, the total reward
      (float32), whether the composition is complete (then the state is to be reset), and info
      with "components", the rewards by rule, and "leap_outcome", +1, −1 or 0 as in
      `tutor.music.history.Leap`.
    """
    del key
    move = make_move(state, action)
    components = score(move, params)
    reward = components.pop("total")
    info = {"components": components, "leap_outcome": move.after.leap.outcome}
    return move.action, move.after, reward, move.after.beat >= params.length, info


def step(
    key: jax.Array, state: History, action: jax.Array, params: MusicParams = DEFAULT
) -> tuple[jax.Array, History, jax.Array, jax.Array, dict[str, Any]]:
    """Add an event as `step_env` does, and begin anew after the last one, as in gymnax.

    Args:
      key: of the next composition's first observation.
      state: from `reset` or a step.
      action: the event, an integer scalar in 0..37.
      params: settings of the reward.

    Returns:
      What `step_env` returns; where `done`, observation and state are those of
      `reset(key, params)`. The event that the transition led to is then the action.
    """
    obs, state, reward, done, info = step_env(key, state, action, params)
    fresh = reset(key, params)
    obs, state = jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, (obs, state))
    return obs, state, reward, done, info
