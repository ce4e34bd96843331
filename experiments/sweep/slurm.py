"""Runs as tasks of Slurm's job arrays, submitted by submitit. What they are is read from Slurm."""

import contextlib
import math
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.error import ConfigError, DataError
from common.record import write_atomically
from experiments.sweep.child import LOG, Child, last_said, refuse
from experiments.sweep.local import Entry
from experiments.sweep.machine import Slot
from experiments.sweep.plan import Job, state_of
from experiments.sweep.state import read_state

NOTE = "slurm-job"
"""The file in a run's directory that names the task to which it was given last."""
FOLDER = ".slurm"
"""Where, below --out, submitit keeps what it hands to Slurm."""
POLL_SECONDS = 0.5
PATIENCE_SECONDS = 600.0
"""How long a task whose run was stopped waits for Slurm to end or requeue it."""
REQUEUES = 1000
"""How often a task may reach its time limit."""
SHORTEST, LONGEST = 30, 24 * 60
"""Minutes, between which the time limit lies where none is given."""

NUMBERS = frozenset({"signal_delay_s", "array_parallelism"})
"""Submitit's parameters with which it reckons; all others are texts, as account=00123 is."""
COMMANDS = frozenset({"setup", "teardown"})
"""Submitit's parameters that are lists of shell commands; each is given by itself."""
WORDS = "srun_args"
"""Submitit's parameter that is a list of a command line's words."""
SWITCHES = frozenset({"use_srun", "stderr_to_stdout"})
"""Submitit's parameters that are true or false."""


@dataclass(frozen=True)
class Task:
    """What Slurm says of a task in its queue."""

    number: str
    """As in 123_4."""
    state: str
    """PENDING, RUNNING, ..."""
    reason: str
    """Why it is pending."""


class SlurmRun:
    """What a task does: the run, as a process of its own, which saves when time is up.

    Slurm's signals reach every process of a task. SIGUSR2 comes before the time limit, or before
    preemption where the cluster is set up so: submitit calls `checkpoint`, and requeues. SIGTERM
    means that Slurm will end or requeue the task itself; the run saves upon it.
    """

    def __init__(self, job: Job):
        """Do a job."""
        self.job = job
        self._child: Child | None = None

    def __call__(self) -> None:
        """Do it; called by submitit within the task.

        Raises:
          RuntimeError: the run failed, or that from which it starts has.
        """
        if why := missing_upstream(self.job):
            refuse(self.job, why)
            raise RuntimeError(f"{self.job.name}: {why}")
        warning = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)}
        for number in warning:
            signal.signal(number, signal.SIG_IGN)  # inherited: they would end the run unsaved
        cores = os.environ.get("SLURM_CPUS_PER_TASK", "")
        slot = Slot(tuple(range(int(cores))) if cores.isdecimal() else ())
        self._child = Child(self.job, slot.environment(os.environ))
        for number, handler in warning.items():
            signal.signal(number, handler)
        while (code := self._child.ended()) is None:
            time.sleep(POLL_SECONDS)
        if code in (-signal.SIGTERM, 128 + signal.SIGTERM):
            time.sleep(PATIENCE_SECONDS)
        if code:
            last = "\n".join(self._child.said())
            raise RuntimeError(f"{self.job.name}: exit code {code}; {self._child.log}:\n{last}")

    def checkpoint(self) -> Any:
        """Let the run save; return what goes on after the task was requeued."""
        from submitit.helpers import DelayedSubmission

        if self._child is not None:
            self._child.save()
        return DelayedSubmission(SlurmRun(self.job))


def missing_upstream(job: Job) -> str:
    """Return why a job hasn't the run that it starts from, in a line; "" if it has, or may yet.

    A run that another program has now may yet be finished; whoever starts from it waits.
    """
    if job.after is None:
        return ""
    kind = read_state(job.after).kind
    if kind in ("finished", "running"):
        return ""
    return f"{job.after}, which it starts from, {'diverged' if kind == 'diverged' else 'failed'}."


