"""What a device computes in the training and the tuning of a model of molecules."""

from functools import partial

import jax
import numpy as np
from jax.stages import Traced

from common.compute import Compute
from common.molecule import MOSES
from common.population import Population
from experiments import trained
from experiments.molecules.domain import LENGTH, MOLECULES
from experiments.molecules.tutor import MOLECULE_RNN, Config, begin, make_learner
from tutor.config import LearnConfig
from tutor.evaluation import Composer, Policy
from tutor.molecules.config import MoleculeRNNConfig
from tutor.molecules.environment import make_environment
from tutor.prior import EVALUATION_BATCH, PriorLearner, batch_sums


def molecule_rnn(config: MoleculeRNNConfig, compute: Compute) -> dict[str, Traced]:
    """Trace the update, the evaluation and the generation."""
    molecule = np.zeros(config.prior.steps + 1, np.int32)
    learner = PriorLearner(
        config.prior,
        MOLECULES.num_events,
        trained.core_factory(config.model, compute),
        [molecule],
        initial_range=config.model.initial_range,
    )
    state = jax.eval_shape(partial(learner.initial_state, 0))
    tokens = np.zeros((EVALUATION_BATCH, len(molecule)), np.int32)
    composer = Composer(learner.graph, "q", MOLECULES.environment, LENGTH)
    policy = Policy(state.params, state.params)
    return {
        "update": learner.traced(state),
        "evaluation": batch_sums.trace(learner.graph, state.params, tokens, tokens[:, 1:] == 0),
        "generation": composer.traced(policy, config.final_samples),
    }


def tuning(config: Config, compute: Compute) -> dict[str, Traced]:
    """Trace rounds, and the generation.

    The call of Python that gives rewards is left out: JAX lowers one only for a platform that is
    there.
    """
    graph, prior = trained.make_graph(
        MOLECULE_RNN.model(config.molecule_rnn), MOLECULES.num_events, compute
    )
    learner = make_learner(config, graph, make_environment(MOSES, LENGTH, None))
    method = config.learn.method if isinstance(config.learn, LearnConfig) else "q"
    composer = Composer(graph, method, MOLECULES.environment, LENGTH)
    population = Population(learner, (0,))
    state = jax.eval_shape(
        partial(population.initial_state, partial(begin, learner, method, prior))
    )
    return {
        "rounds without rewards": population.traced(state),
        "generation": composer.traced(Policy(prior, prior), config.evaluation.final_samples),
    }
