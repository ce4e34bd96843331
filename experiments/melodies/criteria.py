"""What each claim about Table 1 compares of its runs.

Functions take what was found, values by label of the runs and statistic, and return comparisons.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from statistics import fmean

from common.table import summarize
from experiments.melodies.catalogue import COLUMNS, TABLE_1
from experiments.melodies.comparison import Less, Runs, Values
from experiments.melodies.table import ANYWHERE, DATA, number_of, words_of, written
from experiments.melodies.tested import (
    ADAGRAD,
    AS_THEY_ARE,
    C_BEGINNINGS,
    C_MASKED,
    C_MASKED_SLOW_RATE,
    C_SLOW_RATE,
    FITTED_DATA,
    G_FOR_TUNES,
    OWN_BEGINNINGS,
    PUBLISHED,
    Q_AT_1,
    Q_AT_2,
    Q_BOLTZMANN_AT_2,
    Q_IN_C,
    SLOW_DATA,
    SLOW_RATE,
    SWAPPED_DATA,
    SWAPPED_SLOW_DATA,
    Q,
    note_rnn,
)

Cures = Mapping[Runs, tuple[Runs, ...]]
"""Runs → those in the same key after each of several changes."""


def composed(*statistics: str) -> tuple[str, ...]:
    """Name statistics of compositions as metrics."""
    return tuple(f"composed/{one}" for one in statistics)


TONIC, LEAPS, MOTIF, REPEATED, KEY, LOG_P = composed(
    "compositions_starting_with_tonic",
    "leaps_resolved",
    "notes_in_motif",
    "notes_excessively_repeated",
    "notes_not_in_key",
    "log_p_tonic",
)
BEAT, INTERVAL, WIDE, DENSITY, KL, REWARD = composed(
    "on_beat", "mean_interval", "leaps_over_fifth", "note_density", "kl_policy_prior", "reward"
)
WORDS = {TONIC: "tonic", LEAPS: "leaps", MOTIF: "motif"}
REPEATED_ANYWHERE = f"{ANYWHERE}/notes_excessively_repeated"
OUT_OF_C = f"{ANYWHERE}/notes_not_in_key"
ENTROPY = "composed/entropy"
LOSS = "valid/log_perplexity"

PRINTED = {metric: float(TABLE_1[metric.partition("/")[2]][COLUMNS[Q]]) for metric in WORDS}
"""Of Q."""
PRINTED_REPEATED = float(TABLE_1["notes_excessively_repeated"][COLUMNS["note_rnn"]])


def _told(runs: Runs, metric: str, found: Values) -> str:
    """Name a value, for whom a comparison with it fails."""
    words = f"{WORDS[metric]}, " if metric in WORDS else ""
    unit = " %" if metric in WORDS else ""
    return f"{words}{runs.label} ({fmean(found[runs.label][metric]):.3g}{unit})"


def below_the_printed_tonic(found: Values, group: Iterable[Runs]) -> list[Less]:
    """That fewer compositions of some runs start with the tonic than is printed."""
    return [
        Less(found[runs.label][TONIC], [PRINTED[TONIC]], _told(runs, TONIC, found), high_exact=True)
        for runs in group
    ]


def higher_when_cured(found: Values, metrics: Iterable[str], cures: Cures) -> list[Less]:
    """That metrics are higher after a cure than without, in the same key."""
    return [
        Less(found[ill.label][metric], found[cured.label][metric], _told(cured, metric, found))
        for metric in metrics
        for ill, after in cures.items()
        for cured in after
    ]


def above_the_printed(found: Values) -> list[Less]:
    """That tonic, leaps and motif are above what is printed, after each of CURES."""
    return [
        Less(
            [PRINTED[metric]],
            found[runs.label][metric],
            _told(runs, metric, found),
            low_exact=True,
        )
        for metric in WORDS
        for runs in CURED
    ]


def falls_with_c(found: Values) -> list[Less]:
    """That the tonic gets rarer from row to row as c grows, past what is printed."""
    at_half, at_1, at_2 = (found[runs.label][TONIC] for runs in (Q_IN_C, Q_AT_1, Q_AT_2))
    printed = [PRINTED[TONIC]]
    return [
        Less(printed, at_half, "c = 0.5 against what is printed", low_exact=True),
        Less(at_1, printed, "c = 1 against what is printed", high_exact=True),
        Less(at_2, at_1, "c = 2 against c = 1"),
    ]


def in_order_of_log_p(found: Values) -> list[Less]:
    """That the tonic is commoner in each run than in the one with the next lower log p."""
    ranked = sorted(found, key=lambda label: fmean(found[label][LOG_P]))
    return [
        Less(
            found[low][TONIC],
            found[high][TONIC],
            f"{low} (log p {fmean(found[low][LOG_P]):.3g}, tonic {fmean(found[low][TONIC]):.3g} %) "
            f"against {high} ({fmean(found[high][LOG_P]):.3g}, {fmean(found[high][TONIC]):.3g} %)",
        )
        for low, high in pairwise(ranked)
    ]


def lower(low: Runs, high: Runs, metric: str, found: Values, times: float = 1.0) -> list[Less]:
    """That a metric of some runs is less than so many times that of others."""
    bound = [times * value for value in found[high.label][metric]]
    told = f"{low.label} against {high.label}"
    exact = [runs.experiment == DATA for runs in (low, high)]
    return [Less(found[low.label][metric], bound, told, *exact)]


def grows_past_half(found: Values) -> list[Less]:
    """That repetitions of the data grow from few to over half, in the order of `WINDOWS`."""
    shares = {runs.label: found[runs.label][REPEATED_ANYWHERE] for runs in WINDOWS}
    labels = list(shares)
    compared = [
        *((shares[low], shares[high], f"{low} against {high}") for low, high in pairwise(labels)),
        (shares[labels[0]], [15.0], f"{labels[0]} against 15 %"),
        (shares[labels[-3]], [50.0], f"{labels[-3]} against 50 %"),
        ([50.0], shares[labels[-2]], f"{labels[-2]} against 50 %"),
    ]
    return [Less(*one, low_exact=True, high_exact=True) for one in compared]


def nearest_to_the_printed_repetitions(found: Values) -> list[Less]:
    """That the first runs repeat more nearly as often as is printed than the others."""
    off = {
        label: [abs(value - PRINTED_REPEATED) for value in values[REPEATED]]
        for label, values in found.items()
    }
    fitted, *others = off
    return [Less(off[fitted], off[other], f"against {other}") for other in others]


def nearer_to_the_printed(found: Values, runs: Runs, before: Runs) -> list[Less]:
    """That statistics of runs are nearer to those printed of their method than others' are."""
    column = COLUMNS[runs.experiment]
    compared = []
    for name, values in TABLE_1.items():
        printed = float(values[column])
        each = [found[one.label][f"composed/{name}"] for one in (runs, before)]
        near, far = ([abs(value - printed) for value in one] for one in each)
        after, was = (number_of(fmean(one), name) for one in each)
        told = f"{words_of(name)} ({was} → {after}, printed {values[column]})"
        compared.append(Less(near, far, told))
    return compared


