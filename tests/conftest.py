"""Keeps tests out of the user's cache, and compiles for them quickly and only once a session."""

import contextlib
import ctypes
import fcntl
import gc
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib.metadata import version
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
# The same for how XLA makes loops of fused operations and divides a program among compilers. An
# unknown flag would end the process, and flags come and go: only for versions that have these.
_QUICKER = {"xla_cpu_use_fusion_emitters": "false", "xla_cpu_parallel_codegen_split_count": "1"}
_USUAL = {"xla_cpu_use_fusion_emitters": True, "xla_cpu_parallel_codegen_split_count": 32}
_MUCH = 2 << 30
"""Bytes of a worker from which on it forgets its compiled programs."""
_KNOWS_FLAGS = version("jaxlib").startswith("0.10.")
if _KNOWS_FLAGS:
    _flags = [os.environ.get("XLA_FLAGS", ""), *(f"--{k}={v}" for k, v in _QUICKER.items())]
    os.environ["XLA_FLAGS"] = " ".join(_flags).strip()


def pytest_configure():
    # Looking for garbage as often as usual, among modules and JAX's traces, takes a twelfth of the
    # time.
    gc.set_threshold(10_000, 10, 10)
    import hypothesis
    import jax

    # The same examples in each run, and as long for one as a busy machine takes.
    hypothesis.settings.register_profile("same", derandomize=True, database=None, deadline=None)
    hypothesis.settings.load_profile("same")
    jax.config.update("jax_compilation_cache_dir", str(Path(_CACHE) / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_collection_finish():
    gc.freeze()  # modules stay


def pytest_unconfigure():
    if _OURS:
        shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
    """Programs compiled for a file of tests are of little use to the next, and fill the memory."""
    yield
    if _resident_bytes() > _MUCH:
        import jax

        jax.clear_caches()
        gc.collect()
        with contextlib.suppress(AttributeError):  # of glibc: gives what was freed back
            ctypes.CDLL(None).malloc_trim(0)


def _resident_bytes() -> int:
    """Memory of this process; 0 where the system doesn't tell."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> Callable[[str, Callable[[Path], None]], Path]:
    """(name, what fills a folder) → the folder; of all workers one fills it, each has a copy."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # of all workers

    def folder(name: str, fill: Callable[[Path], None]) -> Path:
        original, own = base / f"{name}-original", tmp_path_factory.mktemp(name)
        with original.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if original.exists():
                shutil.copytree(original, own, symlinks=True, dirs_exist_ok=True)
            else:
                fill(own)
                filling = Path(tempfile.mkdtemp(dir=base))
                shutil.copytree(own, filling, symlinks=True, dirs_exist_ok=True)
                filling.rename(original)  # at once: a worker may end in the middle
        return own

    return folder


@pytest.fixture
def full_optimisation(monkeypatch):
    """XLA compiles as it does for users: for tests of bits."""
    import jax
    from jax._src import compiler  # XLA_FLAGS are read once, and no public setting is above them

    choose = compiler.get_compile_options

    def as_usual(*arguments, **keywords):
        options = choose(*arguments, **keywords)
        options.env_option_overrides = [*options.env_option_overrides, *_USUAL.items()]
        return options

    if _KNOWS_FLAGS:
        monkeypatch.setattr(compiler, "get_compile_options", as_usual)
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
