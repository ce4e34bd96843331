"""Runs the quickstart's parts one after the other and shows them side by side."""

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from common.plot import learning_curves
from common.table import Cell, Table
from experiments.domain import FIRST
from experiments.quickstart.catalogue import PARTS, QuickstartConfig
from experiments.registry import find
from experiments.run import SAMPLE, Context
from experiments.train import DivergedRun, Outcome, Outcomes, Rehearsed, merge
from highway.core import trains_by_kernel
from tutor.config import NoteRNNRun

SHOWN = {
    "reward": "reward of an event by the rules",
    "notes_excessively_repeated": "events repeated too often, %",
    "notes_not_in_key": "notes outside the key, %",
    "compositions_starting_with_tonic": "beginning on the tonic, %",
    "leaps_resolved": "leaps resolved, %",
    "notes_in_motif": "events in a motif, %",
}
MODELS = ("rhn", "lstm")
MELODIES = {"note_rnn": "before.mid", "tutor": "after.mid"}
"""Part → the file with what it composed first."""


def run(context: Context) -> Outcomes:
    """Train both language models on the same text; then a Note RNN, and tune it."""
    config: QuickstartConfig = context.config
    path = context.place.path
    note_rnn = NoteRNNRun(run=str(context.place.part("note_rnn").path))
    settings: dict[str, Any] = {name: config.model(name) for name in MODELS}
    settings |= {"note_rnn": config.note_rnn, "tutor": replace(config.tutor, note_rnn=note_rnn)}
    for name in (*MODELS, "note_rnn"):  # what one of them lacks is said before another is trained
        with contextlib.suppress(Rehearsed):
            find(PARTS[name]).load_runner()(context.part(name, settings[name]).rehearsal())
    parts: dict[str, Outcome] = {}
    (seed,) = context.seeds
    for name, experiment in PARTS.items():
        runner = find(experiment).load_runner()
        outcome = runner(context.part(name, settings[name]))[seed]
        if isinstance(outcome, DivergedRun):
            return {seed: DivergedRun(str(outcome), merge({**parts, name: outcome.outcome}))}
        parts[name] = outcome
    context.place.lead(partial(_write, parts, path, context.experiment.title))
    return {seed: merge(parts)}


def takes_kernel(config: QuickstartConfig) -> bool:
    """Return whether the CPU kernel computes one of the language models."""
    return any(trains_by_kernel(config.model(name)) for name in MODELS)


def _write(parts: Mapping[str, Outcome], path: Path, title: str) -> None:
    """Curves, samples and melodies of all parts."""
    _draw(parts, path / "learning_curve.png", title)
    samples = "".join(
        f"--- {name} ---\n{(path / name / SAMPLE).read_text(encoding='utf-8')}\n" for name in MODELS
    )
    samples += f"--- note_rnn, before and after tuning ---\n{_before_and_after(parts).render()}"
    (path / SAMPLE).write_text(samples, encoding="utf-8")
    for name, file in MELODIES.items():
        (composed,) = (path / name).glob(f"{FIRST}.*")
        shutil.copyfile(composed, path / file)


def _draw(parts: Mapping[str, Outcome], path: Path, title: str) -> None:
    """The validation score of both language models, by epoch."""
    metric = "valid/bits_per_character"
    learning_curves(
        {
            name: [(row["epoch"], row[metric]) for row in parts[name].curve if metric in row]
            for name in MODELS
        },
        path,
        x_label="epoch",
        y_label="validation bits per character",
        title=title,
    )


def _before_and_after(parts: Mapping[str, Outcome]) -> Table:
    lines: list[list[Cell]] = []
    for measure, words in SHOWN.items():
        values = [parts[name].metrics.get(f"composed/{measure}") for name in MELODIES]
        lines.append([words, *("" if value is None else f"{value:.3g}" for value in values)])
    titles = ("of compositions", "Note RNN", "tuned")
    return Table(titles, lines, frozenset(titles[1:]))
