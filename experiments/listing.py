"""`python -m experiments list` and `show`: what experiments there are. Imports no JAX."""

import argparse
import json
import shutil
import textwrap
from typing import Any

from common.config import docstrings, flatten, to_dict
from common.progress import about
from experiments.registry import Experiment, Preset, experiments, find

INDENT = " " * 6


def list_experiments(options: argparse.Namespace) -> None:
    """Print all experiments: a line each, several with `long`, or as JSON."""
    if options.json:
        print(json.dumps([_listed(one) for one in experiments().values()], indent=1))
        return
    if not options.long:
        widest = max(map(len, experiments()))
        for one in experiments().values():
            hours = _hours(one.presets[one.default_preset])
            print(f"{one.name:{widest}s}  {hours:>12s}  {one.title}")
        print("\nTimes are those of the default preset, of one seed. More: list --long, show NAME")
        return
    for one in experiments().values():
        print(one.name)
        print(f"    {one.title}")
        print(f"    reproduces: {one.row}")
        if one.published:
            print("    published: " + "; ".join(f"{p.metric} {p.printed}" for p in one.published))
        for name, preset in one.presets.items():
            mark = "*" if name == one.default_preset else " "
            print(
                f"   {mark}{name:10s} {_hours(preset)} on {preset.device}, "
                f"data: {', '.join(preset.data)}"
            )
    print("\n* default preset. Times with 'about' are estimates, never measured.")


def _hours(preset: Preset) -> str:
    return f"{'about ' if preset.estimated else ''}{about(3600 * preset.hours)}"


def _listed(one: Experiment) -> dict[str, Any]:
    return {
        "name": one.name,
        "title": one.title,
        "row": one.row,
        "default_preset": one.default_preset,
        "parameters": one.paper_parameters,
        "published": [number.to_dict() for number in one.published],
        "presets": {
            name: {
                "hours": preset.hours,
                "estimated": preset.estimated,
                "device": preset.device,
                "data": list(preset.data),
            }
            for name, preset in one.presets.items()
        },
    }


def show(options: argparse.Namespace) -> None:
    """Print an experiment's docstring, and every setting of a preset with what it means.

    Raises:
      ConfigError: there is no such experiment, preset or setting.
    """
    experiment = find(options.name)
    name = experiment.preset_name(options.preset or experiment.default_preset)
    config = experiment.configure(name, options.overrides)
    print(experiment.docstring)
    print(f"\nPreset {name} (of {', '.join((*experiment.presets, *experiment.aliases))}):")
    told = docstrings(type(config))
    width = min(shutil.get_terminal_size().columns, 100)
    for key, value in flatten(to_dict(config)).items():
        print(f"  {key}={json.dumps(value)}")
        if key in told:
            print(textwrap.fill(told[key], width, initial_indent=INDENT, subsequent_indent=INDENT))
