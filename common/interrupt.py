"""Turns SIGINT and SIGTERM into a stop at the next safe point, so that a run can save first."""

import os
import select
import signal
import socket
import sys
import threading
from types import FrameType

from common.error import InterruptedRun
from common.process import Process, this_process

PATIENCE_SECONDS = 2.0
"""How long a stop may take before a line says what it waits for."""


class Interrupt:
    """A context that remembers the first signal until it is asked; a second one kills as usual.

    Python hears of a signal between two of its own instructions only, which while a device computes
    or a program is compiled can take minutes. A thread hears of it at once, and sees to it that a
    second signal kills even then.

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
        self._process = process or this_process()
        self._raised = False
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
        if kind is None and not self._raised:  # for a signal after the last check
            self.check()

    def check(self) -> None:
        """Stop, if any of the processes got a signal; call it where stopping loses nothing.

        Raises:
          InterruptedRun: a signal has come. It is raised in all processes at the same call.
        """
        for number in self._process.gather(self.received):
            if number is not None:
                self._raised = True
                raise InterruptedRun(f"stopped by {signal.Signals(number).name}", number)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = number
        for known in self.signals:
            signal.signal(known, signal.SIG_DFL)

    def _watch(self) -> None:
        """Reads the numbers of signals as they come, until the context ends."""
        first: int | None = None
        patience: float | None = None
        while True:
            if not select.select([self._heard], [], [], patience)[0]:
                patience = None
                sys.stderr.write("\nstops as soon as this step is done; a second signal kills.\n")
                continue
            if not (numbers := self._heard.recv(64)):
                return
            for number in numbers:
                if number in self.signals and first is not None:
                    os._exit(128 + number)
                if number in self.signals:
                    first, patience = number, PATIENCE_SECONDS
