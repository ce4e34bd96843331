"""How melodies move, in what rhythm and phrases: statistics beside those of Table 1, of any events.

Pure functions on the host. They ask for no key, and take rests and holds alike, so they say the
same of data in which these are swapped.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common.estimate import Estimate, estimate_mean, estimate_share
from common.melody import BAR, FIRST_NOTE
from tutor.sequence_model import Graph, Params

FIFTH = 7
"""Semitones."""
BEAT = 2
"""Sixteenths of the beat that notes keep to: an eighth."""
PHRASES = (1, 2, 4)
"""Bars after which music likes to come again."""


def summarize_shape(events: np.ndarray) -> dict[str, Estimate]:
    """Measure how melodies move.

    Args:
      events: integers in 0..37, [N, T].

    Returns:
      Estimates by name. note_density: the percentage of events that begin a note. on_beat: the
      percentage of notes that begin on the beat, wherever a melody has it (`count_on_beat`).
      mean_interval: semitones from note to note, the mean over melodies of each one's mean.
      leaps_over_fifth: the percentage of steps from note to note wider than a fifth.
    """
    notes = np.sum(events >= FIRST_NOTE, axis=1)
    distances = note_distances(events)
    steps = np.sum(distances >= 0, axis=1)
    wide = np.sum(distances > FIFTH, axis=1)
    total = np.sum(np.maximum(distances, 0), axis=1)
    mean = np.where(steps > 0, total / np.maximum(steps, 1), np.nan)
    shares = {
        "note_density": estimate_share(notes, np.full_like(notes, events.shape[1])),
        "on_beat": estimate_share(count_on_beat(events), notes),
        "leaps_over_fifth": estimate_share(wide, steps),
    }
    percent = {name: Estimate(*(100 * end for end in share)) for name, share in shares.items()}
    return percent | {"mean_interval": estimate_mean(mean)}


def count_on_beat(events: np.ndarray) -> np.ndarray:
    """Count the notes of each melody that begin on the beat.

    The beat lies on every second sixteenth, the even or the odd ones, whichever more of a melody's
    notes begin on: where a window of a melody begins is a matter of chance.

    Args:
      events: integers in 0..37, [N, T].

    Returns:
      int [N].
    """
    begins = events >= FIRST_NOTE
    return np.max([np.sum(begins[:, phase::BEAT], axis=1) for phase in range(BEAT)], axis=0)


def summarize_phrases(events: np.ndarray) -> dict[str, Estimate]:
    """Measure how similar melodies are to themselves some bars before.

    Args:
      events: integers in 0..37, [N, T].

    Returns:
      Estimates by name, for each distance of `PHRASES` that melodies of T events have:
      notes_returning_after_1_bars, ..., the percentage of notes, of those so far into their melody,
      that also begin so many bars before, in the same place and pitch.
    """
    found = {}
    for bars in PHRASES:
        if (distance := bars * BAR) >= events.shape[1]:
            continue
        later, before = events[:, distance:], events[:, :-distance]
        notes = later >= FIRST_NOTE
        returning = np.sum(notes & (later == before), axis=1)
        share = estimate_share(returning, np.sum(notes, axis=1))
        found[f"notes_returning_after_{bars}_bars"] = Estimate(*(100 * end for end in share))
    return found


def note_distances(events: np.ndarray) -> np.ndarray:
    """Measure how far each note is from the note before it.

    Args:
      events: integers in 0..37, [N, T].

    Returns:
      Semitones, int [N, T]; −1 where no note begins, and at a melody's first note.
    """
    begins = events >= FIRST_NOTE
    places = np.where(begins, np.arange(events.shape[1]), -1)
    latest = np.maximum.accumulate(places, axis=1)
    before = np.concatenate([np.full((len(events), 1), -1), latest[:, :-1]], axis=1)
    last = np.take_along_axis(events, np.maximum(before, 0), axis=1)
    return np.where(begins & (before >= 0), np.abs(events - last), -1)


def log_p_after_primers(graph: Graph, prior: Params, primers: int, event: int) -> float:
    """Average log p(event | primer) over priming events, of a prior in its zero state.

    Args:
      graph: the prior's structure.
      prior: its parameters.
      primers: the first so many events are the primers, as in `tutor.music.theory.reset`.
      event: whose probability counts, such as the tonic's.

    Returns:
      Nats.
    """
    model = nnx.merge(graph, prior)
    _, logits = model.step(model.initial_state(primers), jnp.arange(primers))
    return float(jnp.mean(jax.nn.log_softmax(logits)[:, event]))
