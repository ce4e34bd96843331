"""What the tests of Q-learning share: a small decision process, tables for networks, snapshots."""

import math
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy.special import logsumexp

from common.lstm import LSTM
from common.population import Population
from common.recurrent import NO_MASKS, Core
from tutor.actor import Environment
from tutor.config import LearnConfig, Quirks
from tutor.learner import TutorLearner
from tutor.sequence_model import make_model

EVENTS = 4
NO_QUIRKS = Quirks()


class Place(NamedTuple):
    event: jax.Array
    """The latest, which is all that rewards depend on."""
    steps: jax.Array
    """Events since the beginning."""
    reward: jax.Array
    """[event before, event]; here so that seeds may walk for different rewards."""
    breaks_at: jax.Array
    """The step whose reward is infinite; −1 for none."""


class Rules(NamedTuple):
    reward: jax.Array
    """[event before, event]"""
    ends: jax.Array
    """Whether an event ends the sequence, bool [event before, event]."""


def reset(key, rules):
    nothing = jnp.zeros((), jnp.int32)
    return nothing, Place(nothing, nothing, rules.reward, jnp.full((), -1, jnp.int32))


def step(key, place, action, rules):
    reward = place.reward[place.event, action]
    reward = jnp.where(place.steps == place.breaks_at, jnp.inf, reward)
    after = place._replace(event=action, steps=place.steps + 1)
    return action, after, reward, rules.ends[place.event, action], {}


def walk(seed=0, *, ends=False):
    """A walk over events that begins at event 0. Rewards are normal; if it `ends`, it does so after
    one pair of events in four."""
    random = np.random.default_rng(seed)
    reward = random.normal(size=(EVENTS, EVENTS))
    where = np.zeros((EVENTS, EVENTS), bool)
    if ends:
        where[np.arange(EVENTS), random.permutation(EVENTS)] = True
    return Environment(reset, step, Rules(jnp.asarray(reward, jnp.float32), jnp.asarray(where)))


class Table(Core):
    """Gives its input on, so that the network is a table; its state counts the events."""

    gates = 1

    def __init__(self, size):
        self.input_size = self.output_size = size

    def initial_state(self, batch_size):
        return jnp.zeros((batch_size, 1))

    def project(self, x, masks=NO_MASKS):
        return x

    def transition(self, state, projected, masks=NO_MASKS):
        return state + 1, projected


def make_table(seed=0):
    """A network that is a table, and its parameters, drawn within ± 1.5."""
    return make_model(
        EVENTS, lambda size, rngs: Table(size), jax.random.key(seed), initial_range=1.5
    )


def make_lstm(num_events=EVENTS, units=5, seed=0, initial_range=0.7):
    """A small LSTM, and parameters large enough for it to use its memory."""

    def core(size, rngs):
        return LSTM(size, units, initial_range=initial_range, forget_bias=1.0, rngs=rngs)

    return make_model(num_events, core, jax.random.key(seed), initial_range=initial_range)


def table_of(params):
    """The numbers of a `make_table` network, [event, next event], float64."""
    return np.float64(params["output_kernel"]) + np.float64(params["output_bias"])


def with_table(params, table):
    """Parameters of a network that is this table."""
    return {
        **params,
        "output_kernel": jnp.asarray(table, jnp.float32),
        "output_bias": jnp.zeros_like(params["output_bias"]),
    }


def log_softmax(scores):
    return scores - logsumexp(scores, axis=-1, keepdims=True)


class Together:
    """A learner with several seeds side by side."""

    def __init__(self, learner):
        self.learner = learner
        self.populations = {}

    def __getattr__(self, name):
        return getattr(self.learner, name)

    def population(self, seeds):
        """The one of these seeds, compiled once."""
        return self.populations.setdefault(seeds, Population(self.learner, seeds))

    def of_state(self, state):
        """A population of as many members as a state has: their names don't matter to it."""
        count = state.seeds.diverged_at.shape[0]
        for seeds, population in self.populations.items():
            if len(seeds) == count:
                return population
        return self.population(tuple(range(count)))

    def initial_state(self, prior, seeds):
        return self.population(seeds).initial_state(partial(self.learner.initial_state, prior))

    def advance(self, state, stop):
        return self.of_state(state).advance(state, stop)

    def collect(self, state):
        """The state and the metrics of each seed under their plain names."""
        population = self.of_state(state)
        state, metrics = population.collect(state)
        each = [
            {
                name.removeprefix(f"seed{seed}/"): value
                for name, value in metrics.items()
                if name.startswith(f"seed{seed}/")
            }
            for seed in population.seeds
        ]
        return state, each


def make_learner(graph, environment, *, num_events=EVENTS, quirks=NO_QUIRKS, **settings):
    return Together(TutorLearner(LearnConfig(**settings), graph, num_events, environment, quirks))


def make_block_learner(graph, environment, *, quirks=NO_QUIRKS, **settings):
    """A learner that may stop after every block of acting and learning."""
    config = LearnConfig(**settings)
    block = math.lcm(config.environments, config.update_every)
    config = replace(config, iterations=1009 * block)  # a prime number of blocks: rounds of one
    learner = TutorLearner(config, graph, EVENTS, environment, quirks)
    assert learner.round_steps == block
    return Together(learner)


def snapshot(tree):
    """A copy in host memory, keys as their numbers: the original may be consumed."""

    def copy(leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return np.array(leaf)

    return jax.tree.map(copy, tree)


def of_seed(tree, place=0):
    """A copy in host memory of what one seed of a population's `seeds`, or a part of it, has."""
    return jax.tree.map(lambda leaf: leaf[place], snapshot(tree))


def assert_same_bits(one, other):
    one, other = snapshot(one), snapshot(other)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    paths = jax.tree_util.tree_leaves_with_path(one)
    for (path, a), b in zip(paths, jax.tree.leaves(other), strict=True):
        name = jax.tree_util.keystr(path)
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, err_msg=name)


@partial(jax.jit, static_argnums=0)
def step_with(graph, params, state, events):
    """One step of a network, outside the learner."""
    return nnx.merge(graph, params).step(state, events)


@partial(jax.jit, static_argnums=0)
def unroll_with(graph, params, events):
    """What a network says after each of the events [N, T], from a zero state."""
    model = nnx.merge(graph, params)
    return model.unroll(model.initial_state(events.shape[0]), events)[1]
