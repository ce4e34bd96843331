"""Lowers what each of two simulated devices computes in experiments; started by test_lowering.py.

`python two_devices.py NAME ...` prints, as JSON, experiment → program → for how many devices it was
lowered, and whether they divide any of its arrays.
"""

import json
import re
import sys

import jax

from experiments import lowering
from experiments.registry import find

EVEN = {"rhn_optimization": ["search.settings=2"], "highway_depth": ["search.members=2"]}
"""Settings with which two devices can divide the smallest preset."""


def main() -> None:
    jax.config.update("jax_num_cpu_devices", 2)
    found = {}
    for name in sys.argv[1:]:
        traced = lowering.trace(find(name), "smoke", EVEN.get(name, []), devices=2)
        found[name] = {program: read(one) for program, one in traced.items()}
    print(json.dumps(found))


def read(traced):
    text = traced.lower(lowering_platforms=lowering.PLATFORMS).as_text()
    (devices,) = re.findall(r"num_partitions = (\d+)", text)
    return [int(devices), '{"data"}' in text]


if __name__ == "__main__":
    main()
