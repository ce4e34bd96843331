"""The melodies' task for other people's algorithms: an environment in gymnax's protocol.

`pip install "highway-tutor[gymnax]"`; nothing else needs this module. The functions underneath are
those of our own loop (`tutor.music.theory`). `PriorReward` adds a prior's log p to the reward, so
that an algorithm can be compared with Q-, Ψ- and G-learning: reward = log p(a|s) + r / c.

Examples:
  >>> import gymnax, jax
  >>> from tutor.music import register
  >>> register()
  >>> env, params = gymnax.make("Melody-v0")
  >>> observation, state = env.reset(jax.random.key(0), params)
  >>> _, state, reward, *_ = env.step(jax.random.key(1), state, 14, params)
  >>> observation.shape, int(state.time)
  ((70,), 1)
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, struct

from common.melody import NUM_EVENTS
from tutor.music import theory
from tutor.music.history import History
from tutor.sequence_model import Graph, Params

try:
    import gymnax
    from gymnax.environments import environment, spaces
    from gymnax.wrappers.purerl import GymnaxWrapper
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        'gymnax is needed, and not installed: pip install "highway-tutor[gymnax]"'
    ) from missing

NAME = "Melody-v0"


@struct.dataclass
class MelodyState(environment.EnvState):
    """A composition under way."""

    time: jax.Array
    """Events so far, int32."""
    event: jax.Array
    """The latest event, at first the priming one, int32."""
    history: History
    """What the rules look at."""


@struct.dataclass
class MelodyParams(environment.EnvParams):
    """Settings of the environment."""

    max_steps_in_episode: int = theory.DEFAULT.length
    """Events after which an episode is truncated, if it hasn't ended by itself."""
    music: theory.MusicParams = theory.DEFAULT
    """Key, rules and weights of the reward; its `length` is that of a composition."""


class MelodyEnv(environment.Environment[MelodyState, MelodyParams]):
    """Compose a melody event by event under the rules of music theory (Jaques et al. 2017).

    Actions are the 38 events of a sixteenth: 0 rest, 1 hold, 2 to 37 the notes from C3 on. An
    observation is the latest event and the place in the composition, both one-hot,
    float32 [38 + length]. An episode ends after `length` events. Other rules:
    `params.replace(music=params.music.weighted(motif=2.0))`, or `.without`, `.with_rule`.
    """

    def __init__(self, length: int = theory.DEFAULT.length):
        """Make an environment of compositions of `length` events.

        `default_params` raises ConfigError for a length out of 8 to 184.
        """
        super().__init__()
        self.length = length

    @property
    def default_params(self) -> MelodyParams:
        """The published rules, for compositions of this length."""
        music = theory.MusicParams(length=self.length)
        return MelodyParams(max_steps_in_episode=self.length, music=music)

    def step_env(
        self, key: jax.Array, state: MelodyState, action: Any, params: MelodyParams
    ) -> tuple[jax.Array, MelodyState, jax.Array, jax.Array, dict[Any, Any]]:
        """Add an event, an integer scalar in 0..37; see `tutor.music.theory.step_env`.

        gymnax's own `step` calls this, tells truncation apart and begins anew after the end.

        Returns:
          (observation, state, reward, terminated, info): the observation float32 [38 + length], the
          reward float32 and `terminated` bool scalars; info has the rewards by rule, "components",
          and "discount", 0 at the end and else 1.
        """
        event, history, reward, done, info = theory.step_env(
            key, state.history, action, params.music
        )
        state = MelodyState(time=state.time + 1, event=event, history=history)
        info = {"components": info["components"], "discount": jnp.where(done, 0.0, 1.0)}
        seen = self.observe(key, state, action, params)
        return (*jax.lax.stop_gradient((seen, state)), reward, done, info)

    def reset_env(self, key: jax.Array, params: MelodyParams) -> tuple[jax.Array, MelodyState]:
        """Begin a composition with a random priming event, which is no part of it.

        Returns:
          The observation, float32 [38 + length], and the state.
        """
        event, history = theory.reset(key, params.music)
        state = MelodyState(time=jnp.zeros((), jnp.int32), event=event, history=history)
        return self.observe(key, state, None, params), state

    def observe(
        self, key: jax.Array, state: MelodyState, action: Any, params: MelodyParams
    ) -> jax.Array:
        """Show the latest event and the place in the composition, float32 [38 + length]."""
        del key, action
        place = jax.nn.one_hot(state.time, params.music.length)
        return jnp.concatenate([jax.nn.one_hot(state.event, NUM_EVENTS), place])

    def is_terminated(self, state: MelodyState, params: MelodyParams) -> jax.Array:
        """Say whether the composition is complete, bool scalar."""
        return state.time >= params.music.length

    def is_truncated(self, state: MelodyState, params: MelodyParams) -> jax.Array:
        """Say whether the limit of steps came before the end, bool scalar."""
        reached = state.time >= params.max_steps_in_episode
        return reached & ~self.is_terminated(state, params)

    @property
    def name(self) -> str:
        """The name under which it is registered."""
        return NAME

    @property
    def num_actions(self) -> int:
        """How many events there are."""
        return NUM_EVENTS

    def action_space(self, params: MelodyParams | None = None) -> spaces.Discrete:
        """Events."""
        return spaces.Discrete(NUM_EVENTS)

    def observation_space(self, params: MelodyParams | None = None) -> spaces.Box:
        """Two one-hot vectors, one after the other."""
        length = (params or self.default_params).music.length
        return spaces.Box(0.0, 1.0, (NUM_EVENTS + length,), jnp.float32)


