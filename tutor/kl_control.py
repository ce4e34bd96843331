"""KL control: targets, errors and policies of Q-, Ψ-, G-learning and RL without a prior.

Sequence Tutor (Jaques et al. 2017) maximises E_π[Σ r − KL(π(·|s) ‖ p(·|s))]. Here r is the task's
reward over c, and p a fixed prior, the sequence model that the network started from. As in rlax,
functions are for one transition: names in `_tm1` belong to the state in which the action was taken,
names in `_t` to the state that it led to. vmap the functions for a batch. No gradient reaches
target or prior.

- `q` learns toward log p(a|s) + r + γ · max_a' Q⁻(s', a'); its policy is ∝ exp Q.
- `psi` learns toward log p(a|s) + r + γ · log Σ_a' exp Ψ⁻(s', a'); its policy is ∝ exp Ψ.
- `g` learns toward r + γ · log Σ_a' exp(log p(a'|s') + G⁻(s', a')); its policy is ∝ p · exp G.
- `rl_only` learns toward r + γ · max_a' Q⁻(s', a'); its policy is ∝ exp Q.

A method is added by writing its target and naming it in `METHODS`; its name and title stand in
`tutor.config`.

As a library, for any network with values [batch, A] and any prior with log p [batch, A]:

- `squared_loss(method, q_tm1, transition)`: to be minimised in the values at s;
- `log_policy(method, q, log_prior)`: the policy; sample from it, or take the argmax of
  `policy_scores`;
- `soft_update(target, online, rate)`: moves the target network after each update;
- `kl_policy_prior` and `entropy` of policies: how far they are from the prior, in nats.

Examples:
  >>> import jax, jax.numpy as jnp
  >>> from tutor.kl_control import METHODS, Transition, log_policy, squared_loss
  >>> psi = METHODS["psi"]
  >>> def loss(params, target_params, network, prior, batch):  # of a batch of transitions
  ...     transition = Transition(
  ...         a_tm1=batch["action"],
  ...         r_t=batch["reward"] / 0.5,  # the task's reward over c
  ...         discount_t=0.9 * (1 - batch["done"]),
  ...         log_prior_tm1=prior(batch["s"]),
  ...         log_prior_t=prior(batch["s_after"]),
  ...         q_t=network(target_params, batch["s_after"]),
  ...     )
  ...     each = jax.vmap(lambda q, one: squared_loss(psi, q, one))
  ...     return jnp.mean(each(network(params, batch["s"]), transition))
  >>> network = lambda params, s: s @ params
  >>> prior = lambda s: jax.nn.log_softmax(jnp.zeros((len(s), 3)))
  >>> batch = {"s": jnp.eye(2), "s_after": jnp.eye(2), "action": jnp.array([0, 2])}
  >>> batch |= {"reward": jnp.ones(2), "done": jnp.array([0.0, 1.0])}
  >>> params = jnp.zeros((2, 3))
  >>> f"{loss(params, params, network, prior, batch):.2f}"
  '2.19'
  >>> log_policy(psi, network(params, batch["s"]), prior(batch["s"])).shape
  (2, 3)

examples/transformer_tutor.py tunes a transformer with the whole loop, `tutor.learner.TutorLearner`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Scalar = jax.Array


class Transition(NamedTuple):
    """One step, with the networks' outputs before and after it; A is the number of actions."""

    a_tm1: Scalar
    """The action, an integer."""
    r_t: Scalar
    """Its reward over the paper's c, without log p(a|s)."""
    discount_t: Scalar
    """γ, or 0 if the episode ended with the action."""
    log_prior_tm1: jax.Array
    """log p(·|s) where the action was taken, [A]."""
    log_prior_t: jax.Array
    """log p(·|s') where it led, [A]."""
    q_t: jax.Array
    """The target network's values at s', [A]."""
    selector_t: jax.Array | None = None
    """The online network's values at s', [A], to choose the action whose q_t counts (double
    Q-learning, van Hasselt et al. 2016); or None. For the methods with a maximum only."""


def q_target(transition: Transition) -> Scalar:
    """Compute y = log p(a|s) + r + γ · max_a' Q⁻(s', a').

    With a selector it is y = log p(a|s) + r + γ · Q⁻(s', argmax_a' Q(s', a')).
    """
    return _log_prior(transition) + rl_only_target(transition)


def psi_target(transition: Transition) -> Scalar:
    """Compute y = log p(a|s) + r + γ · log Σ_a' exp Ψ⁻(s', a')."""
    value = jax.nn.logsumexp(transition.q_t)
    return _log_prior(transition) + transition.r_t + transition.discount_t * value


def g_target(transition: Transition) -> Scalar:
    """Compute y = r + γ · log Σ_a' exp(log p(a'|s') + G⁻(s', a')), where G = Ψ − log p."""
    value = jax.nn.logsumexp(transition.log_prior_t + transition.q_t)
    return transition.r_t + transition.discount_t * value


def rl_only_target(transition: Transition) -> Scalar:
    """Compute y = r + γ · max_a' Q⁻(s', a').

    With a selector it is y = r + γ · Q⁻(s', argmax_a' Q(s', a')).
    """
    selector = transition.q_t if transition.selector_t is None else transition.selector_t
    value = transition.q_t[jnp.argmax(selector)]
    return transition.r_t + transition.discount_t * value


def _log_prior(transition: Transition) -> Scalar:
    """Return log p(a|s) of the action taken."""
    return transition.log_prior_tm1[transition.a_tm1]


