"""Learning curves over seeds as pictures in the page, with what can be read off them."""

import io
import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from common.metric import MetricName
from common.plot import COLOURS, DASHES, FAINT, INK
from common.record import Record

MOST_CHARTS = 4
"""Of a run; those that its tables show come first."""
MOST_CURVES = len(COLOURS) * len(DASHES)
"""Of a chart: as many can be told apart."""
MOST_POINTS = 150
"""Of a curve; longer ones are thinned evenly."""
WIDTH, HEIGHT = 5.2, 2.8
"""Inches: at its natural size a chart is as wide as a phone."""
LOGARITHMIC = 20.0
"""Ratio of the largest value to the smallest from which the axis is logarithmic."""


@dataclass(frozen=True)
class Point:
    """Values of some seeds at one step."""

    step: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """A metric over a training."""

    label: str
    points: tuple[Point, ...]
    seeds: int


@dataclass(frozen=True)
class Chart:
    """Curves of one measure."""

    measure: str
    curves: tuple[Curve, ...]

    @property
    def styled(self) -> list[tuple[Curve, int, int]]:
        """Each curve with the numbers of its colour and dash, which no other has together."""
        colours, dashes = len(COLOURS), len(DASHES)
        return [
            (curve, number % colours, (number + number // colours) % dashes)
            for number, curve in enumerate(self.curves)
        ]

    @property
    def alt(self) -> str:
        """What can be seen, in words."""
        told = [
            f"{curve.label}: from {_number(curve.points[0].mean)} at step "
            f"{curve.points[0].step:,.0f} to {_number(curve.points[-1].mean)} at step "
            f"{curve.points[-1].step:,.0f}"
            for curve in self.curves
        ]
        return f"{self.measure} over training. {'; '.join(told)}."

    def readings(self) -> dict[float, str]:
        """Return step → what the curves have there, in words."""
        found: dict[float, list[str]] = {}
        for curve in self.curves:
            for point in curve.points:
                text = f"{curve.label} {_number(point.mean)}"
                if curve.seeds > 1:
                    text += f" (seeds {_number(point.low)} to {_number(point.high)})"
                found.setdefault(point.step, []).append(text)
        return {step: f"step {step:,.0f}: {'; '.join(found[step])}" for step in sorted(found)}


def charts(records: Sequence[Record], metrics: Sequence[str]) -> list[Chart]:
    """Return what some seeds of one run learned by, measure by measure.

    Args:
      records: of the same settings; those that diverged count only where all did.
      metrics: names of the metrics that tables show; their measures come first, and alone where
        there are any.
    """
    shown = [one for one in records if one.status == "done"] or list(records)
    names = dict.fromkeys(name for one in shown for row in one.curve for name in row if "/" in name)
    by_measure: dict[str, list[Curve]] = {}
    for name in names:
        if curve := _curve(name, shown):
            by_measure.setdefault(MetricName.parse(name).measure, []).append(curve)
    first = dict.fromkeys(MetricName.parse(metric).measure for metric in metrics)
    chosen = [one for one in first if one in by_measure] or list(by_measure)
    return [
        Chart(one.replace("_", " "), tuple(by_measure[one][:MOST_CURVES]))
        for one in chosen[:MOST_CHARTS]
    ]


def _curve(name: str, records: Sequence[Record]) -> Curve | None:
    """A metric at the steps that all records have, None where there are none."""
    each = [
        {
            row["step"]: row[name]
            for row in one.curve
            if "step" in row and math.isfinite(row.get(name, math.nan))
        }
        for one in records
    ]
    steps = sorted(set.intersection(*map(set, each)))
    if not steps:
        return None
    every = math.ceil(len(steps) / MOST_POINTS)
    kept = steps[::every] if every == 1 else [*steps[:-1:every], steps[-1]]
    points = [
        Point(step, statistics.fmean(values), min(values), max(values))
        for step in kept
        for values in [[one[step] for one in each]]
    ]
    label = name.rpartition("/")[0].replace("/", " ").replace("_", " ")
    return Curve(label, tuple(points), len(records))


def draw(chart: Chart, name: str) -> tuple[Markup, str]:
    """Draw a chart.

    Args:
      chart: with at least one curve.
      name: begins the identifiers within the picture, which must be unique in a page.

    Returns:
      The picture as an SVG element in the page's own colours; and JSON of [share of the picture's
      width, words], one for each step at which there is something to read.
    """
    from matplotlib import rc_context, rcdefaults
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    content = io.StringIO()
    with rc_context():
        rcdefaults()
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
            figure = Figure(figsize=(WIDTH, HEIGHT))
            axes = figure.add_axes((0.135, 0.18, 0.845, 0.77))
            _draw_curves(axes, chart)
            nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            FigureCanvasSVG(figure).print_svg(content, metadata=nothing)
            across = axes.transData + figure.transFigure.inverted()
            height = chart.curves[0].points[0].mean
            readings = [
                [round(float(across.transform((step, height))[0]), 4), words]
                for step, words in chart.readings().items()
            ]
    return _in_page(content.getvalue(), name, chart.alt), json.dumps(readings)


def _draw_curves(axes: Any, chart: Chart) -> None:
    for curve, colour_number, dash_number in chart.styled:
        colour, dash = COLOURS[colour_number], DASHES[dash_number]
        steps = [point.step for point in curve.points]
        if curve.seeds > 1:
            low, high = [p.low for p in curve.points], [p.high for p in curve.points]
            axes.fill_between(steps, low, high, color=colour, alpha=0.22, linewidth=0)
        means, dots = [p.mean for p in curve.points], "o" if len(steps) <= 2 else None
        axes.plot(steps, means, color=colour, linestyle=dash, linewidth=1.8, marker=dots)
    _scale(
        axes, [value for curve in chart.curves for p in curve.points for value in (p.low, p.high)]
    )
    axes.set_xlabel("step", fontsize=10, color=INK)
    axes.tick_params(which="both", labelsize=9.5, colors=INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.02)
    axes.patch.set_visible(False)
    axes.figure.patch.set_visible(False)


def _scale(axes: Any, values: Sequence[float]) -> None:
    """Choose the axes' scales and ticks."""
    from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

    if min(values) > 0 and max(values) / min(values) >= LOGARITHMIC:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _in_page(picture: str, name: str, alt: str) -> Markup:
    """An SVG file as an element: identifiers of its own, colours that follow the page's."""
    body = picture[picture.index("<svg") :]
    body = re.sub(r"<(metadata|style)\b.*?</\1>", "", body, flags=re.DOTALL)
    size = re.search(r'viewBox="[^"]*"', body)
    body = re.sub(r"<[^>]+>", _brief, body[body.index(">") + 1 :])
    body = re.sub(r">\s+<", "><", body)
    for identifier in set(re.findall(r' id="([^"]+)"', body)):
        if f"#{identifier}" not in body:
            body = body.replace(f' id="{identifier}"', "")
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r"(url\(#|href=\"#)", rf"\1{name}-", body)
    for colour, variable in _variables().items():
        body = re.sub(re.escape(colour), f"var({variable})", body, flags=re.IGNORECASE)
    start = f'<svg {size[0] if size else ""} role="img" aria-label="{Markup.escape(alt)}">'
    return Markup(start + body)


def _brief(tag: re.Match[str]) -> str:
    """A tag of matplotlib's without what nobody sees: fonts (the page has its own), rotations by
    nothing, and more than a hundredth of a pixel."""
    text = re.sub(r"font-family: [^;\"]*;? ?| transform=\"rotate\(-?0 [^\"]*\"", "", tag[0])
    text = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", text)
    return re.sub(r"\s+", " ", text)


def _variables() -> Mapping[str, str]:
    """Colour of a drawing → the name that style sheets know it by."""
    curves = {colour: f"--curve-{number}" for number, colour in enumerate(COLOURS)}
    return curves | {INK: "--ink", FAINT: "--line"}


def _number(value: float) -> str:
    return f"{value:,.4g}"
