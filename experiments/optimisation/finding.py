"""What the paper claims of depth and optimisation beside what was found, by rules that are told."""

import math
import re
from collections.abc import Mapping, Sequence

from experiments.optimisation.catalogue import CORES, cell_name
from experiments.optimisation.cell import Cell
from experiments.results.claim import FEWEST, SIGNIFICANT, Claim, Judgement, holds

TOLERANCE = 0.01
"""Share by which losses must differ to count as different."""
RULES = f"""\
An architecture is harder to optimise with depth here if the best training loss of any of its \
settings is over {100 * TOLERANCE:g} % higher at the greatest depth than at the least, although \
the deeper model is the larger, and if the losses at the same settings are higher, too (the test \
as below). It isn't if neither is so; where the two disagree it is undecided. One architecture \
ends lower than another where the best training losses at the same settings do by Wilcoxon's \
signed-rank test, one-sided, at p < {SIGNIFICANT:g}, pairs within {100 * TOLERANCE:g} % left out, \
not corrected for the number of tests; n is how many pairs are left, and below {FEWEST} of them \
nothing is decided. Mann and \
Whitney's test (one-sided) and Kruskal and Wallis's over the three of a depth don't pair the \
settings, and see less. A run counts with its best epoch before it diverged, if it did; without \
any it ranks last. The whole claim holds if it does for each architecture, and in part if for some.
"""

Metrics = Mapping[str, float]
WORST = 1e30
"""Stands for an infinite loss where ranks are taken."""


def rank_tests(cells: Sequence[Cell]) -> dict[str, float]:
    """Compare the best training losses of all runs by rank.

    Args:
      cells: run k of each has the same setting.

    Returns:
      p-values: `depthD/train/p_rhn_below_CORE` at the same settings, `..._unpaired` between all of
      them, `depthD/train/p_kruskal` between all three architectures, and `CORE/train/p_harder` that
      the greatest depth ends higher than the least, at the same settings. Those that can't be had,
      because all runs are equal, are left out. Beside each that pairs settings is `n_...`, how many
      pairs differ.
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
            name = f"{first}_below_{other}"
            ours, theirs = losses[first, depth], losses[other, depth]
            found |= _signed_rank(f"depth{depth}/train", name, ours, theirs)
            test = mannwhitneyu(ours, theirs, alternative="less")
            found[f"depth{depth}/train/p_{name}_unpaired"] = float(test.pvalue)
    if len(depths) > 1:
        for core in CORES:
            deep, shallow = losses[core, depths[-1]], losses[core, depths[0]]
            found |= _signed_rank(f"{core}/train", "harder", shallow, deep)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _signed_rank(
    split: str, name: str, lower: Sequence[float], higher: Sequence[float]
) -> dict[str, float]:
    """The one-sided p of Wilcoxon's test of the pairs that differ, where any does, and their n."""
    from scipy.stats import wilcoxon

    pairs = zip(lower, higher, strict=True)
    differences = [a - b for a, b in pairs if abs(a - b) > TOLERANCE * min(a, b)]
    found = {f"{split}/n_{name}": float(len(differences))}
    if differences:
        p = float(wilcoxon(differences, alternative="less").pvalue)
        found[f"{split}/p_{name}"] = p
    return found


def _lower(metrics: Metrics, split: str, name: str) -> tuple[str, bool | None]:
    """A test of `rank_tests` in words, and whether one side is lower; None for too few pairs."""
    pairs = int(metrics.get(f"{split}/n_{name}", 0))
    p = metrics.get(f"{split}/p_{name}")
    if p is None:
        return "no two runs differ (n = 0)", None
    return f"p = {p:.2g} (n = {pairs})", None if pairs < FEWEST else p < SIGNIFICANT


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
    verdicts = [claim.verdict for claim in by_core]
    held, failed = verdicts.count("holds"), verdicts.count("does not hold")
    whole: Judgement = "undecided"
    if held:
        whole = "holds" if held == len(by_core) else "holds in part"
    elif failed:
        whole = "does not hold"
    summary = Claim(
        "RHNs keep being optimisable as depth grows, deep transitions of plain layers don't "
        "(section 5.1)",
        f"so it is for {held} of {len(by_core)} architectures, not for {failed}",
        whole,
    )
    compared = [_below(metrics, depth, other) for depth in depths if depth > 1 for other in others]
    return [summary, *by_core, *compared]


def _harder(metrics: Metrics, core: str, depths: Sequence[int], *, expected: bool) -> Claim:
    """Whether an architecture gets harder to optimise with depth, as `expected` or not."""
    best = [metrics.get(f"{cell_name(core, d)}/train/best_nll", math.inf) for d in depths]
    middle = [metrics.get(f"{cell_name(core, d)}/train/median_nll", math.inf) for d in depths]
    higher = best[-1] > best[0] * (1 + TOLERANCE)
    by_rank, ends_higher = _lower(metrics, f"{core}/train", "harder")
    told = f"best training NLL at depth {_by_depth(depths, best)}"
    told += f"; median {_by_depth(depths, middle)}"
    told += f"; depth {depths[-1]} ends higher than {depths[0]} by rank: {by_rank}"
    verdict: Judgement = "undecided"
    if higher == ends_higher:
        verdict = holds(higher == expected)
    claim = "gets harder to optimise with depth" if expected else "doesn't get harder with depth"
    return Claim(f"{CORES[core]} {claim}", told, verdict)  # type: ignore[index]


def _below(metrics: Metrics, depth: int, other: str) -> Claim:
    """Whether the first architecture's runs end lower than another's at one depth."""
    first = next(iter(CORES))
    by_rank, lower = _lower(metrics, f"depth{depth}/train", f"{first}_below_{other}")
    medians = [
        metrics.get(f"{cell_name(core, depth)}/train/median_nll", math.inf)
        for core in (first, other)
    ]
    text = f"At depth {depth}, {CORES[first]}s end lower than {CORES[other]}s of the same setting"  # type: ignore[index]
    told = f"median training NLL {_loss(medians[0])} against {_loss(medians[1])}; "
    told += by_rank
    return Claim(text, told, "undecided" if lower is None else holds(lower))


def _by_depth(depths: Sequence[int], losses: Sequence[float]) -> str:
    each = zip(depths, losses, strict=True)
    return ", ".join(f"{depth}: {_loss(loss)}" for depth, loss in each)


def _loss(loss: float) -> str:
    return f"{loss:.2f}" if math.isfinite(loss) else "diverged"
