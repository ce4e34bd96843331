"""Learning curves of runs in one picture for each metric."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from common.plot import Band, Series, learning_curves
from experiments.compare.difference import known_metric, listed_metrics, metric_words, shared
from experiments.compare.side import Side

MOST = 4
"""Pictures; the metrics that the experiments' own tables show come first."""


def draw_curves(sides: Sequence[Side], folder: Path) -> list[Path]:
    """Draw what at least two sides measured on the way; return the files.

    Of several seeds the mean is drawn, with a band from the lowest to the highest. They are the
    seeds whose results are shown.
    """
    return [_draw(name, sides, folder) for name in drawn_metrics(sides)]


def drawn_metrics(sides: Sequence[Side]) -> list[str]:
    """Return the metrics of which there are pictures: no training losses where there are others."""
    names = shared([_measured(side) for side in sides])
    held_out = [name for name in names if "train/" not in name]
    listed = [name for name in listed_metrics(sides) if name in held_out]
    return (listed or held_out or names)[:MOST]


def _measured(side: Side) -> dict[str, None]:
    rows = (row for run in side.shown for row in run.curve)
    return {name: None for row in rows for name in row if "/" in name}


def _draw(name: str, sides: Sequence[Side], folder: Path) -> Path:
    series: dict[str, Series] = {}
    bands: dict[str, Band] = {}
    for side in sides:
        points = _points(side, name)
        seeds = max((len(values) for values in points.values()), default=0)
        whole = {x: values for x, values in points.items() if len(values) == seeds}
        series[side.label] = [(x, fmean(values)) for x, values in whole.items()]
        if seeds > 1:
            bands[side.label] = [(x, min(values), max(values)) for x, values in whole.items()]
    words = metric_words(known_metric(name, sides))
    return learning_curves(
        series,
        folder / f"{name.replace('/', '_')}.png",
        x_label="step",
        y_label=words,
        title="mean of the seeds, and from the lowest to the highest" if bands else words,
        bands=bands,
    )


def _points(side: Side, name: str) -> Mapping[float, list[float]]:
    """Step → the values of the shown seeds that have one there."""
    points: dict[float, list[float]] = {}
    for run in side.shown:
        for row in run.curve:
            if isinstance(value := row.get(name), int | float):
                points.setdefault(row["step"], []).append(value)
    return points