class Method(NamedTuple):
    """A way to learn values under a prior."""

    target: Callable[[Transition], Scalar]
    """The target of the action taken, toward which its value is moved."""
    tilts_prior: bool
    """Whether the policy is ∝ p · exp(values); otherwise it is ∝ exp(values)."""
    takes_maximum: bool
    """Whether the target has a maximum over actions, so that double Q-learning is possible."""
    adds_log_prior: bool
    """Whether log p(a|s) of the action taken is part of the target."""


METHODS = {
    "q": Method(q_target, tilts_prior=False, takes_maximum=True, adds_log_prior=True),
    "psi": Method(psi_target, tilts_prior=False, takes_maximum=False, adds_log_prior=True),
    "g": Method(g_target, tilts_prior=True, takes_maximum=False, adds_log_prior=False),
    "rl_only": Method(rl_only_target, tilts_prior=False, takes_maximum=True, adds_log_prior=False),
}
SOFTMAX = "q"
"""The name for a network that no method here has trained (a prior alone, an agent of a policy
gradient): its policy is the softmax of its logits, as Q-learning's is of its values."""


def td_error(method: Method, q_tm1: jax.Array, transition: Transition) -> Scalar:
    """Compute y − q(s, a), which has a gradient for q(s, a) only.

    Args:
      method: what gives the target y.
      q_tm1: the online network's values at s, [A].
      transition: the step.

    Raises:
      TypeError: the action isn't an integer.
      ValueError: a shape is wrong, or there is a selector and the method has no maximum.
    """
    _check_shapes(q_tm1, transition)
    if transition.selector_t is not None and not method.takes_maximum:
        raise ValueError("a selector is for methods with a maximum (double Q-learning)")
    target = jax.lax.stop_gradient(method.target(transition))
    return target - q_tm1[transition.a_tm1]


def squared_loss(method: Method, q_tm1: jax.Array, transition: Transition) -> Scalar:
    """Compute (y − q(s, a))², whose mean over a batch is minimised.

    Arguments and errors are those of `td_error`: q_tm1 is [A], the result a scalar.
    """
    return jnp.square(td_error(method, q_tm1, transition))


def policy_scores(method: Method, q: jax.Array, log_prior: jax.Array) -> jax.Array:
    """Compute the numbers whose softmax is the policy, and whose argmax is the best action.

    No gradient reaches the prior.

    Args:
      method: by which values make a policy.
      q: values of states, [..., A].
      log_prior: log p(·|s) of the same states, [..., A].

    Returns:
      [..., A].

    Raises:
      ValueError: the shapes differ.
    """
    if q.shape != log_prior.shape:
        raise ValueError(f"values {q.shape} and prior {log_prior.shape} differ in shape")
    return jax.lax.stop_gradient(log_prior) + q if method.tilts_prior else q


def log_policy(method: Method, q: jax.Array, log_prior: jax.Array) -> jax.Array:
    """Compute log π(·|s) of the softmax policy, [..., A]; arguments as for `policy_scores`."""
    return jax.nn.log_softmax(policy_scores(method, q, log_prior))


def kl_policy_prior(log_policy: jax.Array, log_prior: jax.Array) -> jax.Array:
    """Compute KL(π ‖ p) = Σ_a π(a|s) · (log π(a|s) − log p(a|s)) in nats; [..., A] → [...]."""
    return jnp.sum(_expected(log_policy, log_policy - log_prior), axis=-1)


def entropy(log_policy: jax.Array) -> jax.Array:
    """Compute H(π) = −Σ_a π(a|s) · log π(a|s) in nats; [..., A] → [...]."""
    return -jnp.sum(_expected(log_policy, log_policy), axis=-1)


def _expected(log_policy: jax.Array, values: jax.Array) -> jax.Array:
    """Compute π · values; 0 where π is 0, even if the value is infinite."""
    policy = jnp.exp(log_policy)
    return jnp.where(policy > 0, policy * values, 0.0)


def soft_update(target: Any, online: Any, rate: float | jax.Array) -> Any:
    """Move a target network toward the online one: θ⁻ ← (1 − η) · θ⁻ + η · θ.

    `optax.incremental_update` adds the two terms in the other order, which compilers round
    differently: earlier trainings could not be repeated to the bit.

    Args:
      target: θ⁻, a pytree of arrays.
      online: θ, of the same structure.
      rate: η, in 0..1.
    """
    return jax.tree.map(lambda old, new: (1 - rate) * old + rate * new, target, online)


def _check_shapes(q_tm1: jax.Array, transition: Transition) -> None:
    """Raise ValueError for a wrong shape, TypeError for an action that isn't an integer."""
    expected = dict.fromkeys(("log_prior_tm1", "log_prior_t", "q_t", "selector_t"), q_tm1.shape)
    expected |= dict.fromkeys(("a_tm1", "r_t", "discount_t"), ())
    if q_tm1.ndim != 1:
        raise ValueError(f"q_tm1 has shape [A], not {list(q_tm1.shape)}: vmap over a batch")
    for name, shape in expected.items():
        value = getattr(transition, name)
        if value is not None and jnp.shape(value) != shape:
            raise ValueError(f"{name} has shape {list(shape)}, not {list(jnp.shape(value))}")
    if not jnp.issubdtype(jnp.result_type(transition.a_tm1), jnp.integer):
        raise TypeError(f"a_tm1 is an integer, not {jnp.result_type(transition.a_tm1)}")
