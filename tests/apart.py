"""Runs Python in a process of its own, where JAX can be told how many devices to start with."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run_apart(script: Path, *arguments: str) -> Any:
    """Run a script of the tests on a CPU; return the JSON that it prints."""
    return json.loads(_python(str(script), *arguments))


def train_apart(out: Path, name: str, *arguments: str) -> None:
    """Train an experiment's smoke preset on a CPU, from the command line; runs lie in `out`."""
    _python("-m", "experiments", "run", name, "--preset", "smoke", "--out", str(out), *arguments)


def _python(*arguments: str) -> str:
    flags = os.environ.get("XLA_FLAGS", "").split()
    own = {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "XLA_FLAGS": " ".join(flag for flag in flags if "device_count" not in flag),
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
