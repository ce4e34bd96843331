"""Keeps tests out of the user's cache, and compiles for them quickly and only once a session."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

# Set before anything imports JAX; children inherit it. Workers of pytest-xdist share the folder.
_OURS = "HIGHWAY_TUTOR_CACHE" not in os.environ
if _OURS:
    os.environ["HIGHWAY_TUTOR_CACHE"] = tempfile.mkdtemp(prefix="highway-tutor-tests-")
_CACHE = os.environ["HIGHWAY_TUTOR_CACHE"]
os.environ["JAX_PLATFORMS"] = "cpu"
# Several times faster to compile, and the numbers are the same but for rounding.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"


def pytest_configure():
    import jax

    jax.config.update("jax_compilation_cache_dir", str(Path(_CACHE) / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_unconfigure():
    if _OURS:
        shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture
def full_optimisation(monkeypatch):
    """XLA compiles as it does for users: for tests of bits."""
    import jax

    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB; skips where this machine doesn't let us mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
