"""What a device computes in the optimisation study."""

import jax
import numpy as np
from jax.sharding import Mesh
from jax.stages import Traced

from common.compute import Compute
from experiments.optimisation.catalogue import cell_name
from experiments.optimisation.config import OptimisationConfig
from experiments.optimisation.run import cell_models
from highway.roll_model import pad
from highway.roll_search import RollSearch

KEYS, STEPS = 88, 8
"""Keys of a piano; any length of a chorale will do."""


def programs(
    config: OptimisationConfig, compute: Compute, mesh: Mesh | None = None
) -> dict[str, Traced]:
    """Trace an epoch and an evaluation of every cell."""
    rolls = pad([np.zeros((STEPS, KEYS), np.uint8)] * config.search.batch_size)
    key = jax.random.key(0)
    found: dict[str, Traced] = {}
    for model in cell_models(config, KEYS):
        search = RollSearch(model, config.search, rolls, rolls, key, compute, mesh)
        state = jax.eval_shape(lambda search=search: search.initial_state(key, key))
        name = cell_name(model.core, model.depth)
        found |= {f"{name}/{part}": traced for part, traced in search.traced(state).items()}
    return found
