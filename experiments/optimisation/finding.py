"""What the paper claims of depth and optimisation beside what was found, by rules that are told."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from experiments.optimisation.catalogue import CORES, cell_name
from experiments.optimisation.cell import Cell

SIGNIFICANT = 0.05
TOLERANCE = 0.01
"""Share by which losses must differ to count as different."""
RULES = f"""\
An architecture is harder to optimise with depth here if the best training loss of any of its \
settings is over {100 * TOLERANCE:g} % higher at the greatest depth than at the least, although \
the deeper model is the larger. One architecture ends lower than another where the best training \
losses at the same settings do by Wilcoxon's signed-rank test, one-sided, at p < {SIGNIFICANT:g}, \
pairs within {100 * TOLERANCE:g} % left out, not corrected for the number of tests. Mann and \
Whitney's test (one-sided) and Kruskal and Wallis's over the three of a depth don't pair the \
settings, and see less. A run counts with its best epoch before it diverged, if it did; without \
any it ranks last, and of an architecture without any at both depths nothing is shown. The whole \
claim holds if it does for each architecture, and in part if for \
some.
"""

Metrics = Mapping[str, float]
Judgement = Literal["holds", "holds in part", "does not hold"]

WORST = 1e30
"""Stands for an infinite loss where ranks are taken."""


class Claim(NamedTuple):
    """A claim, what was found, and whether that bears it out here."""

    text: str
    found: str
    verdict: Judgement


def rank_tests(cells: Sequence[Cell]) -> dict[str, float]:
    """Compare the best training losses of all runs by rank.

    Args:
      cells: run k of each has the same setting.

    Returns:
      p-values: `depthD/train/p_rhn_below_CORE` at the same settings, `..._unpaired` between all of
      them, `depthD/train/p_kruskal` between all three architectures, and `CORE/train/p_harder` that
      the greatest depth ends higher than the least, at the same settings. Those that can't be had,
      because all runs are equal, are left out.
    """
    from scipy.stats import kruskal, mannwhitneyu

    losses = {(cell.core, cell.depth): [min(loss, WORST) for loss in cell.losses] for cell in cells}
    depths = sorted({cell.depth for cell in cells})
    first, *others = CORES
    found: dict[str, float] = {}
    for depth in depths:
        groups = [losses[core, depth] for core in CORES]
        if len({loss for group in groups for loss in group}) > 1:
            found[f"depth{depth}/train/p_kruskal"] = float(kruskal(*groups).pvalue)
        for other in others:
            name = f"depth{depth}/train/p_{first}_below_{other}"
            ours, theirs = losses[first, depth], losses[other, depth]
            found[name] = _signed_rank(ours, theirs)
            test = mannwhitneyu(ours, theirs, alternative="less")
            found[f"{name}_unpaired"] = float(test.pvalue)
    if len(depths) > 1:
        for core in CORES:
            deep, shallow = losses[core, depths[-1]], losses[core, depths[0]]
            found[f"{core}/train/p_harder"] = _signed_rank(shallow, deep)
    return {name: p for name, p in found.items() if math.isfinite(p)}


def _signed_rank(lower: Sequence[float], higher: Sequence[float]) -> float:
    """Return the one-sided p of Wilcoxon's test of the pairs that differ; NaN where none does."""
    from scipy.stats import wilcoxon

    pairs = zip(lower, higher, strict=True)
    differences = [a - b for a, b in pairs if abs(a - b) > TOLERANCE * min(a, b)]
    return float(wilcoxon(differences, alternative="less").pvalue) if differences else math.nan


def depths_of(metrics: Metrics) -> list[int]:
    """Return the depths that a study was of, from the names of its metrics."""
    pattern = re.compile(r"depth(\d+)/train/p_")
    return sorted({int(match[1]) for name in metrics if (match := pattern.match(name))})


def claims(metrics: Metrics) -> list[Claim]:
    """Judge the paper's claim, first as a whole, then architecture by architecture and depth."""
    depths = depths_of(metrics)
    if len(depths) < 2:
        return []
    first, *others = CORES
    by_core = [_harder(metrics, core, depths, expected=core != first) for core in CORES]
    held = sum(claim.verdict == "holds" for claim in by_core)
    whole: Judgement = "holds" if held == len(by_core) else "holds in part"
    summary = Claim(
        "RHNs keep being optimisable as depth grows, deep transitions of plain layers don't "
        "(section 5.1)",
        f"so it is for {held} of {len(by_core)} architectures",
        whole if held else "does not hold",
    )
    compared = [_below(metrics, depth, other) for depth in depths if depth > 1 for other in others]
    return [summary, *by_core, *compared]


def _harder(metrics: Metrics, core: str, depths: Sequence[int], *, expected: bool) -> Claim:
    """Whether an architecture gets harder to optimise with depth, as `expected` or not."""
    best = [metrics.get(f"{cell_name(core, d)}/train/best_nll", math.inf) for d in depths]
    middle = [metrics.get(f"{cell_name(core, d)}/train/median_nll", math.inf) for d in depths]
    harder = best[-1] > best[0] * (1 + TOLERANCE)
    seen = math.isfinite(best[0]) or math.isfinite(best[-1])
    told = f"best training NLL at depth {_by_depth(depths, best)}"
    told += f"; median {_by_depth(depths, middle)}"
    if (p := metrics.get(f"{core}/train/p_harder")) is not None:
        told += f"; depth {depths[-1]} ends higher than {depths[0]} by rank: p = {p:.2g}"
    claim = "gets harder to optimise with depth" if expected else "doesn't get harder with depth"
    return Claim(f"{CORES[core]} {claim}", told, _holds(seen and harder == expected))  # type: ignore[index]


def _below(metrics: Metrics, depth: int, other: str) -> Claim:
    """Whether the first architecture's runs end lower than another's at one depth."""
    first = next(iter(CORES))
    p = metrics.get(f"depth{depth}/train/p_{first}_below_{other}")
    medians = [
        metrics.get(f"{cell_name(core, depth)}/train/median_nll", math.inf)
        for core in (first, other)
    ]
    text = f"At depth {depth}, {CORES[first]}s end lower than {CORES[other]}s of the same setting"  # type: ignore[index]
    told = f"median training NLL {_loss(medians[0])} against {_loss(medians[1])}; "
    told += "no two runs differ" if p is None else f"p = {p:.2g}"
    return Claim(text, told, _holds(p is not None and p < SIGNIFICANT))


def _holds(condition: bool) -> Judgement:
    return "holds" if condition else "does not hold"


def _by_depth(depths: Sequence[int], losses: Sequence[float]) -> str:
    each = zip(depths, losses, strict=True)
    return ", ".join(f"{depth}: {_loss(loss)}" for depth, loss in each)


def _loss(loss: float) -> str:
    return f"{loss:.2f}" if math.isfinite(loss) else "diverged"
