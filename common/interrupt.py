"""Turns SIGINT and SIGTERM into a stop at the next safe point, so that a run can save first."""

import signal
from types import FrameType

from common.error import InterruptedRun
from common.process import Process, this_process


class Interrupt:
    """A context that remembers the first signal until it is asked; a second one kills as usual.

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
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Interrupt":
        self._previous = {number: signal.signal(number, self._note) for number in self.signals}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def check(self) -> None:
        """Stop, if any of the processes got a signal; call it where stopping loses nothing.

        Raises:
          InterruptedRun: a signal has come. It is raised in all processes at the same call.
        """
        for number in self._process.gather(self.received):
            if number is not None:
                raise InterruptedRun(f"stopped by {signal.Signals(number).name}", number)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = number
        for known in self.signals:
            signal.signal(known, signal.SIG_DFL)
