"""What of the runs' charts, melodies and pictures the page has room for."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from experiments.results.html.curve import Chart, draw
from experiments.results.html.group import Group
from experiments.results.html.media import Allowance, embed
from experiments.results.html.midi import Roll, read_roll

MOST_SOUNDS = 24
"""In a page."""
MOST_ROLLS = 3
"""Of a group."""
MOST_PICTURES = 6
"""Of a group."""


@dataclass
class Shown:
    """What is shown of a group besides text."""

    charts: list[tuple[Chart, Markup, str]] = field(default_factory=list)
    """With picture and readings, see `draw`."""
    rolls: list[Roll] = field(default_factory=list)
    pictures: list[Markup] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Names of what the page has no room for."""


def show(groups: Sequence[Group], allowance: Allowance) -> dict[str, Shown]:
    """Return what there is room for by the group's name: charts, then sounds, then pictures.

    Of files every group shows its first before any shows its second.
    """
    found = {group.name: Shown() for group in groups}
    for group in groups:
        _add_charts(group, found[group.name], allowance)
    heard = itertools.count()

    def add_roll(group: Group, path: Path, rank: int) -> None:
        roll = None
        if rank < MOST_ROLLS:
            with_sound = next(heard) < MOST_SOUNDS
            roll = read_roll(path, path.stem, allowance, with_sound=with_sound)
        if roll:
            found[group.name].rolls.append(roll)
        else:
            found[group.name].left_out.append(path.name)

    def add_picture(group: Group, path: Path, rank: int) -> None:
        record = group.first.record
        words = path.stem.replace("_", " ")
        alt = f"{words}: {record.experiment}, preset {record.preset}, seed {record.seed}"
        picture = embed(path, alt, allowance) if rank < MOST_PICTURES else None
        if picture:
            found[group.name].pictures.append(picture.figure())
        else:
            found[group.name].left_out.append(path.name)

    _in_turns(groups, lambda group: group.midi_files, add_roll)
    _in_turns(groups, lambda group: group.picture_files, add_picture)
    return found


def _add_charts(group: Group, shown: Shown, allowance: Allowance) -> None:
    for number, chart in enumerate(group.charts):
        if allowance.left > 0:
            picture, readings = draw(chart, f"{group.name}-chart{number}")
            written = f"{picture}{escape(readings)}"  # quotes take five bytes in an attribute
            if allowance.take(len(written.encode())):
                shown.charts.append((chart, picture, readings))
                continue
        shown.left_out.append(f"{chart.measure} over training")


def _in_turns(
    groups: Sequence[Group],
    files: Callable[[Group], list[Path]],
    add: Callable[[Group, Path, int], Any],
) -> None:
    """Add the first file of every group, then the second of each, so that room is shared."""
    each = [[(group, path) for path in files(group)] for group in groups]
    for rank, together in enumerate(itertools.zip_longest(*each)):
        for one in together:
            if one is not None:
                group, path = one
                add(group, path, rank)
