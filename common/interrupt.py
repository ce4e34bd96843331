"""Turns SIGINT and SIGTERM into a stop at the next safe point, so that a run can save first."""

import signal
from types import FrameType

from common.error import InterruptedRun


class Interrupt:
    """While it is entered, the first signal is remembered and a second one kills as usual."""

    signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self.received: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Interrupt":
        self._previous = {number: signal.signal(number, self._note) for number in self.signals}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def check(self) -> None:
        """Raises InterruptedRun if a signal has come. Call it where stopping loses nothing."""
        if self.received is not None:
            name = signal.Signals(self.received).name
            raise InterruptedRun(f"stopped by {name}", self.received)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = number
        for known in self.signals:
            signal.signal(known, signal.SIG_DFL)
