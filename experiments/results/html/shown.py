"""What of the runs' charts, melodies and pictures the page has room for."""

import itertools
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from markupsafe import Markup, escape

from experiments.results.html.curve import Chart, draw
from experiments.results.html.group import Group
from experiments.results.html.media import Allowance, digest, embed
from experiments.results.html.midi import Roll, read_roll

MOST_SOUNDS = 28
"""In a page."""
MOST_ROLLS = 3
"""Of a group."""
MOST_PICTURES = 6
"""Of a group."""
SOUND_BYTES = 1_200_000
"""Kept for sounds before anything else takes room."""
PICTURE_BYTES = 300_000
"""Kept for pictures that runs left."""
FIRST_PRESETS = ("paper", "cpu")
"""Of an experiment the first to be shown; then its other presets, last what changes settings."""
CURVES = "learning_curve"
"""Name of a picture that has what charts show."""
One = TypeVar("One")


@dataclass
class Shown:
    """What is shown of a group besides text."""

    charts: list[tuple[Chart, Markup, str]] = field(default_factory=list)
    """With picture and readings, see `draw`."""
    rolls: list[Roll] = field(default_factory=list)
    pictures: list[Markup] = field(default_factory=list)
    above: list[str] = field(default_factory=list)
    """Names of pictures that stand further up in the page."""
    left_out: list[str] = field(default_factory=list)
    """Names of what the page has no room for."""


class Room:
    """What the page may hold, shared out: some of it is for sounds, and some for runs' pictures."""

    def __init__(self, size: int):
        """Begin with so many bytes."""
        self.rest = Allowance(size)
        """For all else, and for what the other two leave."""
        self.sounds, self.pictures = self.rest.part(SOUND_BYTES), self.rest.part(PICTURE_BYTES)


def show(
    experiments: Sequence[Sequence[Group]], room: Room, above: Container[str] = ()
) -> dict[str, Shown]:
    """Return what there is room for by the group's name: sounds, then charts, then pictures.

    All in turns, see `_in_turns`.

    Args:
      experiments: the groups of each.
      room: what may be taken.
      above: digests of pictures that the page has already.
    """
    groups = _by_turn(experiments)
    found = {group.name: Shown() for group in groups}
    heard = itertools.count()

    def add_roll(group: Group, path: Path, rank: int) -> None:
        roll = None
        if rank < MOST_ROLLS:
            with_sound = next(heard) < MOST_SOUNDS
            roll = read_roll(path, path.stem, room.sounds, with_sound=with_sound)
        if roll:
            found[group.name].rolls.append(roll)
        else:
            found[group.name].left_out.append(path.name)

    def add_chart(group: Group, chart: Chart, rank: int) -> None:
        shown = found[group.name]
        if room.rest.left > 0:
            picture, readings = draw(chart, f"{group.name}-chart{rank}")
            written = f"{picture}{escape(readings)}"  # quotes take five bytes in an attribute
            if room.rest.take(len(written.encode())):
                shown.charts.append((chart, picture, readings))
                return
        shown.left_out.append(f"{chart.measure} over training")

    def add_picture(group: Group, path: Path, rank: int) -> None:
        shown, record = found[group.name], group.first.record
        if digest(path) in above:
            shown.above.append(path.name)
            return
        words = path.stem.replace("_", " ")
        words += f": {record.experiment}, preset {record.preset}, seed {record.seed}"
        picture = embed(path, words, room.pictures) if rank < MOST_PICTURES else None
        if picture:
            shown.pictures.append(picture.figure())
        else:
            shown.left_out.append(path.name)

    _in_turns(groups, lambda group: group.midi_files, add_roll)
    room.rest.add(room.sounds)
    _in_turns(groups, lambda group: group.charts, add_chart)
    room.pictures.add(room.rest)
    _in_turns(groups, lambda group: _pictures(group, found[group.name]), add_picture)
    return found


def _pictures(group: Group, shown: Shown) -> list[Path]:
    """Pictures that the first run left, without those that the group's charts make needless."""
    drawn = {chart.measure.replace(" ", "_") for chart, _, _ in shown.charts}
    needless = drawn | {CURVES} if drawn else drawn
    return [path for path in group.picture_files if path.stem not in needless]


def _by_turn(experiments: Sequence[Sequence[Group]]) -> list[Group]:
    """The first group of every experiment, then the second of each; see `FIRST_PRESETS`."""

    def place(group: Group) -> tuple[bool, int]:
        presets = [*FIRST_PRESETS, group.preset]
        return bool(group.changes), presets.index(group.preset)

    ordered = [sorted(groups, key=place) for groups in experiments]
    return [group for turn in itertools.zip_longest(*ordered) for group in turn if group]


def _in_turns(
    groups: Sequence[Group],
    parts: Callable[[Group], Sequence[One]],
    add: Callable[[Group, One, int], None],
) -> None:
    """Add the first part of every group, then the second of each, so that room is shared."""
    each = [[(group, part) for part in parts(group)] for group in groups]
    for rank, together in enumerate(itertools.zip_longest(*each)):
        for one in together:
            if one is not None:
                group, part = one
                add(group, part, rank)
