"""Statistics of independent samples (compositions, molecules) with 95 % intervals."""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from common.table import CONFIDENCE


class Estimate(NamedTuple):
    """A statistic with its 95 % interval; NaN where there is nothing to count."""

    value: float
    """The statistic."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""


def estimate_share(part: np.ndarray, whole: np.ndarray) -> Estimate:
    """Estimate a share over independent samples, with Wilson's 95 % interval.

    What is counted within one sample (the notes of a composition) depends on one another. So the
    interval is that of a smaller number of independent draws: the number whose share would vary as
    much as the share varies between samples (by the linearised variance of a ratio), at most
    Σ whole. Where nothing varies, as for a share of 0, it is the number of samples with whole > 0.
    If whole is 1 throughout, this is Wilson's interval for N draws.

    Args:
      part: what is counted in each sample, integers [N], 0 ≤ part ≤ whole.
      whole: of how many, integers [N].

    Returns:
      Σ part / Σ whole with its interval; NaN where Σ whole is 0.
    """
    part, whole = part.astype(np.int64), whole.astype(np.int64)
    parts, wholes = int(part.sum()), int(whole.sum())
    if not wholes:
        return Estimate(math.nan, math.nan, math.nan)
    share = parts / wholes
    residual = part * wholes - parts * whole  # an exact 0 where all samples have this share
    variance = float(np.square(residual / wholes**2).sum())
    draws = float(np.count_nonzero(whole))
    if variance > 0:
        draws = min(share * (1 - share) / variance, wholes)
    return Estimate(share, *_wilson(share, draws))


def estimate_mean(values: np.ndarray) -> Estimate:
    """Average the values that aren't NaN, with a normal 95 % interval.

    Args:
      values: floats [N].

    Returns:
      The mean, NaN without such values; the ends are NaN with fewer than two.
    """
    known = values[~np.isnan(values)].astype(np.float64)
    mean = float(known.mean()) if known.size else math.nan
    if known.size < 2:
        return Estimate(mean, math.nan, math.nan)
    reach = _QUANTILE * float(known.std(ddof=1)) / math.sqrt(known.size)
    return Estimate(mean, mean - reach, mean + reach)


def as_metrics(found: Mapping[str, Estimate], split: str) -> dict[str, float]:
    """Name statistics and the ends of their intervals as the metrics of a record.

    Returns:
      `split/NAME`, `split_low/NAME` and `split_high/NAME` of each, but those that are NaN.
    """
    return {
        f"{name}/{statistic}": float(value)
        for statistic, estimate in found.items()
        for name, value in zip((split, f"{split}_low", f"{split}_high"), estimate, strict=True)
        if not math.isnan(value)
    }


_QUANTILE = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


def _wilson(share: float, draws: float) -> tuple[float, float]:
    """Return the ends of the score interval of a share (Wilson 1927), kept within 0 and 1."""
    z = _QUANTILE**2 / draws
    centre = (share + z / 2) / (1 + z)
    reach = math.sqrt(z * (share * (1 - share) + z / 4)) / (1 + z)
    return max(0.0, centre - reach), min(1.0, centre + reach)
