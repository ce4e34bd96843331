"""What training a language model takes: arithmetic, and hours on devices that aren't here.

An update takes the time of its floating-point operations, and a latency for each matrix product
that waits for another: those of a recurrence, forward and backward. Evaluations aren't counted.
"""

from typing import NamedTuple

from highway.config import LanguageModelConfig


class Work(NamedTuple):
    """The work of a training."""

    flops: float
    """Floating-point operations of an update's matrix products."""
    dependent_products: int
    """Of an update: products of which each waits for the one before."""
    updates: int
    """Of the training."""


class Machine(NamedTuple):
    """A device as this arithmetic sees it."""

    name: str
    """In words."""
    flops: float
    """Floating-point operations a second, half of the peak."""
    latency: float
    """Seconds from one dependent product to the next, at least."""


class Corpus(NamedTuple):
    """What a training's work depends on."""

    vocabulary: int
    """How many symbols there are."""
    tokens: int
    """Of the training text."""


CORPORA = {
    "penn_treebank": Corpus(10_000, 929_589),
    "enwik8": Corpus(205, 90_000_000),
    "text8": Corpus(27, 90_000_000),
}
H100 = Machine("one H100", 33e12, 10e-6)
"""Float32 outside of its tensor cores, as `--precision float32` has it: 67 TFLOP/s at most."""
TPU_V5E = Machine("one TPU v5e", 16e12, 8e-6)
"""Float32 out of six products of bfloat16, 197 TFLOP/s at most."""


def training_work(config: LanguageModelConfig, vocabulary_size: int, tokens: int) -> Work:
    """Count the work of training a recurrent highway network of one layer.

    Args:
      config: its settings.
      vocabulary_size: of the model.
      tokens: of the training text.

    Raises:
      ValueError: the model has another core, or several layers.
    """
    model, train = config.model, config.train
    if model.core != "rhn" or model.layers != 1:
        raise ValueError(
            f"what is counted here is one layer of core rhn, not {model.layers} of {model.core}."
        )
    width = model.embedding_size(vocabulary_size)
    gates = 2 if model.coupled else 3
    weights = gates * model.units * (model.depth * model.units + width)
    weights += model.units * vocabulary_size
    words = train.batch_size * train.steps
    return Work(
        flops=6.0 * words * weights,  # forward, and backward to what came in and to the weights
        dependent_products=2 * train.steps * model.depth,
        updates=train.epochs * (tokens // train.batch_size // train.steps),
    )


def training_hours(work: Work, machine: Machine) -> float:
    """Return the hours that a training takes there, by arithmetic."""
    update = work.flops / machine.flops + work.dependent_products * machine.latency
    return work.updates * update / 3600
