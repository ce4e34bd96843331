"""States of runs as tables and lines."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from common.table import Table
from experiments.sweep.machine import Places
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
    places: Places,
    *,
    commands: bool,
    tasks: Sequence[Task | None] | None = None,
) -> str:
    """Return the runs of a sweep, and how far they are.

    Args:
      jobs: the runs.
      states: of each job.
      places: on what they go on side by side.
      commands: whether to add those that do what isn't finished.
      tasks: what Slurm has in its queue for each job.
    """
    queue = tasks or [None] * len(jobs)
    rows = [
        {"run": job.name, **state.cells(), "Slurm": _task(task)}
        | {"hours": f"{_hours(job.hours, estimated=job.estimated)} on {job.device}"}
        for job, state, task in zip(jobs, states, queue, strict=True)
    ]
    told = [_table(rows).render().rstrip(), summary(jobs, states, places)]
    if commands:
        left = [job for job, state in zip(jobs, states, strict=True) if not state.ended]
        told += ["\n".join(shlex.join(["python", *job.command()[1:]]) for job in left)]
    return "\n\n".join(told).rstrip()


def _task(task: Task | None) -> str:
    if task is None:
        return ""
    reason = "" if task.reason in ("None", "") else f" ({task.reason})"
    return f"{task.number} {task.state.lower()}{reason}"


def summary(jobs: Sequence[Job], states: Sequence[State], places: Places, failed: int = 0) -> str:
    """Return how many runs are in which state, and how long the rest is expected to take.

    Args:
      jobs: the runs, but those that failed.
      states: of each.
      places: on what they go on side by side.
      failed: how many more there are, which failed.
    """
    counts = Counter(state.kind for state in states)
    told = [f"{counts[kind]} {kind}" for kind in SHOWN if counts[kind]]
    told += [f"{failed} failed"] * bool(failed)
    count = len(jobs) + failed
    text = f"{count} {'run' if count == 1 else 'runs'}: {', '.join(told)}"
    left = {
        job: job.hours * _undone(state)
        for job, state in zip(jobs, states, strict=True)
        if not state.ended
    }
    if not left:
        return text
    times = " and ".join(_expected(left, places))
    return f"{text}; {times} expected, {places.count} at a time, as the presets have it"


def _expected(left: Mapping[Job, float], places: Places) -> Iterator[str]:
    """How long runs take on the CPU cores here, and on each other device of their presets.

    A run on fewer cores than its hours are promised for is taken to need as many times longer; on
    more, it is no faster.
    """
    by_device: dict[str, dict[Job, float]] = {}
    for job, hours in left.items():
        by_device.setdefault("" if job.cores else job.device, {})[job] = hours
    for device, some in by_device.items():
        if device:
            count, each = min(places.count, places.accelerators) or 1, list(some.values())
            where = device if count == 1 else f"{device} each"
        else:
            count = places.count
            each = [hours * job.cores / places.each(job.cores) for job, hours in some.items()]
            where = f"{places.cores} CPU core{'' if places.cores == 1 else 's'}"
            if places.cores is None:
                where = " or ".join(dict.fromkeys(job.device for job in some))
                where += " each" if count > 1 else ""
        estimated = any(job.estimated for job in some)
        hours = max(sum(each) / count, *each, 0.0)
        yield f"{_hours(hours, estimated=estimated)} on {where}"


def _undone(state: State) -> float:
    """The share of a run that is still to do, as far as it is known."""
    return 1 - state.step / state.total if state.total and not state.part else 1.0


def _hours(hours: float, *, estimated: bool) -> str:
    return f"{'about ' if estimated else ''}{hours:.2g} h"


def _table(rows: Sequence[dict[str, str]]) -> Table:
    titles = [title for title in rows[0] if title == "run" or any(row[title] for row in rows)]
    return Table(tuple(titles), [[row[title] for title in titles] for row in rows], RIGHT)
