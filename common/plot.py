"""Pictures as small PNG files, the same bytes for the same numbers; learning curves."""

import io
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from common.error import DataError
from common.record import named_errors

LARGEST_BYTES = 200_000
"""Pictures are committed with results, so they stay small."""

LONGEST_ALTERNATIVE = 240
"""Characters of a text that stands for a picture."""

WIDTH, HEIGHT, DOTS_PER_INCH = 10.0, 6.0, 100

# Okabe and Ito's palette, told apart with every common kind of colour blindness; its yellow is
# left out (too faint on white).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)))
INK, FAINT = "#222222", "#DDDDDD"

FEW = 40
"""Points of a series up to which each is marked."""

Series = Sequence[tuple[float, float]]
Band = Sequence[tuple[float, float, float]]
"""Points (x, low, high), in order of x."""


class _End(NamedTuple):
    """Where a curve ends, and what is written there."""

    label: str
    x: float
    y: float
    colour: str


def learning_curves(
    series: Mapping[str, Series],
    path: Path,
    *,
    x_label: str,
    y_label: str,
    title: str,
    bands: Mapping[str, Band] = MappingProxyType({}),
    description: str = "",
) -> Path:
    """Draw curves over a common x axis into a PNG file; return its path.

    Args:
      series: label → points (x, y). Points that are not finite leave a gap; a series with
        none left is skipped.
      path: the file, overwritten; its folder is created.
      x_label: what is on the x axis.
      y_label: what is on the y axis.
      title: above the picture.
      bands: label of a series → the area to be shaded around it.
      description: as `save_picture` has it.

    Raises DataError where the picture would exceed LARGEST_BYTES.
    """

    def draw(figure: Any) -> None:
        axes = figure.add_axes((0.085, 0.115, 0.70, 0.775))
        _style(axes, x_label, y_label, title)
        ends = _draw_series(axes, _usable(series))
        for end in ends:
            if points := bands.get(end.label):
                axes.fill_between(*zip(*points, strict=True), color=end.colour, alpha=0.15, lw=0)
        _label_ends(axes, ends)
        if not ends:
            axes.text(0.5, 0.5, "no finite values", transform=axes.transAxes, ha="center")

    return save_picture(path, (WIDTH, HEIGHT), draw, description)


def save_picture(
    path: Path, size: tuple[float, float], draw: Callable[[Any], None], description: str = ""
) -> Path:
    """Write what `draw` puts on a figure into a PNG file; return its path.

    Args:
      path: the file, overwritten; its folder is created.
      size: width and height in units of 100 dots.
      draw: draws on the empty matplotlib figure that it's given.
      description: kept in the file, as PNG's `Description`.

    Raises DataError where the picture would exceed LARGEST_BYTES.
    """
    from matplotlib import rc_context, rcdefaults
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture = io.BytesIO()
    # The user's own matplotlibrc must not change committed pictures.
    with rc_context():
        rcdefaults()
        figure = Figure(figsize=size, dpi=DOTS_PER_INCH)
        draw(figure)
        # Without the default metadata, which names the matplotlib version.
        metadata = {"Software": None} | ({"Description": description} if description else {})
        FigureCanvasAgg(figure).print_png(picture, metadata=metadata)
    content = picture.getvalue()
    if len(content) > LARGEST_BYTES:
        content = with_few_colours(content, description)
    if len(content) > LARGEST_BYTES:
        raise DataError(f"{path}: {len(content)} bytes, over {LARGEST_BYTES}.")
    with named_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return path


