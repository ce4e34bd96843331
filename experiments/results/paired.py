"""Losses of two searches, compared at the settings that both tried. Imports no JAX."""

import math
from collections.abc import Mapping, Sequence

from experiments.results.claim import FEWEST, SIGNIFICANT

TOLERANCE = 0.01
"""Share by which losses must differ to count as different."""
RULE = f"""\
Losses at the same settings are compared by Wilcoxon's signed-rank test, one-sided, at \
p < {SIGNIFICANT:g}, not corrected for the number of tests. A run that learned nothing counts as \
if it had ended just there, so that two of these are equal; pairs within {100 * TOLERANCE:g} % say \
nothing and are left out. n is how many pairs are left; below {FEWEST} of them nothing is decided.\
"""


def capped(losses: Sequence[float], worst: float, solved: float = 0.0) -> list[float]:
    """Return losses as they are compared.

    Args:
      losses: infinite where there is none.
      worst: from which on a run has learned nothing; what is above counts as this.
      solved: below which one run is as good as another; what is below counts as this.
    """
    return [min(max(loss, solved), worst) for loss in losses]


def signed_rank(
    split: str, name: str, lower: Sequence[float], higher: Sequence[float]
) -> dict[str, float]:
    """Test whether the first losses are lower than the second ones.

    Args:
      split: of the metrics' names.
      name: likewise.
      lower: `capped`, by setting.
      higher: likewise.

    Returns:
      `split/n_name`, how many pairs differ; and `split/p_name` if any does.
    """
    from scipy.stats import wilcoxon

    pairs = zip(lower, higher, strict=True)
    differences = [a - b for a, b in pairs if abs(a - b) > TOLERANCE * min(a, b)]
    found = {f"{split}/n_{name}": float(len(differences))}
    if differences:
        p = float(wilcoxon(differences, alternative="less").pvalue)
        found |= {f"{split}/p_{name}": p} if math.isfinite(p) else {}
    return found


def judged(metrics: Mapping[str, float], split: str, name: str) -> tuple[str, bool | None]:
    """Return a `signed_rank` in words, and whether one side is lower; None for too few pairs."""
    pairs = int(metrics.get(f"{split}/n_{name}", 0))
    p = metrics.get(f"{split}/p_{name}")
    if p is None:
        return "no two runs differ (n = 0)", None
    return f"p = {p:.2g} (n = {pairs})", None if pairs < FEWEST else p < SIGNIFICANT
