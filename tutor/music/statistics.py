"""The statistics of Table 1 of Sequence Tutor (Jaques et al. 2017), with intervals.

`count_statistics` counts in every composition, on the device; `summarize_counts` turns the counts
into the table's percentages and means, on the host. What the released code counts is counted, its
oversights included (docs/music_theory.md, "Statistics"): a major third in key (code −3) and a hold
are no kind of interval, and leaps that stay unresolved, or return too early, don't enter "leaps
resolved". The priming event isn't part of a composition.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from common.estimate import Estimate, estimate_mean, estimate_share
from common.melody import OCTAVE
from tutor.music.history import LAGS, History, autocorrelation, start_history
from tutor.music.theory import (
    DEFAULT,
    Move,
    MusicParams,
    check_compositions,
    count_motif_notes,
    has_unique_high,
    has_unique_low,
    interval_code,
    is_in_key,
    is_repeated_motif,
    is_repeated_too_often,
    make_move,
)

CHUNK = 2048
"""Compositions counted side by side, few enough that their histories stay in the CPU's cache."""

INTERVAL_CODES = {
    "num_rest_intervals": -1,
    "num_special_rest_intervals": -2,
    "num_fifths": 7,
    "num_thirds": 4,
    "num_sixths": 9,
    "num_seconds": 2,
    "num_fourths": 5,
    "num_sevenths": 11,
    "num_in_key_preferred_intervals": -5,
}
"""Counters of intervals, and the code (`tutor.music.key.name_interval`) that each counts."""


@jax.jit
def count_statistics(events: jax.Array, params: MusicParams = DEFAULT) -> dict[str, jax.Array]:
    """Count what the statistics need in each composition.

    Args:
      events: integers in 0..37, [N, T], T at most `params.length`.
      params: settings, of which the key counts, whatever the rules and weights.

    Returns:
      Arrays [N] by name. int32 over events: num_notes (T: every event counts as a note),
      notes_not_in_key, notes_in_motif, notes_in_repeated_motif, num_repeated_notes,
      num_resolved_leaps, num_leap_twice, num_octave_jumps and the names of INTERVAL_CODES. int32,
      0 or 1 for the composition: num_starting_tonic, num_high_unique, num_low_unique. float32:
      autocorrelation1, autocorrelation2, autocorrelation3, NaN where all events are the same.

    Raises:
      TypeError: the events aren't integers.
      ValueError: they have another shape.
    """
    check_compositions(events, params)
    if events.ndim != 2:
        raise ValueError(f"events have shape [N, T], not {list(events.shape)}")

    def advance(
        carry: tuple[History, dict[str, jax.Array]], action: jax.Array
    ) -> tuple[tuple[History, dict[str, jax.Array]], None]:
        history, counts = carry
        move = make_move(history, action)
        found = _count_event(move, params)
        return (move.after, {name: counts[name] + found[name] for name in found}), None

    def count_one(composition: jax.Array) -> dict[str, jax.Array]:
        start = start_history(params.length)
        names = _count_event(make_move(start, composition[0]), params)
        zeros = {name: jnp.int32(0) for name in names}
        (history, counts), _ = jax.lax.scan(advance, (start, zeros), composition)
        return counts | _finish_counts(history)

    number, length = events.shape
    chunks = jnp.pad(events, ((0, -number % CHUNK), (0, 0))).reshape(-1, CHUNK, length)
    counts = jax.lax.map(jax.vmap(count_one), chunks)
    return {name: values.reshape(-1)[:number] for name, values in counts.items()}


def _count_event(move: Move, params: MusicParams) -> dict[str, jax.Array]:
    """Return what one event adds to the counters; bool scalars."""
    outcome, code = move.after.leap.outcome, interval_code(move, params.key)
    return {
        "num_notes": jnp.bool_(True),
        "notes_not_in_key": ~is_in_key(move, params.key),
        "notes_in_motif": count_motif_notes(move) > 0,
        "notes_in_repeated_motif": is_repeated_motif(move),
        "num_repeated_notes": is_repeated_too_often(move),
        "num_resolved_leaps": outcome == 1,
        "num_leap_twice": outcome == -1,
        "num_octave_jumps": code > OCTAVE,
        "num_starting_tonic": (move.before.beat == 0) & (move.action == params.key.tonic),
        **{name: code == number for name, number in INTERVAL_CODES.items()},
    }


def _finish_counts(history: History) -> dict[str, jax.Array]:
    """Return what only a whole composition has: unique extremes and autocorrelations."""
    found = autocorrelation(history)
    coefficients = jnp.where(found.denominator > 0, found.coefficients(), jnp.nan)
    return {
        "num_high_unique": has_unique_high(history).astype(jnp.int32),
        "num_low_unique": has_unique_low(history).astype(jnp.int32),
        **{f"autocorrelation{lag}": coefficients[i] for i, lag in enumerate(LAGS)},
    }


def summarize_counts(counts: Mapping[str, jax.Array | np.ndarray]) -> dict[str, Estimate]:
    """Make the statistics of Table 1 from counts.

    Args:
      counts: the result of `count_statistics`, or several concatenated.

    Returns:
      Estimates by name. Percentages (0 to 100) of all events: notes_excessively_repeated,
      notes_not_in_key, notes_in_motif, notes_in_repeated_motif. Percentages of compositions:
      compositions_starting_with_tonic, compositions_with_unique_high,
      compositions_with_unique_low. The percentage of resolved leaps among those resolved or
      doubled: leaps_resolved. Signed means over the compositions that aren't constant:
      mean_autocorrelation1, mean_autocorrelation2, mean_autocorrelation3.
    """
    seen = {name: np.asarray(values) for name, values in counts.items()}
    notes, pieces = seen["num_notes"], np.ones_like(seen["num_notes"])
    resolved = seen["num_resolved_leaps"]
    shares = {
        "notes_excessively_repeated": (seen["num_repeated_notes"], notes),
        "notes_not_in_key": (seen["notes_not_in_key"], notes),
        "compositions_starting_with_tonic": (seen["num_starting_tonic"], pieces),
        "leaps_resolved": (resolved, resolved + seen["num_leap_twice"]),
        "compositions_with_unique_high": (seen["num_high_unique"], pieces),
        "compositions_with_unique_low": (seen["num_low_unique"], pieces),
        "notes_in_motif": (seen["notes_in_motif"], notes),
        "notes_in_repeated_motif": (seen["notes_in_repeated_motif"], notes),
    }
    means = {f"mean_autocorrelation{lag}": seen[f"autocorrelation{lag}"] for lag in LAGS}
    return {name: estimate_mean(values) for name, values in means.items()} | {
        name: Estimate(*(100 * end for end in estimate_share(part, whole)))
        for name, (part, whole) in shares.items()
    }