def described(path: Path) -> str:
    """Return what `save_picture` kept in a file to describe it; empty where that is nothing."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return str(picture.info.get("Description", ""))
    except UnidentifiedImageError:
        return ""


def alternative_text(path: Path, words: str) -> str:
    """Return what may stand for a picture: what it's called, and how its description begins.

    Args:
      path: the picture's file.
      words: what it's called.
    """
    description = "; ".join(line.strip() for line in described(path).splitlines() if line.strip())
    if not description:
        return words
    whole = description if description.startswith(words) else f"{words}: {description}"
    return textwrap.shorten(whole, max(LONGEST_ALTERNATIVE, len(words) + 2), placeholder=" …")


def with_few_colours(png: bytes, description: str = "") -> bytes:
    """Return a PNG file with 64 colours and this `Description`, a third as large or less."""
    from PIL import Image, PngImagePlugin

    about, small = PngImagePlugin.PngInfo(), io.BytesIO()
    if description:
        about.add_text("Description", description)
    reduced = Image.open(io.BytesIO(png)).convert("RGB").quantize(64)
    reduced.save(small, "PNG", optimize=True, pnginfo=about)
    return small.getvalue()


def plain(text: str) -> str:
    """Return the text as it is: a dollar sign begins no formula."""
    return text.replace("$", r"\$")


def _usable(series: Mapping[str, Series]) -> dict[str, list[tuple[float, float]]]:
    """Each series in order of x, its unusable y as NaN; those without a usable one left out."""
    kept = {}
    for label, points in series.items():
        if any(math.isfinite(x) and math.isfinite(y) for x, y in points):
            ordered = sorted((p for p in points if math.isfinite(p[0])), key=lambda p: p[0])
            kept[label] = [(x, y if math.isfinite(y) else math.nan) for x, y in ordered]
    return kept


def _style(axes: Any, x_label: str, y_label: str, title: str) -> None:
    axes.set_title(plain(title), loc="left", fontsize=14, color=INK, pad=14)
    axes.set_xlabel(plain(x_label), fontsize=11.5, color=INK)
    axes.set_ylabel(plain(y_label), fontsize=11.5, color=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#888888")
    axes.tick_params(colors="#555555", labelsize=10)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.02)


def _draw_series(axes: Any, series: Mapping[str, Series]) -> list[_End]:
    from matplotlib.ticker import MaxNLocator

    ends = []
    for number, (label, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        dash = DASHES[number // len(COLOURS) % len(DASHES)]
        xs, ys = zip(*points, strict=True)
        # A point between two gaps has no line to show it; where points are few, all are marked.
        marker = "o" if len(points) <= FEW else None
        axes.plot(xs, ys, color=colour, linestyle=dash, linewidth=2, marker=marker, markersize=4)
        last = max(k for k, y in enumerate(ys) if not math.isnan(y))
        ends.append(_End(label, xs[last], ys[last], colour))
    if all(float(x).is_integer() for points in series.values() for x, _ in points):
        axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    return ends


def _label_ends(axes: Any, ends: list[_End]) -> None:
    """Write each label right of the axes beside its curve's end, joined to it by a thin line."""
    left, _ = axes.get_xlim()
    axes.get_ylim()  # settles the limits, which the transformation below depends on
    ends = sorted(ends, key=lambda end: end.y)
    texts = [_wrap(plain(end.label)) for end in ends]
    heights = [0.038 * (text.count("\n") + 1) + 0.008 for text in texts]
    to_axes = axes.transData + axes.transAxes.inverted()
    wanted = [float(to_axes.transform((left, end.y))[1]) for end in ends]
    for end, text, at in zip(ends, texts, _spread(wanted, heights), strict=True):
        axes.annotate(
            text,
            xy=(end.x, end.y),
            xycoords="data",
            xytext=(1.03, at),
            textcoords="axes fraction",
            color=end.colour,
            fontsize=10.5,
            verticalalignment="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": end.colour,
                "linestyle": (0, (1, 2)),  # no line that could be read as data
                "linewidth": 0.8,
                "relpos": (0, 0.5),
                "shrinkA": 2,
                "shrinkB": 0,
            },
        )


def _spread(wanted: list[float], heights: list[float]) -> list[float]:
    """Positions near the wanted ones (ascending), far enough apart, within 0..1 if they fit."""
    gaps = [(below + above) / 2 for below, above in pairwise(heights)]
    placed = list(wanted)
    for _ in range(200):
        for k, gap in enumerate(gaps):
            overlap = gap - (placed[k + 1] - placed[k])
            if overlap > 0:
                placed[k] -= overlap / 2
                placed[k + 1] += overlap / 2
    # The remaining overlaps are small; they and the ends of the axes are settled exactly.
    floor = 0.0
    for k in range(len(placed)):
        placed[k] = max(placed[k], floor)
        floor = placed[k] + gaps[k] if k < len(gaps) else floor
    ceiling = 1.0
    for k in reversed(range(len(placed))):
        placed[k] = min(placed[k], ceiling)
        ceiling = placed[k] - gaps[k - 1] if k else ceiling
    return placed


def _wrap(label: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(label, 25, max_lines=3, placeholder=" …")) or label
