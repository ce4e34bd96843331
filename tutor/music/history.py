"""What the music-theory rules need to know of a melody so far, kept up to date event by event.

A history is a small pytree of fixed-size arrays for one composition (vmap for many). Adding an
event costs a few vector operations of the composition's length, whatever came before; no rule walks
back over the events. The rules that read it are in `tutor.music.theory`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from common.melody import FIRST_NOTE, NO_EVENT, NOTE_OFF, NUM_EVENTS

NOTHING = -1
"""Stands in `History.events` for the time before the first event."""
NO_NOTE = 0
"""Stands in `Run.note` for no note so far."""
MOTIF_LENGTH = 8
"""Events in the window of a motif."""
LAGS = (1, 2, 3)
"""Lags of the autocorrelation, in events."""
MAX_LENGTH = 184
"""Longest composition for which the autocorrelation is exact in int32; see `autocorrelation`."""


class Run(NamedTuple):
    """The last note, and what came since another one sounded; int32 scalars."""

    note: jax.Array
    """Event of the last note, NO_NOTE if there was none."""
    strikes: jax.Array
    """How often it was struck with no other note between."""
    mixed: jax.Array
    """1 if a rest or hold came since another note sounded, else 0."""
    rests: jax.Array
    """NOTE_OFF events since the last note."""
    holds: jax.Array
    """NO_EVENT events since the last note."""


class Moments(NamedTuple):
    """Integer sums over the events x_0 .. x_{n−1} for the autocorrelation; int32."""

    total: jax.Array
    """Σ x_i, scalar."""
    squares: jax.Array
    """Σ x_i², scalar."""
    products: jax.Array
    """Σ x_i x_{i+lag} for each of LAGS, [3]."""
    ends: jax.Array
    """Sum of the first `lag` events plus sum of the last `lag`, for each of LAGS, [3]."""


class Extremes(NamedTuple):
    """The highest event and the lowest note; int32 scalars."""

    high: jax.Array
    """The highest event, rests and holds included; NOTHING before the first."""
    high_count: jax.Array
    """How often it came."""
    low: jax.Array
    """The lowest note; NUM_EVENTS before the first."""
    low_count: jax.Array
    """How often it came."""


class Leap(NamedTuple):
    """The leap that waits for its resolution; int32 scalars."""

    direction: jax.Array
    """+1 upward, −1 downward, 0 if none waits."""
    origin: jax.Array
    """The note it started from; without meaning where direction is 0."""
    since: jax.Array
    """Events since the last leap; without meaning before the first."""
    outcome: jax.Array
    """What the last event did: +1 resolved the leap, −1 leapt on in its direction, 0 neither."""


class History(NamedTuple):
    """What is known of a composition so far."""

    beat: jax.Array
    """How many events there are, which is also the time of the next one; int32 scalar."""
    events: jax.Array
    """The events, newest first, then NOTHING; int32 [length]. events[0] is the latest."""
    agreement: jax.Array
    """For each k, how many of the newest events in a row equal the event k + 1 before; int32
    [length]. So a block of 8 events recurs, the two copies k + 1 apart, where agreement[k] ≥ 8."""
    run: Run
    """Of the last note."""
    moments: Moments
    """Of all events."""
    extremes: Extremes
    """Of all events."""
    leap: Leap
    """The latest one."""


def start_history(length: int) -> History:
    """Return the history of a composition of `length` events before its first."""
    zero, zeros = jnp.int32(0), jnp.zeros(len(LAGS), jnp.int32)
    return History(
        beat=zero,
        events=jnp.full(length, NOTHING, jnp.int32),
        agreement=jnp.zeros(length, jnp.int32),
        run=Run(note=jnp.int32(NO_NOTE), strikes=zero, mixed=zero, rests=zero, holds=zero),
        moments=Moments(total=zero, squares=zero, products=zeros, ends=zeros),
        extremes=Extremes(
            high=jnp.int32(NOTHING), high_count=zero, low=jnp.int32(NUM_EVENTS), low_count=zero
        ),
        leap=Leap(direction=zero, origin=zero, since=zero, outcome=zero),
    )


def extend_history(history: History, action: jax.Array) -> History:
    """Add one event to a history.

    Args:
      history: the events so far, fewer than its length: the result has no meaning otherwise.
      action: the event, an int32 scalar in 0..37.
    """
    return History(
        beat=history.beat + 1,
        events=jnp.concatenate([action[None], history.events[:-1]]),
        agreement=jnp.where(history.events == action, history.agreement + 1, 0),
        run=_extend_run(history.run, action),
        moments=_extend_moments(history, action),
        extremes=_extend_extremes(history.extremes, action),
        leap=_extend_leap(history, action),
    )


def _extend_run(run: Run, action: jax.Array) -> Run:
    """Count the event as one more of its kind, or begin anew with another note."""
    sounds = action >= FIRST_NOTE
    again = sounds & (action == run.note)
    other = sounds & (action != run.note)
    between = (run.rests + run.holds > 0).astype(jnp.int32)
    return Run(
        note=jnp.where(sounds, action, run.note),
        strikes=jnp.where(other, 1, run.strikes + again),
        mixed=jnp.where(other, between, jnp.where(sounds, run.mixed, 1)),
        rests=jnp.where(sounds, 0, run.rests + (action == NOTE_OFF)),
        holds=jnp.where(sounds, 0, run.holds + (action == NO_EVENT)),
    )


def _extend_moments(history: History, action: jax.Array) -> Moments:
    """Add the event to the sums of the autocorrelation."""
    moments, lags = history.moments, jnp.array(LAGS, jnp.int32)
    earlier = jnp.maximum(history.events[: len(LAGS)], 0)  # the event lag before this one, or 0
    begins = (history.beat < lags).astype(jnp.int32)  # this event is among the first lag ones
    return Moments(
        total=moments.total + action,
        squares=moments.squares + action * action,
        products=moments.products + action * earlier,
        ends=moments.ends + action * (1 + begins) - earlier,
    )


def _extend_extremes(extremes: Extremes, action: jax.Array) -> Extremes:
    """Compare the event with the highest event and the lowest note."""
    higher = action > extremes.high
    lower = (action >= FIRST_NOTE) & (action < extremes.low)
    return Extremes(
        high=jnp.maximum(extremes.high, action),
        high_count=jnp.where(higher, 1, extremes.high_count + (action == extremes.high)),
        low=jnp.where(lower, action, extremes.low),
        low_count=jnp.where(lower, 1, extremes.low_count + (action == extremes.low)),
    )


def _extend_leap(history: History, action: jax.Array) -> Leap:
    """Follow leaps, intervals of a fifth or more between one note and the next."""
    # The first leap opens. While one is open, a leap in its direction is "doubled" and leaves it
    # open; one against it closes it, and resolves it if more than 6 events passed since the last
    # leap; a smaller step closes and resolves it by returning to the note it came from, or past it.
    leap, note = history.leap, history.run.note
    sounds = action >= FIRST_NOTE
    interval = jnp.where(sounds & (note != NO_NOTE), action - note, 0)
    leaps = jnp.abs(interval) >= 7
    direction = jnp.sign(interval)
    opens = leaps & (leap.direction == 0)
    doubled = leaps & (leap.direction == direction)
    turns = leaps & (leap.direction == -direction)
    past = (action - leap.origin) * leap.direction <= 0
    returns = sounds & ~leaps & (leap.direction != 0) & past
    resolved = returns | (turns & (leap.since > 6))
    closed = turns | returns
    waiting = jnp.where(closed, 0, leap.direction)
    return Leap(
        direction=jnp.where(opens, direction, waiting),
        origin=jnp.where(opens, note, leap.origin),
        since=jnp.where(leaps, 0, leap.since + 1),
        outcome=resolved.astype(jnp.int32) - doubled.astype(jnp.int32),
    )


class Autocorrelation(NamedTuple):
    """Autocorrelation coefficients as exact fractions, |numerator| ≤ denominator."""

    numerator: jax.Array
    """int32 [3], one for each of LAGS."""
    denominator: jax.Array
    """int32 scalar, 0 for a constant melody."""

    def exceeds(self) -> jax.Array:
        """Tell where |coefficient| > 0.15, strictly and exactly; bool [3].

        That is 20·|numerator| > 3·denominator. With denominator = 20·q + r, 0 ≤ r < 20, it is
        |numerator| > 3·q + 3·r / 20, where an integer is compared and the fraction can be rounded
        down; nothing here is larger than the denominator.
        """
        quotient, remainder = self.denominator // 20, self.denominator % 20
        return jnp.abs(self.numerator) > 3 * quotient + 3 * remainder // 20

    def coefficients(self) -> jax.Array:
        """Return the signed coefficients, float32 [3]; 0 for a constant melody.

        Numerator and denominator are exact in float32 up to 36 events (below 2^24).
        """
        return self.numerator / jnp.maximum(self.denominator, 1).astype(jnp.float32)


def autocorrelation(history: History) -> Autocorrelation:
    """Compute the autocorrelation of the events at each of LAGS, with the population variance.

    With n events x_i, S = Σ x_i and d_i = n·x_i − S the coefficient is Σ d_i·d_{i+lag} / Σ d_i²;
    at lags of n and more it is 0. Written out in sums over the events,
      Σ d_i²        = n·(n·Σ x_i² − S²)
      Σ d_i·d_{i+l} = n²·Σ x_i·x_{i+l} − n·S·(2·S − ends_l) + (n − l)·S².

    Both fit int32 up to MAX_LENGTH events: events lie in 0..37, so Σ (x_i − S/n)² ≤ n·(37/2)² and
    Σ d_i² ≤ n³·342.25, which is 2,132,047,744 < 2^31 for n = 184; the other sum is no larger in
    magnitude (Cauchy-Schwarz). From 93 events on terms on the way may wrap around, which does no
    harm: XLA's int32 sums and products are right modulo 2^32, and the results are within range.
    """
    n, lags, moments = history.beat, jnp.array(LAGS, jnp.int32), history.moments
    total = moments.total
    twice = 2 * total - moments.ends
    numerator = n * n * moments.products - n * total * twice + (n - lags) * total * total
    denominator = n * (n * moments.squares - total * total)
    return Autocorrelation(jnp.where(lags < n, numerator, 0), denominator)
