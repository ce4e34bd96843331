"""How many parameters a model has and what it needs, counted without building it."""

from dataclasses import replace

from highway.config import ModelConfig, TrainConfig

FLOAT_BYTES = 4


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

    Parameters, their gradient and the optimiser's moments; of every step of a window the state of
    each layer, and the logits.
    """
    moments = 2 if train.optimizer == "adam" else 0
    kept = config.layers * config.depth * config.units + vocabulary_size
    floats = (2 + moments) * parameter_count(config, vocabulary_size)
    return FLOAT_BYTES * (floats + train.batch_size * train.steps * kept)


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


def units_nearest(config: ModelConfig, vocabulary_size: int, count: int) -> int:
    """Find the width with which a model comes nearest to a number of parameters.

    Args:
      config: the other settings.
      vocabulary_size: of the model.
      count: of parameters.
    """

    def miss(units: int) -> int:
        return abs(parameter_count(replace(config, units=units), vocabulary_size) - count)

    units = 1
    while miss(units + 1) < miss(units):
        units += 1
    return units


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
