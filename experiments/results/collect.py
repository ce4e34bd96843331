"""Finished runs of any folders, and a folder of copies of what they left to be shown."""

import shutil
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.error import ConfigError, DataError
from common.record import FILE_NAME, Record, read_record
from experiments.results.commit import is_known, replace_folder, shown_files
from experiments.sweep.state import find_runs

PAGE = "report.html"
"""The file that tells a folder of a report from any other."""


@dataclass(frozen=True)
class Run:
    """A finished run."""

    path: Path
    """Its directory."""
    record: Record


def finished_runs(root: Path, but: Path | None = None) -> tuple[list[Run], list[Path]]:
    """Find the runs at or below a folder.

    Args:
      root: a folder of runs, or one run's directory.
      but: a folder whose runs don't count.

    Returns:
      The runs with a record, and the directories of those without, in the order of `find_runs`.
      Runs of experiments that aren't here are left out, and that is told.

    Raises:
      DataError: there is no such folder, no finished run of an experiment here in it, or a damaged
        record.
    """
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder.")
    paths = [
        path
        for path in find_runs(root)
        if but is None or not path.resolve().is_relative_to(but.resolve())
    ]
    done = [path for path in paths if (path / FILE_NAME).exists()]
    if not done:
        begun = f"; {len(paths)} not finished (see `status {root}`)" if paths else ""
        raise DataError(
            f"{root}: there is no finished run here{begun}. A run is a folder seed<k> with a "
            f"{FILE_NAME}."
        )
    runs = [Run(path, read_record(path / FILE_NAME)) for path in done]
    if not (known := [run for run in runs if is_known(run.record, run.path)]):
        raise DataError(f"{root}: no finished run in it is of an experiment here.")
    return known, [path for path in paths if path not in done]


def require_own_folder(out: Path, results: Path) -> None:
    """Refuse a folder in which a report would replace something else.

    Args:
      out: where a report is to be written.
      results: the committed records.

    Raises:
      ConfigError: it is or lies in the folder of the committed records, is a file, or holds
        anything that isn't an earlier report.
    """
    if out.resolve().is_relative_to(results.resolve()):
        raise ConfigError(
            f"--out {out}: here lie the committed records; `report` without --out writes their "
            "RESULTS.md.\nChoose another folder."
        )
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: a file, not a folder. Choose another.")
    if out.is_dir() and any(out.iterdir()) and not (out / PAGE).exists():
        raise ConfigError(
            f"--out {out}: the folder holds something that isn't an earlier report (it has no "
            f"{PAGE}).\nChoose an empty folder or a new one."
        )


def copy_runs(runs: Sequence[Run], root: Path, out: Path) -> None:
    """Copy record, pictures and samples of runs into a folder, in place of an earlier report's.

    Args:
      runs: found below `root`.
      root: where they were looked for. What lies between it and a run's experiment names the folder
        that its copy is put in, as the folders of a grid's points are named by settings.
      out: the folder; copies lie in `[POINT/]EXPERIMENT/PRESET/seed<k>`.

    Raises:
      DataError: two of them are runs of the same name.
    """
    places: dict[Path, Run] = {}
    for run in runs:
        place = _place(run, root)
        if place in places:
            raise DataError(
                f"{run.path} and {places[place].path} say of themselves that they are the same run "
                f"({place}). Move one of them away."
            )
        places[place] = run
    out.mkdir(parents=True, exist_ok=True)
    (out / PAGE).touch()  # a report that is cut off here can be written again
    for old in find_runs(out):
        shutil.rmtree(old)
    for picture in out.glob("*.png"):
        picture.unlink()
    for place, run in places.items():
        replace_folder(out / place, [run.path / FILE_NAME, *shown_files(run.path)])


def _place(run: Run, root: Path) -> Path:
    above = run.path.absolute().parents[2]
    own = Path(run.record.experiment, run.record.preset, f"seed{run.record.seed}")
    if above == root.absolute() or not above.is_relative_to(root.absolute()):
        return own
    between = above.relative_to(root.absolute()).as_posix()
    is_setting = "=" in between and "/" not in between
    return Path(between if is_setting else f"from={urllib.parse.quote(between, safe='')}") / own
