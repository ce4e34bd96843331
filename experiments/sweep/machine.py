"""What this machine has, and how it is divided among runs side by side. Imports no JAX."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common import device
from common.error import ConfigError

RUN_BYTES = 2**30
"""About what a small run on a CPU takes of memory. A run that needs more is refused by itself where
the whole machine hasn't that, not where its share of it hasn't: then give fewer `--jobs`."""
PREALLOCATED = 0.9
"""The share of a GPU's memory that runs which share it take together."""


@dataclass(frozen=True)
class Machine:
    """What runs can be given."""

    cores: tuple[int, ...]
    """Numbers of the CPU cores that this process may use."""
    memory: int
    """Bytes."""
    gpus: tuple[str, ...] = ()
    """As CUDA_VISIBLE_DEVICES names them."""
    tpu: bool = False


@dataclass(frozen=True)
class Slot:
    """The share of the machine that one run at a time is given."""

    cores: tuple[int, ...]
    """Empty for all: a sweep of one run at a time takes nothing from it."""
    gpu: str | None = None
    sharing: int = 1
    """How many slots have the same GPU."""

    def environment(self, before: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a run in this slot.

        Args:
          before: that of the sweep. What it says of memory and of XLA stays.
        """
        changed = dict(before)
        if self.cores:
            count = str(len(self.cores))
            changed |= dict.fromkeys(("NPROC", "OMP_NUM_THREADS"), count)
            changed["OPENBLAS_NUM_THREADS"] = count
        if len(self.cores) == 1:  # else XLA keeps threads that would only wait
            flags = before.get("XLA_FLAGS", "")
            if "multi_thread_eigen" not in flags:
                changed["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
        if self.gpu is not None:
            changed["CUDA_VISIBLE_DEVICES"] = self.gpu
            told = before.keys() & {device.FRACTION, device.OLD_FRACTION}
            if self.sharing > 1 and not told:  # JAX refuses to be told by both names
                changed[device.FRACTION] = f"{PREALLOCATED / self.sharing:.3f}"
        return changed


@dataclass(frozen=True)
class Places:
    """How many runs go on side by side, and on what, as the hours that they take depend on it."""

    count: int
    cores: int | None
    """CPU cores that they share; None where each has as many as its preset promises hours for."""
    accelerators: int
    """That they share; 0 for none."""

    def each(self, promised: int) -> int:
        """Return on how many cores a run goes on, of those for which its hours are promised."""
        return promised if self.cores is None else max(1, min(promised, self.cores // self.count))


def look(platform: str) -> Machine:
    """Look what this machine has for runs on a platform of `common.device.PLATFORMS`."""
    return Machine(
        device.core_numbers(),
        device.host_memory(),
        tuple(_gpus()) if _may_be(platform, "gpu", "cuda") else (),
        _may_be(platform, "tpu") and importlib.util.find_spec("libtpu") is not None,
    )


def jobs_at_a_time(machine: Machine, runs: int, asked: int | None = None) -> int:
    """Return how many runs go on side by side: as asked for, or as many as there are places.

    On a CPU that is one run a core, while there is RUN_BYTES for each; on GPUs one run each. A TPU
    belongs to one process.

    Args:
      machine: where.
      runs: how many there are in all.
      asked: a number to take instead; fewer where there are fewer runs, so that no core is idle.

    Raises:
      ConfigError: the machine hasn't room for as many.
    """
    if asked is not None:
        if machine.tpu and asked > 1:
            raise ConfigError(f"--jobs {asked}: a TPU belongs to one process at a time.")
        if asked > len(machine.cores):
            raise ConfigError(f"--jobs {asked}: there are {len(machine.cores)} CPU cores here.")
        return min(asked, max(1, runs))
    if machine.tpu:
        return 1
    most = len(machine.gpus) or max(1, machine.memory // RUN_BYTES)
    return max(1, min(len(machine.cores), most, runs))


def divide(machine: Machine, jobs: int) -> list[Slot]:
    """Divide a machine's cores and GPUs among so many runs side by side."""
    gpus: Sequence[str | None] = machine.gpus or (None,)
    sharing = -(-jobs // len(gpus))
    if jobs == 1:
        return [Slot((), gpus[0])]
    count = len(machine.cores)
    bounds = [k * count // jobs for k in range(jobs + 1)]
    return [
        Slot(machine.cores[bounds[k] : bounds[k + 1]], gpus[k % len(gpus)], sharing)
        for k in range(jobs)
    ]


def places(machine: Machine, jobs: int) -> Places:
    """Return what so many runs side by side have of a machine."""
    return Places(jobs, len(machine.cores), len(machine.gpus) or int(machine.tpu))


def _may_be(platform: str, name: str, *aliases: str) -> bool:
    """Whether runs on a platform may find themselves on `name`, which JAX has other names for."""
    if platform != "auto":
        return platform == name
    told = os.environ.get("JAX_PLATFORMS", "")
    return not told or not {name, *aliases}.isdisjoint(told.split(","))


def _gpus() -> list[str]:
    """The GPUs that JAX would see, if it is installed for them."""
    names = (dist.metadata["Name"] or "" for dist in importlib.metadata.distributions())
    if not any(name.replace("_", "-").startswith("jax-cuda") for name in names):
        return []
    if (told := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [one.strip() for one in told.split(",") if one.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    lines = [line for line in done.stdout.splitlines() if line.startswith("GPU ")]
    return [str(k) for k in range(len(lines))]
