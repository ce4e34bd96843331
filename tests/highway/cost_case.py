"""What gradient descent minimises, as one function: updates are made of its two parts."""

from typing import Any

import jax

from highway.config import TrainConfig
from highway.language_model import DropoutMasks, Graph, Params
from highway.learner import mean_loss, penalty


def cost(
    params: Params,
    graph: Graph,
    config: TrainConfig,
    recurrent: Any,
    inputs: jax.Array,
    targets: jax.Array,
    masks: DropoutMasks | None,
) -> tuple[jax.Array, tuple[Any, jax.Array]]:
    """The cost of a window, and besides it what `mean_loss` returns; arguments are those of
    `update`."""
    mean, others = mean_loss(params, graph, config, recurrent, inputs, targets, masks)
    return mean + penalty(params, config), others
