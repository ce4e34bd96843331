"""Keeps tests out of the user's cache; compiled programs are shared by all tests of a session."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

# Set before anything imports JAX; children inherit it. Workers of pytest-xdist share the folder.
_CACHE = os.environ.setdefault(
    "HIGHWAY_TUTOR_CACHE", tempfile.mkdtemp(prefix="highway-tutor-tests-")
)
os.environ["JAX_PLATFORMS"] = "cpu"


def pytest_configure():
    import jax

    jax.config.update("jax_compilation_cache_dir", str(Path(_CACHE) / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


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
