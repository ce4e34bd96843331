"""What a sweep shows while it runs: a live table in a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from common.progress import PLAIN_SECONDS
from experiments.sweep.local import Entry, Stage, indented
from experiments.sweep.view import summary

ORDER: tuple[Stage, ...] = ("running", "failed", "stopped", "elsewhere", "waiting", "done")
"""Which runs are shown first, where a terminal hasn't lines for all."""
AROUND = 5
"""Lines of a terminal that aren't rows."""


def make_watcher(at_a_time: int, stream: TextIO | None = None) -> "Live | Lines":
    """Return what suits a stream, by default standard error."""
    stream = stream or sys.stderr
    return Live(at_a_time, stream) if stream.isatty() else Lines(at_a_time, stream)


class Lines:
    """A line for each change, and every PLAIN_SECONDS how far the runs are."""

    def __init__(self, at_a_time: int, stream: TextIO):
        """Write to a stream; `at_a_time` runs go on side by side."""
        self.at_a_time, self.stream = at_a_time, stream
        self._last = time.monotonic()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.flush()

    def changed(self, entry: Entry) -> None:
        """Write the new state of a run."""
        score = f"  {entry.state.cells()['score']}" if entry.stage == "done" else ""
        self._write(f"{entry.job.name}: {entry.shown}{score}")
        for line in entry.trouble[entry.stage == "done" :]:  # "diverged" is said already
            self._write(indented(line))

    def look(self, entries: Sequence[Entry], *, stopping: bool) -> None:
        """Write how far the runs are, if it's time to."""
        if time.monotonic() - self._last < PLAIN_SECONDS:
            return
        self._last = time.monotonic()
        self._write(told(entries, self.at_a_time, stopping=stopping))
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

    def __init__(self, at_a_time: int, stream: TextIO):
        """Write to a terminal; `at_a_time` runs go on side by side."""
        from rich.console import Console
        from rich.live import Live as RichLive

        self.at_a_time = at_a_time
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
        lines = [told(entries, self.at_a_time, stopping=stopping)]
        if hidden := len(entries) - len(first):
            lines.insert(0, f"… and {hidden} more")
        return Group(grid, *map(Text, lines))


def told(entries: Sequence[Entry], at_a_time: int, *, stopping: bool) -> str:
    """Return how many runs are in which state, and how long the rest takes."""
    left = sum(entry.stage == "running" for entry in entries)
    if stopping and left:
        return f"stopping: {left} {'run saves' if left == 1 else 'runs save'}; another signal kills"
    failed = sum(entry.stage == "failed" for entry in entries)
    text = summary([e.job for e in entries], [e.state for e in entries], at_a_time)
    return f"{text}; {failed} failed" if failed else text
