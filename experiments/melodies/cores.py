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
    summary_of,
    value_of,
    words_of,
)
from experiments.results.alike import seeds_a, told_apart
from experiments.results.paper_table import ABSENT

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
LOG_PERPLEXITY = "test/log_perplexity"
LEARNED = {LOG_PERPLEXITY: "log perplexity", "test/accuracy": "accuracy"}
"""What is compared of Note RNNs, on test melodies: by validation their checkpoints were chosen."""
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
    of_note_rnns = f" Note RNNs, {' against '.join(found)}, on test melodies: {'; '.join(learned)}."
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
    """Say what comes of the other core, learned and then tuned by each method; "" where not both
    were."""
    lstm, rhn = (found.get(core, {}) for core in CORES)
    names = [one for one in NAMES if lstm.get(one) and rhn.get(one)]
    if NOTE_RNN not in names or not TUNED & set(names):
        return ""

    def beside(name: str, metric: str, low: str, alike: str, high: str) -> str:
        """Which of the three words fits, and a metric of both cores."""
        mine, its = (summary_of(core[name], metric) for core in (rhn, lstm))
        if mine is None or its is None:
            return ABSENT
        word = alike
        if told_apart(mine, its):
            word = low if mine.mean < its.mean else high
        return f"{word}, {value_of(rhn[name], metric)} against {value_of(lstm[name], metric)}"

    reward, kl = "composed/reward", f"composed/{KL}"
    learned = beside(NOTE_RNN, LOG_PERPLEXITY, "better", "about as well", "less well")
    tuned = [
        f"by {NAMES[one]} {beside(one, reward, 'less reward', 'about as much', 'more reward')}, "
        f"{beside(one, kl, 'at less KL', 'at about the same KL', 'at more KL')}"
        for one in names
        if one in TUNED
    ]
    counts = [len(core[one]) for core in (lstm, rhn) for one in names]
    return (
        "Both papers composed: a recurrent highway network in the place of the LSTM, with as many "
        f"parameters ({seeds_a(counts, 'model')}; *about*: intervals overlap). It predicts test "
        f"melodies {learned} (log perplexity). Tuned, it gets ({MEANS['reward']}; {MEANS[KL]}): "
        f"{'; '.join(tuned)}."
    )


def _by_core(records: Iterable[Record]) -> Found:
    """The runs of both cores; empty where not both were tuned."""
    records = list(records)
    found = {core: by_experiment(records, setting) for core, setting in CORES.items()}
    return found if all(TUNED & set(one) for one in found.values()) else {}
