"""A finished run with its best model as one file, and a run directory made of such a file.

What a file holds beside the parameters: the run's record, field by field; `part`, the folder of the
run that has the model, where a run trains several; `notes`, what a model of sequences carries; and
`vocabulary`, of a language model, what its ids stand for.
"""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

from common.config import flatten
from common.error import ConfigError, DataError
from common.model_file import SUFFIX, read_model, write_model
from common.record import (
    FILE_NAME,
    Record,
    parse_record,
    read_record,
    write_atomically,
    write_record,
)
from experiments import registry, text_model, together, trained
from experiments.export.card import card
from tutor.evaluation import Policy


def export(run: Path, file: Path, data_dir: Path | None = None) -> Path:
    """Write the model of a finished run into a file, and its card beside that; return the card.

    Of a language model that is the best state on validation, of a tuned one the last: what the
    run's metrics are of. A run of several parts gives the model that would compose.

    Args:
      run: the run's directory.
      file: the file, replaced if it is there; its name ends in SUFFIX.
      data_dir: where a language model's text is, if it was brought by hand. It is read only for
        runs without a vocabulary of their own.

    Raises:
      DataError: it isn't a finished run with a model, or the file can't be written.
      ConfigError: it has no one model, or the file is of another suffix.
    """
    if file.suffix != SUFFIX:
        raise ConfigError(f"{file}: the name of such a file ends in {SUFFIX}.")
    if not (run / FILE_NAME).exists():
        raise DataError(f"{run}: no {FILE_NAME}: not a run, or not finished yet.")
    record = read_record(run / FILE_NAME)
    place = trained.find(run)
    about: dict[str, Any] = {**dataclasses.asdict(record), "part": "", "notes": {}}
    if (place / trained.FOLDER).is_dir():
        found = trained.load(place)
        params: dict[str, Any] = found.policy._asdict()
        about |= {"part": place.relative_to(run).as_posix(), "notes": dict(found.notes)}
    else:
        model = text_model.load_run(run, data_dir)
        params = model.params
        about["vocabulary"] = dataclasses.asdict(model.tokenizer)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_model(file, params, about)
    path = file.with_suffix(".md")
    text = card(
        record,
        registry.find(record.experiment),
        file.name,
        is_text="vocabulary" in about,
        has_cells=any(".layers." in name or ".kernels." in name for name in flatten(params)),
    )
    write_atomically(path, text)
    return path


def load(file: Path, out: Path) -> Path:
    """Make of a file the directory of a finished run, EXPERIMENT/PRESET/seed<k>; return it.

    It has record, configuration and model: it composes, is tuned, looked into and shown as the run
    that it was exported from. It can't be trained on, for it has no state of its training.

    Args:
      file: that `export` wrote.
      out: where runs lie.

    Raises:
      DataError: it is no such file, or damaged; or nothing can be written.
      ConfigError: no experiment of that name is known here, or there is a run already.
    """
    params, about = read_model(file)
    part, notes = str(about.pop("part", "")), about.pop("notes", {})
    known = about.pop("vocabulary", None)
    try:
        vocabulary = None if known is None else text_model.parse_vocabulary(known)
        record = parse_record(json.dumps(about))
    except ValueError as error:
        raise DataError(f"{file}: no model of a run ({error}).") from None
    registry.find(record.experiment)
    if notes and set(params) != set(Policy._fields):
        raise DataError(f"{file}: it lacks networks of its model.")
    outside = Path(part).is_absolute() or ".." in Path(part).parts
    if Path(record.preset).name != record.preset or outside:
        raise DataError(f"{file}: its preset or part isn't the name of a folder.")
    path = out / record.experiment / record.preset / together.seed_folder(record.seed)
    if path.exists():
        raise ConfigError(f"{path}: there is a run already. Choose another folder with --out.")
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    (aside / part).mkdir(parents=True)
    try:
        if notes:
            trained.save_policy(aside / part, Policy(**params), notes)
        else:
            text_model.save(aside, params, vocabulary)
        _write_facts(aside, record, file)
        aside.rename(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return path


def _write_facts(folder: Path, record: Record, file: Path) -> None:
    """Write what a run's directory says of itself."""
    known = ("command", "device", "versions", "commit", "dirty")
    session = {name: getattr(record, name) for name in known} | {"loaded_from": file.name}
    for name, content in (("config", record.config), ("manifest", {"sessions": [session]})):
        text = json.dumps(content, indent=1) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    write_record(record, folder)
