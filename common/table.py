"""Numbers summarised over seeds, and tables of them as Markdown, as JSON and in a terminal."""

import functools
import math
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TextIO

Cell = str | int | float | None

CONFIDENCE = 0.95
RESAMPLES = 9999
LEAST_FOR_INTERVAL = 3
COVERAGE = {3: 75, 5: 84, 8: 89}
"""Values → in how many of 100 samples of a normal distribution their interval holds its mean."""
LEAST_FOR_MIDDLE = 8
"""Values from which on two or more are left out on either side of the interquartile mean."""
TOO_NARROW = (
    "Of few seeds such an interval is too narrow: it holds the true mean with 3 in about "
    "{} % of cases, with 5 in {} %, with 8 in {} %."
).format(*COVERAGE.values())
"""What a legend says of intervals."""
GUTTER = 2
"""Columns of space between two cells in a terminal."""
NARROW = 12
"""Columns that a cell beside its title needs at least."""


@dataclass(frozen=True)
class Summary:
    """Values of one quantity over seeds."""

    mean: float
    low: float | None
    """Ends of the 95 % bootstrap interval of the mean; None with fewer than three values."""
    high: float | None
    values: tuple[float, ...]
    middle: float | None = None
    """Interquartile mean, without the lowest and highest quarter; None with fewer than eight
    values."""
    middle_low: float | None = None
    """Ends of its 95 % bootstrap interval."""
    middle_high: float | None = None


def summarize(values: Sequence[float]) -> Summary:
    """Return the mean of at least one value, with an interval from three finite values on.

    The interval is the percentile bootstrap of the mean. It is too narrow for few values (see
    `COVERAGE`; for three it is just their range), but unlike BCa it exists for every sample, equal
    values included. The same values in any order give the same interval. From eight values on there
    is an interquartile mean with its own interval, too. Raises ValueError if there are no values.
    """
    if not values:
        raise ValueError("no values to summarize")
    mean = statistics.fmean(values)
    known = all(math.isfinite(value) for value in values)
    if len(values) < LEAST_FOR_INTERVAL or not known:
        return Summary(mean, None, None, tuple(values))
    # Imported here: scipy.stats takes longer to import than everything else a table needs.
    import numpy as np
    from scipy.stats import trim_mean

    ordered = sorted(values)
    if ordered[0] == ordered[-1]:
        mean = ordered[0]  # a sum of them would round
    low, high = _interval(ordered, np.mean)
    if len(values) < LEAST_FOR_MIDDLE:
        return Summary(mean, low, high, tuple(values))
    inner = functools.partial(trim_mean, proportiontocut=0.25)
    ends = _interval(ordered, inner)
    return Summary(mean, low, high, tuple(values), float(inner(ordered)), *ends)


