"""`python -m experiments sweep`: what its options mean. Imports no JAX."""

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from common.error import ConfigError, DataError, InterruptedRun
from common.record import FILE_NAME, read_record
from experiments.sweep.live import make_watcher
from experiments.sweep.local import Entry, Signals, launch, require_done
from experiments.sweep.machine import divide, jobs_at_a_time, look
from experiments.sweep.plan import Request, expand
from experiments.sweep.state import read_state
from experiments.sweep.view import plan_text

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
    if options.slurm and options.launcher != "slurm":
        raise ConfigError("--slurm is for --launcher slurm.")
    if options.launcher == "slurm" and shutil.which("sbatch") is None:
        raise ConfigError("--launcher slurm: there is no Slurm here (sbatch isn't found).")
    jobs = expand(request(options))
    machine = look(options.platform)
    at_a_time = jobs_at_a_time(machine, len(jobs), options.jobs)
    if options.dry_run or options.status:
        print(plan_text(jobs, [read_state(job.paths[0]) for job in jobs], at_a_time))
        return
    require_space(options.out)
    with Signals() as signals, make_watcher(at_a_time) as watcher:
        entries = launch(jobs, divide(machine, at_a_time), watcher, signals)
    print(results(entries))
    if signals.received is not None:
        left = sum(not entry.state.ended for entry in entries)
        text = f"stopped; {left} of {len(entries)} runs are left. The same command continues them."
        raise InterruptedRun(text, signals.received)
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


def results(entries: Sequence[Entry]) -> str:
    """Return the results table of the runs that have their records."""
    from experiments.results.cells import as_text
    from experiments.results.row import named_rows

    ended = [entry.job for entry in entries if entry.state.ended]
    names = list(dict.fromkeys(job.experiment for job in ended))
    records = [read_record(path / FILE_NAME) for job in ended for path in job.paths]
    return as_text(named_rows(names, records, with_not_run=False)) if names else ""


def request(options: argparse.Namespace) -> Request:
    """Return what was asked for."""
    passed: list[str] = []
    for name, usual in (("platform", "auto"), ("kernel", "auto"), ("precision", "float32")):
        if (value := getattr(options, name)) != usual:
            passed += [f"--{name}", value]
    if options.data_dir is not None:
        passed += ["--data-dir", str(options.data_dir)]
    return Request(
        names=tuple(options.names),
        preset=options.preset,
        seeds=tuple(dict.fromkeys(options.seeds)),
        overrides=tuple(options.overrides),
        grid=tuple(options.grid),
        out=options.out,
        passed=tuple(passed),
    )
