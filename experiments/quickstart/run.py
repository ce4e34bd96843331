"""Trains the quickstart's models one after the other and shows them side by side."""

import shutil
from collections.abc import Mapping

from common.table import Cell, Table
from experiments import trained
from experiments.language.run import (
    DivergedModel,
    Trained,
    draw_curves,
    load_corpus,
    outcome,
    train,
)
from experiments.melodies import note_rnn, tutor
from experiments.quickstart.catalogue import QuickstartConfig
from experiments.run import Context, DivergedRun, Outcome

SHOWN = {
    "reward": "reward of an event by the rules",
    "notes_excessively_repeated": "events repeated too often, %",
    "notes_not_in_key": "notes outside the key, %",
    "compositions_starting_with_tonic": "beginning on the tonic, %",
    "leaps_resolved": "leaps resolved, %",
    "notes_in_motif": "events in a motif, %",
}


def run(context: Context) -> Outcome:
    """Both language models on the same text; then the Note RNN, and the same tuned."""
    config: QuickstartConfig = context.config
    corpus = load_corpus(context, config.data)
    models: dict[str, Trained] = {}
    for name in ("rhn", "lstm"):
        try:
            models[name] = train(context, config.model(name), corpus, label=name, folder=name)
        except DivergedModel as error:
            models[name] = error.so_far
            raise DivergedRun(str(error), outcome(context, corpus, models)) from None
    draw_curves(context, corpus, models)
    parts = {"": outcome(context, corpus, models)}
    for name, tune in (("note_rnn", _train_note_rnn), ("tutor", _tune)):
        try:
            parts[name] = tune(context, parts)
        except DivergedRun as error:
            raise DivergedRun(str(error), merge({**parts, name: error.outcome})) from None
    samples = "".join(f"--- {name} ---\n{model.sample}\n" for name, model in models.items())
    samples += f"--- note_rnn, before and after tuning ---\n{_before_and_after(parts).render()}"
    (context.run.path / "sample.txt").write_text(samples, encoding="utf-8")
    for name, file in (("note_rnn", "before.mid"), ("tutor", "after.mid")):
        shutil.copyfile(context.run.path / name / "composition1.mid", context.run.path / file)
    return merge(parts)


def _train_note_rnn(context: Context, parts: Mapping[str, Outcome]) -> Outcome:
    return note_rnn.train(context, context.config.note_rnn, "note_rnn")


def _tune(context: Context, parts: Mapping[str, Outcome]) -> Outcome:
    kept = trained.find(context.run.path / "note_rnn")
    (data,) = parts["note_rnn"].data
    tuned = tutor.tune(context, context.config.tutor, kept, data, "tutor")
    done = tuned[context.seed]
    if isinstance(done, DivergedRun):
        raise done
    return done


def merge(parts: Mapping[str, Outcome]) -> Outcome:
    """One outcome from several by name, in whose metrics and curves the name comes first."""

    def prefixed(name: str, values: Mapping[str, float]) -> dict[str, float]:
        return {f"{name}/{k}" if name and "/" in k else k: v for k, v in values.items()}

    parameters: dict[str, int] = {}
    metrics: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for name, part in parts.items():
        counts = part.parameters
        parameters |= {name: counts} if isinstance(counts, int) else counts
        metrics |= prefixed(name, part.metrics)
        for phase, value in part.seconds.items():
            seconds[phase] = round(seconds.get(phase, 0.0) + value, 3)
    used = [data for part in parts.values() for data in part.data]
    return Outcome(
        parameters=parameters,
        metrics=metrics,
        curve=[prefixed(name, row) for name, part in parts.items() for row in part.curve],
        data=list({data.name: data for data in reversed(used)}.values())[::-1],
        seconds=seconds,
    )


def _before_and_after(parts: Mapping[str, Outcome]) -> Table:
    lines: list[list[Cell]] = []
    for measure, words in SHOWN.items():
        values = [parts[name].metrics.get(f"composed/{measure}") for name in ("note_rnn", "tutor")]
        lines.append([words, *("" if value is None else f"{value:.3g}" for value in values)])
    titles = ("of compositions", "Note RNN", "tuned")
    return Table(titles, lines, frozenset(titles[1:]))