@struct.dataclass
class PriorState:
    """State of `PriorReward`."""

    env_state: Any
    """Of the environment below."""
    recurrent: Any
    """The prior's recurrent state after the events before the latest."""
    event: jax.Array
    """The latest event, int32."""


class PriorReward(GymnaxWrapper):
    """Adds a prior's log p of each action to the reward: log p(a|s) + r / c (section 3.2).

    Info has both parts, "log_prior" in nats and "task_reward".
    """

    def __init__(self, env: MelodyEnv, graph: Graph, prior: Params, c: float = 0.5):
        """Wrap an environment.

        Args:
          env: a `MelodyEnv`, whose wrappers go outside of this one.
          graph: the prior's structure: of any module with `initial_state` and `step` as
            `tutor.sequence_model.SequenceModel` has them. For a run of note_rnn it is the `graph`
            of what `experiments.trained.load` gives.
          prior: its parameters, for a run of note_rnn `policy.prior` of the same.
          c: what the task's reward is divided by.
        """
        super().__init__(env)
        self.graph, self.prior, self.c = graph, prior, c

    @partial(jax.jit, static_argnames=("self",))
    def reset(self, key: jax.Array, params: MelodyParams | None = None) -> tuple[Any, PriorState]:
        """Begin a composition; the prior begins with it, from its zero state.

        Returns:
          The environment's observation, and the state.
        """
        seen, state = self._env.reset(key, params)
        return seen, PriorState(state, self._start(), state.event)

    @partial(jax.jit, static_argnames=("self",))
    def step(
        self, key: jax.Array, state: PriorState, action: Any, params: MelodyParams | None = None
    ) -> tuple[Any, PriorState, jax.Array, jax.Array, jax.Array, dict[Any, Any]]:
        """Step as the environment does, with the prior's log p in the reward.

        Args:
          key: given on to the environment.
          state: before the action.
          action: the next event, 0 to 37, int scalar.
          params: the environment's; None for its own.

        Returns:
          (observation, state, reward, terminated, truncated, info), as the environment's; the
          reward is log p(a|s) + r / c, a scalar.
        """
        model = nnx.merge(self.graph, self.prior)
        recurrent, logits = model.step(state.recurrent, state.event[None])
        log_prior = jax.nn.log_softmax(logits)[0, action]
        seen, env_state, reward, terminated, truncated, info = self._env.step(
            key, state.env_state, action, params
        )
        done = terminated | truncated
        recurrent = jax.tree.map(
            lambda new, old: jnp.where(done, new, old), self._start(), recurrent
        )
        info = {**info, "log_prior": log_prior, "task_reward": reward}
        after = PriorState(env_state, recurrent, env_state.event)
        return seen, after, log_prior + reward / self.c, terminated, truncated, info

    def _start(self) -> Any:
        """The prior's zero state, of one sequence."""
        return nnx.merge(self.graph, self.prior).initial_state(1)


def register() -> None:
    """Let `gymnax.make("Melody-v0")` make a `MelodyEnv`; again is no error."""
    if NAME not in gymnax.registered_envs:
        gymnax.register(NAME, MelodyEnv)
