"""The live line that says how far a run is."""

import shutil
import sys
import time
from typing import TextIO

PLAIN_SECONDS = 30.0
"""Between two lines where the output isn't a terminal."""


class Progress:
    """Rewrites one line in a terminal; elsewhere prints a line now and then."""

    def __init__(self, label: str, stream: TextIO | None = None):
        """`label` begins every line."""
        self.label = label
        self.stream = stream or sys.stderr
        self._live = self.stream.isatty()
        self._last = -PLAIN_SECONDS
        self._open = False

    def show(self, text: str) -> None:
        """The state of things now."""
        now = time.monotonic()
        if self._live:
            self.stream.write(f"\r\x1b[2K{self._fit(text)}")
            self._open = True
        elif now - self._last >= PLAIN_SECONDS:
            self.stream.write(f"{self.label}  {text}\n")
            self._last = now
        self.stream.flush()

    def note(self, text: str) -> None:
        """A line that stays."""
        self.close()
        self.stream.write(f"{self.label}  {text}\n")
        self.stream.flush()

    def _fit(self, text: str) -> str:
        """The line cut to the terminal, its label first: one that wraps can't be rewritten."""
        width = shutil.get_terminal_size().columns - 1
        room = width - len(text) - 2
        label = self.label if len(self.label) <= room else self.label[: max(room - 1, 0)] + "…"
        return f"{label}  {text}"[:width] if room > 4 else text[:width]

    def close(self) -> None:
        """Ends the live line, leaving it to be read."""
        if self._open:
            self.stream.write("\n")
            self.stream.flush()
            self._open = False


def duration(seconds: float) -> str:
    """Seconds as `2 h 05 min`, `3 min 07 s` or `12 s`."""
    whole = int(seconds + 0.5)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole} s"
