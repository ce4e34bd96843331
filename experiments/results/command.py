"""`python -m experiments report`: what its options mean. Imports no JAX."""

import argparse
import sys
from pathlib import Path

from common.error import ConfigError
from common.record import write_atomically
from experiments import registry
from experiments.results.collect import PAGE, copy_runs, finished_runs, require_own_folder
from experiments.results.commit import add_run, load_records
from experiments.results.html.page import write_page
from experiments.results.markdown import COMMAND, write_report

RESULTS_PAGE = "RESULTS.md"


def report(options: argparse.Namespace) -> None:
    """Bring the committed pages up to date, or write a report into a folder of its own.

    Raises:
      ConfigError: options contradict one another, or the folder holds something else.
      DataError: there is no finished run, or a record is damaged.
    """
    if options.out is None:
        if options.runs is not None:
            raise ConfigError("--runs needs --out: the folder that the report is written into.")
        _committed(options.results, options.add)
        return
    if options.add:
        raise ConfigError("--add is for the committed records; with --out give --runs.")
    _elsewhere(options.runs, options.out, options.results)


def _committed(results: Path, added: list[Path]) -> None:
    """Write RESULTS.md and the families' pages, after adding runs."""
    for run in added:
        add_run(run, results)
    path = results / RESULTS_PAGE
    records = load_records(results)
    write_report(records, registry.experiments(), path, registry.families())
    print(path)
    for name, page in registry.pages().items():
        file = results.parent / name
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, registry.load(page)(records))
        print(file)


def _elsewhere(runs: Path | None, out: Path, results: Path) -> None:
    """Write the report of any runs, or of the committed ones."""
    require_own_folder(out, results)
    root = runs or results
    found, unfinished = finished_runs(root, but=out)
    if unfinished:
        text = f"left out: {len(unfinished)} not finished (see `status {root}`)"
        print(text, file=sys.stderr)
    # Where runs and report lie is no business of a page that may be passed on.
    command = f"{COMMAND}{' --runs FOLDER' if runs is not None else ''} --out FOLDER"
    copy_runs(found, root, out)
    path, families = out / RESULTS_PAGE, registry.families()
    write_report(load_records(out), registry.experiments(), path, families, command)
    print(path)
    write_page(found, registry.experiments(), out / PAGE, families)
    print(out / PAGE)
