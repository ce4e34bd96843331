"""States of runs as tables."""

from collections.abc import Sequence

from common.table import Table
from experiments.sweep.state import State

RIGHT = frozenset({"speed", "left"})


def state_table(states: Sequence[State]) -> Table:
    """Return a row for each run; columns in which nothing stands are left out."""
    rows = [{"run": str(state.path), **state.cells()} for state in states]
    titles = [title for title in rows[0] if title == "run" or any(row[title] for row in rows)]
    return Table(tuple(titles), [[row[title] for title in titles] for row in rows], RIGHT)
