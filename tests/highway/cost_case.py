"""What gradient descent minimises, as one function: updates are made of its two parts."""

from typing import Any

import jax

from highway.config import TrainConfig
from highway.language_model import Graph, Params
from highway.learner import mean_loss, penalty


def cost(
    params: Params, graph: Graph, config: TrainConfig, *window: Any
) -> tuple[jax.Array, tuple[Any, jax.Array]]:
    """The cost of a window, and besides it what `mean_loss` returns, whose arguments it takes."""
    mean, others = mean_loss(params, graph, config, *window)
    return mean + penalty(params, config), others
