"""What a device computes in the training and the tuning of a Note RNN."""

from functools import partial

import jax
from jax.sharding import Mesh
from jax.stages import Traced

from common.compute import Compute
from common.population import Population
from experiments import trained
from experiments.melodies.domain import MELODIES
from experiments.melodies.tutor import NOTE_RNN, make_learner
from experiments.sequence_programs import trace_prior
from tutor.config import NoteRNNConfig, TutorConfig
from tutor.evaluation import Composer, Policy

SEVERAL = 2
"""Seeds that tune together, on one device."""


def note_rnn(
    config: NoteRNNConfig, compute: Compute, mesh: Mesh | None = None
) -> dict[str, Traced]:
    """Trace the training, and the composing."""
    samples = config.final_compositions
    return trace_prior(MELODIES, config.model, config.prior, samples, compute, mesh)


def tuning(config: TutorConfig, compute: Compute, mesh: Mesh | None = None) -> dict[str, Traced]:
    """Trace rounds of one seed and of several, and the composing.

    A seed that composes one at a time leaves several devices nothing to divide: it is left out.
    """
    graph, prior = trained.make_graph(NOTE_RNN.model(config.note_rnn), MELODIES.num_events, compute)
    learner = make_learner(config, graph)
    composer = Composer(graph, config.learn.method, MELODIES.environment, MELODIES.length)
    policy = Policy(prior, prior)
    found = {"composing": composer.traced(policy, config.evaluation.final_compositions)}
    counts = [1, SEVERAL] if mesh is None else [1, mesh.size]
    for count in counts[mesh is not None and config.learn.environments == 1 :]:
        population = Population(learner, range(count), mesh=mesh)
        begin = partial(learner.initial_state, prior)
        state = jax.eval_shape(partial(population.initial_state, begin))
        found[f"rounds of {count} seed{'s' * (count > 1)}"] = population.traced(state)
    return found
