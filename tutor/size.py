"""How much memory a model of sequences and its training need, counted from the settings."""

from common.compute import FLOAT_BYTES
from tutor.config import PriorConfig, SequenceModelConfig


def parameter_count(config: SequenceModelConfig, num_events: int) -> int:
    """Count the parameters of a model whose input are one-hot events.

    LSTM: 4 gates of (A + U + 1)·U; RHN: 2 gates of A·U + depth·(U² + U); output (U + 1)·A.

    Raises:
      ValueError: nobody wrote down how many parameters such a core has.
    """
    units = config.units
    match config.core:
        case "lstm":
            core = 4 * (num_events + units + 1) * units
        case "rhn":
            core = 2 * (num_events * units + config.depth * (units + 1) * units)
        case _:
            raise ValueError(f"count the parameters of the core {config.core} in tutor/size.py")
    return core + (units + 1) * num_events


def training_bytes(config: SequenceModelConfig, prior: PriorConfig, num_events: int) -> int:
    """Return the least that maximum likelihood holds at once.

    Parameters, their gradient and Adam's two moments or Adagrad's one sum of squares; of every step
    of a batch's windows the state of each highway step, and the logits.
    """
    kept = config.depth * config.units + num_events
    arrays = 4 if prior.optimizer == "adam" else 3
    floats = arrays * parameter_count(config, num_events) + prior.batch_size * prior.steps * kept
    return floats * FLOAT_BYTES


def compositions_bytes(count: int, length: int) -> int:
    """Return what `count` compositions of `length` events hold on the host, twice while gathered.

    Five numbers of four bytes an event, and whether it counts.
    """
    return 2 * count * length * 21
