"""Several processes training together: which one this is, and how they agree."""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from common.alarm import Alarm
from common.config import differences
from common.error import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Process:
    """One of the processes that run the same program on the devices of one training.

    Clocks, signals and files differ between processes, and a process that acts on its own leaves
    the others waiting for it. So process 0 decides and writes, and the others follow. `gather`,
    `decide` and `lead` wait for all processes: each process must call them, in the same order.
    With a single process they cost nothing.
    """

    index: int = 0
    """From 0 to `count - 1`."""
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is process 0, which decides and writes."""
        return self.index == 0

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, in the order of their indices.

        Args:
          value: anything that can be pickled.
        """
        return [value] if self.count == 1 else _gather(value)

    def decide(self, value: T) -> T:
        """Return the value that process 0 has."""
        return self.gather(value)[0]

    def require_same(self, facts: Mapping[str, Any]) -> None:
        """Refuse, in all processes, to go on where they were given different things.

        Args:
          facts: name → value, or names and values in turn; all can be pickled.

        Raises:
          ConfigError: facts differ; names them, and the first process that isn't as process 0.
        """
        first, *others = self.gather(facts)
        for index, other in enumerate(others, start=1):
            if changed := differences(first, other):
                more = f"; and {len(changed) - 3} more" if len(changed) > 3 else ""
                raise ConfigError(
                    f"process {index} differs from process 0 (0 → {index}): "
                    f"{'; '.join(changed[:3])}{more}.\n"
                    "Give all of them the same command, code and data."
                )

    def lead(self, work: Callable[[], T]) -> T:
        """Call `work` in process 0 only; return its result, or raise its error, in all."""
        result: Any = None
        error: Exception | None = None
        if self.leads:
            try:
                result = work()
            except Exception as raised:
                if self.count == 1:
                    raise
                error = raised
        result, error = self.decide((result, error))
        if error is not None:
            raise error
        return result


@dataclass(frozen=True)
class Cluster:
    """The processes that train together, as one of them is told; or the cluster tells JAX."""

    coordinator: str = ""
    """Address and port of process 0, HOST:PORT; empty where the cluster's environment is to tell
    all of this, as Cloud TPU, Slurm and Open MPI do."""
    processes: int = 0
    """How many there are."""
    process: int = 0
    """Which of them this is, from 0."""


_alarm: Alarm | None = None
"""Where this process has joined others."""

JOINING_JAX = "0.10 to 0.12"
"""Versions whose inner part `_joined_by_jax` knows."""
JOIN_SECONDS = 300
"""How long processes wait for one another at the start."""


def join(cluster: Cluster) -> int:
    """Join the other processes; before JAX looks for devices. A second time does nothing.

    Returns:
      How many processes there are, which a cluster's environment may have told JAX.

    Raises:
      ConfigError: the environment names no cluster, or the others weren't found.
    """
    global _alarm
    import jax

    joined_by_jax = _joined_by_jax()
    if jax.distributed.is_initialized():
        return joined_by_jax.num_processes
    told: dict[str, Any] = {}
    if cluster.coordinator:
        told = {
            "coordinator_address": cluster.coordinator,
            "num_processes": cluster.processes,
            "process_id": cluster.process,
            "cluster_detection_method": "deactivate",
        }
    try:
        jax.distributed.initialize(**told, initialization_timeout=JOIN_SECONDS)
    except (ValueError, RuntimeError) as error:
        first = (str(error).splitlines() or ["no reason given"])[0]
        if cluster.coordinator:
            raise ConfigError(
                f"process {cluster.process} of {cluster.processes} didn't find the others by "
                f"{cluster.coordinator}: {first}\nStart all with the same --coordinator and "
                "--processes, and --process 0, 1, ...; process 0 on the coordinator's machine."
            ) from None
        raise ConfigError(
            f"--distributed: JAX finds no cluster in this environment: {first}\n"
            "Name the processes: --coordinator HOST:PORT --processes N --process K."
        ) from None
    _alarm = Alarm(joined_by_jax.client, joined_by_jax.process_id)
    return joined_by_jax.num_processes


def _joined_by_jax() -> Any:
    """What JAX knows of the processes that it has joined: `client`, `process_id`, `num_processes`.

    JAX has no public name for it, and `jax.process_count` would look for devices.

    Raises:
      ConfigError: this version of JAX keeps it elsewhere.
    """
    import jax

    try:
        from jax._src.distributed import global_state

        _ = global_state.client, global_state.process_id, global_state.num_processes
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"several processes can't be joined by JAX {jax.__version__} ({error}).\n"
            f"This is known to work with JAX {JOINING_JAX}."
        ) from None
    return global_state


def joined() -> Alarm | None:
    """Return what this process and those that it has joined tell each other by; None of one."""
    return _alarm


_LOST = (
    "Gloo",
    "NCCL",
    "heartbeat",
    "oordination service",
    "Connection reset",
    "Connection closed",
)


def is_lost(error: BaseException) -> bool:
    """Whether an error of one of several processes tells that another can't be reached."""
    return any(word in str(error) for word in _LOST)


def this_process() -> Process:
    """Return the place of this process among those that JAX knows of; starts JAX."""
    import jax

    return Process(jax.process_index(), jax.process_count())


def _gather(value: T) -> list[T]:
    """Exchanges pickles, padded to the longest of them, as arrays of bytes."""
    import numpy as np
    from jax.experimental.multihost_utils import process_allgather

    content = np.frombuffer(pickle.dumps(value), np.uint8)
    lengths = process_allgather(np.int32(len(content)))
    padded = np.zeros(lengths.max(), np.uint8)
    padded[: len(content)] = content
    rows = process_allgather(padded)
    return [pickle.loads(row[:n].tobytes()) for row, n in zip(rows, lengths, strict=True)]
