"""Accelerators: choosing a platform before JAX starts, and saying what is there."""

import contextlib
import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import compile_cache
from common.config import differences, suggestion
from common.error import ConfigError
from common.process import Cluster, join

PLATFORMS = ("auto", "cpu", "gpu", "tpu")
"""Names of platforms on the command line; `auto` takes the best that JAX finds."""

_JAX_NAMES = {"cpu": "cpu", "gpu": "cuda", "tpu": "tpu"}
_EXTRAS = {"gpu": "cuda", "tpu": "tpu"}
_PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"
FRACTION, OLD_FRACTION = "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"
"""Variables that tell JAX what share of a GPU's memory to take: as it reads them, and as it did."""


def configure(
    platform: str,
    cache: Path | None,
    cpu_devices: int = 1,
    *,
    tf32: bool = False,
    preallocate: float | None = None,
    cluster: Cluster | None = None,
) -> None:
    """Set JAX up for a platform; call it before anything imports JAX.

    Args:
      platform: one of PLATFORMS.
      cache: folder of compiled programs that outlive the process, or None for no such cache.
      cpu_devices: as how many devices JAX sees the CPU; of a cluster, the CPUs of all processes,
        each of which has its share of them, and one at least.
      tf32: whether matrix products of float32 may be computed in TF32. GPUs only.
      preallocate: share of a GPU's memory to take at the start, 0 to take it as needed; None for
        what the environment says, or else JAX's own.
      cluster: the processes to train with.

    Raises:
      ConfigError: there is no platform of this name, or none on this machine; the platform found
        doesn't know such a setting; or the other processes weren't found.
    """
    if platform not in PLATFORMS:
        raise ConfigError(f"unknown platform '{platform}'.{suggestion(platform, PLATFORMS)}")
    if platform != "auto":
        os.environ["JAX_PLATFORMS"] = _JAX_NAMES[platform]
    if preallocate is not None:
        os.environ[_PREALLOCATE] = "true" if preallocate else "false"
        os.environ.pop(OLD_FRACTION, None)  # JAX refuses to be told by both names
        if preallocate:
            os.environ[FRACTION] = str(preallocate)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import jax
    except ValueError as error:  # a variable of JAX's own with a value that it can't read
        raise ConfigError(
            f"JAX can't start: {error}.\nCorrect that environment variable, or unset it."
        ) from None
    if cache is not None:
        compile_cache.use(cache)
    processes = 1 if cluster is None else join(cluster)
    if (here := cpu_devices // processes) > 1:
        with contextlib.suppress(RuntimeError):  # JAX has started, and sees what it sees
            jax.config.update("jax_num_cpu_devices", here)
    try:
        found = jax.devices()[0].platform
    except (RuntimeError, AssertionError) as error:  # JAX asserts where a plugin is missing
        raise ConfigError(_unavailable(platform, error)) from None
    for option, asked in {
        "--precision tf32": tf32,
        "--preallocate": preallocate is not None,
    }.items():
        if asked and found != "gpu":
            raise ConfigError(f"{option} is for GPUs, and JAX runs on platform '{found}' here.")
    if (precision := matmul_precision(found, tf32=tf32)) is not None:
        jax.config.update("jax_default_matmul_precision", precision)


def matmul_precision(platform: str, *, tf32: bool = False) -> str | None:
    """Return the precision of float32 matrix products on a platform, as JAX names it.

    Accelerators compute them less exactly than float32 unless they are told otherwise; a CPU
    doesn't, so there it stays unset (None).

    Args:
      platform: what JAX calls the platform of a device: `cpu`, `gpu` or `tpu`.
      tf32: whether a GPU may round what products read to TF32.
    """
    if platform == "cpu":
        return None
    return "tensorfloat32" if tf32 else "float32"


def core_numbers() -> tuple[int, ...]:
    """Return the numbers of the CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(core_numbers())


def threads() -> int | None:
    """Return in how many threads small trainings go on at a time: as many as a CPU has cores.

    Returns:
      None on an accelerator, which computes them as one program.
    """
    return cores() if seen("cpu") else None


def seen(platform: str = "") -> int:
    """Return how many devices JAX sees; with a platform's name, 0 where it runs on another."""
    import jax

    devices = jax.devices()
    return len(devices) if platform in ("", devices[0].platform) else 0


def describe(count: int = 1) -> dict[str, Any]:
    """Return facts about the devices, as records hold them.

    Args:
      count: how many of them a training uses.

    Returns:
      `platform` and `kind` of the first device, `count`, and the number
      `seen`, CPU `cores`, `precision` of matrix products, `x64` and `random` as `numerics` has
      them, `memory_bytes` of the device (of the machine, for a CPU); of several processes their
      number, `processes`; of a GPU the share of its memory that is taken at the start,
      `preallocated`, where that isn't JAX's own.
    """
    import jax

    devices = jax.local_devices()
    found: dict[str, Any] = {}
    if jax.process_count() > 1:
        found["processes"] = jax.process_count()
    if devices[0].platform == "gpu" and (share := _preallocated()):
        found["preallocated"] = share
    memory = devices[0].memory_stats() or {}
    return {
        "platform": devices[0].platform,
        "kind": _cpu_name() if devices[0].platform == "cpu" else devices[0].device_kind,
        "count": count,
        "seen": jax.device_count(),
        "cores": cores(),
        **numerics(),
        "memory_bytes": memory.get("bytes_limit") or host_memory(),
        **found,
    }


def require_memory(needed: int, settings: str) -> None:
    """Refuse what can't fit, before JAX tries: there it ends the process without a word to say.

    Args:
      needed: bytes, at least.
      settings: which settings decide that, for the message.

    Raises:
      ConfigError: the device has less.
    """
    there = describe()["memory_bytes"]
    if needed > there:
        raise ConfigError(
            f"these settings need at least {needed / 2**30:,.1f} GiB of memory, and here are "
            f"{there / 2**30:,.1f}. Lower {settings}."
        )


def numerics() -> dict[str, Any]:
    """Return the settings of JAX under which numbers are computed and drawn.

    Returns:
      `precision` of matrix products, `x64` (whether numbers of 64 bits are allowed) and `random`,
      the generator of random numbers.
    """
    import jax

    values = jax.config.values
    partitionable = "" if values["jax_threefry_partitionable"] else ", not partitionable"
    return {
        "precision": values["jax_default_matmul_precision"] or "default",
        "x64": values["jax_enable_x64"],
        "random": values["jax_default_prng_impl"] + partitionable,
    }


def other_numerics(facts: Mapping[str, Any]) -> list[str]:
    """Return in which of `numerics` this process differs from facts that `describe` returned.

    Args:
      facts: what was written before `x64` and `random` were is taken to have JAX's defaults.

    Returns:
      A line `name: then → now` for each.
    """
    import jax

    now = {"platform": jax.devices()[0].platform, **numerics()}
    return differences(numerics_of(facts), numerics_of(now))


def numerics_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return numerics under one name for each meaning: a CPU's products are float32 by default.

    Args:
      facts: as `describe` returned them.
    """
    precision = facts.get("precision", "default")
    if precision == "highest" or (precision == "default" and facts.get("platform") == "cpu"):
        precision = "float32"
    return {
        "precision": precision,
        "x64": facts.get("x64", False),
        "random": facts.get("random", "threefry2x32"),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can change a result."""
    import platform

    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")
    found = {"python": platform.python_version()}
    found.update({name: importlib.metadata.version(name) for name in names})
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # run from its folder alone
        found["highway-tutor"] = importlib.metadata.version("highway-tutor")
    return found


def _preallocated() -> str:
    """What the environment says of a GPU's memory; empty for nothing."""
    if os.environ.get(_PREALLOCATE, "true").lower() in ("false", "0"):
        return "as needed"
    return os.environ.get(FRACTION) or os.environ.get(OLD_FRACTION, "")


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
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    import platform

    return platform.processor() or platform.machine()


def host_memory() -> int:
    """Return the memory of this machine, or of the container that it is, in bytes."""
    import psutil

    limits = [psutil.virtual_memory().total]
    with contextlib.suppress(OSError, ValueError):  # a container's own, in cgroup version 2
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits)
