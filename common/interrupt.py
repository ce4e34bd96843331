"""Turns SIGINT and SIGTERM into a stop at the next safe point, so that a run can save first."""

import os
import select
import signal
import socket
import sys
import threading
import time
from types import FrameType

from common.error import InterruptedRun
from common.process import Process, this_process

SAME_SECONDS = 0.5
"""Signals so soon after the first are the same request: `timeout` and some schedulers send theirs
to a process and to its group."""
PATIENCE_SECONDS = 2.0
"""How long a stop may take before a line says what it waits for."""


class Interrupt:
    """A context that remembers the first signal until it is asked; a later one kills.

    Python hears of a signal between two of its own instructions only, which while a device computes
    or a program is compiled can take minutes. A thread hears of it at once, and sees to it that a
    later signal kills even then.

    Attributes:
      signals: the signals that are remembered.
      received: the number of the signal that this process got, or None.
    """

    signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, process: Process | None = None):
        """Prepare the context.

        Args:
          process: which process this is; by default JAX is asked.
        """
        self.received: int | None = None
        self._raised = False
        self._process = process or this_process()
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Interrupt":
        self._heard, self._told = socket.socketpair()
        self._told.setblocking(False)
        self._previous_told = signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        self._previous = {number: signal.signal(number, self._note) for number in self.signals}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._previous_told)
        self._told.close()
        self._watcher.join()
        self._heard.close()
        if kind is None and not self._raised:
            self.check()  # for a signal after the last check

    def check(self) -> None:
        """Stop, if any of the processes got a signal; call it where stopping loses nothing.

        Raises:
          InterruptedRun: a signal has come. It is raised in all processes at the same call.
        """
        for number in self._process.gather(self.received):
            if number is not None:
                self._raised = True
                raise InterruptedRun(f"stopped by {signal.Signals(number).name}", number)

    def tick(self) -> None:
        """Do what `check` does, unless there are several processes: then nothing.

        For work that each process does by itself, looking round as often as its clock says; they
        come together at the next `check`.

        Raises:
          InterruptedRun: see `check`.
        """
        if self._process.count == 1:
            self.check()

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = self.received or number

    def _watch(self) -> None:
        """Read the numbers of signals as they come, until the context ends."""
        first, patience = None, None
        while True:
            if not select.select([self._heard], [], [], patience)[0]:
                patience = None
                sys.stderr.write("\nstops as soon as this step is done; another signal kills.\n")
                continue
            if not (numbers := self._heard.recv(64)):
                return
            for number in set(numbers) & set(self.signals):
                now = time.monotonic()
                if first is None:
                    first, patience = now, PATIENCE_SECONDS
                elif now - first > SAME_SECONDS:
                    os._exit(128 + number)
