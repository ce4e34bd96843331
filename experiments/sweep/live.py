"""What a sweep shows while it runs: a live table in a terminal, plain lines elsewhere."""

import math
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from common.progress import PLAIN_SECONDS
from experiments.sweep.local import Entry, Stage, indented
from experiments.sweep.machine import Places
from experiments.sweep.view import summary

ORDER: tuple[Stage, ...] = ("running", "failed", "stopped", "elsewhere", "waiting", "done")
"""Which runs are shown first, where a terminal hasn't lines for all."""
AROUND = 5
"""Lines of a terminal that aren't rows."""


def make_watcher(places: Places, stream: TextIO | None = None) -> "Live | Lines":
    """Return what suits a stream, by default standard error."""
    stream = stream or sys.stderr
    return Live(places, stream) if stream.isatty() else Lines(places, stream)


class Lines:
    """A line for each change; how far all are first, every PLAIN_SECONDS, and at the end."""

    def __init__(self, places: Places, stream: TextIO):
        """Write to a stream; `places` is on what runs go on side by side."""
        self.places, self.stream = places, stream
        self._entries: Sequence[Entry] = ()
        self._last = -math.inf
        self._told = ""

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        text = told(self._entries, self.places, stopping=True)
        if self._entries and text != self._told:
            self._write(text)

    def changed(self, entry: Entry) -> None:
        """Write the new state of a run."""
        self._told = ""  # how far all are comes after the last change
        score = f"  {entry.state.cells()['score']}" if entry.stage == "done" else ""
        self._write(f"{entry.job.name}: {entry.shown}{score}")
        for line in entry.trouble[entry.stage == "done" :]:  # "diverged" is said already
            self._write(indented(line))

    def look(self, entries: Sequence[Entry], *, stopping: bool) -> None:
        """Write how far the runs are, if it's time to."""
        self._entries = entries
        if time.monotonic() - self._last < PLAIN_SECONDS:
            return
        self._last = time.monotonic()
        self._told = told(entries, self.places, stopping=stopping)
        self._write(self._told)
        for entry in entries:
            cells = entry.state.cells()
            if entry.stage == "running" and cells["progress"]:
                left = f"{cells['left']} left" if cells["left"] else ""
                self._write(f"    {entry.job.name}: {cells['progress']}  {cells['score']}  {left}")

    def _write(self, text: str) -> None:
        self.stream.write(f"{text.rstrip()}\n")
        self.stream.flush()


class Live:
    """A table in a terminal that is rewritten in place."""

    def __init__(self, places: Places, stream: TextIO):
        """Write to a terminal; `places` is on what runs go on side by side."""
        from rich.console import Console
        from rich.live import Live as RichLive

        self.places = places
        self._console = Console(file=stream, highlight=False)
        self._live = RichLive(console=self._console, auto_refresh=False)

    def __enter__(self) -> "Live":
        self._live.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._live.__exit__(*exception)

    def changed(self, entry: Entry) -> None:
        """The table shows it with the next look."""

    def look(self, entries: Sequence[Entry], *, stopping: bool) -> None:
        """Rewrite the table."""
        room = max(1, self._console.height - AROUND)
        self._live.update(self._table(entries, room, stopping), refresh=True)

    def _table(self, entries: Sequence[Entry], room: int, stopping: bool) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        first = sorted(entries, key=lambda entry: ORDER.index(entry.stage))[:room]
        grid = Table(box=None, padding=(0, 2, 0, 0))
        for title in ("run", "state", "progress", "score"):
            grid.add_column(title, no_wrap=True)
        grid.add_column("left", justify="right", no_wrap=True)
        for entry in [entry for entry in entries if entry in first]:
            cells = entry.state.cells()
            note = entry.why if entry.stage == "failed" else cells["progress"]
            texts = (entry.job.name, entry.shown, note, cells["score"], cells["left"])
            grid.add_row(*map(Text, texts))
        lines = [told(entries, self.places, stopping=stopping)]
        if hidden := len(entries) - len(first):
            lines.insert(0, f"… and {hidden} more")
        return Group(grid, *map(Text, lines))


def told(entries: Sequence[Entry], places: Places, *, stopping: bool) -> str:
    """Return how many runs are in which state, and how long the rest takes."""
    left = sum(entry.stage == "running" for entry in entries)
    if stopping and left:
        return f"stopping: {left} {'run saves' if left == 1 else 'runs save'}; another signal kills"
    others = [entry for entry in entries if entry.stage != "failed"]
    jobs, states = [entry.job for entry in others], [entry.state for entry in others]
    return summary(jobs, states, places, failed=len(entries) - len(others))
