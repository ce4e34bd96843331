"""Starts JAX for a command: on which platform, with how many devices, in which process.

Also the command `devices`. JAX is imported by nothing here before it is configured.
"""

import argparse
import json
import os
from typing import Any

from common import device
from common.datasets import default_cache_dir
from common.error import ConfigError
from common.process import Cluster, this_process
from experiments.registry import Experiment, find


def configure(platform: str, cpu_devices: int = 1, **settings: Any) -> None:
    """Choose a platform before JAX starts, and keep compiled programs in the user's cache.

    Args:
      platform: as `--platform` has it.
      cpu_devices: how many devices a CPU shows.
      settings: of `common.device.configure`.
    """
    cache = None
    if not os.environ.get("HIGHWAY_TUTOR_NO_COMPILE_CACHE"):
        cache = default_cache_dir() / "compiled"
    device.configure(platform, cache, cpu_devices, **settings)


def devices_of(experiment: Experiment, options: argparse.Namespace) -> int:
    """Start JAX; return among how many devices a training is divided, as asked for or by default.

    Raises:
      ConfigError: the experiment doesn't divide its trainings, or there are not as many devices.
    """
    asked: int | None = options.mesh
    cluster = _cluster(options)
    if not experiment.divisible and cluster is not None:
        raise ConfigError(f"{experiment.name} trains on one device: one process is enough.")
    _require_divisible(experiment, asked or 1)
    wanted = asked or max(1, min(experiment.cpu_devices, device.cores()))
    settings = {"tf32": options.precision == "tf32", "preallocate": options.preallocate}
    if cluster is None:
        configure(options.platform, asked or started_with(experiment), **settings)
    else:
        configure(options.platform, asked or 1, cluster=cluster, **settings)
    found = device.seen()
    if this_process().count > 1:
        if asked not in (None, found):
            raise ConfigError(
                f"--mesh data={asked}: several processes divide a training among all of their "
                f"devices, and these are {found}."
            )
        return found
    if asked is None:
        return wanted if device.seen("cpu") >= wanted else 1
    require_seen(asked)
    return asked


def started_with(experiment: Experiment) -> int:
    """Return how many devices of a CPU a run needs by default.

    It is the larger of the experiment's own number and that of the one that it starts from, which
    may have to be trained first, in this process.
    """
    counts = [experiment.cpu_devices]
    if experiment.upstream:
        counts.append(find(experiment.upstream).cpu_devices)
    return max(1, min(max(counts), device.cores()))


def require_seen(devices: int) -> None:
    """Raise ConfigError unless JAX sees so many devices."""
    if (found := device.seen()) < devices:
        raise ConfigError(f"--mesh data={devices}: JAX sees {found} devices here.")


def _require_divisible(experiment: Experiment, devices: int) -> None:
    if not experiment.divisible and devices > 1:
        raise ConfigError(f"--mesh data={devices}: {experiment.name} trains on one device.")


def _cluster(options: argparse.Namespace) -> Cluster | None:
    """The processes to join, or None for this one alone."""
    named = (options.coordinator, options.processes, options.process)
    if named == (None, None, None):
        return Cluster() if options.distributed else None
    if None in named or options.distributed:
        raise ConfigError(
            "several processes: give --coordinator, --processes and --process together, or "
            "--distributed alone."
        )
    if options.process >= options.processes:
        raise ConfigError(
            f"--process {options.process}: of --processes {options.processes} they are numbered "
            f"from 0 to {options.processes - 1}."
        )
    return Cluster(options.coordinator, options.processes, options.process)


def devices(options: argparse.Namespace) -> None:
    """Say which devices there are, or which programs of an experiment lower for others."""
    configure(options.platform, options.mesh or 1)
    if options.check is not None:
        _check(find(options.check), options)
        return
    if options.preset or options.overrides or options.precision != "float32" or options.mesh:
        raise ConfigError("--preset, --set, --precision and --mesh are for --check NAME.")
    found = device.describe()
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"platform   {found['platform']}")
    print(f"devices    {found['seen']} × {found['kind']} ({found['cores']} CPU cores)")
    print(f"precision  float32, matrix products: {found['precision']}")
    print(f"memory     {found['memory_bytes'] / 2**30:.1f} GiB")


def _check(experiment: Experiment, options: argparse.Namespace) -> None:
    """Say which programs of an experiment lower for which platforms.

    Raises:
      ConfigError: one doesn't, or its trainings can't be divided as asked for.
    """
    from experiments import lowering

    preset = experiment.preset_name(options.preset or experiment.default_preset)
    devices: int = options.mesh or 1
    _require_divisible(experiment, devices)
    require_seen(devices)
    traced = lowering.trace(experiment, preset, options.overrides, options.precision, devices)
    found = lowering.lower(traced)
    failed = [one for one in found if one.error]
    if options.json:
        print(json.dumps([one._asdict() for one in found], indent=1))
    elif not found:
        print(f"{experiment.name} computes nothing on a device again and again.")
    else:
        width = max(len(one.program) for one in found)
        for one in found:
            print(f"{one.program:{width}s}  {one.platform:4s}  {one.error or 'lowers'}")
    if failed:
        raise ConfigError(f"{len(failed)} of {len(found)} can't be lowered.")
