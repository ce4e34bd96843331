"""Tunings of one seed by several numbers of simulated devices, as JSON; see test_divided_tuning.py.

`python divided_tuning.py 1,2,8 NAME ...` tunes by these of LEARNERS; the numbers rise from 1.
"""

import json
import re
import sys
import tempfile
from functools import partial
from pathlib import Path

import jax
import numpy as np
from learner_case import EVENTS, NO_QUIRKS, make_lstm, walk

from common.checkpoint import Checkpoints, abstract
from common.error import ConfigError
from common.mesh import make_mesh
from common.population import Population
from tutor.config import LearnConfig, PolicyGradientConfig, Quirks
from tutor.learner import TutorLearner
from tutor.policy_gradient import PolicyGradientLearner

CAPACITY = 72
"""No multiple of the environments on any device: some stores reach over two parts."""
FEW = LearnConfig(
    iterations=400, environments=8, update_every=4, replay_capacity=CAPACITY, batch_size=8,
    learning_rate=3e-3, epsilon_iterations=300,
)  # fmt: skip
BOLTZMANN = {"exploration": "boltzmann", "bootstrap_at_end": False}
CALLED: list[int] = []
"""How many sequences each call of Python got."""


def scored(environment):
    """The same walk, its rewards from a call of Python."""

    def score(reward):
        CALLED.append(np.size(reward))
        return np.asarray(reward, np.float32)

    def step(key, state, action, params):
        action, after, reward, done, info = environment.step(key, state, action, params)
        shape = jax.ShapeDtypeStruct((), np.float32)
        reward = jax.pure_callback(score, shape, reward, vmap_method="broadcast_all")
        return action, after, reward, done, info

    return environment._replace(step=step)


def values(quirks=NO_QUIRKS, scored_in_python=False, **settings):
    config = LearnConfig(**{**vars(FEW), **settings})

    def make(graph):
        environment = scored(walk(ends=True)) if scored_in_python else walk(ends=True)
        return TutorLearner(config, graph, EVENTS, environment, quirks)

    return make


def policy(environments=8):
    config = PolicyGradientConfig(
        iterations=400, environments=environments, sequence_steps=10, learning_rate=3e-3
    )
    if 400 % (environments * 10):
        config = PolicyGradientConfig(iterations=50, environments=5, sequence_steps=10)
    return lambda graph: PolicyGradientLearner(config, graph, walk(ends=True), 6)


LEARNERS = {
    "q": values(),
    "psi": values(method="psi", **BOLTZMANN),
    "g": values(method="g", **BOLTZMANN),
    "g that trains its prior": values(Quirks(trains_prior=True), method="g", **BOLTZMANN),
    "scored in Python": values(scored_in_python=True),
    "policy gradient": policy(),
}


def begin(make, devices):
    """A population of one, and its first state."""
    graph, prior = make_lstm()
    learner = make(graph)
    one = Population(learner, (0,), mesh=make_mesh(devices))
    return one, one.initial_state(partial(learner.initial_state, prior))


def result(one, state):
    """What a tuning has learned, done and stored, and its metrics."""
    state, metrics = one.collect(state)
    (member,) = one.members(state)
    found = {
        "metrics": metrics,
        "weights": [float(abs(leaf).sum()) for leaf in jax.tree.leaves(member.params)],
    }
    if hasattr(member, "replay"):
        rows = member.replay.rows
        found["did"] = [np.asarray(a).tolist() for a in (rows.action, member.actor.observation)]
        found["felt"] = np.asarray(rows.reward).ravel().tolist()
    return state, found


def moved(text):
    """Sizes of what devices send one another, as far as it has the memory's length."""
    sent = re.findall(r"= (.*?) (?:all-|collective-|reduce-scatter)", text)
    return [one for one in sent if re.search(rf"\[(1,)?{CAPACITY}[,\]]", one)]


def tune(name, devices, by, most):
    """Tunes in two halves; `by` takes, for this number of devices, what others go on with.

    The second half of the tuning by most devices is also done by each fewer, and of the tuning by
    fewest by most.
    """
    CALLED.clear()
    one, state = begin(LEARNERS[name], devices)
    structure, several = abstract(state), len(by) == 1  # the first number of devices after 1
    text = one._advance.lower(state, np.int32(0)).compile().as_text() if several else ""
    state, first = result(one, one.advance(state, 200))
    saved = keep(state) if devices == most or not by else None
    by[devices] = one, structure, saved
    state, second = result(one, one.advance(state, 400))
    found = {
        "halves": [first, second],
        "used": sorted({len(leaf.sharding.device_set) for leaf in jax.tree.leaves(state)}),
        "compiled": one._advance._cache_size(),
        "moved": moved(text),
        "calls": [len(CALLED), *sorted(set(CALLED))],
        "held": {
            name: leaf.addressable_data(0).shape[1]
            for name in ("replay", "actor")
            if hasattr(state.seeds, name)
            for leaf in jax.tree.leaves(getattr(state.seeds, name))
        },
    }
    if devices == most:
        fewest = next(iter(by.values()))
        found["by fewer"] = [go_on(*by[n][:2], saved) for n in by if n < devices]
        found["by more"] = go_on(one, structure, fewest[2])
    return found


def keep(state):
    """A folder in which a state is saved."""
    folder = Path(tempfile.mkdtemp()) / "checkpoints"
    checkpoints = Checkpoints(folder)
    checkpoints.save(state, {})
    checkpoints.close()
    return folder


def go_on(one, initial, folder):
    """The second half, by other devices than the first."""
    checkpoints = Checkpoints(folder)
    state, _ = checkpoints.restore_latest(initial, print)
    checkpoints.close()
    return result(one, one.advance(state, 400))[1]


def of_two_seeds(devices):
    """What two seeds come to that are scored in Python; each device has one, or one has both."""
    graph, prior = make_lstm()
    learner = LEARNERS["scored in Python"](graph)
    one = Population(learner, (0, 1), mesh=make_mesh(devices))
    state = one.initial_state(partial(learner.initial_state, prior))
    return one.collect(one.advance(state, 200))[1]


def refused(make):
    try:
        begin(make, 2)
    except ConfigError as error:
        return str(error)
    return "no error"


def main() -> None:
    jax.config.update("jax_num_cpu_devices", 8)
    found = {}
    numbers, *names = sys.argv[1:]
    counts = [int(number) for number in numbers.split(",")]
    for name in names:
        by: dict[int, tuple] = {}  # populations, each compiled once
        found[name] = {n: tune(name, n, by, counts[-1]) for n in counts}
    wrong = [
        values(environments=1),
        values(environments=5, update_every=5, replay_capacity=100),
        values(replay_capacity=8),
        values(batch_size=7),
        policy(5),
    ]
    seeds = [of_two_seeds(devices) for devices in (1, 2)]
    told = {"tuned": found, "seeds": seeds, "refused": [refused(make) for make in wrong]}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
