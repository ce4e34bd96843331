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
from experiments.melodies.tested import C_MASKED, C_MASKED_SLOW_RATE, OWN_BEGINNINGS, PUBLISHED
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
    metric = f"composed/{KL}"
    tuned = {NAMES[name]: group for name, group in found.items() if name in TUNED}
    each = {
        name: far for name, group in tuned.items() if (far := summary_of(group, metric)) is not None
    }
    if len(each) < 2:
        return []
    ranked = sorted(each, key=lambda name: each[name].mean)
    near, next_one = (means(tuned[name], metric) for name in ranked[:2])
    usually = "" if strength(Less(near, next_one, "")) == SURE else ", on average,"
    told = ", ".join(f"{name} {written(each[name], KL)}" for name in ranked)
    return [
        f"With the published settings{usually} {ranked[0]} keeps closest to its prior, by "
        f"{MEANS[KL]}: {told}."
    ]


def off_the_tonic(records: Sequence[Record]) -> list[str]:
    """Say why compositions seldom start with the tonic, where records show that.

    They do if training beginnings, with nothing else changed, raises both the share that starts
    with the tonic and the Note RNN's chances of one. That a lower learning rate does so, too, is
    said where it does, with nothing else changed.
    """
    before, after = (runs.among(records) for runs in (PUBLISHED, OWN_BEGINNINGS))
    shares = means(before, TONIC)
    printed = Less(shares, [PRINTED[TONIC]], "printed", high_exact=True)
    if not shares or strength(printed) != SURE or not _expected_more(before, after):
        return []
    counted = [before, after]
    changes = [f"Training on beginnings ({value_of(after, TONIC)} %)"]
    slow = C_MASKED_SLOW_RATE.among(records)
    if _expected_more(C_MASKED.among(records), slow):
        rate = C_MASKED_SLOW_RATE.settings()["prior.learning_rate"]
        changes.append(f"a lower learning rate ({rate:g}, tunes in C: {value_of(slow, TONIC)} %)")
        counted.append(slow)
    published = PUBLISHED.settings()["prior.learning_rate"]
    return [
        f"The tonic line of Table 1 is off because, at the published learning rate of "
        f"{published:g}, beginnings that are never trained leave the Note RNN expecting no tonic: "
        f"of Q's compositions {value_of(before, TONIC)} % start with one ({PRINTED[TONIC]:g} "
        f"printed). {' or '.join(changes)} changes that "
        f"({seeds_a(map(len, counted), 'Note RNN')}; [why](#{anchor(TITLE)}))."
    ]


def _expected_more(before: Sequence[Record], after: Sequence[Record]) -> bool:
    """Whether later runs surely start with the tonic, and expect one, more than earlier ones."""
    sides = [(means(before, metric), means(after, metric)) for metric in (TONIC, LOG_P)]
    return all(low and high and strength(Less(low, high, "")) == SURE for low, high in sides)


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
