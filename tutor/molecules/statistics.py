"""What a set of molecules is like: the measures of the MOSES benchmark, and means of properties."""

import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from common.estimate import Estimate, as_metrics, estimate_mean, estimate_share
from tutor.molecules.scorer import Scorer

NAMES = ("canonical", "filters", "fingerprint")
"""Properties that `benchmark` needs, in this order."""
UNIQUE = {"unique_1k": 1_000, "unique_10k": 10_000}
"""Measure of uniqueness → among so many of the first valid molecules."""
SHARES = ("valid", "filters")
"""Properties that are 0 or 1."""
_ROWS = 2048


def benchmark(
    molecules: Sequence[str], scorer: Scorer, split: str, training: Collection[str] | None = None
) -> dict[str, float]:
    """Measure molecules as the benchmark does (Polykovskiy et al. 2020).

    Args:
      molecules: SMILES as generated.
      scorer: measures `NAMES`.
      split: what stands before each measure's name.
      training: canonical SMILES of the training molecules, for novelty; None to leave that out.

    Returns:
      `split/NAME`, of valid and filters with their intervals as from `means`.
      valid: share that are molecules. Of these: unique_1k, unique_10k: share of different ones
      among the first 1,000 and 10,000 (left out where there are fewer); internal_diversity: mean of
      1 − Tanimoto similarity of Morgan fingerprints over all pairs, those with themselves included;
      filters: share that passes the filters. novelty: share of the different ones that the training
      molecules don't include. Without a valid molecule only `valid`.
    """
    measured = scorer.measure(molecules)
    found = [values for values in measured if values is not None]
    shares = {
        "valid": np.array([values is not None for values in measured], np.float64),
        "filters": np.array([values[1] for values in found], np.float64),
    }
    others: dict[str, float] = {}
    if found:
        canonical = [str(values[0]) for values in found]
        for name, first in UNIQUE.items():
            if len(canonical) >= first:
                others[name] = len(set(canonical[:first])) / first
        others["internal_diversity"] = internal_diversity(
            [bytes.fromhex(str(values[2])) for values in found]
        )
        if training is not None:
            different = set(canonical)
            others["novelty"] = len(different.difference(training)) / len(different)
    return means(shares, split) | {f"{split}/{name}": value for name, value in others.items()}


def optimum(
    rewards: np.ndarray, c: float, others: Mapping[str, np.ndarray] = MappingProxyType({})
) -> dict[str, float]:
    """Estimate the best policy there is, π*(A) ∝ p(A) · exp(r(A)/c), from molecules of the prior p.

    It has the most reward less c · KL(π ‖ p). Each molecule weighs w ∝ exp(r/c), Σ w = 1.

    Args:
      rewards: r of molecules drawn from p, float64 [molecules].
      c: what the reward is divided by.
      others: name → values of the same molecules.

    Returns:
      reward: Σ w r. kl_policy_prior: KL(π* ‖ p) = Σ w r / c − log Z, in nats, where Z is the mean
      of exp(r/c). baseline: c · log Z, the value of a molecule's beginning in units of reward.
      effective_samples: 1 / Σ w²; where it is small the others are those of a few molecules, and
      too low. Of `others` their means Σ w x.
    """
    scaled = rewards / c
    log_sum = float(np.logaddexp.reduce(scaled))
    log_mean = log_sum - math.log(len(rewards))
    weights = np.exp(scaled - log_sum)
    reward = float(weights @ rewards)
    return {
        "reward": reward,
        "kl_policy_prior": reward / c - log_mean,
        "baseline": c * log_mean,
        "effective_samples": 1 / float(weights @ weights),
        **{name: float(weights @ values) for name, values in others.items()},
    }


def internal_diversity(fingerprints: Sequence[bytes]) -> float:
    """Compute the mean of 1 − Tanimoto similarity over all pairs of fingerprints.

    Args:
      fingerprints: bits packed into bytes, of one length.
    """
    bits = np.unpackbits(np.array([np.frombuffer(one, np.uint8) for one in fingerprints]), axis=1)
    rows = bits.astype(np.float32)
    counts = rows.sum(1)
    total = 0.0
    for start in range(0, len(rows), _ROWS):
        piece = slice(start, start + _ROWS)
        common = rows[piece] @ rows.T
        union = counts[piece, None] + counts - common
        similar = np.where(union > 0, common / np.maximum(union, 1), 1.0)
        total += float(similar.sum(dtype=np.float64))
    return 1 - total / len(rows) ** 2


def uniqueness(molecules: Sequence[str], valid: np.ndarray) -> float:
    """Compute the share of different SMILES among the valid ones; 0 without any."""
    found = [one for one, counts in zip(molecules, valid, strict=True) if counts]
    return len(set(found)) / len(found) if found else 0.0


def means(properties: Mapping[str, np.ndarray], split: str) -> dict[str, float]:
    """Average properties over the molecules that have them.

    Returns:
      `split/NAME`, and the ends of its 95 % interval over molecules `split_low/NAME` and
      `split_high/NAME`: Wilson's for `SHARES`, otherwise that of the normal distribution, which two
      molecules are needed for. Nothing of a property that no molecule has.
    """
    found: dict[str, Estimate] = {}
    for name, values in properties.items():
        known = values[~np.isnan(values)]
        if name in SHARES:
            found[name] = estimate_share(known, np.ones_like(known))
        else:
            found[name] = estimate_mean(known)
    return as_metrics(found, split)
