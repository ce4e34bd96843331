"""How many parameters a model has and what it needs, counted without building it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from common.compute import FLOAT_BYTES
from common.error import ConfigError
from highway.config import ModelConfig, SearchConfig, TrainConfig

EQUAL = 0.01
"""Share by which the sizes of models may differ that are to be equal."""


def parameter_count(config: ModelConfig, vocabulary_size: int) -> int:
    """Count the trainable parameters of a language model.

    For a coupled RHN with vocabulary V, embedding width E and U units these are (docs/published.md)
    V·E for the embedding, 2·(U² + U) per highway layer, 2·E·U for the input, U·V for the softmax
    unless it is tied, and V for its bias.
    """
    embedding = config.embedding_size(vocabulary_size)
    softmax = vocabulary_size if config.tied else (config.units + 1) * vocabulary_size
    core = _core_count(config, embedding)
    core += (config.layers - 1) * _core_count(config, config.units)
    return vocabulary_size * embedding + core + softmax


def training_bytes(config: ModelConfig, train: TrainConfig, vocabulary_size: int) -> int:
    """Return the least that training holds at once.

    Parameters, their gradient and the optimiser's moments; of every step of a window, or of a chunk
    of it, the state of each layer, and the logits.
    """
    moments = 2 if train.optimizer == "adam" else 0
    floats = (2 + moments) * parameter_count(config, vocabulary_size)
    steps = min(train.recurrence_chunk or train.steps, train.steps)
    floats += train.batch_size * steps * config.layers * config.depth * config.units
    predictions = train.batch_size * train.steps
    floats += min(train.softmax_chunk or predictions, predictions) * vocabulary_size
    return FLOAT_BYTES * floats


def units_for_budget(config: ModelConfig, vocabulary_size: int, budget: int, multiple: int) -> int:
    """Find the most units with which a model keeps to a parameter budget.

    Args:
      config: the other settings.
      vocabulary_size: of the model.
      budget: the most parameters.
      multiple: the result is a multiple of this.

    Raises:
      ValueError: not even `multiple` units fit.
    """
    units = 0
    while parameter_count(replace(config, units=units + multiple), vocabulary_size) <= budget:
        units += multiple
    if not units:
        raise ValueError(f"not even {multiple} units fit {budget} parameters: {config}")
    return units


def nearest_width(count: Callable[[int], int], wanted: int) -> int:
    """Find the width whose count, which grows with it, comes nearest to the one wanted."""
    width = 1
    while abs(count(width + 1) - wanted) < abs(count(width) - wanted):
        width += 1
    return width


def roll_parameter_count(config: ModelConfig, keys: int) -> int:
    """Count the trainable parameters of a `highway.roll_model.RollModel` of so many keys."""
    return _core_count(config, keys) + (config.units + 1) * keys


def equal_roll_models(models: Sequence[ModelConfig], keys: int, budget: int) -> list[ModelConfig]:
    """Give roll models the widths with which they are about equally large.

    Args:
      models: all settings but the width; the first one's comes near to the budget, the others are
        fitted to it. Where its steps are wide, a neighbour is taken that the others fit better.
      keys: of a roll.
      budget: parameters of each.

    Raises:
      ConfigError: they would differ by over 1 %.
    """

    def count(model: ModelConfig) -> int:
        return roll_parameter_count(model, keys)

    def nearest(model: ModelConfig, wanted: int) -> ModelConfig:
        units = nearest_width(lambda units: count(replace(model, units=units)), wanted)
        return replace(model, units=units)

    def spread(found: list[ModelConfig]) -> float:
        return max(map(count, found)) / min(map(count, found)) - 1

    first = nearest(models[0], budget).units
    candidates = []
    for units in sorted(range(max(1, first - 2), first + 3), key=lambda units: abs(units - first)):
        lead = replace(models[0], units=units)
        candidates.append([lead, *(nearest(one, count(lead)) for one in models[1:])])
    fitting = [found for found in candidates if spread(found) <= EQUAL]
    if not fitting:
        raise ConfigError(
            f"models of about {budget:,} parameters can't be made equally large to 1 %: raise "
            "parameters_per_step."
        )
    return fitting[0]


def search_bytes(
    config: ModelConfig, search: SearchConfig, keys: int, steps: int, sequences: int
) -> int:
    """Return about what a random search over roll models holds at once.

    Args:
      config: of the models.
      search: of the search.
      keys: of a roll.
      steps: of the longest roll.
      sequences: that are evaluated at once.
    """
    copies = 5  # parameters, before and after an update, the best ones, momentum, gradient
    batch = max(search.batch_size, sequences)
    kept = 3 * config.depth * config.units + 3 * keys
    each = copies * roll_parameter_count(config, keys) + batch * steps * kept
    return FLOAT_BYTES * search.settings * each


def units_nearest(config: ModelConfig, vocabulary_size: int, count: int) -> int:
    """Find the width with which a model comes nearest to a number of parameters.

    Args:
      config: the other settings.
      vocabulary_size: of the model.
      count: of parameters.
    """
    return nearest_width(
        lambda units: parameter_count(replace(config, units=units), vocabulary_size), count
    )


def _core_count(config: ModelConfig, inputs: int) -> int:
    """Count the parameters of one recurrent layer with inputs of this width."""
    units = config.units
    match config.core:
        case "rhn":
            gates = 2 if config.coupled else 3
        case "lstm":
            gates = 4
        case "dt_rnn" | "dts_rnn":
            gates = 1
    recurrent = config.depth * (units * units + units)
    shortcut = 0
    if config.core == "dts_rnn" and config.depth > 1:
        shortcut = inputs * units + units * units
    return gates * (inputs * units + recurrent) + shortcut
