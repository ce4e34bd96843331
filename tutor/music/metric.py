"""The metrics of models of melodies and of what they compose. Imports no JAX."""

from common.metric import Better, Metric, Protocol

WHOLE = Protocol(
    "whole melodies",
    "each from a zero state at its start, its first `prior.masked` predictions not counted",
)
COMPOSITIONS = Protocol(
    "compositions",
    "32 events drawn from the policy after a random first event",
    label="{:,} compositions",
    settings=("evaluation.final_compositions", "final_compositions"),
)
STATISTICS: dict[str, Better] = {
    "notes_excessively_repeated": "toward zero",
    "mean_autocorrelation1": "toward zero",
    "mean_autocorrelation2": "toward zero",
    "mean_autocorrelation3": "toward zero",
    "notes_not_in_key": "toward zero",
    "compositions_starting_with_tonic": "higher",
    "leaps_resolved": "higher",
    "compositions_with_unique_high": "higher",
    "compositions_with_unique_low": "higher",
    "notes_in_motif": "higher",
    "notes_in_repeated_motif": "higher",
}
"""Statistics of Table 1 (Jaques et al. 2017) → the better side. According to the paper the first
four (excessively repeated, autocorrelation) should be small and all others should grow; but its
reward penalises notes outside the key, so these count as better near zero."""
DECIMALS = {
    "mean_autocorrelation1": 3,
    "mean_autocorrelation2": 3,
    "mean_autocorrelation3": 3,
    "notes_in_repeated_motif": 3,
}
"""Statistic → decimals that are shown; of the others, percentages, 2."""
WORDS = {
    "mean_autocorrelation1": "mean autocorrelation, lag 1",
    "mean_autocorrelation2": "mean autocorrelation, lag 2",
    "mean_autocorrelation3": "mean autocorrelation, lag 3",
    "compositions_with_unique_high": "compositions with unique max note",
    "compositions_with_unique_low": "compositions with unique min note",
}
"""Statistic → its name in the paper, where that isn't the statistic's own."""
MEANS: dict[str, Better] = {
    "reward": "higher",
    "log_prior": "higher",
    "kl_policy_prior": "lower",
    "entropy": "higher",
}
"""Means over the events of compositions → the better side."""

ACCURACY = Metric("valid/accuracy", WHOLE, "higher")
LOG_PERPLEXITY = Metric("valid/log_perplexity", WHOLE)


def composed(measure: str) -> Metric:
    """Describe the metric `composed/measure`, the measure being in `STATISTICS` or `MEANS`."""
    return Metric(
        f"composed/{measure}",
        COMPOSITIONS,
        (STATISTICS | MEANS)[measure],
        decimals=DECIMALS.get(measure, 2) if measure in STATISTICS else None,
        words=WORDS.get(measure, ""),
    )
