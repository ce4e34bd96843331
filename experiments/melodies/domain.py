"""Melodies as a domain: 38 events, music theory as reward, MIDI files and pictures."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common.error import ConfigError, DataError
from common.estimate import as_metrics
from common.melody import BAR, NUM_EVENTS, Events, swap_specials
from common.midi import read_primer as read_midi_primer
from common.midi import write_melody, write_wav
from common.table import Cell, Table
from experiments.domain import Composed, Domain, Notes
from tutor.actor import Environment
from tutor.evaluation import Compositions
from tutor.music import theory
from tutor.music.piano_roll import AT_THE_FOOT, MARKS, draw_piano_roll, find_violations
from tutor.music.shape import log_p_after_primers, summarize_phrases, summarize_shape
from tutor.music.statistics import count_statistics, summarize_counts
from tutor.sequence_model import Graph, Params

PARAMS = theory.DEFAULT
"""Key, length, rules and weights for which models are tuned, and by which they are judged."""

SWAPPED = "swapped_specials"
"""In a model's notes: whether it learned from data in which rests and holds were swapped. Its
compositions are written as the released code does: event 0 holds, 1 ends a note, and all sounds two
semitones too high."""
SHARP = 2
"""Semitones by which the released code's MIDI files are too high."""
KEYS = {"C": 0, "Db": 1, "D": 2, "Eb": 3, "E": 4, "F": 5, "F#": 6} | {
    "G": -5,
    "Ab": -4,
    "A": -3,
    "Bb": -2,
    "B": -1,
}
"""Major key → semitones by which compositions in C are written higher."""
BARS = (1, 2, 4, 8, 16)
EIGHT_BARS = 8 * BAR
"""Sixteenths of the pieces whose phrases are measured."""
SECTION = EIGHT_BARS
"""Events that the reward reads as one piece, at most: its rules were made for short ones."""
SHOWN = 3
"""Compositions that a run writes as MIDI files."""
TO_A_PICTURE = 8
LONGEST_PRIMER = 4096  # sixteenths
_OURS = re.compile(r"composition\d+\.(mid|wav)|piano_roll\d*\.png")


def judge(made: Compositions) -> dict[str, float]:
    """Measure compositions [N, T] as metrics of a record: Table 1, and how they move.

    Returns:
      `composed/NAME` with the ends of its 95 % interval over compositions, `composed_low/NAME` and
      `composed_high/NAME`. What is undefined (leaps resolved, where there is no leap) is left out.
    """
    return judge_events(_events(made), "composed")


def judge_events(events: np.ndarray, split: str) -> dict[str, float]:
    """Measure melodies int [N, T], as `judge` does, under the name of a split."""
    found = summarize_counts(count_statistics(events, PARAMS)) | summarize_shape(events)
    return as_metrics(found, split)


def judge_phrases(events: np.ndarray, split: str) -> dict[str, float]:
    """Measure how often bars of melodies int [N, T] come again, as `judge_events` names metrics."""
    return as_metrics(summarize_phrases(events), split)


def judge_prior(graph: Graph, prior: Params) -> dict[str, float]:
    """Measure how probable the tonic is to a prior as a composition's first event, as a metric."""
    log_p = log_p_after_primers(graph, prior, PARAMS.primers, PARAMS.key.tonic)
    return {"composed/log_p_tonic": log_p}


def write(made: Compositions, folder: Path, notes: Notes) -> None:
    """Write the first compositions as composition<k>.mid."""
    for number, composition in enumerate(_events(made)[:SHOWN], start=1):
        _write(composition, folder / f"composition{number}.mid", notes)


def read_primer(path: Path, folder: Path, notes: Notes) -> Events:
    """Read the melody of a MIDI file, as the model knows melodies: int32 [P], P ≥ 1.

    Raises:
      DataError: it can't be read, has no melody, is out of the range of notes or too long.
      ConfigError: compositions written to the folder would overwrite it.
    """
    if path.resolve().parent == folder.resolve() and _OURS.fullmatch(path.name):
        raise ConfigError(
            f"{path}: the compositions would be written over their own primer. "
            "Choose another folder with --out."
        )
    events = read_midi_primer(path)
    if not 1 <= len(events) <= LONGEST_PRIMER:
        raise DataError(
            f"{path}: a primer has 1 to {LONGEST_PRIMER:,} sixteenths, not {len(events):,}."
        )
    return swap_specials(events) if notes[SWAPPED] else events


def render(
    made: Compositions,
    folder: Path,
    notes: Notes,
    primer: Events | None,
    title: str,
    *,
    wav: bool = False,
    key: str | None = None,
) -> Composed:
    """Write compositions as MIDI files, and piano rolls with broken rules marked.

    The folder gets `composition1.mid`, `composition2.mid`, ... (and the same as `.wav`), and
    `piano_roll.png`, with more than eight also `piano_roll2.png` and so on; files of these names
    from before are deleted. A primer comes first in the MIDI files. They are in `key`, or as the
    model composes; pictures and reward always are. They read swapped events unswapped: 0 ends a
    note, 1 holds it.
    """
    events = _events(made)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name):
            path.unlink()
    files = []
    for number, composition in enumerate(events, start=1):
        heard = composition if primer is None else np.concatenate([primer, composition])
        files.append(folder / f"composition{number}.mid")
        _write(heard, files[-1], notes, wav=wav, transpose=None if key is None else KEYS[key])
    scores = _score(events)
    return Composed(
        events=events,
        scores=scores,
        files=files,
        pictures=_draw(events, scores, folder, notes, primer, title),
        table=_table(files, scores),
    )


