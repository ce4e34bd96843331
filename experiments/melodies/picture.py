"""A picture of Table 1 of Sequence Tutor: what was published beside ours, a panel a statistic."""

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from common.plot import COLOURS, FAINT, INK, save_picture
from common.record import Record
from common.table import Summary
from experiments.melodies.catalogue import COLUMNS, TABLE_1
from experiments.melodies.table import (
    NAMES,
    SETTINGS,
    TUNED,
    by_experiment,
    summary_of,
    words_of,
    written,
)

STATISTICS = (
    "compositions_starting_with_tonic",
    "notes_in_motif",
    "notes_excessively_repeated",
    "leaps_resolved",
)
"""Those shown, in %."""
LABELS = {
    "paper": "ours, settings as published",
    "adagrad": "ours, Note RNN learned by Adagrad on the summed loss",
    "in_c": "ours, Note RNN of 4,000 updates, in C, beginnings learned, learning rate 0.01",
}
"""Presets shown → what the legend says of them."""
OFFSETS = (-0.2, 0.17, 0.35)
"""From a method's published number down to each of ours, in lines."""
SIZE = (10.0, 4.3)


class Dot(NamedTuple):
    """One of our results."""

    statistic: str
    method: str
    """The experiment's name."""
    preset: str
    found: Summary


def dots(records: Iterable[Record]) -> list[Dot]:
    """Return what the picture shows of ours; nothing where no model was tuned."""
    records, made = list(records), []
    for setting in (one for one in SETTINGS if one.preset in LABELS):
        found = by_experiment(records, setting)
        if not any(name in TUNED for name in found):
            continue
        for statistic in STATISTICS:
            for method in COLUMNS:
                one = summary_of(found.get(method, ()), f"composed/{statistic}")
                if one is not None:
                    made.append(Dot(statistic, method, setting.preset, one))
    return made


def describe(shown: Iterable[Dot]) -> str:
    """Say in words what the picture shows, a line a statistic and method."""
    ours: dict[tuple[str, str], list[str]] = {}
    for dot in shown:
        told = f"{LABELS[dot.preset]} {written(dot.found, dot.statistic)}"
        ours.setdefault((dot.statistic, dot.method), []).append(told)
    return "\n".join(
        f"{words_of(statistic)}, {NAMES[method]}: "
        + "; ".join([f"published {TABLE_1[statistic][COLUMNS[method]]}", *told])
        for (statistic, method), told in ours.items()
    )


def draw(shown: list[Dot], path: Path) -> Path:
    """Draw the picture into a PNG file, which describes itself; return the path."""

    def on(figure: Any) -> None:
        figure.text(
            0.012,
            0.95,
            "Sequence Tutor, Table 1: published and ours, in %",
            fontsize=14,
            color=INK,
        )
        panels = figure.subplots(1, len(STATISTICS), sharey=True)
        figure.subplots_adjust(left=0.09, right=0.985, top=0.79, bottom=0.23, wspace=0.16)
        for axes, statistic in zip(panels, STATISTICS, strict=True):
            _style(axes, statistic)
            _draw_panel(axes, statistic, [dot for dot in shown if dot.statistic == statistic])
        marks = dict(zip(*reversed(panels[0].get_legend_handles_labels()), strict=True))
        figure.legend(
            marks.values(),
            marks,
            loc="lower center",
            ncols=2,
            frameon=False,
            fontsize=9.5,
            columnspacing=1.2,
            handletextpad=0.2,
        )

    return save_picture(path, SIZE, on, description=describe(shown))


def _style(axes: Any, statistic: str) -> None:
    words = textwrap.fill(words_of(statistic), 20)
    axes.set_title(words, loc="left", fontsize=10.5, color=INK)
    axes.set_xlim(-4, 104)
    axes.set_ylim(len(COLUMNS) - 0.5, -0.5)
    axes.set_yticks(range(len(COLUMNS)), [NAMES[method] for method in COLUMNS], fontsize=11)
    axes.tick_params(colors="#555555", length=0)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def _draw_panel(axes: Any, statistic: str, shown: list[Dot]) -> None:
    """A line for each method: the paper's number, and ours with their intervals around it."""
    published = [float(TABLE_1[statistic][COLUMNS[method]]) for method in COLUMNS]
    places = range(len(COLUMNS))
    hollow: Mapping[str, Any] = {"facecolors": "none", "edgecolors": INK, "linewidths": 1.6}
    axes.scatter(published, places, marker="D", s=52, zorder=4, label="published", **hollow)
    each = zip(LABELS.items(), OFFSETS, COLOURS[: len(LABELS)], strict=True)
    for (preset, label), offset, colour in each:
        own = [dot for dot in shown if dot.preset == preset]
        heights = [list(COLUMNS).index(dot.method) + offset for dot in own]
        for dot, height in zip(own, heights, strict=True):
            if dot.found.low is not None:
                ends = (dot.found.low, dot.found.high)
                axes.plot(ends, (height, height), color=colour, linewidth=2.2, zorder=2)
        means = [dot.found.mean for dot in own]
        axes.scatter(means, heights, color=colour, s=34, zorder=3, label=label)
