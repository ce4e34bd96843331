"""What the results open with of this family, a sentence each, and the reasons behind them."""

from collections.abc import Iterable, Sequence

from common.record import Record
from experiments.melodies.comparison import CONFIRMED, NO, SURE, Less, Runs, strength
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
from experiments.melodies.tested import (
    ADAGRAD,
    C_MASKED,
    C_MASKED_SLOW_RATE,
    OWN_BEGINNINGS,
    PUBLISHED,
)
from experiments.results.alike import seeds_a
from experiments.results.paper_table import anchor

TITLE = "Why lines of Table 1 differ"
"""Of the part with the reasons."""


def headline(records: Iterable[Record]) -> list[str]:
    """Return which method keeps closest to its prior, and why the tonic is off; nothing of what
    records don't say."""
    records = list(records)
    return [*nearest_to_the_prior(records), *off_the_tonic(records)]


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
    rewards = {name: summary_of(group, "composed/reward") for name, group in tuned.items()}
    told = ", ".join(
        f"{name} {written(each[name], KL)}"
        + (f" ({reward.mean:.2f})" if (reward := rewards[name]) else "")
        for name in ranked
    )
    return [
        f"With the published settings{usually} {ranked[0]} keeps closest to its prior, by "
        f"{MEANS[KL]} (mean reward in parentheses): {told}."
    ]


def off_the_tonic(records: Sequence[Record]) -> list[str]:
    """Say why compositions seldom start with the tonic, where records show that.

    They do if training beginnings, with nothing else changed, surely raises both the share that
    starts with the tonic and, over Note RNNs, their chances of one. Of a lower learning rate one
    Note RNN a side tells: that it may do so, too, is said where it raises both.
    """
    changed = PUBLISHED, OWN_BEGINNINGS
    before, after = (runs.among(records) for runs in changed)
    shares = means(before, TONIC)
    printed = Less(shares, [PRINTED[TONIC]], "printed", high_exact=True)
    if not shares or strength(printed) != SURE or _raised(*changed, records) != SURE:
        return []
    rate = PUBLISHED.settings()["prior.learning_rate"]
    others = ""
    if _raised(PUBLISHED, ADAGRAD, records) == SURE:
        trained = ADAGRAD.among(records)
        others = (
            "; training as the only public trainer does, by Adagrad on the summed loss, gives "
            f"{value_of(trained, TONIC)} %"
        )
    return [
        f"The tonic line of Table 1 is off ({value_of(before, TONIC)} % of Q's compositions start "
        f"with one, printed {PRINTED[TONIC]:g}): at the published learning rate of {rate:g} with "
        "Adam, as the paper has it, beginnings that are never trained leave the Note RNN expecting "
        f"no tonic. Training on beginnings gives {value_of(after, TONIC)} %{others} "
        f"([why](#{anchor(TITLE)}))."
    ]


def behind_the_tonic(records: Sequence[Record]) -> list[str]:
    """Say what else runs tell of the tonic: over how many seeds and Note RNNs, and what a lower
    learning rate does; nothing where `off_the_tonic` says nothing."""
    if not off_the_tonic(records):
        return []
    changed = PUBLISHED, OWN_BEGINNINGS
    tuned = [len(runs.among(records)) for runs in changed]
    priors = [runs.prior.among(records) for runs in changed]
    less, more = (value_of(group, LOG_P) for group in priors)
    told = (
        f"Of the tonic: the shares are of {seeds_a(tuned, 'Note RNN')}. Over Note RNNs "
        f"({seeds_a(map(len, priors), 'side')}), trained on beginnings their mean log p of a tonic "
        f"rises from {less} to {more} nats."
    )
    return [" ".join((told, *_slower(records)))]


def _slower(records: Sequence[Record]) -> list[str]:
    """Say what a lower learning rate alone does in C, beside what it starts from there."""
    changed = C_MASKED, C_MASKED_SLOW_RATE
    if _raised(*changed, records) == NO:
        return []
    published, before, after = (runs.settings() for runs in (PUBLISHED, *changed))
    less, more = (value_of(runs.among(records), TONIC) for runs in changed)
    updates, rate = "prior.iterations", "prior.learning_rate"
    return [
        f"A lower learning rate may do so, too: in C, with {before[updates]:,} updates in place of "
        f"{published[updates]:,} and a faster decay, {less} % start with the tonic at "
        f"{before[rate]:g} and {more} % at {after[rate]:g} (one Note RNN a side, too few to tell)."
    ]


def _raised(before: Runs, after: Runs, records: Sequence[Record]) -> int:
    """How surely (`strength`) later runs start with the tonic more often than earlier ones, and
    their Note RNNs expect one more."""
    pairs = (before, after, TONIC), (before.prior, after.prior, LOG_P)
    held = []
    for low, high, metric in pairs:
        sides = means(low.among(records), metric), means(high.among(records), metric)
        held.append(strength(Less(*sides, "")) if all(sides) else NO)
    return min(held)


def reasons(records: Sequence[Record]) -> list[str]:
    """Write the claims about Table 1 that records confirm, each with what they don't and with its
    caveat, in Markdown; nothing where none is."""
    claims = []
    for finding in FINDINGS:
        verdict = finding.verdict(records)
        if verdict.startswith(CONFIRMED):
            rest = f"{verdict.removeprefix(CONFIRMED)} {finding.caveat or ''}".strip()
            claims.append(f"{finding.claim} {rest}".strip())
    if not claims:
        return []
    return [
        f"### {TITLE}\n",
        "What runs confirm, of all that was tested in [docs/table_1.md](../docs/table_1.md):\n",
        "".join(f"- {claim}\n" for claim in claims),
        *(f"{told}\n" for told in behind_the_tonic(records)),
    ]
