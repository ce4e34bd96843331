"""What a device computes in the training and the tuning of a Note RNN."""

from functools import partial

import jax
import numpy as np
from jax.stages import Traced

from common.compute import Compute
from common.population import Population
from experiments import trained
from experiments.melodies.domain import MELODIES
from experiments.melodies.tutor import NOTE_RNN
from tutor.config import NoteRNNConfig, TutorConfig
from tutor.evaluation import Composer, Policy
from tutor.learner import TutorLearner
from tutor.prior import EVALUATION_BATCH, PriorLearner, batch_sums

SEEDS = (0, 1)


def note_rnn(config: NoteRNNConfig, compute: Compute) -> dict[str, Traced]:
    """Trace the update, the evaluation and the composing."""
    melody = np.zeros(config.prior.steps + 1, np.int32)
    learner = PriorLearner(
        config.prior,
        MELODIES.num_events,
        trained.core_factory(config.model, compute),
        [melody],
        initial_range=config.model.initial_range,
    )
    state = jax.eval_shape(partial(learner.initial_state, 0))
    events = np.zeros((EVALUATION_BATCH, len(melody)), np.int32)
    composer = Composer(learner.graph, "q", MELODIES.environment, MELODIES.length)
    policy = Policy(state.params, state.params)
    return {
        "update": learner.traced(state),
        "evaluation": batch_sums.trace(learner.graph, state.params, events, events[:, 1:] == 0),
        "composing": composer.traced(policy, config.final_compositions),
    }


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
