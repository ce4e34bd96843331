"""`python -m experiments compare`: what its options mean. Imports no JAX."""

import argparse

from experiments.compare.difference import (
    LEGEND,
    cautions,
    results_table,
    runs_table,
    settings_table,
)
from experiments.compare.picture import draw_curves
from experiments.compare.side import read_sides


def compare(options: argparse.Namespace) -> None:
    """Print in what runs differ, and draw their learning curves.

    Raises:
      ConfigError: they can't be compared.
      DataError: one is no run, or can't be read; or a picture can't be written.
    """
    sides = read_sides(options.runs)
    settings, results = settings_table(sides), results_table(sides, full=options.full)
    parts = [runs_table(sides).render()]
    parts += [settings.render() if settings else "The settings are the same.\n"]
    if results:
        parts += [results.render(), f"{LEGEND.format(first=sides[0].label)}\n"]
    else:
        parts += ["There are no results to compare.\n"]
    parts += [f"{text}\n" for text in cautions(sides)]
    print("\n".join(parts).rstrip())
    for picture in draw_curves(sides, options.out):
        print(picture)
