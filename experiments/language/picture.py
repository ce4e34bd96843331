"""A picture of how perplexity goes with depth: what was published beside ours, a panel a size."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.plot import COLOURS, FAINT, INK, plain, save_picture
from experiments.language.catalogue import PENN_TREEBANK_ROWS
from experiments.language.depth_study import TEST, Study
from experiments.registry import find
from experiments.results.cells import spread
from experiments.results.verdict import short
from highway.metric import metric

WEIGHTS = ("tied", "untied")
"""Each with a colour and a mark of its own."""
MARKS = ("o", "s")
PANEL = 4.6
"""Width of a panel."""
HEIGHT = 3.9
PAPER = "paper"
"""The preset whose runs stand among the published values."""


def published(weights: str) -> dict[int, float]:
    """Return depth → the published test perplexity; of two values the depth study's."""
    found = {}
    for depth in PENN_TREEBANK_ROWS:
        values = find(f"rhn_penn_treebank_depth{depth}_{weights}").published
        found[depth] = next(one.value for one in values if one.metric == TEST)
    return found


def published_size() -> str:
    """Say how many parameters the published models have."""
    names = (f"rhn_penn_treebank_depth{k}_{one}" for k in PENN_TREEBANK_ROWS for one in WEIGHTS)
    sizes = sorted(count for name in names if (count := find(name).paper_parameters) is not None)
    return f"{short(sizes[0])} to {short(sizes[-1])} parameters"


def describe(studies: Sequence[Study]) -> str:
    """Say in words what the picture shows, a line a curve."""
    lines = []
    for weights in WEIGHTS:
        values = "; ".join(f"{depth}: {value}" for depth, value in published(weights).items())
        lines.append(f"published, {weights}: test perplexity at depth {values}")
    for one in studies:
        values = "; ".join(
            f"{depth}: {spread(found, metric(TEST))}" for depth, found in one.perplexity().items()
        )
        lines.append(f"ours, {one.weights}, preset {one.preset}, {one.size()}: {values}")
    return "\n".join(lines)


def draw(studies: Sequence[Study], path: Path) -> Path:
    """Draw the picture into a PNG file, which describes itself; return the path."""
    presets = [one for one in dict.fromkeys(one.preset for one in studies) if one != PAPER]

    def on(figure: Any) -> None:
        panels = figure.subplots(1, 1 + len(presets), squeeze=False)[0]
        title = "published" + (", and ours (filled)" if _of(studies, PAPER) else "")
        _style(panels[0], f"{title}: {published_size()}")
        for number, weights in enumerate(WEIGHTS):
            _draw_published(panels[0], weights, number)
        for axes, preset in zip(panels, [PAPER, *presets], strict=True):
            made = _of(studies, preset)
            if preset != PAPER:
                _style(axes, f"ours, preset {preset}: {made[0].size()}")
            for study in made:
                _draw_study(axes, study)
            axes.legend(frameon=False, fontsize=10)
        figure.subplots_adjust(
            left=0.7 / width, right=1 - 0.15 / width, top=0.89, bottom=0.14, wspace=0.2
        )

    width = PANEL * (1 + len(presets))
    return save_picture(path, (width, HEIGHT), on, description=describe(studies))


def _of(studies: Sequence[Study], preset: str) -> list[Study]:
    return [one for one in studies if one.preset == preset]


def _style(axes: Any, title: str) -> None:
    axes.set_title(plain(title), loc="left", fontsize=11.5, color=INK)
    axes.set_xlabel("recurrence depth", fontsize=11, color=INK)
    axes.set_ylabel("test perplexity", fontsize=11, color=INK)
    axes.set_xticks(list(PENN_TREEBANK_ROWS))
    axes.set_xlim(0.5, max(PENN_TREEBANK_ROWS) + 0.5)
    axes.tick_params(colors="#555555", labelsize=10)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_published(axes: Any, weights: str, number: int) -> None:
    """A line through hollow marks."""
    found = published(weights)
    axes.plot(
        list(found),
        list(found.values()),
        color=COLOURS[number],
        marker=MARKS[number],
        markerfacecolor="white",
        linewidth=1.6,
        label=weights,
    )


def _draw_study(axes: Any, study: Study) -> None:
    """A line through the means, and a mark for each seed."""
    number, found = WEIGHTS.index(study.weights), study.perplexity()
    means = [one.mean for one in found.values()]
    seeds = max(len(one.values) for one in found.values())
    label = f"{study.weights}: mean, and each seed" if seeds > 1 else study.weights
    axes.plot(list(found), means, color=COLOURS[number], linewidth=1.6, label=label)
    each = [(depth, value) for depth, one in found.items() for value in one.values]
    xs, ys = zip(*each, strict=True)
    axes.scatter(xs, ys, color=COLOURS[number], marker=MARKS[number], s=30, alpha=0.75, zorder=3)
