"""Accelerators: choosing a platform before JAX starts, and saying what is there."""

import importlib.metadata
import os
from pathlib import Path
from typing import Any

from common.error import ConfigError

_JAX_NAMES = {"cpu": "cpu", "gpu": "cuda", "tpu": "tpu"}
_EXTRAS = {"gpu": "cuda", "tpu": "tpu"}


def configure(platform: str, cache: Path | None) -> None:
    """Sets JAX up for a platform; call it before anything imports JAX.

    cache is the folder of compiled programs that survive the process, or None for no such cache.
    Raises ConfigError where the platform isn't there.
    """
    if platform != "auto":
        os.environ["JAX_PLATFORMS"] = _JAX_NAMES[platform]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import jax

    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    try:
        found = jax.devices()[0].platform
    except (RuntimeError, AssertionError) as error:  # JAX asserts where a plugin is missing
        raise ConfigError(_unavailable(platform, error)) from None
    if found != "cpu":  # whose default products of float32 arrays are less exact than float32
        jax.config.update("jax_default_matmul_precision", "float32")


def describe() -> dict[str, Any]:
    """Platform and kind of the devices, how many are seen and used, precision, memory in bytes."""
    import jax

    devices = jax.devices()
    memory = devices[0].memory_stats() or {}
    return {
        "platform": devices[0].platform,
        "kind": _cpu_name() if devices[0].platform == "cpu" else devices[0].device_kind,
        "count": 1,  # a training runs on one device
        "seen": len(devices),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "precision": jax.config.values["jax_default_matmul_precision"] or "default",
        "memory_bytes": memory.get("bytes_limit") or _host_memory(),
    }


def versions() -> dict[str, str]:
    """Python and the packages whose versions can change a result."""
    import platform

    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")
    found = {"python": platform.python_version()}
    found.update({name: importlib.metadata.version(name) for name in names})
    return found


def _unavailable(platform: str, error: Exception) -> str:
    if platform in _EXTRAS:
        return (
            f"platform '{platform}' isn't available here: JAX finds no such device.\n"
            f'On a machine that has one: pip install -e ".[{_EXTRAS[platform]}]" in the project\'s '
            "folder; or use --platform auto."
        )
    first_line = (str(error).splitlines() or ["no device"])[0]
    return f"JAX can't start on platform '{platform}': {first_line}\nTry --platform cpu."


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    import platform

    return platform.processor() or platform.machine()


def _host_memory() -> int:
    import psutil

    return psutil.virtual_memory().total
