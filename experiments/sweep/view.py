"""States of runs as tables and lines."""

import shlex
from collections import Counter
from collections.abc import Sequence

from common.table import Table
from experiments.sweep.plan import Job
from experiments.sweep.slurm import Task
from experiments.sweep.state import Kind, State

RIGHT = frozenset({"speed", "left", "hours"})
SHOWN: tuple[Kind, ...] = ("finished", "diverged", "running", "stopped", "waiting", "damaged")


def state_table(states: Sequence[State]) -> Table:
    """Return a row for each run; columns in which nothing stands are left out."""
    return _table([{"run": str(state.path), **state.cells()} for state in states])


def plan_text(
    jobs: Sequence[Job],
    states: Sequence[State],
    at_a_time: int,
    *,
    commands: bool,
    tasks: Sequence[Task | None] | None = None,
) -> str:
    """Return the runs of a sweep, and how far they are.

    Args:
      jobs: the runs.
      states: of each job.
      at_a_time: how many go on side by side.
      commands: whether to add those that do what isn't finished.
      tasks: what Slurm has in its queue for each job.
    """
    queue = tasks or [None] * len(jobs)
    rows = [
        {"run": job.name, **state.cells(), "Slurm": _task(task)}
        | {"hours": _hours(job.hours, job.estimated)}
        for job, state, task in zip(jobs, states, queue, strict=True)
    ]
    told = [_table(rows).render().rstrip(), summary(jobs, states, at_a_time)]
    if commands:
        left = [job for job, state in zip(jobs, states, strict=True) if not state.ended]
        told += ["\n".join(shlex.join(["python", *job.command()[1:]]) for job in left)]
    return "\n\n".join(told).rstrip()


def _task(task: Task | None) -> str:
    if task is None:
        return ""
    reason = "" if task.reason in ("None", "") else f" ({task.reason})"
    return f"{task.number} {task.state.lower()}{reason}"


def summary(jobs: Sequence[Job], states: Sequence[State], at_a_time: int) -> str:
    """Return how many runs are in which state, and how long the rest is expected to take."""
    counts = Counter(state.kind for state in states)
    told = ", ".join(f"{counts[kind]} {kind}" for kind in SHOWN if counts[kind])
    text = f"{len(jobs)} {'run' if len(jobs) == 1 else 'runs'}: {told}"
    left = [
        (job.hours * _undone(state), job.estimated)
        for job, state in zip(jobs, states, strict=True)
        if not state.ended
    ]
    if not left:
        return text
    hours = max(sum(one for one, _ in left) / at_a_time, *(one for one, _ in left), 0.0)
    expected = _hours(hours, any(estimated for _, estimated in left))
    return f"{text}; {expected} expected, {at_a_time} at a time, as the presets have it"


def _undone(state: State) -> float:
    """The share of a run that is still to do, as far as it is known."""
    return 1 - state.step / state.total if state.total and not state.part else 1.0


def _hours(hours: float, estimated: bool) -> str:
    return f"{'about ' if estimated else ''}{hours:.2g} h"


def _table(rows: Sequence[dict[str, str]]) -> Table:
    titles = [title for title in rows[0] if title == "run" or any(row[title] for row in rows)]
    return Table(tuple(titles), [[row[title] for title in titles] for row in rows], RIGHT)
