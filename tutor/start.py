"""Values that a fine-tuning starts from, where those of the prior's own output are far off.

Value networks start as copies of the prior (Jaques et al. 2017), whose logits are log p plus a
number that maximum likelihood leaves open. With rewards of 0 the values of Ψ-learning are log p
itself, and those of G-learning 0. At a discount of 1 what they are off by at first is carried from
step to step, which ruins a policy before it learns.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from tutor.sequence_model import Graph, Params


def centred(graph: Graph, params: Params, inputs: jax.Array, counted: jax.Array) -> Params:
    """Self-normalise a model on average: shift its logits so that their mean log Σ exp is 0.

    The shift is one constant of the output's bias, so the probabilities stay. It does once what the
    penalty `prior.normalise` (Devlin et al. 2014) does while the prior learns.

    Args:
      graph: the model's structure.
      params: its parameters.
      inputs: events of sequences, int [batch, time].
      counted: which of the states after them count, bool [batch, time].
    """
    model = nnx.merge(graph, params)
    _, logits = model.unroll(model.initial_state(inputs.shape[0]), inputs)
    mean = jnp.mean(jax.nn.logsumexp(logits, axis=-1), where=counted)
    return {**params, "output_bias": params["output_bias"] - mean}


def without_values(params: Params) -> Params:
    """Zero-initialise a model's head: return its parameters with an output of 0 for every event."""
    output = {name: jnp.zeros_like(params[name]) for name in ("output_kernel", "output_bias")}
    return {**params, **output}
