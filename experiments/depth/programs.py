"""What a device computes in the studies of depth."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jax.stages import Traced

from common.compute import Compute
from common.population import Population
from experiments.depth.config import AnalysisConfig, FeedForwardDepthConfig, StackConfig
from experiments.depth.feed_forward import networks
from experiments.depth.look import jacobians, trace_layers
from experiments.depth.stacked import sized_models, trial_settings
from experiments.registry import programs_of
from highway.config import LanguageModelConfig
from highway.feed_forward import Examples, FeedForwardLearner, loss_and_error
from highway.language_model import LanguageModel, make_graph

VOCABULARY, PIXELS, CLASSES = 100, 64, 10
"""Those of the data aren't known before they are loaded."""


def analysis(config: AnalysisConfig, compute: Compute) -> dict[str, Traced]:
    """Trace the training of the RHN that is looked into, and the looks."""
    language, look = config.language, config.look
    found = programs_of(LanguageModelConfig, language, compute)
    graph = make_graph(language, VOCABULARY, compute)
    rngs = partial(nnx.Rngs, params=0)
    model = nnx.eval_shape(lambda: LanguageModel(VOCABULARY, language.model, rngs=rngs()))
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    size, steps = language.train.batch_size, language.train.steps
    states = jax.eval_shape(lambda p: nnx.merge(graph, p).initial_state(size), params)
    tokens, places = jnp.zeros((size, steps), jnp.int32), jnp.arange(look.spectra)
    stream = jnp.zeros(look.context + look.tokens, jnp.int32)
    return found | {
        "layers": trace_layers.trace(graph, params, states, tokens),
        "jacobians": jacobians.trace(graph, params, stream, places),
    }


def stacked(config: StackConfig, compute: Compute, mesh: Mesh | None = None) -> dict[str, Traced]:
    """Trace the training of every model."""
    return {
        f"{name}/{part}": traced
        for name, model in sized_models(config, VOCABULARY).items()
        for part, traced in programs_of(
            LanguageModelConfig,
            trial_settings(config, model, config.learning_rates[0]),
            compute,
            mesh,
        ).items()
    }


def feed_forward(
    config: FeedForwardDepthConfig, compute: Compute, mesh: Mesh | None = None
) -> dict[str, Traced]:
    """Trace the training and the evaluation of every kind and depth."""
    size = config.search.batch_size
    examples = Examples(np.zeros((size, PIXELS), np.float32), np.zeros(size, np.int32))
    found = {}
    for network in networks(config, PIXELS, CLASSES):
        learner = FeedForwardLearner(network, config.search, examples, CLASSES, 0)
        population = Population(learner, range(config.search.members), learner.data, mesh=mesh)
        state = jax.eval_shape(partial(population.initial_state, learner.initial_state))
        one = jax.eval_shape(partial(learner.initial_state, 0))
        name = f"{network.kind}{network.layers}"
        found[f"{name}/update"] = population.traced(state)
        found[f"{name}/evaluation"] = loss_and_error.trace(
            one.params, one.setting.rectified, *examples
        )
    return found
