"""What the paper claims of depth and optimisation beside what was found, by rules that are told."""

import math
import re
from collections.abc import Mapping, Sequence
from statistics import fmean

from experiments.optimisation.catalogue import CORES, CoreName, cell_name
from experiments.optimisation.cell import Cell
from experiments.results.claim import Claim, Judgement, holds
from experiments.results.paired import RULE, TOLERANCE, capped, judged, signed_rank
from highway.config import SearchConfig

LARGEST = 2
"""How many of the rates that were drawn count as the largest."""
RULES = f"""\
An architecture is harder to optimise with depth here if the best training loss of any of its \
settings is over {100 * TOLERANCE:g} % higher at the greatest depth than at the least, although \
the deeper model is the larger, and if the losses at the same settings are higher, too. It isn't \
if neither is so; where the two disagree it is undecided. The whole claim is decided by RHNs; if \
they don't get harder, it holds if all others do, and in part if not. {RULE} *Learned nothing*: \
not below predicting each key by how often it sounds. A run counts with its best epoch before it \
diverged, if it did. Mann and Whitney's test (one-sided) and Kruskal and Wallis's over the three \
of a depth don't pair the settings, and see less.
"""

Metrics = Mapping[str, float]


def rank_tests(cells: Sequence[Cell], frequency_nll: float) -> dict[str, float]:
    """Compare the best training losses of all runs by rank.

    Args:
      cells: run k of each has the same setting.
      frequency_nll: from which on a run has learned nothing, and is as bad as any other such.

    Returns:
      p-values: `depthD/train/p_rhn_below_CORE` at the same settings, `..._unpaired` between all of
      them, `depthD/train/p_kruskal` between all three architectures, and `CORE/train/p_harder` that
      the greatest depth ends higher than the least, at the same settings. Those that can't be had,
      because all runs are equal, are left out. Beside each that pairs settings is `n_...`, how many
      pairs differ.
    """
    from scipy.stats import kruskal, mannwhitneyu

    losses = {(cell.core, cell.depth): capped(cell.losses, frequency_nll) for cell in cells}
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
            found |= signed_rank(f"depth{depth}/train", name, ours, theirs)
            test = mannwhitneyu(ours, theirs, alternative="less")
            found[f"depth{depth}/train/p_{name}_unpaired"] = float(test.pvalue)
    if len(depths) > 1:
        for core in CORES:
            deep, shallow = losses[core, depths[-1]], losses[core, depths[0]]
            found |= signed_rank(f"{core}/train", "harder", shallow, deep)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def drawn_rates(cells: Sequence[Cell]) -> dict[str, float]:
    """Tell where the best rates lie among those that were drawn, the same for all cells.

    Returns:
      `search/largest_rate`, and `CELL/search/rate_place`: 1 where the setting that is best on
      validation has the largest.
    """
    found = {}
    for cell in cells:
        rates = sorted((run.learning_rate for run in cell.runs), reverse=True)
        found["search/largest_rate"] = rates[0]
        if cell.best is not None:
            found[f"{cell.name}/search/rate_place"] = 1.0 + rates.index(cell.best.learning_rate)
    return found


def depths_of(metrics: Metrics) -> list[int]:
    """Return the depths that a study was of, from the names of its metrics."""
    pattern = re.compile(r"depth(\d+)/train/p_")
    return sorted({int(match[1]) for name in metrics if (match := pattern.match(name))})


def claims(metrics: Metrics, search: SearchConfig) -> list[Claim]:
    """Judge the paper's claim, first as a whole, then architecture by architecture and depth."""
    depths = depths_of(metrics)
    if len(depths) < 2:
        return []
    first, *others = CORES
    by_core = {core: _harder(metrics, search, core, depths) for core in CORES}
    verdicts = {core: claim.verdict for core, claim in by_core.items()}
    whole = verdicts[first]
    if whole == "holds" and any(verdicts[core] != "holds" for core in others):
        whole = "holds in part"
    summary = Claim(
        "RHNs keep being optimisable as depth grows, deep transitions of plain layers don't "
        "(section 5.1)",
        _summary(metrics, search, by_core),
        whole,
    )
    compared = [
        _below(metrics, search, depth, other) for depth in depths if depth > 1 for other in others
    ]
    return [summary, *by_core.values(), *compared]


