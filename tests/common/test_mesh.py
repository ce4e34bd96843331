"""A batch divided among devices: what one device computes, to rounding; in a process of 8."""

import json
import os
import subprocess
import sys

import jax.numpy as jnp
import pytest

from common.mesh import make_mesh, replicate, summed

SCRIPT = """
import json
import jax
import numpy as np
jax.config.update("jax_num_cpu_devices", 8)
from common.error import ConfigError
from common.compute import Compute
from common.lstm import LSTM
from common.mesh import make_mesh
from common.window import make_windows
from highway.config import LanguageModelConfig, ModelConfig, TrainConfig
from highway.learner import LanguageModelLearner
from tutor.config import PriorConfig
from tutor.prior import PriorLearner

def core(size, rngs):
    return LSTM(size, 6, initial_range=0.1, forget_bias=1.0, rngs=rngs)

def learner(devices, batch=6):
    config = PriorConfig(batch_size=batch, steps=9, masked=2, learning_rate=0.01)
    data = [np.arange(start, start + 9 + start) % 5 for start in range(5)]
    mesh = make_mesh(devices)
    return PriorLearner(config, 5, core, data, initial_range=0.1, mesh=mesh)

def language(devices, kernel="scan", batch=8):
    model = ModelConfig(units=6, depth=2, layers=2, masks="separate", tied=False, dropout_x=0.1,
                        dropout_i=0.2, dropout_h=0.2, dropout_o=0.3)
    train = TrainConfig(batch_size=batch, steps=5, weight_decay=1e-3, clip_norm=0.5)
    windows = make_windows(np.arange(600) ** 2 % 11, batch, 5, split="train")
    config = LanguageModelConfig(model=model, train=train)
    return LanguageModelLearner(config, 11, windows, Compute(kernel), make_mesh(devices))

def run(one):
    state = one.advance(one.initial_state(0), 20)
    leaves = jax.tree.leaves(state)
    used = {len(leaf.sharding.device_set) for leaf in leaves}
    state, metrics = one.collect(state)
    state, more = one.collect(one.advance(state, 40))
    weights = [float(abs(leaf).sum()) for leaf in jax.tree.leaves(state.params)]
    sums = list(metrics.values()), list(more.values()), weights
    return [list(used), *sums, one._advance._cache_size()]

found = {"note_rnn": {n: run(learner(n)) for n in (1, 2)}}
found["language"] = {
    n: run(language(n, kernel)) for n, kernel in ((1, "jax"), (2, "scan"), (8, "jax"))
}
found["held"] = [leaf.addressable_data(0).shape[1] for leaf in language(8).windows]
for make in (learner, language):
    try:
        make(2, batch=5)
    except ConfigError as error:
        found.setdefault("refused", []).append(str(error))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("trained", ["note_rnn", "language"])
def test_several_devices_learn_what_one_does(found, trained):
    one = found[trained].pop("1")
    assert one[0] == [1]
    for devices, these in found[trained].items():
        assert these[0] == [int(devices)]
        for part in (1, 2, 3):
            assert these[part] == pytest.approx(one[part], rel=1e-5)
        assert these[-1] == 1  # compiled once


def test_each_device_holds_its_part_of_the_windows(found):
    assert found["held"] == [1, 1]


def test_what_cannot_be_divided_evenly_is_refused(found):
    for text, setting in zip(found["refused"], ("prior", "train"), strict=True):
        assert f"{setting}.batch_size=5 can't be divided evenly by 2 devices" in text


def test_one_device_needs_no_mesh():
    x = jnp.arange(3.0)
    assert make_mesh(1) is None
    assert replicate(x, None) is x
    assert summed(lambda w, x: w * jnp.sum(x), None, 2.0, x) == 6
