"""The frontier: what tuned policies reach at which divergence from the prior."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.plot import COLOURS, FAINT, INK, Series, plain, save_picture

MARKERS = "os^Dvp"
OPTIMUM = "optimum, estimated\nfrom the prior's\nmolecules"
LINEAR = 1.0
"""Nats up to which the axis of the divergence is linear; logarithmic beyond, so that near and far
policies can be told apart."""
TICKS = (0, 0.25, 0.5, 0.75, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500)


class Tuned(NamedTuple):
    """Runs of one method at one c, a seed each; points are (KL(π ‖ p), measure)."""

    c: float
    ends: Series
    """Of their final policies."""
    ways: Sequence[Series]
    """Of the evaluations during each, in order."""


def frontier(
    methods: Mapping[str, Sequence[Tuned]],
    prior: Series,
    best: Series,
    path: Path,
    *,
    x_label: str,
    y_label: str,
    title: str,
) -> Path:
    """Draw a point for each final policy, faint lines for the ways to them; return the file.

    Args:
      methods: name → its runs.
      prior: the point of the model that they start from, if it is known.
      best: points of the best policies there are, where they are known; drawn as a curve.
      path: the file.
      x_label: what is on the x axis.
      y_label: what is on the y axis.
      title: above the picture.
    """

    def draw(figure: Any) -> None:
        from matplotlib.ticker import FixedLocator

        axes = figure.add_axes((0.085, 0.115, 0.68, 0.775))
        if best:
            axes.plot(*zip(*sorted(best), strict=True), color=INK, lw=1.5, label=OPTIMUM)
        if prior:
            axes.plot(*zip(*prior, strict=True), "*", color=INK, ms=14, label="prior")
        for number, (name, groups) in enumerate(methods.items()):
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            for group in groups:
                for way in group.ways:
                    axes.plot(*zip(*prior[:1], *way, strict=True), color=colour, lw=1.2, alpha=0.4)
                axes.plot(
                    *zip(*group.ends, strict=True), marker, color=colour, ms=7, label=plain(name)
                )
                axes.annotate(
                    f"{group.c:g}", max(group.ends), (6, -3), textcoords="offset points",
                    fontsize=8, color=colour,
                )  # fmt: skip
        axes.set_xscale("symlog", linthresh=LINEAR, linscale=0.6)
        axes.set_xlim(left=-0.05)
        axes.xaxis.set_major_locator(FixedLocator(TICKS))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_title(plain(title), loc="left", fontsize=14, color=INK, pad=14)
        axes.set_xlabel(plain(x_label), fontsize=11.5, color=INK)
        axes.set_ylabel(plain(y_label), fontsize=11.5, color=INK)
        axes.grid(color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        axes.legend(
            handles.values(), handles.keys(), loc="upper left", bbox_to_anchor=(1.02, 1.0),
            frameon=False, title="at a point: its c",
        )  # fmt: skip

    return save_picture(path, (10.0, 6.0), draw, description=describe(methods, prior, best))


def describe(methods: Mapping[str, Sequence[Tuned]], prior: Series, best: Series) -> str:
    """Write out all that a picture shows, a line each: points as (KL(π ‖ p), measure)."""

    def told(points: Series) -> str:
        return ", ".join(f"({x:.4g}, {y:.4g})" for x, y in points)

    lines = [f"prior: {told(prior)}", f"optimum: {told(sorted(best))}"]
    for name, groups in methods.items():
        for group in groups:
            lines.append(f"{name}, c = {group.c:g}: {told(group.ends)}")
            lines += [f"{name}, c = {group.c:g}, the way: {told(way)}" for way in group.ways]
    return "\n".join(lines)