def _summary(metrics: Metrics, search: SearchConfig, by_core: Mapping[CoreName, Claim]) -> str:
    """What each architecture did, and what the search leaves open."""
    told = [f"{claim.text}: {claim.verdict}" for claim in by_core.values()]
    places = [value for name, value in metrics.items() if name.endswith("/search/rate_place")]
    if places and "search/largest_rate" in metrics:
        edge = sum(place <= LARGEST for place in places)
        told.append(
            f"the best setting has one of the {LARGEST} largest rates drawn in {edge} of "
            f"{len(places)} searches: none over {metrics['search/largest_rate']:.2g} was drawn, "
            f"where up to {search.highest_rate:g} may be"
        )
    falling = [
        f"{CORES[core]} depth {depth}"
        for core in CORES
        for depth in depths_of(metrics)
        if metrics.get(f"{cell_name(core, depth)}/search/still_falling")
    ]
    if falling:
        told.append(f"still falling at the last epoch: {', '.join(falling)}")
    return "; ".join(told)


def in_brief(each: Sequence[Metrics]) -> str:
    """Say how the best training losses, means over seeds, go from the least depth to the greatest.

    Args:
      each: metrics of the seeds.
    """
    depths = sorted({depth for metrics in each for depth in depths_of(metrics)})
    ends = depths[:: max(1, len(depths) - 1)]
    told = [
        f"{label} {' → '.join(_best(each, core, d) for d in ends)}" for core, label in CORES.items()
    ]
    of = f", means of {len(each)} seeds" * (len(each) > 1)
    return f"best training NLL at depth {' → '.join(map(str, ends))}: {', '.join(told)}{of}"


def _best(each: Sequence[Metrics], core: CoreName, depth: int) -> str:
    """The best training loss of a cell, a mean over the seeds of which any run ended."""
    name = f"{cell_name(core, depth)}/train/best_nll"
    found = [metrics[name] for metrics in each if name in metrics]
    if not found:
        return "diverged"
    lost = len(each) - len(found)
    return _loss(fmean(found)) + f" (diverged in {lost} of {len(each)} seeds)" * bool(lost)


def _harder(metrics: Metrics, search: SearchConfig, core: CoreName, depths: Sequence[int]) -> Claim:
    """Whether an architecture gets harder to optimise with depth; all but the first should."""
    expected = core != next(iter(CORES))
    best = [metrics.get(f"{cell_name(core, d)}/train/best_nll", math.inf) for d in depths]
    middle = [metrics.get(f"{cell_name(core, d)}/train/median_nll", math.inf) for d in depths]
    learned = [f"{metrics[f'{cell_name(core, d)}/search/learned']:.0f}" for d in depths]
    higher = best[-1] > best[0] * (1 + TOLERANCE)
    by_rank, ends_higher = judged(metrics, f"{core}/train", "harder")
    told = f"best training NLL at depth {_by_depth(depths, best)}"
    told += f"; median {_by_depth(depths, middle)}"
    told += f"; {', '.join(learned)} of {search.settings} settings learned"
    told += f"; depth {depths[-1]} ends higher than {depths[0]} by rank: {by_rank}"
    verdict: Judgement = "undecided"
    if higher == ends_higher:
        verdict = holds(higher == expected)
    claim = "gets harder to optimise with depth" if expected else "doesn't get harder with depth"
    return Claim(f"{CORES[core]} {claim}", told, verdict)


def _below(metrics: Metrics, search: SearchConfig, depth: int, other: CoreName) -> Claim:
    """Whether the first architecture's runs end lower than another's at one depth."""
    first = next(iter(CORES))
    by_rank, lower = judged(metrics, f"depth{depth}/train", f"{first}_below_{other}")
    names = [cell_name(core, depth) for core in (first, other)]
    medians = [metrics.get(f"{name}/train/median_nll", math.inf) for name in names]
    learned = [f"{metrics[f'{name}/search/learned']:.0f}" for name in names]
    text = f"At depth {depth}, {CORES[first]}s end lower than {CORES[other]}s of the same setting"
    told = f"median training NLL {_loss(medians[0])} against {_loss(medians[1])}; "
    told += f"{learned[0]} against {learned[1]} of {search.settings} learned; {by_rank}"
    return Claim(text, told, "undecided" if lower is None else holds(lower))


def _by_depth(depths: Sequence[int], losses: Sequence[float]) -> str:
    each = zip(depths, losses, strict=True)
    return ", ".join(f"{depth}: {_loss(loss)}" for depth, loss in each)


def _loss(loss: float) -> str:
    return f"{loss:.2f}" if math.isfinite(loss) else "diverged"
