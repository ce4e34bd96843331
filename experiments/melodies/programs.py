"""What a device computes in the training and the tuning of a Note RNN."""

from functools import partial

import jax
from jax.stages import Traced

from common.compute import Compute
from common.population import Population
from experiments import trained
from experiments.melodies.domain import MELODIES
from experiments.melodies.tutor import NOTE_RNN
from experiments.sequence_programs import trace_prior
from tutor.config import NoteRNNConfig, TutorConfig
from tutor.evaluation import Composer, Policy
from tutor.learner import TutorLearner

SEEDS = (0, 1)


def note_rnn(config: NoteRNNConfig, compute: Compute) -> dict[str, Traced]:
    """Trace the training, and the composing."""
    return trace_prior(MELODIES, config.model, config.prior, config.final_compositions, compute)


def tuning(config: TutorConfig, compute: Compute) -> dict[str, Traced]:
    """Trace rounds of one seed and of two, and the composing."""
    graph, prior = trained.make_graph(NOTE_RNN.model(config.note_rnn), MELODIES.num_events, compute)
    learner = TutorLearner(config.learn, graph, MELODIES.num_events, MELODIES.environment)
    composer = Composer(graph, config.learn.method, MELODIES.environment, MELODIES.length)
    policy = Policy(prior, prior)
    found = {"composing": composer.traced(policy, config.evaluation.final_compositions)}
    for seeds in (SEEDS[:1], SEEDS):
        population = Population(learner, seeds)
        begin = partial(learner.initial_state, prior)
        state = jax.eval_shape(partial(population.initial_state, begin))
        found[f"rounds of {len(seeds)} seed{'s' * (len(seeds) > 1)}"] = population.traced(state)
    return found
