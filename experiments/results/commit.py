"""Copies finished runs among the committed results, and gathers the records below a folder."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from common.error import DataError
from common.plot import LARGEST_BYTES
from common.record import FILE_NAME, Record, read_record, record_files
from experiments import registry
from experiments.registry import artefacts
from experiments.results.row import data_mark
from experiments.results.verdict import precision_of
from experiments.sweep.point import is_point
from experiments.sweep.state import unknown


def add_run(run_dir: Path, results_dir: Path) -> Path:
    """Copy a finished run's record, pictures and samples among the committed results.

    Nothing else is copied. The folder there is replaced as a whole: after a crash it is the old
    one, or missing with the old one beside it under a hidden name, but never a mixture. A record
    of a dirty tree is taken; the table marks its commit. Runs of a point of a grid go into a folder
    of that point's name. A run of the preset as it was before an edit is replaced. Returns the
    folder. Raises DataError where the run isn't finished, a file is over LARGEST_BYTES, or a run
    with other overrides or in another precision is there; ConfigError where there is no such
    experiment here.
    """
    if not (run_dir / FILE_NAME).exists():
        raise DataError(f"{run_dir}: no {FILE_NAME}: not a run, or not finished yet.")
    record = read_record(run_dir / FILE_NAME)
    registry.find(record.experiment)
    above = run_dir.absolute().parents
    root = above[min(2, len(above) - 1)]
    within = results_dir / root.name if is_point(root) else results_dir
    target = within / record.experiment / record.preset / f"seed{record.seed}"
    _require_same_overrides(record, target)
    files = shown_files(run_dir)
    for path in files:
        if path.stat().st_size > LARGEST_BYTES:
            raise DataError(
                f"{path}: {path.stat().st_size:,} bytes; committed files have at most "
                f"{LARGEST_BYTES:,}. Make it smaller or move it out of the run."
            )
    replace_folder(target, [run_dir / FILE_NAME, *files])
    return target


def shown_files(run_dir: Path) -> list[Path]:
    """Return what a run leaves beside its record to be shown: pictures, samples, artefacts."""
    found = (path for glob in artefacts() for path in sorted(run_dir.glob(glob)))
    return [path for path in dict.fromkeys(found) if path.is_file()]


def replace_folder(target: Path, files: Sequence[Path]) -> None:
    """Make `target` a folder of copies of the files, in the place of one that may be there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = (
        target.with_name(f".{target.name}.{word}.{os.getpid()}") for word in ("new", "old")
    )
    try:
        fresh.mkdir()
        for path in files:
            shutil.copyfile(path, fresh / path.name)
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(old, ignore_errors=True)


def _require_same_overrides(record: Record, target: Path) -> None:
    if not (target / FILE_NAME).exists():
        return
    there = read_record(target / FILE_NAME)
    theirs, ours = (
        (*sorted(one.overrides), f"precision={precision_of(one.device)}") for one in (there, record)
    )
    if theirs != ours:
        raise DataError(
            f"{target} holds a run with other overrides ({' '.join(theirs)}; this one: "
            f"{' '.join(ours)}).\n"
            "Remove that folder first if this run is to take its place."
        )


def is_known(record: Record, run_dir: Path) -> bool:
    """Return whether a record is of an experiment here; otherwise tell on standard error that the
    run is left out."""
    if text := unknown(record):
        print(f"left out: {run_dir}: {text}.", file=sys.stderr)
    return not text


def load_records(root: Path) -> list[Record]:
    """Return the records below a folder, in the order of `record_files`.

    Those of experiments that aren't here are left out, and that is told. Of the same run
    (experiment, preset, configuration, precision, data and seed) the first record counts. A folder
    that doesn't exist holds none. Raises DataError naming a file that isn't a record.
    """
    found: dict[tuple[str, ...], Record] = {}
    for path in record_files(root):
        record = read_record(path)
        if not is_known(record, path.parent):
            continue
        config = json.dumps(record.config, sort_keys=True)
        made = (precision_of(record.device), data_mark(record), str(record.seed))
        found.setdefault((record.experiment, record.preset, config, *made), record)
    return list(found.values())
