"""Compositions of a finished run's model, for ears and eyes: MIDI files, sound and piano rolls."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from common.error import ConfigError, DataError
from common.melody import Events, swap_specials
from common.midi import read_primer
from common.table import Cell, Table
from experiments import trained
from experiments.melodies.domain import ENVIRONMENT, LENGTH, PARAMS, SHARP, write_composition
from experiments.trained import Kept
from tutor.evaluation import Composer
from tutor.music.piano_roll import MARKS, draw_piano_roll, find_violations
from tutor.music.theory import score_composition

MOST = 100
"""Compositions of a seed; however many are asked for, they are the first of these."""
LONGEST_PRIMER = 4096  # sixteenths
TO_A_PICTURE = 8
_OURS = re.compile(r"composition\d+\.(mid|wav)|piano_roll\d*\.png")


class Composed(NamedTuple):
    """N compositions of T events, and where they were written."""

    events: Events
    """int32 [N, T], as the model and the reward read them."""
    scores: Mapping[str, np.ndarray]
    """Rule → reward, float32 [N, T], and "total"."""
    melodies: list[Path]
    """A MIDI file per composition."""
    pictures: list[Path]

    def table(self) -> Table:
        """Per composition its file, its reward and how many events break each rule."""
        violations = find_violations(self.scores)
        broken = {mark.text: violations[rule] for rule, mark in MARKS.items()}
        titles = ("file", "reward", *broken)
        totals = np.sum(self.scores["total"], axis=-1)
        rows: list[tuple[Cell, ...]] = [
            (path.name, f"{total:.1f}", *(int(np.sum(where[k])) for where in broken.values()))
            for k, (path, total) in enumerate(zip(self.melodies, totals, strict=True))
        ]
        return Table(titles, rows, frozenset(titles[1:]))


def compose(
    run: Path,
    folder: Path,
    *,
    count: int = 8,
    seed: int = 0,
    primer: Path | None = None,
    wav: bool = False,
) -> Composed:
    """Composes with the model that a run keeps, and writes and draws what it made.

    The folder gets `composition1.mid`, `composition2.mid`, ... (and the same as `.wav`), and
    `piano_roll.png`, with more than eight also `piano_roll2.png` and so on; files of these names
    from before are deleted. Composition k of a seed is the same however many are asked for.

    A model that learned from data with rests and holds swapped, as the released code's does, is
    written as that code writes it: event 0 holds, 1 ends a note, and all sounds two semitones too
    high. The pictures, like the reward, take its events for what they are elsewhere.

    Args:
      run: a run directory with what `experiments.trained.keep` wrote.
      folder: where to write; made if it isn't there.
      count: how many, 1 to 100.
      seed: 0 to 2³² − 1.
      primer: a MIDI file whose melody the compositions go on from; it comes first in their files.
      wav: whether to write sound.

    Raises:
      DataError: the run keeps no model, or the primer can't be read, has no melody, is out of the
        range of notes or too long.
      ConfigError: the model is of another vocabulary, `count` is out of range, or the primer would
        be overwritten.
    """
    if not 1 <= count <= MOST:
        raise ConfigError(f"{count} compositions: choose from 1 to {MOST}.")
    kept = trained.find(run)
    lead = None if primer is None else _read_primer(primer, folder)
    seen = swap_specials(lead) if lead is not None and kept.swapped_specials else lead
    events = _draw_events(kept, seed, seen)[:count]
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name):
            path.unlink()
    title = f"{Path(*run.resolve().parts[-3:])}, compositions of seed {seed}"
    return Composed(
        events,
        jax.device_get(score_composition(events, PARAMS)),
        _write(kept, events, seen, folder, wav),
        _draw_pictures(kept, events, seen, folder, title),
    )


def _read_primer(path: Path, folder: Path) -> Events:
    """The primer's events, int32 [P], P at least 1."""
    if path.resolve().parent == folder.resolve() and _OURS.fullmatch(path.name):
        raise ConfigError(
            f"{path}: the compositions would be written over their own primer. "
            "Choose another folder with --out."
        )
    events = read_primer(path)
    if not 1 <= len(events) <= LONGEST_PRIMER:
        raise DataError(
            f"{path}: a primer has 1 to {LONGEST_PRIMER:,} sixteenths, not {len(events):,}."
        )
    return events


def _draw_events(kept: Kept, seed: int, primer: Events | None) -> Events:
    """The compositions of a seed, int32 [MOST, T]."""
    composer = Composer(kept.graph, kept.method, ENVIRONMENT, LENGTH)
    made = composer.compose(kept.policy, jax.random.key(seed), MOST, primer=primer)
    return np.asarray(made.events)


def _write(
    kept: Kept, events: Events, primer: Events | None, folder: Path, wav: bool
) -> list[Path]:
    """Writes compositions [N, T] behind their primer; returns the MIDI files."""
    paths = []
    for number, composition in enumerate(events, start=1):
        heard = composition if primer is None else np.concatenate([primer, composition])
        path = folder / f"composition{number}.mid"
        write_composition(heard, path, swapped_specials=kept.swapped_specials, wav=wav)
        paths.append(path)
    return paths


def _draw_pictures(
    kept: Kept, events: Events, primer: Events | None, folder: Path, title: str
) -> list[Path]:
    """Draws compositions [N, T], a few to a picture; returns the pictures."""
    captions = []
    if primer is not None:
        captions.append("Grey: the end of the primer.")
    if kept.swapped_specials:
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
            PARAMS,
            primer=primer,
            title=title,
            caption=" ".join(captions),
            first=start + 1,
        )
        paths.append(path)
    return paths
