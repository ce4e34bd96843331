"""A model card: what an exported model is, how good it is, how it was made. All from its record."""

import json
from collections.abc import Sequence
from typing import Any

from common.config import flatten, to_dict
from common.progress import duration
from common.record import Record
from common.table import Cell, Table
from experiments.registry import Experiment
from experiments.results.cells import ours, result_cells
from experiments.results.row import Row, commits_text, device_text, result_rows
from experiments.together import seed_folder

COLUMNS = (
    "metric",
    "dataset and split",
    "protocol",
    "published",
    "this model",
    "difference",
    "verdict",
)
"""Of the results."""


def card(
    record: Record, experiment: Experiment, file: str, *, is_text: bool, has_cells: bool
) -> str:
    """Return the Markdown of a model card.

    Args:
      record: of the run.
      experiment: which it is a run of.
      file: name of the model's file.
      is_text: whether it is a language model; otherwise it is a model of sequences.
      has_cells: whether its recurrent layers are cells of `highway`.
    """
    found = result_rows([record], {experiment.name: experiment})
    rows = [row for row in found if row.verdict.kind != "not run"]
    parts = [
        f"# Model card: {experiment.name}, {record.preset}, seed {record.seed}\n",
        "Written by `python -m experiments export` from the run's record. The parameters are in "
        f"`{file}`, and so is the record.\n",
        "## What it is\n",
        _what(record, experiment),
        "## Results\n",
        _results(rows),
        "## Data\n",
        _data(record),
        "## How it was made\n",
        _made(record),
        "## Limits\n",
        _limits(record, rows),
        "## Settings\n",
        _settings(record, experiment),
        "## Use\n",
        _use(record, file, is_text=is_text, has_cells=has_cells),
    ]
    return "\n".join(parts)


def _bullets(lines: Sequence[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)


def _what(record: Record, experiment: Experiment) -> str:
    counts = record.parameters
    if isinstance(counts, int):
        size = f"{counts:,}"
    else:
        size = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return _bullets(
        [
            f"{experiment.title}.",
            f"Reproduces: {experiment.row}.",
            f"Trainable parameters: {size}.",
        ]
    )


def _results(rows: Sequence[Row]) -> str:
    if not rows:
        return "The run measured nothing that is among its experiment's results.\n"
    lines: list[list[Cell]] = []
    for row in rows:
        found = result_cells(row)
        found |= {"this model": ours(row), "verdict": row.verdict.kind}
        lines.append([found[name] for name in COLUMNS])
    protocols = dict.fromkeys(row.metric.protocol for row in rows)
    told = " ".join(f"*{protocol.name}*: {protocol.text}." for protocol in protocols)
    table = Table(COLUMNS, lines, frozenset({"this model", "difference"}))
    return f"{table.markdown()}\n{told}\n"


def _data(record: Record) -> str:
    told, lines = [], []
    for used in record.data:
        tokens = ", ".join(f"{count:,} {split}" for split, count in used.tokens.items())
        told.append(f"{used.name}, version {used.version}: {tokens} tokens or items.")
        lines += [(used.name, name, f"`{value}`") for name, value in used.checksums.items()]
    table = Table(("data", "file", "checksum"), lines).markdown() if lines else ""
    return "\n".join(filter(None, [_bullets(told), table]))


def _made(record: Record) -> str:
    phases = ", ".join(f"{name} {duration(seconds)}" for name, seconds in record.seconds.items())
    return _bullets(
        [
            f"`{record.command}`",
            f"Commit: `{commits_text(record.commits, dirty=record.dirty)}`.",
            f"Device: {device_text(record.device)}.",
            f"Time: {phases or 'not recorded'}.",
            f"With {', '.join(f'{name} {one}' for name, one in record.versions.items())}.",
            f"Finished: {record.finished}.",
        ]
    )


def _limits(record: Record, rows: Sequence[Row]) -> str:
    told = list(
        dict.fromkeys(
            f"{row.verdict.text[0].upper()}{row.verdict.text[1:]}."
            for row in rows
            if row.verdict.kind in ("scaled down", "other settings", "other data")
        )
    )
    told += [
        f"{used.name} stands in for {used.stand_in_for}: no number here is comparable with the "
        "paper's."
        for used in record.data
        if used.stand_in_for is not None
    ]
    if not any(row.published for row in rows):
        told.append("Nothing is published that its results could be compared with.")
    told.append("One run with one seed: how far results vary with the seed isn't seen from it.")
    if record.dirty:
        told.append("The code had changes that were not committed.")
    return _bullets(told)


def _settings(record: Record, experiment: Experiment) -> str:
    """All settings, and the paper's beside those that differ."""
    paper: dict[str, Any] = {}
    if "paper" in experiment.presets:
        paper = flatten(to_dict(experiment.presets["paper"].config))
    lines = [
        (
            f"`{key}`",
            _written(value),
            _written(paper[key]) if paper.get(key, value) != value else "",
        )
        for key, value in flatten(record.config).items()
    ]
    return Table(("setting", "value", "of the preset `paper`, where another"), lines).markdown()


def _written(value: Any) -> str:
    return f"`{json.dumps(value)}`"


def _use(record: Record, file: str, *, is_text: bool, has_cells: bool) -> str:
    run = f"runs/{record.experiment}/{record.preset}/{seed_folder(record.seed)}"
    lines = [f"# makes {run} of it", f"python -m experiments load {file}"]
    lines.append(f"python -m experiments compose {run}")
    told = [_code("", lines)]
    imports = ["from common.model_file import read_model"]
    python = [f'params = read_model("{file}").params']
    if is_text:
        imports.append("from experiments.text_model import load_run")
        python.append("# To encode, evaluate and sample: docs/library.md.")
        python.append(f'model = load_run("{run}")')
    if has_cells:
        imports.append("from highway import load_cells")
        python.append(f'cells = load_cells("{file}")  # its recurrent layers')
    python = [*imports, "", *python]
    return "\n".join([*told, "In Python:\n", _code("python", python)])


def _code(language: str, lines: Sequence[str]) -> str:
    text = "\n".join(lines)
    return f"```{language}\n{text}\n```\n"
