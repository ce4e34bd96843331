"""What a device computes in the training of a model of sequences, whatever its domain."""

from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh
from jax.stages import Traced

from common.compute import Compute
from experiments import trained
from experiments.domain import Domain
from tutor.config import PriorConfig, SequenceModelConfig
from tutor.evaluation import Composer, Policy
from tutor.kl_control import SOFTMAX
from tutor.prior import EVALUATION_BATCH, PriorLearner, batch_sums


def trace_prior(
    domain: Domain,
    model: SequenceModelConfig,
    prior: PriorConfig,
    samples: int,
    compute: Compute,
    mesh: Mesh | None = None,
) -> dict[str, Traced]:
    """Trace the update, the evaluation and the composing of so many samples."""
    sequence = np.zeros(prior.steps + 1, np.int32)
    learner = PriorLearner(
        prior,
        domain.num_events,
        trained.core_factory(model, compute),
        [sequence],
        initial_range=model.initial_range,
        mesh=mesh,
    )
    state = jax.eval_shape(partial(learner.initial_state, 0))
    events = np.zeros((EVALUATION_BATCH, len(sequence)), np.int32)
    composer = Composer(learner.graph, SOFTMAX, domain.environment, domain.length)
    policy = Policy(state.params, state.params)
    return {
        "update": learner.traced(state),
        "evaluation": batch_sums.trace(learner.graph, state.params, events, events[:, 1:] == 0),
        "composing": composer.traced(policy, samples),
    }
