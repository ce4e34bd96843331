"""The metrics of language models: protocols, better sides, decimals. Imports no JAX."""

from common.metric import Metric, Protocol

BATCHED = Protocol(
    "batched",
    "many slices of the stream side by side, cut as in training; what is left over at the end "
    "isn't counted",
)
FULL = Protocol(
    "full (batch 1)",
    "every token of the stream, at batch 1, the protocol of the published test numbers",
)
MC_DROPOUT = Protocol(
    "MC dropout",
    "as full, with dropout kept on and probabilities averaged over so many passes",
    label="MC dropout, {} passes",
    settings=("evaluation.mc_passes",),
)
SPLITS = {
    "valid": BATCHED,
    "test": BATCHED,
    "valid_full": FULL,
    "test_full": FULL,
    "test_mc": MC_DROPOUT,
}
"""Split in a metric's name → the protocol by which it is measured."""
DECIMALS = {"loss": 4, "perplexity": 2, "bits_per_character": 3}
"""Measure → decimals that are shown."""


def metric(name: str) -> Metric:
    """Describe the metric `split/measure`, its parts being keys of `SPLITS` and `DECIMALS`."""
    split, measure = name.split("/")
    return Metric(name, SPLITS[split], decimals=DECIMALS[measure], split=split.partition("_")[0])
