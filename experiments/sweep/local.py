"""Runs side by side on this machine, each a process of its own."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Literal, Protocol

from common.error import DivergedError, UserError
from common.interrupt import SAME_SECONDS
from common.run_lock import IN_USE, in_use
from experiments.sweep.child import LOG, Child
from experiments.sweep.machine import Slot
from experiments.sweep.plan import Job, state_of
from experiments.sweep.state import State

POLL_SECONDS = 0.2
LOOK_SECONDS = 1.0
"""Between two looks at what others do, and at how far our runs are."""

STOPPING = (signal.SIGINT, signal.SIGTERM)
"""The signals upon which a run saves."""

Stage = Literal["waiting", "elsewhere", "running", "stopped", "failed", "done"]
"""`elsewhere` is a run that another program has; `done` one with its record."""


@dataclass
class Entry:
    """A job of a sweep, and what has become of it."""

    job: Job
    state: State
    stage: Stage = "waiting"
    why: str = ""
    """Why it failed, in a line."""
    said: list[str] = field(default_factory=list)
    """The last lines of a run that failed or diverged."""
    log: str = ""
    """The file in which all that it said is."""
    child: Child | None = None
    slot: int = -1

    @property
    def shown(self) -> str:
        """The state in a word."""
        return self.state.kind if self.stage in ("done", "waiting") else self.stage

    @property
    def trouble(self) -> list[str]:
        """What is known of a run that failed or diverged, in lines; nothing for others."""
        if self.stage != "failed" and self.state.kind != "diverged":
            return []
        return [self.why or "diverged.", *self.said, *([f"all of it: {self.log}"] * bool(self.log))]


class Signals:
    """A context that remembers the signals that stop a sweep.

    Attributes:
      received: the number of the first, or None.
      impatient: whether another came later.
    """

    def __init__(self) -> None:
        """Prepare the context."""
        self.received: int | None = None
        self.impatient = False
        self._since = 0.0

    def __enter__(self) -> "Signals":
        numbers = [*STOPPING]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under nohup
            numbers.append(signal.SIGHUP)
        self._previous = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self._since = number, now
        elif now - self._since > SAME_SECONDS:
            self.impatient = True


class Watcher(Protocol):
    """Is told what happens."""

    def changed(self, entry: Entry) -> None:
        """A job went from one stage to another."""

    def look(self, entries: Sequence[Entry], *, stopping: bool) -> None:
        """Time has passed."""


def launch(
    jobs: Sequence[Job], slots: Sequence[Slot], watcher: Watcher, signals: Signals
) -> list[Entry]:
    """Run all jobs that aren't done, as many at a time as there are slots.

    One that fails stops none but those that start from it. One that another program is running is
    left to that, and taken up if that stops. After a signal nothing more is started, the runs save
    and end; after another one they are killed.

    Returns:
      What has become of each.
    """
    entries = [Entry(job, state_of(job)) for job in jobs]
    for entry in entries:
        if entry.state.ended:
            _found_done(entry, entry.state)
    free = list(reversed(range(len(slots))))
    looked, passed_on = -LOOK_SECONDS, False
    while _goes_on(entries, stopping=signals.received is not None):
        if signals.received is not None and not passed_on:
            for entry in entries:
                if entry.child is not None:
                    entry.child.stop(_passed_on(signals.received))
            passed_on = True
        changed = False
        for entry in entries:
            if entry.child is not None:
                if signals.impatient:
                    entry.child.kill()
                if entry.child.ended() is not None:
                    free.append(entry.slot)
                    _settle(entry, stopping=passed_on, killed=signals.impatient)
                    watcher.changed(entry)
                    changed = True
        due = time.monotonic() - looked >= LOOK_SECONDS
        if not passed_on and (changed or due):
            _start(entries, slots, free, watcher)
        if due:
            looked = time.monotonic()
            for entry in entries:
                if entry.stage in ("running", "elsewhere"):
                    entry.state = state_of(entry.job)
            watcher.look(entries, stopping=passed_on)
        time.sleep(POLL_SECONDS)
    watcher.look(entries, stopping=passed_on)
    return entries


class SweepUnfinished(UserError):
    """Some runs of a sweep failed."""

    exit_code = 1


def require_done(entries: Sequence[Entry]) -> None:
    """Raise where runs failed or diverged, with what is known of each.

    Raises:
      SweepUnfinished: some failed.
      DivergedError: none failed, some diverged.
    """
    failed = [entry for entry in entries if entry.stage == "failed"]
    diverged = [entry for entry in entries if entry.state.kind == "diverged"]
    told = troubles([*failed, *diverged])
    if failed:
        text = f"{len(failed)} of {len(entries)} runs failed; the same sweep runs them again."
        raise SweepUnfinished("\n".join([text, *told]))
    if diverged:
        raise DivergedError("\n".join([f"{len(diverged)} of {len(entries)} runs diverged.", *told]))


def troubles(entries: Sequence[Entry]) -> list[str]:
    """Return what is known of runs that failed or diverged, in lines."""
    return [
        line
        for entry in entries
        if entry.trouble
        for line in (f"{entry.job.name}: {entry.trouble[0]}", *map(indented, entry.trouble[1:]))
    ]


def indented(line: str) -> str:
    """Return a line that belongs to the one above it."""
    return f"    {line}"


def _goes_on(entries: Sequence[Entry], *, stopping: bool) -> bool:
    live = ("running",) if stopping else ("running", "waiting", "elsewhere")
    return any(entry.stage in live for entry in entries)


def _passed_on(number: int) -> int:
    """The signal by which runs are stopped."""
    return number if number in STOPPING else signal.SIGTERM


def _start(
    entries: Sequence[Entry], slots: Sequence[Slot], free: list[int], watcher: Watcher
) -> None:
    """Start waiting jobs while there are free slots."""
    by_path = {path: entry for entry in entries for path in entry.job.paths}
    for entry in entries:
        if entry.stage not in ("waiting", "elsewhere"):
            continue
        first = by_path.get(entry.job.after) if entry.job.after else None
        if first is not None and (first.stage == "failed" or first.state.kind == "diverged"):
            how = "diverged" if first.state.kind == "diverged" else "failed"
            entry.stage, entry.why = "failed", f"{first.job.name}, which it starts from, {how}."
            watcher.changed(entry)
        elif any(map(in_use, entry.job.paths)):
            if entry.stage != "elsewhere":
                entry.stage, entry.state = "elsewhere", state_of(entry.job)
                watcher.changed(entry)
        elif (state := state_of(entry.job)).ended:
            _found_done(entry, state)
            watcher.changed(entry)
        elif free and (first is None or first.stage == "done"):
            entry.slot = free.pop()
            slot = slots[entry.slot]
            try:
                entry.child = Child(entry.job, slot.environment(os.environ), slot.cores)
            except (OSError, UserError) as error:
                free.append(entry.slot)
                entry.stage, entry.why = "failed", f"can't be started: {error}"
            else:
                entry.stage, entry.log = "running", str(entry.child.log)
            watcher.changed(entry)
        else:
            entry.stage = "waiting"


def _settle(entry: Entry, *, stopping: bool, killed: bool) -> None:
    """Say what became of a job whose process has ended; we may have stopped or killed it."""
    assert entry.child is not None
    code, said = entry.child.ended(), entry.child.said()
    assert code is not None
    entry.child, entry.state = None, state_of(entry.job)
    if entry.state.ended:
        entry.stage = "done"
        entry.said = said if entry.state.kind == "diverged" else []
    elif any(IN_USE in line for line in said):
        entry.stage = "elsewhere"  # another program was faster
    elif stopping and _stopped_by(code, (*STOPPING, *[signal.SIGKILL] * killed)):
        entry.stage = "stopped"
    else:
        entry.stage, entry.said = "failed", said
        entry.why = _why(code)


def _stopped_by(code: int, numbers: Sequence[int]) -> bool:
    """Whether a process ended upon one of these signals, by itself or at once."""
    return -code in numbers or code - 128 in numbers


def _found_done(entry: Entry, state: State) -> None:
    """Take a job for done that an earlier sweep, or another program, did."""
    log = entry.job.paths[0] / LOG
    entry.stage, entry.state, entry.log = "done", state, str(log) if log.exists() else ""


def _why(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}."
    return f"exit code {code}."
