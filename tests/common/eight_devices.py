"""What learners make of 1, 2 and 8 simulated devices, as JSON; started by test_mesh.py."""

import json
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import jax.numpy as jnp
import numpy as np
from test_population import Descent

from common import mesh
from common.checkpoint import Checkpoints, abstract, digest
from common.compute import Compute
from common.error import ConfigError
from common.lstm import LSTM
from common.mesh import make_mesh
from common.population import Population
from common.window import make_windows
from highway.config import LanguageModelConfig, ModelConfig, SearchConfig, TrainConfig
from highway.learner import LanguageModelLearner
from highway.roll_model import pad
from highway.roll_search import RollSearch
from tutor.config import PriorConfig
from tutor.prior import PriorLearner


def core(size, rngs):
    return LSTM(size, 6, initial_range=0.1, forget_bias=1.0, rngs=rngs)


def learner(devices, batch=8):
    config = PriorConfig(batch_size=batch, steps=9, masked=2, learning_rate=0.01)
    data = [np.arange(start, start + 9 + start) % 5 for start in range(5)]
    divided = make_mesh(devices)
    return PriorLearner(config, 5, core, data, initial_range=0.1, mesh=divided)


def language(devices, batch=8):
    model = ModelConfig(
        units=6,
        depth=2,
        layers=2,
        masks="separate",
        tied=False,
        dropout_x=0.1,
        dropout_i=0.2,
        dropout_h=0.2,
        dropout_o=0.3,
    )
    train = TrainConfig(batch_size=batch, steps=5, weight_decay=1e-3, clip_norm=0.5)
    windows = make_windows(np.arange(600) ** 2 % 11, batch, 5, split="train")
    config = LanguageModelConfig(model=model, train=train)
    return LanguageModelLearner(config, 11, windows, Compute("jax"), make_mesh(devices))


def run(one):
    state = one.advance(one.initial_state(0), 20)
    leaves = jax.tree.leaves(state)
    used = {len(leaf.sharding.device_set) for leaf in leaves}
    state, metrics = one.collect(state)
    state, more = one.collect(one.advance(state, 40))
    weights = [float(abs(leaf).sum()) for leaf in jax.tree.leaves(state.params)]
    sums = list(metrics.values()), list(more.values()), weights
    return [list(used), *sums, one._advance._cache_size()]


def search(devices):
    config = SearchConfig(settings=8, epochs=2, batch_size=2)
    rolls = [np.eye(4 + k, 6, dtype=np.uint8) for k in range(4)]
    model = ModelConfig(core="dt_rnn", depth=1, units=5, tied=False)
    shuffle, divided = jax.random.key(9), make_mesh(devices)
    one = RollSearch(model, config, pad(rolls[:3]), pad(rolls[3:]), shuffle, mesh=divided)
    state = one.advance(one.initial_state(jax.random.key(1), jax.random.key(2)), 2)
    used = {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(state)}
    tests = one.losses(state, pad(rolls)).tolist()
    return [list(used), one.collect(state)[1], tests, digest(state), one._epoch._cache_size()]


class Reader(Descent):
    """Looks in a table that all members share."""

    def round(self, state, step, table):
        return super().round(state, step, jnp.sum(table[(step + jnp.arange(2)) % len(table)]))


def members(devices, seeds=range(8)):
    """A population, and a function that makes its first state."""
    one = Population(Reader(), seeds, (np.arange(5.0),), mesh=make_mesh(devices))
    begin = partial(
        one.initial_state, lambda seed: Descent().initial_state(seed, 10.0 ** (seed - 3))
    )
    return one, begin


def population(one, begin):
    state, metrics = one.collect(one.advance(begin(), 4))
    state = one.advance(state, 200)
    used = {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(state)}
    found = [digest(member) for member in one.members(state)]
    diverged = state.seeds.diverged_at.tolist()
    return [list(used), metrics, found, diverged, digest(state), one._advance._cache_size()]


def moved(first, second):
    """The digest of what a population comes to that is saved, and goes on with other devices."""
    one, begin = first
    state, _ = one.collect(one.advance(begin(), 4))
    with TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder) / "checkpoints")
        checkpoints.save(state, {})
        one, begin = second
        state, _ = checkpoints.restore_latest(abstract(begin()), print)
        checkpoints.close()
    return digest(one.advance(state, 200))


def held(axes):
    """Bytes in all memory, and on the first device: as foretold, and as it is."""
    four = make_mesh(4)
    specs = {name: mesh.spec(axis) for name, axis in axes.items()}
    tree = {name: (np.zeros((8, 12), "f"), np.zeros((4, 4), np.int8)) for name in axes}
    made = jax.tree.leaves(mesh.put(tree, four, specs))
    parts = [[part.data.nbytes for part in leaf.addressable_shards] for leaf in made]
    together, several = mesh.held_bytes(tree, four, specs), mesh._devices_a_memory
    mesh._devices_a_memory = lambda mesh: 1  # as where each has its own
    alone = mesh.held_bytes(tree, four, specs)
    mesh._devices_a_memory = several
    return [together, sum(map(sum, parts))], [alone, sum(part[0] for part in parts)]


def held_members(devices):
    member = jax.eval_shape(lambda: Descent().initial_state(0, 1.0))
    return Population(Descent(), range(8), mesh=make_mesh(devices)).held_bytes(member)


def refused(make):
    try:
        make()
    except ConfigError as error:
        return str(error)
    return "no error"


def main() -> None:
    jax.config.update("jax_num_cpu_devices", 8)
    populations = {n: members(n) for n in (1, 2, 8)}
    found = {
        "note_rnn": {n: run(learner(n)) for n in (1, 2, 8)},
        "language": {n: run(language(n)) for n in (1, 2, 8)},
        "search": {n: search(n) for n in (1, 2, 8)},
        "population": {n: population(*one) for n, one in populations.items()},
        "moved": [moved(populations[n], populations[m]) for n, m in ((1, 8), (2, 8), (8, 2))],
        "held": [leaf.addressable_data(0).shape[1] for leaf in language(8).windows],
        "bytes": [held({"a": None}), held({"a": 0, "b": None}), held({"a": 1})],
        "members": [held_members(1), held_members(2)],
        "refused": [
            refused(lambda: learner(2, batch=5)),
            refused(lambda: language(2, batch=5)),
            refused(lambda: members(2, range(3))),
        ],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
