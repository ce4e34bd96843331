"""What a device computes in the training and evaluation of a language model."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jax.stages import Traced

from common.compute import Compute
from common.window import make_windows
from highway import evaluation, sampling
from highway.config import LanguageModelConfig
from highway.learner import LanguageModelLearner

VOCABULARY = 100
"""That of the data isn't known before they are loaded."""


def programs(
    config: LanguageModelConfig, compute: Compute, mesh: Mesh | None = None
) -> dict[str, Traced]:
    """Trace the update, the evaluations and the sampling of text."""
    size, steps = config.train.batch_size, config.train.steps
    windows = make_windows(np.zeros(size * (steps + 1), np.int32), size, steps, split="train")
    learner = LanguageModelLearner(config, VOCABULARY, windows, compute, mesh)
    state = jax.eval_shape(partial(learner.initial_state, 0))
    graph, params, tokens = learner.graph, state.params, windows.inputs[0]
    model, key = partial(nnx.merge, graph), partial(jax.random.key, 0)
    found = {
        "update": learner.traced(state),
        "evaluation": evaluation.window_losses.trace(
            graph, params, state.recurrent, tokens, tokens
        ),
    }
    if config.evaluation.mc_passes:
        masks = jax.eval_shape(lambda p: model(p).sample_masks(key(), size), params)
        found["mc_dropout"] = evaluation.window_losses.trace(
            graph, params, state.recurrent, tokens, tokens, masks
        )
    if count := config.evaluation.sample_tokens:
        prompt = jnp.zeros(1, jnp.int32)
        begun = jax.eval_shape(lambda p: sampling.begin_text(graph, p, prompt, count), params)
        keys = jax.eval_shape(lambda: jax.random.split(key(), count))
        found["sampling"] = sampling.draw_tokens.trace(graph, params, begun, keys, 1.0, 0, 1)
    return found
