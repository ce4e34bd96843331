"""One gradient step of the value network on a batch of replayed transitions."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from tutor import kl_control
from tutor.kl_control import Method, Transition
from tutor.learn_state import BootstrapValues, StoredTransition
from tutor.sequence_model import Graph, Params, SequenceModel


class Update(NamedTuple):
    """The result of one update."""

    params: Params
    """Of the value network, after the update."""
    drifting_prior: Params | None
    """The prior's parameters, where they are trained as well; otherwise None."""
    optimizer: optax.OptState
    """The optimiser's state after it."""
    loss: jax.Array
    """Mean over the batch of (y − q(s, a))², before the update; scalar."""


def update(
    graph: Graph,
    method: Method,
    optimizer: optax.GradientTransformation,
    params: Params,
    optimizer_state: optax.OptState,
    batch: StoredTransition,
    values: BootstrapValues,
    *,
    double: bool = False,
    unroll: int = 1,
    drifting_prior: Params | None = None,
) -> Update:
    """Compute one gradient step of the value network on a batch; pure, to be traced by jit.

    The learner's updates are calls of this function, with the optimiser of
    `tutor.optimizer.make_optimizer`.

    Args:
      graph: the structure of all networks, from `tutor.sequence_model.make_model`.
      method: one of `tutor.kl_control.METHODS`.
      optimizer: any optax optimiser. Gradients are clipped only if it clips them.
      params: the value network's, see `SequenceModel`.
      optimizer_state: from `optimizer.init(params)` or the last update.
      batch: transitions, leaves [batch, ...].
      values: of the states that the transitions led to, arrays [batch, A].
      double: whether the value network chooses the action whose target value counts (double
        Q-learning). For the methods with a maximum.
      unroll: transitions of a sequence, see `replayed`.
      drifting_prior: the prior's parameters, to train them as well through G's target, as the
        released code does; `optimizer_state` is then that of the pair (params, drifting_prior).
    """
    leaks = drifting_prior is not None

    def loss(trained: Any) -> jax.Array:
        params, prior = trained if leaks else (trained, None)
        model = nnx.merge(graph, params)
        after, q_tm1 = replayed(model, batch, unroll)
        log_prior_t = batch.log_prior if values.log_prior is None else values.log_prior
        selector = None
        if leaks:
            log_prior_t = log_prior_after(graph, prior, batch)
        if double:
            _, selector = model.step(after, batch.next_observation)
        transition = Transition(
            a_tm1=batch.action,
            r_t=batch.reward,
            discount_t=batch.discount,
            log_prior_tm1=batch.log_prior,
            log_prior_t=log_prior_t,
            q_t=values.q,
            selector_t=selector,
        )
        error = _leaky_loss if leaks else kl_control.squared_loss
        return jnp.mean(jax.vmap(partial(error, method))(q_tm1, transition))

    trained = (params, drifting_prior) if leaks else params
    value, gradient = jax.value_and_grad(loss)(trained)
    changes, optimizer_state = optimizer.update(gradient, optimizer_state)
    trained = optax.apply_updates(trained, changes)
    params, drifting_prior = trained if leaks else (trained, None)
    return Update(params, drifting_prior, optimizer_state, value)


def replayed(model: SequenceModel, rows: StoredTransition, length: int) -> tuple[Any, jax.Array]:
    """Compute a model's recurrent states and values after the observations of transitions.

    Args:
      model: the value network, or the target network.
      rows: transitions, leaves [length · n, ...]: the first transition of each of n sequences of
        consecutive ones, then the second of each, and so on.
      length: transitions of a sequence. The first begins with the stored state; those that follow
        come from the model itself, until an end, after which again a stored one begins.

    Returns:
      States, with a length of 1 those that were stored, and values [length · n, A] after each
      observation.
    """
    if length == 1:
        # Unrolled over one event: a core may have a faster backward pass there than for a step.
        _, values = model.unroll(rows.policy_before, rows.observation[:, None])
        return rows.policy_after, values[:, 0]
    by_time = jax.tree.map(lambda leaf: leaf.reshape(length, -1, *leaf.shape[1:]), rows)
    first = jnp.ones_like(by_time.discount[:1], bool)
    begins = jnp.concatenate([first, by_time.discount[:-1] == 0])

    def step(state: Any, xs: Any) -> tuple[Any, Any]:
        begins, stored, observation = xs

        def choose(stored: jax.Array, own: jax.Array) -> jax.Array:
            return jnp.where(begins.reshape(-1, *(1,) * (own.ndim - 1)), stored, own)

        after = model.step(jax.tree.map(choose, stored, state), observation)
        return after[0], after

    start = jax.tree.map(lambda leaf: leaf[0], by_time.policy_before)
    _, after = jax.lax.scan(step, start, (begins, by_time.policy_before, by_time.observation))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), after)


def log_prior_after(graph: Graph, prior: Params, batch: StoredTransition) -> jax.Array:
    """Compute log p(·|s') of the states that transitions led to.

    Args:
      graph: the prior's structure.
      prior: its parameters.
      batch: transitions with the prior's states, leaves [batch, ...].

    Returns:
      [batch, A].
    """
    _, logits = nnx.merge(graph, prior).step(batch.prior_after, batch.next_observation)
    return jax.nn.log_softmax(logits)


def _leaky_loss(method: Method, q_tm1: jax.Array, transition: Transition) -> jax.Array:
    """Compute `kl_control.squared_loss`, but let the gradient pass into the target."""
    return jnp.square(method.target(transition) - q_tm1[transition.a_tm1])
