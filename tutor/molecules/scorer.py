"""Molecules measured by a pool of processes, each once; a process that hangs or dies is replaced.

The pool is our own because a pool of the standard library neither survives a worker's death nor
knows how long one molecule may take.
"""

import atexit
import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.error import ConfigError
from tutor.molecules.chemistry import Value, require_rdkit
from tutor.molecules.worker import READY

Values = tuple[Value, ...] | None
"""What was measured of a molecule, in the order asked for; None where it is none."""

START_SECONDS = 120.0
"""Longest time for a process to import RDKit."""
ATTEMPTS = 2
"""Times that a molecule may hang or kill a process before it counts as none."""
_AT_ONCE = 16
"""Molecules given to a process at a time."""
_BLOCK = 1 << 16


@dataclass
class Throughput:
    """What a scorer did so far."""

    measured: int = 0
    """Molecules measured by processes."""
    known: int = 0
    """Molecules that were asked for again."""
    seconds: float = 0.0
    """That scoring took, from a call to its answer; calls of several threads come one by one."""
    replaced: int = 0
    """Processes that hung or died."""
    given_up: int = 0
    """Molecules that count as none because processes hung or died over them."""


@dataclass
class _Worker:
    """A process, and the molecules that it has still to answer for."""

    process: subprocess.Popen
    waiting: deque[str] = field(default_factory=deque)
    begun: float = 0.0
    """When the first of them was begun, at the latest."""
    unread: bytes = b""


class _Died(Exception):
    """A worker's output ended."""


