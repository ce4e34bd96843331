"""Pictures of this family: heat maps over time and layers, bars, discs in the complex plane."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.plot import COLOURS, FAINT, INK, plain, save_picture
from highway.gates import Discs

CELL = 0.15
"""Inches of a time step in a heat map."""
NAMES = {" ": "␣", "\n": "↵", "\t": "→"}
"""Characters that can't be seen → what is written for them."""


def heat_maps(
    maps: Sequence[np.ndarray],
    tokens: Sequence[Sequence[str]],
    path: Path,
    *,
    title: str,
    label: str,
) -> Path:
    """Draw a value of each layer over time, one map above another; return the file.

    Args:
      maps: arrays [time, layers]. The largest value of all has the brightest colour.
      tokens: of each map the tokens that were read.
      path: the file.
      title: of the picture.
      label: of the colours.
    """
    top = max(float(one.max()) for one in maps)
    words = any(len(token) > 1 for row in tokens for token in row)
    height = 1.0 + len(maps) * (0.28 * maps[0].shape[1] + (1.3 if words else 0.75))
    width = max(7.0, 1.8 + CELL * max(len(one) for one in maps))

    def draw(figure: Any) -> None:
        rows = figure.subplots(len(maps), 1, squeeze=False, gridspec_kw={"hspace": 0.7})[:, 0]
        image = None
        for axes, values, row in zip(rows, maps, tokens, strict=True):
            image = axes.imshow(
                values.T, aspect="auto", origin="lower", vmin=0, vmax=top or 1, cmap="viridis"
            )
            names = [plain(NAMES.get(token, token)) for token in row]
            axes.set_xticks(range(len(row)), names, fontsize=7, rotation=90 if words else 0)
            depth = values.shape[1]
            axes.set_yticks(range(depth), [str(k + 1) for k in range(depth)], fontsize=8)
            axes.set_ylabel("layer", fontsize=9, color=INK)
        rows[0].set_title(plain(title), loc="left", fontsize=12, color=INK)
        figure.colorbar(image, ax=list(rows), label=label, fraction=0.03, pad=0.02)

    return save_picture(path, (width, height), draw)


def bars(
    values: Mapping[str, Sequence[float]],
    path: Path,
    *,
    title: str,
    x_label: str,
    y_label: str,
    mark: float = 0.0,
) -> Path:
    """Draw values of each layer, from 1 on, as bars, a panel for each key; return the file.

    A dashed line is drawn at `mark`.
    """

    def draw(figure: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        rows = figure.subplots(len(values), 1, squeeze=False)[:, 0]
        for axes, (name, heights) in zip(rows, values.items(), strict=True):
            axes.bar(range(1, len(heights) + 1), heights, color=COLOURS[0], width=0.8)
            axes.set_xlim(0.5, len(heights) + 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if mark:
                axes.axhline(mark, color=INK, linewidth=0.8, linestyle="--")
            axes.axhline(0, color=INK, linewidth=0.8)
            axes.grid(axis="y", color=FAINT, linewidth=0.8)
            axes.set_axisbelow(True)
            axes.set_ylabel(plain(y_label), fontsize=9, color=INK)
            axes.annotate(plain(name), (0.99, 0.9), xycoords="axes fraction", ha="right", va="top")
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
        rows[0].set_title(plain(title), loc="left", fontsize=12, color=INK)
        rows[-1].set_xlabel(x_label, fontsize=9, color=INK)
        figure.tight_layout()

    return save_picture(path, (8.0, 1.2 + 1.9 * len(values)), draw)


def spectra(
    found: Mapping[str, Sequence[tuple[str, Discs, np.ndarray]]], path: Path, *, title: str
) -> Path:
    """Draw discs and eigenvalues: a row for each model, a panel for each time step, of one scale.

    All eigenvalues and the unit circle are inside; of large discs only a part is, or nothing.

    Args:
      found: model → (name of the time step, discs, eigenvalues).
      path: the file.
      title: of the picture.
    """
    columns = max(map(len, found.values()))
    farthest = max(abs(step[2]).max() for steps in found.values() for step in steps)
    reach = 1.1 * max(1.0, float(farthest))

    def draw(figure: Any) -> None:
        from matplotlib.collections import EllipseCollection

        panels = figure.subplots(len(found), columns, squeeze=False)
        for line, (model, steps) in zip(panels, found.items(), strict=True):
            for axes, (step, discs, values) in zip(line, steps, strict=True):
                size = 2 * discs.radii
                circles = EllipseCollection(
                    size,
                    size,
                    np.zeros(len(size)),
                    units="xy",
                    offsets=np.stack([discs.centres, np.zeros(len(size))], axis=1),
                    offset_transform=axes.transData,
                    facecolors="none",
                    edgecolors=COLOURS[5],
                    linewidths=0.4,
                    alpha=0.35,
                )
                axes.add_collection(circles)
                turn = np.linspace(0, 2 * np.pi, 200)
                axes.plot(np.cos(turn), np.sin(turn), color=INK, linewidth=0.8, linestyle=":")
                axes.plot(values.real, values.imag, ".", color=COLOURS[1], markersize=4)
                axes.set_xlim(-reach, reach)
                axes.set_ylim(-reach, reach)
                axes.set_aspect("equal")
                axes.set_title(plain(f"{model}, {step}"), fontsize=9, color=INK)
                axes.tick_params(labelsize=7)
        figure.suptitle(plain(title), x=0.01, ha="left", fontsize=12, color=INK)
        figure.tight_layout()

    return save_picture(path, (3.2 * columns, 0.6 + 3.2 * len(found)), draw)


def swarm(groups: Mapping[str, Sequence[float]], path: Path, *, title: str, y_label: str) -> Path:
    """Draw each value of each group as a point on a logarithmic axis; return the file.

    Values that aren't finite stand at the top, as crosses.
    """

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        finite = [v for values in groups.values() for v in values if np.isfinite(v)]
        ceiling = 2 * max(finite, default=1.0)
        for place, values in enumerate(groups.values()):
            numbers = np.sort(np.asarray(values, float))
            known = numbers[np.isfinite(numbers)]
            # Spread in a fixed zigzag: the same picture for the same numbers.
            spread = 0.06 * ((np.arange(len(known)) * 2) % 5 - 2)
            colour = COLOURS[place % 2]
            axes.plot(place + spread, np.maximum(known, 1e-6), ".", color=colour, markersize=7)
            lost = len(numbers) - len(known)
            shift = 0.06 * ((np.arange(lost) * 2) % 5 - 2)
            axes.plot(place + shift, np.full(lost, ceiling), "x", color=colour, markersize=5)
            if len(known):
                middle = np.median(np.where(np.isfinite(numbers), numbers, ceiling))
                axes.hlines(max(middle, 1e-6), place - 0.3, place + 0.3, color=INK, linewidth=1.2)
        axes.set_yscale("log")
        axes.set_xticks(range(len(groups)), [plain(name) for name in groups], fontsize=9)
        axes.set_ylabel(plain(y_label), fontsize=10, color=INK)
        axes.set_title(plain(title), loc="left", fontsize=12, color=INK)
        axes.grid(axis="y", color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        figure.tight_layout()

    return save_picture(path, (1.5 + 1.1 * max(4, len(groups)), 5.0), draw)