def little_changes(found: Values, changed: Runs) -> list[Less]:
    """That every percentage of Table 1 moves by few points."""
    base, other = found[Q_IN_C.label], found[changed.label]
    compared = []
    for name in SHARES:
        metric, words = f"composed/{name}", words_of(name)
        low, high = sorted((base, other), key=lambda one: fmean(one[metric]))
        near = [value + FEW_POINTS for value in low[metric]]
        compared.append(Less(high[metric], near, words))
    return compared


def farther_from_the_printed_tonic(near: Runs, far: Runs, found: Values) -> list[Less]:
    """That some runs are farther from the printed share of tonics than others."""
    low, high = (
        [abs(value - PRINTED[TONIC]) for value in found[runs.label][TONIC]] for runs in (near, far)
    )
    return [Less(low, high, f"{near.label} against {far.label}")]


def meets_the_printed_tonic(greedy: Runs, found: Values) -> str:
    """Say that the printed share of tonics lies in the interval of greedy compositions', if so."""
    share = summarize(found[greedy.label][TONIC])
    if share.low is None or share.high is None or not share.low <= PRINTED[TONIC] <= share.high:
        return ""
    return (
        f"Greedy compositions match what is printed here: {written(share, TONIC)} % start with the "
        f"tonic, {PRINTED[TONIC]:g} % are printed."
    )


def nearest_to_tunes(found: Values, ours: Runs) -> list[Less]:
    """That runs are more on the beat, in smaller intervals and nearer to the prior than Q."""
    own = found[ours.label]
    return [
        Less(low[metric], high[metric], f"{words}, against {runs.label}")
        for runs in (Q_IN_C, Q_AT_2, Q_BOLTZMANN_AT_2)
        for other in (found[runs.label],)
        for low, high, metric, words in (
            (other, own, BEAT, "notes on the beat"),
            (own, other, INTERVAL, "mean interval"),
            (own, other, KL, "KL(π ‖ p)"),
        )
    ]


def pleases_more(found: Values, more: Runs, less: Runs) -> list[Less]:
    """That runs earn more and keep to the beat, and stray further from the prior."""
    high, low = found[more.label], found[less.label]
    return [
        Less(low[REWARD], high[REWARD], "reward"),
        Less(low[BEAT], high[BEAT], "notes on the beat"),
        Less(low[KL], high[KL], "KL(π ‖ p)"),
    ]


def leaves_the_data(found: Values) -> list[Less]:
    """That ε-greedy exploration at c = 2 resolves fewer leaps, leaps wider and strays further."""
    greedy, own = found[Q_AT_2.label], found[G_FOR_TUNES.label]
    return [
        Less(greedy[LEAPS], own[LEAPS], "leaps resolved"),
        Less(own[WIDE], greedy[WIDE], "intervals over a fifth"),
        Less(own[KL], greedy[KL], "KL(π ‖ p)"),
    ]


FEW_POINTS = 10.0
"""Percentage points by which what makes little difference moves a row."""
CURES: Cures = {
    PUBLISHED: (OWN_BEGINNINGS, SLOW_RATE),
    C_MASKED: (C_BEGINNINGS, C_MASKED_SLOW_RATE, C_SLOW_RATE),
}
"""Of Q, on a Note RNN of learning rate 0.5 that never trained beginnings; then with a learning
rate of 0.01, beginnings trained, or both."""
BEGINNINGS_CURE: Cures = {PUBLISHED.prior: (OWN_BEGINNINGS.prior,)}
"""Of Note RNNs: the one of CURES that has three seeds a side."""
ADAGRAD_CURE: Cures = {PUBLISHED.prior: (ADAGRAD.prior,)}
"""Of Note RNNs: another optimiser and loss, with nothing else changed."""
OTHER_CURES: Cures = {
    PUBLISHED.prior: (SLOW_RATE.prior,),
    C_MASKED.prior: tuple(runs.prior for runs in CURES[C_MASKED]),
}
"""Of Note RNNs: the rest of CURES."""
CURED = tuple(runs for cures in CURES.values() for runs in cures)
WINDOWS = (AS_THEY_ARE, SWAPPED_DATA, SLOW_DATA, FITTED_DATA, SWAPPED_SLOW_DATA)
FITTED = note_rnn("swapped_stretched")
SHARES = tuple(name for name in TABLE_1 if "autocorrelation" not in name)
"""Statistics of Table 1 that are percentages."""
