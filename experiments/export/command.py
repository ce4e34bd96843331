"""`python -m experiments export` and `load`: what their options mean."""

import argparse

from common.error import DataError
from experiments.export.run_file import export as export_run
from experiments.export.run_file import load as load_run


def export(options: argparse.Namespace) -> None:
    """Write a run's model into a file, and its card beside that; print their names.

    Raises:
      DataError, ConfigError: as `experiments.export.run_file.export` does.
    """
    if options.data_dir is not None and not options.data_dir.is_dir():
        raise DataError(f"--data-dir {options.data_dir}: there is no such folder.")
    card = export_run(options.run, options.file, options.data_dir)
    print(options.file)
    print(card)


def load(options: argparse.Namespace) -> None:
    """Make a run directory of a file; print its name.

    Raises:
      DataError, ConfigError: as `experiments.export.run_file.load` does.
    """
    print(load_run(options.file, options.out))
