"""Measures the melodies themselves as if a model had composed them, and checks their keys."""

import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict

import numpy as np

from common.datasets.folk_melodies import read_tune, source_tunes
from common.error import DataError
from common.key import estimate_key, move_to_c
from common.melody import OCTAVE, NoMelody, encode_notes
from experiments.melodies.catalogue import FOLK, MelodyWindowsConfig
from experiments.melodies.domain import EIGHT_BARS, PARAMS, judge_events, judge_phrases
from experiments.melodies.note_rnn import load_own, prepare, sizes
from experiments.run import Context
from experiments.train import Outcome, Outcomes, Rehearsed, data_used

FIFTHS = {note: number for number, note in enumerate("FCGDAEB", start=-1)}
"""Note → sharps of the major key on it."""
MODES = {"": 0, "maj": 0, "ion": 0, "mix": 1, "dor": 2, "m": 3, "min": 3, "aeo": 3} | {
    "phr": 4,
    "loc": 5,
    "lyd": -1,
}
"""First letters of a mode, as in ABC → how many sharps fewer than major it has."""
_KEY = re.compile(r"^[ \t]*K:[ \t]*([A-G])([#b]?)[ \t]*([A-Za-z]*)", re.MULTILINE)


def run(context: Context) -> Outcomes:
    """Measure windows of held-out melodies, from their beginnings and from anywhere."""
    config: MelodyWindowsConfig = context.config
    started = time.monotonic()
    own = load_own(config.data, context.options.data_dir)
    melodies = prepare(own, config.data, swapped=config.original_quirks)
    data = data_used(melodies, sizes(melodies), context.experiment.data)
    context.place.run.claim_data(asdict(data), context.place.folder)
    if context.place.rehearsal:
        raise Rehearsed
    (seed,) = context.seeds
    held_out = (*melodies.valid, *melodies.test)
    random = np.random.default_rng(seed)
    beginnings, anywhere = cut(held_out, PARAMS.length, config.windows, random)
    metrics = judge_events(beginnings, "start") | judge_events(anywhere, "anywhere")
    if any(len(melody) >= EIGHT_BARS for melody in held_out):
        beginnings, anywhere = cut(held_out, EIGHT_BARS, config.windows, random)
        metrics |= judge_phrases(beginnings, "start_8_bars")
        metrics |= judge_phrases(anywhere, "anywhere_8_bars")
    if config.data.key == "C":
        metrics |= count_keys((*own.train, *own.valid, *own.test))
    if config.check_keys and config.data.name == FOLK:
        metrics |= check_keys(source_tunes())
    seconds = {"evaluation": round(time.monotonic() - started, 3)}
    return {seed: Outcome(0, metrics, [], [data], seconds)}


def cut(
    melodies: Sequence[np.ndarray], length: int, windows: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut windows out of melodies that are no shorter.

    Args:
      melodies: each int [events].
      length: T, of the windows.
      windows: how many are drawn.
      random: draws them.

    Returns:
      The beginning of each melody, [melodies, T], and windows [windows, T] uniform over all places
      where one can begin.

    Raises:
      DataError: all melodies are shorter.
    """
    enough = [melody for melody in melodies if len(melody) >= length]
    if not enough:
        raise DataError(f"no held-out melody has {length} events.")
    cuts = np.concatenate(
        [np.lib.stride_tricks.sliding_window_view(melody, length) for melody in enough]
    )
    chosen = random.integers(0, len(cuts), windows)
    return np.stack([melody[:length] for melody in enough]), cuts[chosen]


def read_signature(text: str) -> int | None:
    """Read the signature in the first `K:` field of a tune in ABC notation.

    Returns:
      The pitch class of the major key that has it; None where there is none, or one of no mode
      that is known.
    """
    if (found := _KEY.search(text)) is None:
        return None
    note, sign, mode = found.groups()
    mode = mode.lower()
    fewer = MODES.get(mode if mode == "m" else mode[:3])
    if fewer is None:
        return None
    sharps = FIFTHS[note] + {"": 0, "#": 7, "b": -7}[sign] - fewer
    return 7 * sharps % OCTAVE


def count_keys(melodies: Iterable[np.ndarray]) -> dict[str, float]:
    """Count melodies by what moving them to C makes of them, as metrics.

    Returns:
      `keys/major`, `keys/minor`: moved. `keys/without_a_key`, `keys/too_wide`: left as they are.
    """
    counts = move_to_c(melodies).counts
    return {f"keys/{what.replace(' ', '_')}": float(count) for what, count in counts.items()}


def check_keys(tunes: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Compare estimated keys with those that tunes in ABC notation are noted in, as metrics.

    Returns:
      `abc/tunes`: with notes and a `K:` field. `abc/agreeing` and `abc/without_estimate`: the
      percentage of them whose estimated key has the same signature, and that have no estimate.
    """
    counts: Counter[str] = Counter()
    for name, text in tunes:
        signature = read_signature(text)
        try:
            notes = read_tune(name, text)
        except NoMelody:
            continue
        if signature is None:
            continue
        key = estimate_key(encode_notes(notes, notes[-1].end))
        counts["tunes"] += 1
        counts["agreeing"] += key is not None and key.major == signature
        counts["without_estimate"] += key is None
    shares = {
        f"abc/{one}": 100 * counts[one] / max(counts["tunes"], 1)
        for one in ("agreeing", "without_estimate")
    }
    return {"abc/tunes": float(counts["tunes"]), **shares}
