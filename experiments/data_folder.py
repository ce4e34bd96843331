"""Which datasets a run reads from the folder of --data-dir; where it is none, that is refused."""

from pathlib import Path
from typing import Any

from common.config import Dataset, flatten, meanings, to_dict
from common.datasets import DATASETS
from common.error import ConfigError
from experiments import registry
from experiments.registry import Experiment


def reads_folder(experiment: Experiment, config: Any) -> bool:
    """Return whether a run reads anything from a folder that the user names.

    A dataset that doesn't exist is refused where it is loaded, not here.
    """
    if experiment.inputs and not experiment.upstream:
        return True  # it may be given runs by their directories, with whatever data these have
    names = (*_own(config).values(), *_of_upstream(experiment, config).values())
    return any(name not in DATASETS or DATASETS[name].source_files for name in names)


def require_reader(experiment: Experiment, config: Any, folder: Path) -> None:
    """Refuse a folder of which a run would read nothing.

    Raises:
      ConfigError: it would; names the data that it reads, and how to name other data.
    """
    if reads_folder(experiment, config):
        return
    own, upstream = _own(config), _of_upstream(experiment, config)
    names = ", ".join(sorted({*own.values(), *upstream.values()})) or "a model of another run"
    text = f"--data-dir {folder}: {experiment.name} would read nothing from it: its data is {names}"
    known = ", ".join(
        f"{name} ({', '.join(one.source_files)})"
        for name, one in DATASETS.items()
        if one.source_files
    )
    if own:
        text += f".\nName the dataset that the folder has with --set {next(iter(own))}=NAME"
    else:
        first = registry.find(experiment.upstream)
        key = next(iter(_own(first.presets[first.default_preset].config)))
        text += (
            f".\nIt starts from a run of {first.name}: run {first.name} --set {key}=NAME "
            f"--data-dir {folder}, then give its directory with --set {first.name}.run=DIR and "
            "leave --data-dir out"
        )
    raise ConfigError(f"{text}. NAME is one of {known}.")


def _own(config: Any) -> dict[str, str]:
    """The settings of a configuration that name its data."""
    kind: Any = type(config)
    values = flatten(to_dict(config))
    return {
        key: values[key] for key, meaning in meanings(kind).items() if isinstance(meaning, Dataset)
    }


def _of_upstream(experiment: Experiment, config: Any) -> dict[str, str]:
    """The same of the run that it starts from, where that isn't given and may have to be run."""
    if not experiment.upstream or (wanted := getattr(config, experiment.upstream)).run:
        return {}
    return _own(registry.find(experiment.upstream).preset(wanted.preset).config)