def submit(
    jobs: Sequence[Job],
    folder: Path,
    settings: Iterable[str],
    at_a_time: int | None,
    there: Mapping[Path, str],
) -> list[str]:
    """Submit jobs as arrays, those that others start from first; note each task with its run.

    The runs' directories are made before; of what is refused no empty one is left.

    Args:
      jobs: none of them is in Slurm's queue.
      folder: for submitit's files.
      settings: options of sbatch as `key=value`; submitit's names for them work, too.
      at_a_time: how many tasks of an array may run at once; None for as many as Slurm lets.
      there: run directory → number, of tasks that are in the queue already.

    Returns:
      The numbers of the tasks, in the order of `jobs`.

    Raises:
      ConfigError: submitit isn't installed, or Slurm refuses.
      DataError: a run's directory can't be made or written; nothing was submitted.
    """
    given = parameters(settings)
    given.setdefault("time", time_limit(max(job.hours * job.growth for job in jobs)))
    if at_a_time is not None:
        given["array_parallelism"] = at_a_time
    known = dict(there)
    ours = {path for job in jobs for path in job.paths}
    waits = [job.after is not None and job.after in ours | known.keys() for job in jobs]
    executor = _configured(folder, given)
    with _made(path for job in jobs for path in job.paths):
        for second in (False, True):
            wave = [job for job, one in zip(jobs, waits, strict=True) if one is second]
            if not wave:
                continue
            if second:
                before = {known[job.after] for job in wave if job.after}
                # Slurm would hold back for ever what waits for `afterok`; each run looks itself.
                dependency = "afterany:" + ":".join(sorted(before))
                executor = _configured(folder, given | {"dependency": dependency})
            for job, number in zip(wave, _submit(wave, executor), strict=True):
                known |= dict.fromkeys(job.paths, number)
                for path in job.paths:
                    write_atomically(path / NOTE, number + "\n")
    return [known[job.paths[0]] for job in jobs]


@contextlib.contextmanager
def _made(paths: Iterable[Path]) -> Iterator[None]:
    """Make directories; after any error those that weren't there and are empty are gone again.

    Raises:
      DataError: one can't be made or written.
    """
    new = []
    try:
        for path in paths:
            there = path.exists()
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DataError(f"{path}: can't be made: {error.strerror or error}.") from None
            if not there:
                new.append(path)
            elif not os.access(path, os.W_OK):
                raise DataError(f"{path}: can't be written.")
        yield
    except BaseException:
        for path in new:
            with contextlib.suppress(OSError):  # a task of it was submitted
                path.rmdir()
        raise


def queued(jobs: Sequence[Job]) -> list[Task | None]:
    """Return for each job its task in Slurm's queue, or None.

    Raises:
      ConfigError: Slurm doesn't answer.
    """
    text = _ask("squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r")
    lines = (line.strip().split("|") for line in text.splitlines() if line.strip())
    tasks = {number: Task(number, state, reason) for number, state, reason in lines}
    return [tasks.get(_noted(job)) for job in jobs]


def entry_of(job: Job, task: Task | None, folder: Path) -> Entry:
    """Return what has become of a job: it failed if its task left the queue before it was done.

    Args:
      job: the job.
      task: its task in the queue, asked for just before.
      folder: of submitit's files.
    """
    state, number = state_of(job), _noted(job)
    log = job.paths[0] / LOG
    if not log.exists():  # the task may have ended before its run began
        log = folder / f"{number}_0_log.err"
    entry = Entry(job, state, "done" if state.ended else "waiting", log=str(log))
    if task is None and number and not state.ended and state.kind != "running":
        entry.stage, entry.said = "failed", last_said(log)
        entry.why = f"Slurm's task {number} ended before the run was done."
    return entry


def cancel(jobs: Sequence[Job], tasks: Sequence[Task | None]) -> int:
    """Take jobs' tasks out of Slurm's queue; those that run save first.

    Returns:
      How many there were.

    Raises:
      ConfigError: Slurm refuses.
    """
    found = {task.number: job for job, task in zip(jobs, tasks, strict=True) if task is not None}
    if found:
        _ask("scancel", *found)
    for job in found.values():  # without a note, its end isn't a failure
        for path in job.paths:
            (path / NOTE).unlink(missing_ok=True)
    return len(found)


