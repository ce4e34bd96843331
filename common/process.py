"""Several processes training together: which one this is, and how they agree."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

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
