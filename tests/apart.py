"""Runs a script of the tests in a process of its own, where it can tell JAX what to start with."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run_apart(script: Path, *arguments: str) -> Any:
    """Run it on a CPU; return the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
