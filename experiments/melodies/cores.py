"""A recurrent highway network in the LSTM's place: both, at one size, before and after tuning."""

from collections.abc import Iterable, Mapping, Sequence

from common.record import Record
from common.table import Cell, Table
from experiments.melodies.catalogue import PAPER_PARAMETERS, RHN
from experiments.melodies.table import (
    KL,
    MEANS,
    NAMES,
    NOTE_RNN,
    TUNED,
    Setting,
    by_experiment,
    note_rnns,
    summary_of,
    value_of,
    words_of,
    written,
)
from experiments.results.alike import seeds_a, told_apart
from experiments.results.paper_table import ABSENT
from tutor.music.metric import ACCURACY, LOG_PERPLEXITY

TITLE = "Sequence Tutor with a recurrent highway network"
CORES = {
    "LSTM": Setting("in_c", "cpu", "in_c", "on an LSTM"),
    "RHN": Setting("rhn", "rhn", "in_c", "on a recurrent highway network"),
}
"""Core → its runs, which differ in nothing else."""
MEASURES = (
    "reward",
    KL,
    "log_prior",
    "compositions_starting_with_tonic",
    "notes_in_motif",
)
"""What is compared of compositions."""
LEARNED = {LOG_PERPLEXITY.name: "log perplexity", ACCURACY.name: "accuracy"}
"""What is compared of Note RNNs, on validation melodies."""
TOLD = "tutor_melodies_g"
"""The method of which a sentence tells: the one that keeps closest to its prior."""
CAPTION = (
    f"A recurrent highway network of depth {RHN.depth} with {RHN.units} units (preset `rhn`) has "
    f"exactly as many parameters as the paper's LSTM, {PAPER_PARAMETERS:,}. Data, updates and "
    "tuning are the same (preset `in_c`), with settings chosen for the LSTM. Of a tuned core's "
    "cells, those that don't count Note RNNs are of one, and how Note RNNs differ is not in their "
    "intervals."
)

Found = Mapping[str, Mapping[str, Sequence[Record]]]
"""Core → experiment → runs."""


def section(records: Iterable[Record]) -> list[str]:
    """Write in Markdown what comes of the other core, and the table of both; nothing where not
    both were tuned."""
    found = _by_core(records)
    if not found:
        return []
    told = finding(found)
    learned = [
        f"{words} {' against '.join(values)}"
        for metric, words in LEARNED.items()
        if all(values := [value_of(one.get(NOTE_RNN, ()), metric) for one in found.values()])
    ]
    of_note_rnns = (
        f" Note RNNs, {' against '.join(found)}, on validation melodies: {'; '.join(learned)}."
    )
    return [
        f"### {TITLE}\n",
        *([f"{told}\n"] if told else []),
        f"{CAPTION}{of_note_rnns if learned else ''}\n",
        compared(found).markdown(),
    ]


def compared(found: Found) -> Table:
    """Make the table: a line for each Note RNN and method, the cores below one another."""
    lines: list[list[Cell]] = []
    for name in NAMES:
        for core, groups in found.items():
            group = groups.get(name, ())
            values = [value_of(group, f"composed/{measure}") for measure in MEASURES]
            if group:
                lines.append([NAMES[name], core, *(one or ABSENT for one in values)])
    titles = ("model", "core", *map(words_of, MEASURES))
    return Table(titles, lines, frozenset(titles[2:]))


def finding(found: Found) -> str:
    """Say what comes of the other core, learned and then tuned by G; "" where not both were."""
    lstm, rhn = ([found.get(core, {}).get(one, ()) for one in (NOTE_RNN, TOLD)] for core in CORES)
    if not all((*lstm, *rhn)):
        return ""
    learned = _beside(rhn[0], lstm[0], LOG_PERPLEXITY.name)
    reward, far = (_beside(rhn[1], lstm[1], f"composed/{one}") for one in ("reward", KL))
    one_each = all(len(note_rnns(tuned)) == 1 for tuned in (lstm[1], rhn[1]))
    return (
        "Both papers composed: a recurrent highway network in the place of the LSTM, with as many "
        f"parameters (the LSTM's values in brackets; {seeds_a(map(len, (*lstm, *rhn)), 'model')}). "
        f"Log perplexity of validation melodies {learned}; tuned by {NAMES[TOLD]}"
        f"{' from one Note RNN each' if one_each else ''}, {MEANS['reward']} {reward}; "
        f"{MEANS[KL]}, {far}."
    )


def _beside(one: Sequence[Record], other: Sequence[Record], metric: str) -> str:
    """A metric of one core's runs, then the other's; whether intervals overlap."""
    mine, its = (summary_of(group, metric) for group in (one, other))
    if mine is None or its is None:
        return ABSENT
    overlap = "" if told_apart(mine, its) else ", overlapping"
    return f"{written(mine, metric)} ({written(its, metric)}{overlap})"


def _by_core(records: Iterable[Record]) -> Found:
    """The runs of both cores; empty where not both were tuned."""
    records = list(records)
    found = {core: by_experiment(records, setting) for core, setting in CORES.items()}
    return found if all(TUNED & set(one) for one in found.values()) else {}
