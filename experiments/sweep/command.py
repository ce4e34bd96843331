"""`python -m experiments sweep` and `status`: what their options mean. Imports no JAX."""

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from common.error import ConfigError, DataError, InterruptedRun
from common.record import FILE_NAME, read_record
from experiments.sweep import slurm
from experiments.sweep.live import make_watcher
from experiments.sweep.local import Signals, launch, require_done, troubles
from experiments.sweep.machine import Places, divide, jobs_at_a_time, look, places
from experiments.sweep.plan import Job, Request, expand, state_of
from experiments.sweep.state import find_runs, read_state
from experiments.sweep.view import plan_text, state_table

PROBE_BYTES = 2**20
"""How much must fit on the disk before anything starts."""


def sweep(options: argparse.Namespace) -> None:
    """Expand, and say, launch or follow what that makes.

    Raises:
      ConfigError: something that was asked for doesn't exist, before anything starts.
      DataError: nothing can be written.
      DivergedError: some runs diverged.
      SweepUnfinished: some failed.
      InterruptedRun: a signal came; the runs have saved.
    """
    if options.data_dir is not None and not options.data_dir.is_dir():
        raise DataError(f"--data-dir {options.data_dir}: there is no such folder.")
    on_slurm = options.launcher == "slurm"
    if (options.slurm or options.cancel) and not on_slurm:
        raise ConfigError(f"--{'slurm' if options.slurm else 'cancel'} is for --launcher slurm.")
    if on_slurm and shutil.which("sbatch") is None:
        raise ConfigError("--launcher slurm: there is no Slurm here (sbatch isn't found).")
    jobs = expand(request(options))
    if on_slurm:
        _by_slurm(jobs, options)
        return
    machine = look(options.platform)
    at_a_time = jobs_at_a_time(machine, len(jobs), options.jobs)
    if options.dry_run or options.status:
        states = [state_of(job) for job in jobs]
        text = plan_text(jobs, states, places(machine, at_a_time), commands=options.dry_run)
        print(text)
        return
    require_space(options.out)
    with Signals() as signals, make_watcher(places(machine, at_a_time)) as watcher:
        entries = launch(jobs, divide(machine, at_a_time), watcher, signals)
    if table := results([entry.job for entry in entries if entry.state.ended]):
        print(table)
    if signals.received is not None:
        left = sum(not entry.state.ended for entry in entries)
        text = f"stopped; {left} of {len(entries)} runs are left. The same command continues them."
        raise InterruptedRun("\n".join([text, *troubles(entries)]), signals.received)
    require_done(entries)


def status(options: argparse.Namespace) -> None:
    """Say how far the runs in some folders are.

    Raises:
      DataError: there is no such folder.
    """
    for run in options.runs:
        if not run.is_dir() and run != Path("runs"):
            raise DataError(f"{run}: there is no such folder.")
    paths = dict.fromkeys(path for run in options.runs for path in find_runs(run))
    states = [read_state(path) for path in paths]
    if options.json:
        print(json.dumps([state.as_json() for state in states], indent=1))
    elif states:
        print(state_table(states).render().rstrip())
    else:
        print(f"No runs in {', '.join(map(str, options.runs))}.")


def _by_slurm(jobs: Sequence[Job], options: argparse.Namespace) -> None:
    """Submit what is neither finished nor running nor queued; or say how far it is; or cancel.

    Raises:
      ConfigError: Slurm's options can't be read, or it refuses them.
      SweepUnfinished: with --status, some failed.
      DivergedError: with --status, none failed, some diverged.
    """
    if not options.status and not options.cancel:
        slurm.parameters(options.slurm)
    folder = options.out / slurm.FOLDER
    tasks = slurm.queued(jobs)
    entries = [slurm.entry_of(job, task, folder) for job, task in zip(jobs, tasks, strict=True)]
    states = [entry.state for entry in entries]
    if options.cancel:
        cancelled = slurm.cancel(jobs, tasks)
        print(f"{cancelled} of {len(jobs)} runs were in Slurm's queue; cancelled.")
        return
    if not options.dry_run and not options.status:
        left = [
            job
            for job, task, state in zip(jobs, tasks, states, strict=True)
            if task is None and not state.ended and state.kind != "running"
        ]
        require_space(options.out)
        if told := troubles([entry for entry in entries if entry.stage == "failed"]):
            print("Submitted again, after they failed:\n" + "\n".join(told))
        if left:
            pairs = zip(jobs, tasks, strict=True)
            there = {path: task.number for job, task in pairs if task for path in job.paths}
            slurm.submit(left, folder, options.slurm, options.jobs, there)
        print(f"{len(left)} of {len(jobs)} runs submitted. The same command with --status follows.")
        tasks = slurm.queued(jobs)
    count = options.jobs or len(jobs)
    each = Places(count, cores=None, accelerators=count)
    print(plan_text(jobs, states, each, commands=options.dry_run, tasks=tasks))
    if options.status:
        require_done(entries)


def require_space(folder: Path) -> None:
    """Refuse a folder in which nothing can be written, before anything starts.

    Raises:
      DataError: it can't be made, or its disk is full.
    """
    probe = folder / f".space.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with probe.open("wb") as stream:
                stream.write(bytes(PROBE_BYTES))
                stream.flush()
                os.fsync(stream.fileno())
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: can't be written: {error.strerror or error}.") from None


def results(jobs: Sequence[Job]) -> str:
    """Return the results table of runs that have their records."""
    from experiments.results.cells import as_text
    from experiments.results.row import named_rows

    names = list(dict.fromkeys(job.experiment for job in jobs))
    records = [read_record(path / FILE_NAME) for job in jobs for path in job.paths]
    return as_text(named_rows(names, records, with_not_run=False)) if names else ""


def request(options: argparse.Namespace) -> Request:
    """Return what was asked for."""
    passed: list[str] = []
    for name, usual in (("platform", "auto"), ("kernel", "auto"), ("precision", "float32")):
        if (value := getattr(options, name)) != usual:
            passed += [f"--{name}", value]
    if options.preallocate is not None:
        passed += ["--preallocate", f"{options.preallocate:g}"]
    return Request(
        names=tuple(options.names),
        preset=options.preset,
        seeds=tuple(dict.fromkeys(options.seeds)),
        overrides=tuple(options.overrides),
        grid=tuple(options.grid),
        out=options.out,
        passed=tuple(passed),
        data_dir=options.data_dir,
    )
