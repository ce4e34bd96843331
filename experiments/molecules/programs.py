"""What a device computes in the training and the tuning of a model of molecules."""

from functools import partial

import jax
from jax.sharding import Mesh
from jax.stages import Traced

from common.compute import Compute
from common.molecule import MOSES
from common.population import Population
from experiments import trained
from experiments.molecules.domain import LENGTH, MOLECULES
from experiments.molecules.tutor import MOLECULE_RNN, Config, begin, make_learner
from experiments.sequence_programs import trace_prior
from tutor.config import LearnConfig
from tutor.evaluation import Composer, Policy
from tutor.kl_control import SOFTMAX
from tutor.molecules.config import MoleculeRNNConfig
from tutor.molecules.environment import make_environment


def molecule_rnn(
    config: MoleculeRNNConfig, compute: Compute, mesh: Mesh | None = None
) -> dict[str, Traced]:
    """Trace the training, and the composing."""
    return trace_prior(MOLECULES, config.model, config.prior, config.final_samples, compute, mesh)


def tuning(config: Config, compute: Compute, mesh: Mesh | None = None) -> dict[str, Traced]:
    """Trace rounds, and the composing.

    The call of Python that gives rewards is left out: JAX lowers one only for a platform that is
    there.
    """
    graph, prior = trained.make_graph(
        MOLECULE_RNN.model(config.molecule_rnn), MOLECULES.num_events, compute
    )
    learner = make_learner(config, graph, make_environment(MOSES, LENGTH, None))
    method = config.learn.method if isinstance(config.learn, LearnConfig) else SOFTMAX
    composer = Composer(graph, method, MOLECULES.environment, LENGTH)
    population = Population(learner, (0,), mesh=mesh)
    state = jax.eval_shape(
        partial(population.initial_state, partial(begin, learner, method, prior))
    )
    return {
        "rounds without rewards": population.traced(state),
        "composing": composer.traced(Policy(prior, prior), config.evaluation.final_samples),
    }
