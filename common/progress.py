"""The live line that says how far a run is."""

import shutil
import sys
import time
from typing import TextIO

PLAIN_SECONDS = 30.0
"""Time between two progress lines where the output isn't a terminal."""


class Progress:
    """Rewrites one line in a terminal; elsewhere prints a line every PLAIN_SECONDS.

    Attributes:
      label: begins every line.
      stream: where lines go.
      visible: whether anything is written at all.
    """

    def __init__(self, label: str, stream: TextIO | None = None, *, visible: bool = True):
        """Prepare the line; nothing is written yet.

        Args:
          label: begins every line.
          stream: where lines go, standard error by default.
          visible: False writes nothing, for a process that isn't the one to talk.
        """
        self.label = label
        self.stream = stream or sys.stderr
        self.visible = visible and self.stream is not None  # None: it was closed from the start
        self._live = self.visible and self.stream.isatty()
        self._last = -PLAIN_SECONDS
        self._open = False

    def show(self, text: str) -> None:
        """Replace the live line by this text, which is true for the moment only."""
        if not self.visible:
            return
        now = time.monotonic()
        if self._live:
            self.stream.write(f"\r\x1b[2K{self._fit(text)}")
            self._open = True
        elif now - self._last >= PLAIN_SECONDS:
            self.stream.write(f"{self.label}  {text}\n")
            self._last = now
        self.stream.flush()

    def note(self, text: str) -> None:
        """Write a line that stays."""
        if not self.visible:
            return
        self.close()
        self.stream.write(f"{self.label}  {text}\n")
        self.stream.flush()

    def close(self) -> None:
        """End the live line, leaving it on the screen."""
        if self._open:
            self.stream.write("\n")
            self.stream.flush()
            self._open = False

    def _fit(self, text: str) -> str:
        """The line cut to the terminal, its label first: one that wraps can't be rewritten."""
        width = shutil.get_terminal_size().columns - 1
        room = width - len(text) - 2
        label = self.label if len(self.label) <= room else self.label[: max(room - 1, 0)] + "…"
        return f"{label}  {text}"[:width] if room > 4 else text[:width]


def about(seconds: float) -> str:
    """Return seconds as `1.1 h`, `18 min` or `2 s`."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 60:
        return f"{seconds / 60:.0f} min"
    return f"{max(seconds, 1):.0f} s"


def duration(seconds: float) -> str:
    """Return seconds as `2 h 05 min`, `3 min 07 s` or `12 s`."""
    whole = int(seconds + 0.5)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole} s"
