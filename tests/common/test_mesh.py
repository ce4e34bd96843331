"""A batch divided among devices: what one device computes, to rounding; in processes of two."""

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
jax.config.update("jax_num_cpu_devices", 2)
from common.error import ConfigError
from common.lstm import LSTM
from common.mesh import make_mesh
from tutor.config import PriorConfig
from tutor.prior import PriorLearner

def core(size, rngs):
    return LSTM(size, 6, initial_range=0.1, forget_bias=1.0, rngs=rngs)

def learner(devices, batch=6):
    config = PriorConfig(batch_size=batch, steps=9, masked=2, learning_rate=0.01)
    data = [np.arange(start, start + 9 + start) % 5 for start in range(5)]
    mesh = make_mesh(devices)
    return PriorLearner(config, 5, core, data, initial_range=0.1, mesh=mesh)

found = []
for devices in (1, 2):
    one = learner(devices)
    state = one.advance(one.initial_state(0), 20)
    used = len(state.params["output_bias"].sharding.device_set)
    state, metrics = one.collect(state)
    state, more = one.collect(one.advance(state, 40))
    found.append([used, list(metrics.values()), list(more.values()), one._advance._cache_size()])
try:
    learner(2, batch=5)
except ConfigError as error:
    found.append(str(error))
print(json.dumps(found))
"""


def test_two_devices_learn_what_one_does():
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    one, two, refusal = json.loads(done.stdout)
    assert (one[0], two[0]) == (1, 2)
    assert two[1] == pytest.approx(one[1], rel=1e-5)
    assert two[2] == pytest.approx(one[2], rel=1e-5)
    assert two[3] == 1  # compiled once
    assert "prior.batch_size=5 can't be divided evenly by 2 devices" in refusal


def test_one_device_needs_no_mesh():
    x = jnp.arange(3.0)
    assert make_mesh(1) is None
    assert replicate(x, None) is x
    assert summed(lambda w, x: w * jnp.sum(x), None, 2.0, x) == 6
