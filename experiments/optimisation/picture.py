"""The swarm picture: every run's best training loss, by architecture and depth."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.plot import COLOURS, FAINT, INK, plain, save_picture
from experiments.optimisation.catalogue import CORES
from experiments.optimisation.cell import Cell
from experiments.results.paired import capped

WIDTH = 0.8
"""Of a swarm; two of them are 1 apart."""
NEAR = 0.02
"""Share of the picture's height within which two points would lie upon one another."""


def draw_swarm(cells: Sequence[Cell], path: Path, title: str, frequency_nll: float) -> Path:
    """Draw the paper's swarm plot; return its path.

    A point is a run, at its best training loss; a cross one that diverged later; how many have none
    stands above. The dashed line is the loss of predicting each key by its frequency: what isn't
    below has learned nothing of time, and counts as just that in the median, the thick line.
    """
    depths = sorted({cell.depth for cell in cells})
    finite = [loss for cell in cells for loss in cell.losses if math.isfinite(loss)]

    def draw(figure: Any) -> None:
        axes = figure.add_axes((0.085, 0.16, 0.89, 0.73))
        _style(axes, title)
        ticks = {}
        for cell in cells:
            group = list(CORES).index(cell.core)  # type: ignore[arg-type]
            x = group * (len(depths) + 1) + depths.index(cell.depth)
            ticks[x] = str(cell.depth)
            _draw_cell(axes, cell, x, finite, frequency_nll)
        for group, label in enumerate(CORES.values()):
            middle = group * (len(depths) + 1) + (len(depths) - 1) / 2
            axes.text(
                middle, -0.12, label, transform=axes.get_xaxis_transform(), ha="center",
                fontsize=11.5, color=COLOURS[group],
            )  # fmt: skip
        axes.axhline(frequency_nll, color=INK, linewidth=1, linestyle="--", zorder=0)
        axes.text(
            1.0, -0.19, "thick: median; dashed: each key by its frequency", ha="right", fontsize=8,
            transform=axes.transAxes, color=INK,
        )  # fmt: skip
        axes.set_xticks(list(ticks), list(ticks.values()))

    return save_picture(path, (10.0, 6.0), draw)


def _draw_cell(
    axes: Any, cell: Cell, x: int, finite: Sequence[float], frequency_nll: float
) -> None:
    colour = COLOURS[list(CORES).index(cell.core)]  # type: ignore[arg-type]
    known = [k for k, loss in enumerate(cell.losses) if math.isfinite(loss)]
    heights = [math.log(cell.losses[k]) for k in known]
    span = math.log(max(finite)) - math.log(min(finite)) if finite else 0.0
    for k, shift in zip(known, offsets(heights, NEAR * max(span, 1e-9)), strict=True):
        diverged = cell.runs[k].diverged_at >= 0
        axes.plot(
            x + shift, cell.losses[k], "x" if diverged else "o", color=colour, markersize=5,
            alpha=0.75, markeredgewidth=1.5 if diverged else 0, zorder=3,
        )  # fmt: skip
    middle = statistics.median(capped(cell.losses, frequency_nll))
    axes.hlines(middle, x - WIDTH / 2, x + WIDTH / 2, color=INK, linewidth=3, zorder=2)
    if without := len(cell.runs) - len(known):
        axes.text(
            x, 1.0, f"{without} without", transform=axes.get_xaxis_transform(), ha="center",
            va="bottom", fontsize=8, color=INK,
        )  # fmt: skip


def offsets(heights: Sequence[float], near: float) -> list[float]:
    """Spread points that would lie upon one another to both sides; −WIDTH/2 .. WIDTH/2 each.

    Args:
      heights: of the points.
      near: distance below which two of them need places side by side.
    """
    order = sorted(range(len(heights)), key=lambda k: heights[k])
    places = [0] * len(heights)
    for rank, k in enumerate(order):
        taken = {places[j] for j in order[:rank] if heights[k] - heights[j] < near}
        places[k] = next(place for place in range(len(heights)) if place not in taken)
    columns = max(places, default=0) + 1
    step = min(0.12, WIDTH / columns)
    return [(-1) ** place * ((place + 1) // 2) * step for place in places]


def _style(axes: Any, title: str) -> None:
    axes.set_title(plain(title), loc="left", fontsize=13, color=INK, pad=16)
    axes.set_ylabel("best training NLL, nats a time step", fontsize=11.5, color=INK)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", which="both", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("recurrence depth", fontsize=11.5, color=INK, labelpad=32)
    axes.tick_params(colors="#555555", labelsize=10)