class Scorer:
    """Measures properties of molecules; the same molecule only once.

    It may be called by several threads, one at a time. Processes start with the first molecule.
    """

    def __init__(
        self,
        names: Sequence[str],
        functions: Sequence[str] = (),
        *,
        workers: int = 1,
        timeout: float = 10.0,
        remembered: int = 200_000,
    ):
        """Make a scorer, without processes yet.

        Args:
          names: of `chemistry.PROPERTIES`.
          functions: the user's own, each `module:function`, of RDKit's molecule.
          workers: processes.
          timeout: seconds after which a molecule that isn't answered is taken to hang its process.
          remembered: molecules whose values are kept, at most; the latest asked for stay.

        Raises:
          ConfigError: RDKit isn't installed.
        """
        require_rdkit()
        self.names, self.functions = tuple(names), tuple(functions)
        self.timeout, self.throughput = timeout, Throughput()
        self._size, self._remembered = workers, remembered
        self._known: OrderedDict[str, Values] = OrderedDict()
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()

    def measure(self, molecules: Sequence[str]) -> list[Values]:
        """Return the values of each molecule, its names' first, then its functions'.

        Raises:
          ConfigError: a function of the user's can't be imported, or failed.
        """
        with self._lock:
            begin = time.monotonic()
            wanted = dict.fromkeys(molecules)
            new = [one for one in wanted if one not in self._known]
            found = self._ask(new) if new else {}
            self.throughput.measured += len(new)
            self.throughput.known += len(molecules) - len(new)
            for one in wanted:
                if one in self._known:
                    self._known.move_to_end(one)
                    found[one] = self._known[one]
                else:
                    self._known[one] = found[one]
            while len(self._known) > self._remembered:
                self._known.popitem(last=False)
            self.throughput.seconds += time.monotonic() - begin
            return [found[one] for one in molecules]

    def close(self) -> None:
        """End the processes; the scorer may be asked again, and starts others."""
        for worker in self._workers:
            _end(worker)
        self._workers.clear()
        atexit.unregister(self.close)

    def _ask(self, molecules: Iterable[str]) -> dict[str, Values]:
        """Let the processes measure different molecules."""
        todo = deque(molecules)
        found: dict[str, Values] = {}
        failures: dict[str, int] = {}
        try:
            self._fill()
            while todo or any(worker.waiting for worker in self._workers):
                for worker in self._workers:
                    if todo and not worker.waiting:
                        self._give(worker, todo)
                for worker in self._ready():
                    try:
                        found |= self._answers(worker)
                    except _Died:
                        self._replace(worker, todo, failures, found)
                for worker in list(self._workers):
                    if self._hangs(worker, found):
                        self._replace(worker, todo, failures, found)
        except BaseException:
            self.close()  # answers that are still to come would be taken for those of others
            raise
        return found

    def _fill(self) -> None:
        """Start the processes that are missing, all at once, and wait until they are ready."""
        if not self._workers:
            atexit.register(self.close)
        new = [_start(self.names, self.functions) for _ in range(self._size - len(self._workers))]
        self._workers += new
        for worker in new:
            self._await_ready(worker)

    def _await_ready(self, worker: _Worker) -> None:
        deadline = time.monotonic() + START_SECONDS
        try:
            while not (lines := _read(worker, deadline - time.monotonic())):
                if time.monotonic() > deadline:
                    raise ConfigError(f"RDKit didn't start within {START_SECONDS:.0f} seconds.")
        except _Died:
            raise ConfigError(
                "a process that measures molecules ended as it began; does this work?\n"
                f"{sys.executable} -m tutor.molecules.worker '[]' '[]'"
            ) from None
        if lines[0] != READY:
            raise ConfigError(f"molecules can't be measured: {lines[0]['error']}")

    def _give(self, worker: _Worker, todo: deque[str]) -> None:
        """Give a process the next molecules."""
        share = max(1, min(_AT_ONCE, len(todo) // len(self._workers)))
        worker.waiting.extend(todo.popleft() for _ in range(min(share, len(todo))))
        worker.begun = time.monotonic()
        text = "".join(json.dumps(one) + "\n" for one in worker.waiting)
        with contextlib.suppress(OSError):  # it died; its output ends, too
            assert worker.process.stdin is not None
            worker.process.stdin.write(text.encode())
            worker.process.stdin.flush()

    def _ready(self) -> list[_Worker]:
        """Wait until a process answers, or may have been at a molecule for too long."""
        with selectors.DefaultSelector() as selector:
            busy = [worker for worker in self._workers if worker.waiting]
            for worker in busy:
                assert worker.process.stdout is not None
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            first = min(worker.begun for worker in busy)
            left = max(0.0, first + self.timeout - time.monotonic())
            return [key.data for key, _ in selector.select(left + 0.01)]

    def _answers(self, worker: _Worker) -> dict[str, Values]:
        found: dict[str, Values] = {}
        for answer in _read(worker, 0.0):
            if isinstance(answer, dict):
                raise ConfigError(answer["error"])
            found[worker.waiting.popleft()] = None if answer is None else tuple(answer)
            worker.begun = time.monotonic()
        return found

    def _hangs(self, worker: _Worker, found: dict[str, Values]) -> bool:
        """Return whether a process is at a molecule for too long.

        What it has answered while another one was started is taken first.
        """
        if not self._late(worker):
            return False
        try:
            found.update(self._answers(worker))
        except _Died:
            return True
        return self._late(worker)

    def _late(self, worker: _Worker) -> bool:
        """Return whether a process owes an answer for longer than the timeout."""
        return bool(worker.waiting) and time.monotonic() - worker.begun > self.timeout

    def _replace(
        self,
        worker: _Worker,
        todo: deque[str],
        failures: dict[str, int],
        found: dict[str, Values],
    ) -> None:
        """Put another process in the place of one that hung or died, and ask again."""
        _end(worker)
        self.throughput.replaced += 1
        suspect, *others = worker.waiting
        todo.extendleft(reversed(others))
        failures[suspect] = failures.get(suspect, 0) + 1
        if failures[suspect] < ATTEMPTS:
            todo.appendleft(suspect)
        else:
            found[suspect] = None
            self.throughput.given_up += 1
        self._workers.remove(worker)
        self._fill()


def _start(names: Sequence[str], functions: Sequence[str]) -> _Worker:
    """Begin a process that finds modules where this one does."""
    command = [sys.executable, "-m", "tutor.molecules.worker"]
    command += [json.dumps(names), json.dumps(functions)]
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    return _Worker(process)


def _end(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.wait()
    for pipe in (worker.process.stdin, worker.process.stdout):
        assert pipe is not None
        with contextlib.suppress(OSError):
            pipe.close()


def _read(worker: _Worker, seconds: float) -> list[Any]:
    """Return the answers that came, waiting for the first at most so long.

    Raises:
      _Died: there are none, and no more will come.
    """
    stream = worker.process.stdout
    assert stream is not None
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        if not selector.select(max(seconds, 0.0)):
            return []
    block = os.read(stream.fileno(), _BLOCK)
    if not block:
        raise _Died
    *lines, worker.unread = (worker.unread + block).split(b"\n")
    return [json.loads(line) for line in lines]