def _interval(values: list[float], statistic: Callable[..., Any]) -> tuple[float, float]:
    if values[0] == values[-1]:
        return values[0], values[0]
    import numpy as np  # as above
    from scipy.stats import bootstrap

    result = bootstrap(
        (values,),
        statistic,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


@dataclass(frozen=True)
class Table:
    """Rows of cells under column titles."""

    titles: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    right: frozenset[str] = frozenset()
    """Titles of the columns aligned to the right."""

    def __post_init__(self):
        """Raise ValueError where a row hasn't one cell per title."""
        for row in self.rows:
            if len(row) != len(self.titles):
                raise ValueError(f"{len(row)} cells under {len(self.titles)} titles: {list(row)}")

    def markdown(self) -> str:
        """Return GitHub Markdown with padded columns, ending in a newline.

        A cell's own Markdown is kept; only what would break the table is escaped.
        """
        from rich.cells import cell_len

        lines = [[_escape(cell) for cell in row] for row in (self.titles, *self.rows)]
        widths = [max(3, *(cell_len(line[k]) for line in lines)) for k in range(len(self.titles))]
        right = [title in self.right for title in self.titles]

        def pad(text: str, k: int) -> str:
            space = " " * (widths[k] - cell_len(text))
            return space + text if right[k] else text + space

        rule = ["-" * (w - 1) + ":" if r else "-" * w for w, r in zip(widths, right, strict=True)]
        texts = [[pad(text, k) for k, text in enumerate(line)] for line in lines]
        return "".join(f"| {' | '.join(line)} |\n" for line in (texts[0], rule, *texts[1:]))

    def render(self, stream: TextIO | None = None) -> str:
        """Return the form for a stream (standard output by default), with every cell whole.

        For a terminal that is a table with folded cells, or where even words wouldn't fit beside
        one another each row as a block of `title  cell` lines; otherwise it is laid out as in
        Markdown, but with commas for line breaks, since nobody turns `<br>` into one.
        """
        stream = stream or sys.stdout
        if not stream.isatty():
            return self._broken_by(", ").markdown()
        return self._broken_by("\n")._for_terminal(stream)

    def _broken_by(self, line_break: str) -> "Table":
        """The table with this in the place of the cells' line breaks."""

        def broken(cell: Cell) -> str:
            return line_break.join(_text(cell).replace("<br>", "\n").splitlines())

        rows = [[broken(cell) for cell in row] for row in self.rows]
        return Table(tuple(map(broken, self.titles)), rows, frozenset(map(broken, self.right)))

    def _for_terminal(self, stream: TextIO) -> str:
        from rich.console import Console

        console = Console(file=stream, highlight=False)
        widths = self._widths(console.width)
        with console.capture() as capture:
            if widths is not None:
                console.print(self._grid(widths))
            else:
                for row in self.rows:
                    console.print(self._block(row, console.width))
                    console.print()
        return capture.get()

    def _widths(self, width: int) -> list[int] | None:
        """Column widths that break lines between words only; None where there's no room for that.

        Left to itself rich would shrink the widest columns first and break their words.
        """
        from rich.cells import cell_len

        columns = [
            [title, *(_text(row[k]) for row in self.rows)] for k, title in enumerate(self.titles)
        ]
        whole = [max(map(cell_len, column)) for column in columns]
        least = [max(cell_len(w) for t in column for w in t.split() or [""]) for column in columns]
        spare = width - sum(least) - GUTTER * len(columns)
        if spare < 0:
            return None
        wanted = max(1, sum(whole) - sum(least))
        share = min(1.0, spare / wanted)
        return [low + int(share * (high - low)) for low, high in zip(least, whole, strict=True)]

    def _grid(self, widths: Sequence[int]):
        from rich.table import Table as Grid
        from rich.text import Text

        grid = Grid(box=None, padding=(0, GUTTER, 0, 0))
        for title, width in zip(self.titles, widths, strict=True):
            side: Literal["left", "right"] = "right" if title in self.right else "left"
            grid.add_column(Text(title), justify=side, width=width, overflow="fold")
        for row in self.rows:
            grid.add_row(*(Text(_text(cell)) for cell in row))
        return grid

    def _block(self, row: Sequence[Cell], width: int):
        """A row as lines `title  cell`, or where that leaves no room, each cell below its title."""
        from rich.cells import cell_len
        from rich.console import ConsoleRenderable, Group
        from rich.padding import Padding
        from rich.table import Table as Grid
        from rich.text import Text

        cells = [(title, _text(cell)) for title, cell in zip(self.titles, row, strict=True)]
        cells = [(title, text) for title, text in cells if text]
        if width < max(cell_len(title) for title, _ in cells) + 2 + NARROW:
            lines: list[ConsoleRenderable] = []
            for title, text in cells:
                lines += [Text(title, style="bold"), Padding(Text(text, overflow="fold"), (0, 2))]
            return Group(*lines)
        grid = Grid.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for title, text in cells:
            grid.add_row(Text(title), Text(text))
        return grid


def _text(cell: Cell) -> str:
    return "" if cell is None else str(cell)


def _escape(cell: Cell) -> str:
    """The cell with pipes (and backslashes right before them) escaped, line ends as `<br>`."""
    one_line = "<br>".join(_text(cell).splitlines())
    return re.sub(r"(\\*)\|", r"\1\1\\|", one_line)
