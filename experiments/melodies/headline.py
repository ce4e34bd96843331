"""What the results open with of this family, in two sentences, and the reasons behind them."""

from collections.abc import Iterable, Sequence

from common.record import Record
from experiments.melodies.comparison import SURE, Less, strength
from experiments.melodies.criteria import LOG_P, PRINTED, TONIC
from experiments.melodies.finding import FINDINGS
from experiments.melodies.table import (
    KL,
    MEANS,
    NAMES,
    SETTINGS,
    TUNED,
    by_experiment,
    means,
    summary_of,
    value_of,
    written,
)
from experiments.melodies.tested import OWN_BEGINNINGS, PUBLISHED
from experiments.results.alike import seeds_a
from experiments.results.paper_table import anchor

TITLE = "Why lines of Table 1 differ"
"""Of the part with the reasons."""


def headline(records: Iterable[Record]) -> list[str]:
    """Return a paragraph on which method keeps closest to its prior and why the tonic is off;
    nothing where records say neither."""
    records = list(records)
    told = [*nearest_to_the_prior(records), *off_the_tonic(records)]
    return [" ".join(told)] if told else []


def nearest_to_the_prior(records: Iterable[Record]) -> list[str]:
    """Say which method keeps closest to the prior, of two or more with the published settings."""
    found = by_experiment(records, SETTINGS[0])
    each = {
        NAMES[name]: far
        for name, group in found.items()
        if name in TUNED and (far := summary_of(group, f"composed/{KL}")) is not None
    }
    if len(each) < 2:
        return []
    first, second, *_ = ranked = sorted(each, key=lambda name: each[name].mean)
    apart = strength(Less(each[first].values, each[second].values, "")) == SURE
    usually = "" if apart else ", on average,"
    told = ", ".join(f"{name} {written(each[name], KL)}" for name in ranked)
    return [
        f"With the published settings{usually} {first} keeps closest to its prior, by {MEANS[KL]}: "
        f"{told}."
    ]


def off_the_tonic(records: Sequence[Record]) -> list[str]:
    """Say why compositions seldom start with the tonic, where records show that.

    They do if training beginnings, with nothing else changed, raises both the share that starts
    with the tonic and the Note RNN's chances of one.
    """
    groups = [runs.among(records) for runs in (PUBLISHED, OWN_BEGINNINGS)]
    before, after = ({one: means(group, one) for one in (TONIC, LOG_P)} for group in groups)
    if not all((*before.values(), *after.values())):
        return []
    shown = [Less(before[TONIC], [PRINTED[TONIC]], "printed")]
    shown += [Less(before[metric], after[metric], metric) for metric in (TONIC, LOG_P)]
    if any(strength(one) != SURE for one in shown):
        return []
    without, learned = (value_of(group, TONIC) for group in groups)
    return [
        "The tonic line of Table 1 is off because beginnings are never trained: the Note RNN "
        f"expects no tonic there, and of Q's compositions {without} % start with one "
        f"({PRINTED[TONIC]:g} printed); where beginnings are trained, {learned} % "
        f"({seeds_a(map(len, groups), 'Note RNN')}; [why](#{anchor(TITLE)}))."
    ]


def reasons(records: Sequence[Record]) -> list[str]:
    """Write the claims about Table 1 that records confirm, in Markdown; nothing where none is."""
    claims = [one.claim for one in FINDINGS if one.verdict(records) == "Confirmed."]
    if not claims:
        return []
    return [
        f"### {TITLE}\n",
        "What runs confirm, of all that was tested in [docs/table_1.md](../docs/table_1.md):\n",
        "".join(f"- {claim}\n" for claim in claims),
    ]
