"""One run as a process of its own, and the log of what it says."""

import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.sweep.plan import Job
from experiments.sweep.point import mark_point

LOG = "run.log"
"""The file in a run's directory that holds what its processes said."""
PROMPT = "$ "
"""What a process's command follows in the log, before what it says."""
LAST_LINES = 5
LONGEST_TAIL = 4096


class Child:
    """A process that does a job; its output is added to the log.

    Attributes:
      log: the file.
    """

    def __init__(
        self, job: Job, environment: Mapping[str, str] | None = None, cores: Sequence[int] = ()
    ):
        """Start it.

        Args:
          job: what it does.
          environment: its variables; None for those of this process.
          cores: those that it may use, where the system can confine it; none for all.

        Raises:
          OSError: the log can't be written.
          DataError: the folder of a point can't be.
        """
        if job.point:
            mark_point(job.out, job.point)
        self.log = job.paths[0] / LOG
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as stream:
            stream.write(f"{PROMPT}{shlex.join(job.command())}\n".encode())
            stream.flush()
            can = hasattr(os, "sched_setaffinity")  # macOS can't: its runs have threads alone
            before = os.sched_getaffinity(0) if cores and can else None
            try:
                if before is not None:  # this thread's, which the child inherits
                    os.sched_setaffinity(0, cores)
                self._process = subprocess.Popen(
                    job.command(),
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    env=None if environment is None else dict(environment),
                    process_group=0,  # a terminal's Ctrl-C is passed on once, by us
                )
            finally:
                if before is not None:
                    os.sched_setaffinity(0, before)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def ended(self) -> int | None:
        """Return the exit code, less than 0 for a signal that killed it; None while it runs."""
        return self._process.poll()

    def stop(self, number: int) -> None:
        """Send a signal upon which it saves and ends."""
        if self.ended() is None:
            self._process.send_signal(number)

    def save(self) -> None:
        """Have it save, and wait until it has ended; may interrupt a call of `ended`."""
        self._process.send_signal(signal.SIGTERM)
        # A signal's handler may run within `poll`, whose lock is then held: look past it.
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def kill(self) -> None:
        """End it, with the processes that it started, as it is."""
        if self.ended() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def said(self) -> list[str]:
        """Return the last lines of its output."""
        return last_said(self.log)


def refuse(job: Job, why: str) -> None:
    """Say in the log of a job that it isn't started."""
    log = job.paths[0] / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"{PROMPT}{shlex.join(job.command())}\nerror: {why}\n")


def last_said(log: Path) -> list[str]:
    """Return the last lines of what the last process of a log has said; none without a log."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - LONGEST_TAIL))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    begin = max((k + 1 for k, line in enumerate(lines) if line.startswith(PROMPT)), default=0)
    return [line for line in lines[begin:] if line.strip()][-LAST_LINES:]