def parameters(settings: Iterable[str]) -> dict[str, Any]:
    """Return submitit's parameters from options of sbatch.

    `setup` and `teardown` may be given again, once for each command; the words of `srun_args` are
    split as a shell does.

    Raises:
      ConfigError: submitit isn't installed, an option isn't `key=value`, or a value can't be read.
    """
    known = _executor()._valid_parameters()
    found: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for one in settings:
        name, equals, text = one.partition("=")
        if not equals or not name or not text:
            raise ConfigError(f"--slurm {one}: expected key=value, as in partition=gpu.")
        key = name.strip("-").replace("-", "_")
        if key == "time":
            found[key] = minutes(text)
        elif key in COMMANDS | {WORDS}:
            found[key] = found.get(key, []) + _listed(key, text)
        elif key in known:
            found[key] = _value(key, text)
        else:
            others[name.strip("-")] = True if text == "true" else text
    return {**found, "additional_parameters": others} if others else found


def _listed(key: str, text: str) -> list[str]:
    """What an option adds to a list: one shell command, or the words of a command line."""
    if key in COMMANDS:
        return [text]
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"--slurm {key}={text}: {str(error).lower()}.") from None


def _value(key: str, text: str) -> Any:
    """The value of a parameter that is no list."""
    if key in SWITCHES:
        if text not in ("true", "false"):
            raise ConfigError(f"--slurm {key}={text}: expected true or false.")
        return text == "true"
    if key in NUMBERS:
        if not text.isdecimal():
            raise ConfigError(f"--slurm {key}={text}: expected a whole number.")
        return int(text)
    return True if text == "true" else text


def minutes(text: str) -> int:
    """Return a time as Slurm reads it (minutes, M:S, H:M:S, D-H, D-H:M, D-H:M:S) in minutes.

    Raises:
      ConfigError: it isn't one.
    """
    days, dash, rest = text.partition("-") if "-" in text else ("0", "", text)
    parts = rest.split(":")
    if not days.isdecimal() or len(parts) > 3 or not all(part.isdecimal() for part in parts):
        raise ConfigError(
            f"--slurm time={text}: write minutes, hours:minutes:seconds or days-hours."
        )
    numbers = [int(part) for part in parts]
    if dash or len(numbers) == 3:
        hours, mins, seconds = (*numbers, 0, 0)[:3]
    else:
        hours, mins, seconds = (0, *numbers, 0)[:3]
    return max(1, math.ceil((int(days) * 24 + hours) * 60 + mins + seconds / 60))


def time_limit(hours: float) -> int:
    """Return the minutes that a task is given for a run of so many hours; it is requeued anyway."""
    return min(LONGEST, max(SHORTEST, math.ceil(hours * 90)))


def _executor() -> Any:
    """Submitit's class for Slurm."""
    try:
        from submitit import SlurmExecutor
    except ImportError:
        raise ConfigError(
            'Slurm is reached through submitit, which isn\'t installed: pip install -e ".[slurm]" '
            "in the project's folder."
        ) from None
    return SlurmExecutor


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Say in a line what submitit, or sbatch behind it, refuses."""
    try:
        yield
    except (OSError, TypeError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"Slurm takes no job: {first.removeprefix('sbatch: error: ')}.") from None


def _configured(folder: Path, given: Mapping[str, Any]) -> Any:
    """An executor of submitit's with these parameters."""
    with _refusals():
        folder.mkdir(parents=True, exist_ok=True)
        executor = _executor()(folder=folder.absolute(), max_num_timeout=REQUEUES)
        executor.update_parameters(**{"job_name": "sweep", **given})
    return executor


def _submit(jobs: Sequence[Job], executor: Any) -> list[str]:
    """Submit jobs as one array; return the numbers of its tasks."""
    with _refusals():
        with executor.batch():
            tasks = [executor.submit(SlurmRun(job)) for job in jobs]
        return [task.job_id for task in tasks]


def _noted(job: Job) -> str:
    try:
        return (job.paths[0] / NOTE).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"Slurm doesn't answer: {error}") from None
    if done.returncode:
        raise ConfigError(f"Slurm doesn't answer: {done.stderr.strip() or done.returncode}")
    return done.stdout