def _events(made: Compositions) -> np.ndarray:
    """The events int [N, T]. Raises ValueError where one ended early: Table 1, the reward's rules
    and the pictures are for compositions of T events."""
    if not np.all(made.counted):
        raise ValueError("melodies have one length; these end at different events")
    return np.asarray(made.events)


def _write(
    events: np.ndarray,
    path: Path,
    notes: Notes,
    *,
    wav: bool = False,
    transpose: int | None = None,
) -> None:
    """Write a composition int [T] as a MIDI file, and if asked as sound beside it.

    It is moved by `transpose` semitones, or else as the released code does.
    """
    heard = swap_specials(events) if notes[SWAPPED] else events
    if transpose is None:
        transpose = SHARP if notes[SWAPPED] else 0
    write_melody(heard, path, transpose=transpose)
    if wav:
        write_wav(heard, path.with_suffix(".wav"), transpose=transpose)


def _score(events: np.ndarray) -> dict[str, np.ndarray]:
    """The told parts of the reward of compositions [N, T]; long ones section by section."""
    number, length = events.shape
    section = min(length, SECTION)
    pieces = events.reshape(-1, section)
    params = replace(_marked(length), length=section)
    scores = jax.device_get(theory.score_composition(pieces, params))
    return {name: parts.reshape(number, length) for name, parts in scores.items()}


def _marked(length: int) -> theory.MusicParams:
    """The rules that pieces of a length are told to break.

    That of autocorrelation is for pieces as long as in training: longer tunes come back to what
    they began with, and are meant to.
    """
    return PARAMS if length == PARAMS.length else PARAMS.without(AT_THE_FOOT)


def _draw(
    events: np.ndarray,
    scores: Mapping[str, np.ndarray],
    folder: Path,
    notes: Notes,
    primer: Events | None,
    title: str,
) -> list[Path]:
    """Draw compositions [N, T], a few to a picture; return the pictures."""
    captions = []
    if primer is not None:
        captions.append("Grey: the end of the primer.")
    if notes[SWAPPED]:
        captions.append(
            "Drawn as the reward reads it. In the MIDI files rests and holds are swapped and all "
            f"is {SHARP} semitones higher, as in the released code."
        )
    paths = []
    for start in range(0, len(events), TO_A_PICTURE):
        number = start // TO_A_PICTURE + 1
        path = folder / f"piano_roll{number if start else ''}.png"
        draw_piano_roll(
            events[start : start + TO_A_PICTURE],
            path,
            _marked(events.shape[1]),
            primer=primer,
            title=title,
            caption=" ".join(captions),
            first=start + 1,
            scores={name: parts[start : start + TO_A_PICTURE] for name, parts in scores.items()},
        )
        paths.append(path)
    return paths


def _table(files: list[Path], scores: Mapping[str, np.ndarray]) -> Table:
    """Per composition its file, its reward and how many events break each rule."""
    violations = find_violations(scores)
    broken = {mark.text: violations[rule] for rule, mark in MARKS.items() if rule in violations}
    titles = ("file", "reward", *broken)
    totals = np.sum(scores["total"], axis=-1)
    rows: list[tuple[Cell, ...]] = [
        (path.name, f"{total:.1f}", *(int(np.sum(where[k])) for where in broken.values()))
        for k, (path, total) in enumerate(zip(files, totals, strict=True))
    ]
    return Table(titles, rows, frozenset(titles[1:]))


def of_bars(bars: int) -> Domain:
    """Return melodies of so many bars; the reward takes each section of eight bars for a piece.

    Raises:
      ConfigError: the number is none of `BARS`.
    """
    if bars not in BARS:
        raise ConfigError(f"--bars {bars}: choose from {', '.join(map(str, BARS))}.")
    length = BAR * bars
    params = replace(PARAMS, length=min(length, SECTION))
    return replace(MELODIES, environment=Environment(theory.reset, _step, params), length=length)


def _step(key: Any, state: Any, action: Any, params: theory.MusicParams) -> tuple[Any, ...]:
    """A step of the environment, which begins a new piece where one ends."""
    event, after, reward, done, info = theory.step_env(key, state, action, params)
    _, empty = theory.reset(key, params)
    state = jax.tree.map(lambda old, new: jnp.where(done, new, old), after, empty)
    return event, state, reward, jnp.zeros_like(done), info


MELODIES = Domain(
    name="melodies",
    num_events=NUM_EVENTS,
    environment=Environment(theory.reset, theory.step_env, PARAMS),
    length=PARAMS.length,
    judge=judge,
    write=write,
    read_primer=read_primer,
    render=render,
    of_bars=of_bars,
    keys=tuple(KEYS),
)
