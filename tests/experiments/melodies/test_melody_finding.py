"""The claims about Table 1, tested by the committed records and by made-up ones."""

import re
from pathlib import Path
from statistics import fmean

import pytest
from finding_case import made

from common.table import LEAST_FOR_INTERVAL
from experiments.melodies.catalogue import COLUMNS, TABLE_1
from experiments.melodies.comparison import Less, judge
from experiments.melodies.criteria import LEAPS, LOG_P, MOTIF, SHARES, TONIC
from experiments.melodies.explain import page
from experiments.melodies.finding import FINDINGS, SUGGESTED
from experiments.melodies.headline import reasons
from experiments.melodies.table import DATA
from experiments.melodies.tested import MOVED_TO_C, OWN_KEY

RESULTS = Path(__file__).parents[3] / "results"


def test_what_does_not_hold_is_told():
    low, high = [1.0, 1.0, 1.0], [2.0, 2.0, 2.0]
    sure, average, no, against, few = (
        Less(low, high, "this"),
        Less([1.0, 1.0, 4.0], [3.0, 3.0, 5.0], "that"),
        Less(high, low, "another"),
        Less([3.0, 3.0, 5.0], [1.0, 1.0, 4.0], "one more"),
        Less(low[:1], high[:1], "one run each"),
    )
    assert judge([sure, sure]) == "Confirmed."
    assert judge([sure, average]) == "On average only. Seeds overlap in: that."
    assert judge([sure, few]) == (
        "Too few runs to tell, but it holds so far. Fewer than 3 runs a side in: one run each."
    )
    assert judge([few, average]) == (
        "On average only. Seeds overlap in: that. Fewer than 3 runs a side in: one run each."
    )
    assert judge([sure, average, no]) == (
        "Holds in part: 2 of 3; not for: another. Seeds overlap in: that."
    )
    assert judge([no, no]) == "Refuted."
    assert judge([no, against]) == "Refuted on average only. Seeds overlap in: one more."
    assert (
        judge([few.opposite])
        == "Refuted on average only. Fewer than 3 runs a side in: one run each."
    )
    assert judge([sure, sure, no], most=True) == "Confirmed. Not for: another."
    assert judge([sure, sure, average], most=True) == "Confirmed. Seeds overlap in: that."
    assert judge([sure, no], most=True) == "Holds in part: 1 of 2; not for: another."
    assert judge([sure, average, no], most=True) == "On average only. Seeds overlap in: that."


def finding_of(words):
    (found,) = (one for one in FINDINGS if words in one.claim)
    return found


def test_a_finding_is_judged_by_its_records(committed):
    finding = finding_of("falls as c grows")
    at_2 = finding.runs[-1]

    def shares(*groups):
        return [
            made(committed, runs, int(seed), **{TONIC: share})
            for runs, values in zip(finding.runs, groups, strict=False)
            for seed, share in zip(runs.seeds.split(), values, strict=True)
        ]

    first = ([90.0, 80.0, 70.0], [20.0, 15.0, 10.0])
    assert finding.verdict(shares(*first)) == "Not tested yet: no record of Q, c = 2."
    elsewhere = made(committed, at_2, 25, **{LEAPS: 1.0})
    assert finding.verdict([*shares(*first), elsewhere]) == "Not tested yet: no record of Q, c = 2."
    assert finding.verdict(shares(*first, [9.0, 5.0, 4.0])) == "Confirmed."
    overlapping = finding.verdict(shares(*first, [16.0, 5.0, 4.0]))
    assert overlapping == "On average only. Seeds overlap in: c = 2 against c = 1."
    flat = shares(*first, [60.0, 60.0, 60.0])
    text = page(flat)
    assert "**Holds in part: 2 of 3; not for: c = 2 against c = 1.** It counts as" in text
    place = FINDINGS.index(finding) + 1
    (claim,) = (line for line in text.splitlines() if line.startswith(f"| [{place}](#claim-"))
    assert [cell.strip() for cell in claim.split("|")[2:4]] == [
        finding.claim,
        "Holds in part: 2 of 3",
    ]
    assert f"### Claim {place}\n" in text
    changes = text.split("### Compositions starting with tonic")[1].split("###")[0]
    assert changes.index("`learn.c` 0.5 → 1 ") < changes.index("`learn.c` 0.5 → 2 ")  # larger first
    labels = {
        line.strip().partition("  # ")[0]: line.rpartition("  # ")[2]
        for line in text.splitlines()
        if line.startswith("    python -m ")
    }
    first, second, third = (labels[runs.commands[-1]] for runs in finding.runs)
    assert len(set(labels.values())) == len(labels) == text.count("python -m experiments run")
    assert (
        f"`learn.c` 0.5 → 1 | Q   |  80.00 | 15.00 |     -65.00 | {first} → {second} |" in changes
    )
    for label, runs in zip((first, second, third), finding.runs, strict=True):
        assert re.search(rf"^\| {label} +\| {re.escape(runs.label)} +\|", text, re.MULTILINE)


def test_the_readme_tells_what_the_records_have(committed):
    """Of Q's compositions that start with the tonic."""

    def share(preset: str) -> float:
        name = ("tutor_melodies_q", preset, [])
        return fmean(
            one.metrics[TONIC]
            for one in committed
            if (one.experiment, one.preset, one.overrides) == name
        )

    told = " ".join((RESULTS.parent / "README.md").read_text().split())
    printed = TABLE_1[TONIC.removeprefix("composed/")][COLUMNS["tutor_melodies_q"]]
    assert f"prints that {printed} % of Q's compositions start with the tonic" in told
    assert f"With its settings ours are {share('paper'):.2f} %" in told
    assert f"by Adagrad and not by Adam, {share('adagrad'):.0f} %" in told
    assert f"beginnings of tunes, {share('paper_beginnings'):.0f} %" in told
    assert f"updates as well, {share('in_c'):.0f} %" in told


ONE = {TONIC: 90.0, LEAPS: 94.0, MOTIF: 76.0}
ILL = {TONIC: 1.0, LEAPS: 80.0, MOTIF: 58.0}
ROWS = {f"composed/{name}": 50.0 for name in SHARES}
PLAYED = [(58, 3.9, 1.3), (70, 4.4, 0.7), (80, 3.0, 0.3)]
PRIOR = (84, 2.0, 0.0)


@pytest.mark.parametrize(
    ("words", "values", "confirmed"),
    [
        ("in own keys and in C", [0.3, 2.0], True),
        ("in own keys and in C", [0.3, 40.0], False),
        ("reaches what is printed", [ONE, ONE, ONE, ONE, ONE], True),
        ("reaches what is printed", [ONE, ONE | {MOTIF: 75.0}, ONE, ONE, ONE], False),
        ("reaches what is printed", [ONE, ONE, ONE, ONE, ONE | {LEAPS: 91.0}], False),
        ("stay in motifs", [ILL, ONE, ONE, ILL, ONE, ONE, ONE], True),
        ("stay in motifs", [ILL, ONE, ONE | {LEAPS: 79.0}, ILL, ONE, ONE, ONE], False),
        ("stay in motifs", [ONE, ONE, ONE, ILL, ONE, ONE, ONE], False),
        ("tune beginnings makes the Note RNN expect", [-9.0, -5.0], True),
        ("tune beginnings makes the Note RNN expect", [-5.0, -9.0], False),
        ("in C so does either", [-9.0, -5.0, -9.0, -5.0, -5.0, -5.0], True),
        ("in C so does either", [-9.0, -5.0, -9.0, -5.0, -10.0, -5.0], False),
        ("Both changes together", [10.0], True),
        ("Both changes together", [30.0], False),
        ("On the Note RNN of `swapped_stretched`, too", [10.0, 5.0], True),
        ("On the Note RNN of `swapped_stretched`, too", [5.0, 10.0], False),
        ("alone sets the share", [(-n, 90 - n) for n in range(8)], True),
        ("alone sets the share", [(-n, 90 - n % 5) for n in range(8)], False),
        ("out of the data", [6.0, 1.0], True),
        ("out of the data", [6.0, 1.3], False),
        ("easier to predict", [0.88, 0.85], True),
        ("easier to predict", [0.85, 0.88], False),
        ("only where rests and holds", [8.0, 24.0, 42.0, 58.0, 69.0], True),
        ("only where rests and holds", [8.0, 24.0, 52.0, 58.0, 69.0], False),
        ("only where rests and holds", [8.0, 24.0, 42.0, 49.0, 69.0], False),
        ("Of Note RNNs", [46.0, 22.0, 3.0, 6.0], True),
        ("Of Note RNNs", [46.0, 64.0, 3.0, 6.0], False),
        ("Double Q", [ROWS, ROWS | {LEAPS: 49.0}], True),
        ("Double Q", [ROWS, ROWS | {LEAPS: 61.0}], False),
        ("Double Q", [ROWS | {TONIC: 61.0}, ROWS], False),
        ("sampled from softmax(Q), in C", [90.0, 100.0], True),
        ("sampled from softmax(Q), in C", [90.0, 60.0], False),
        ("sampled from softmax(Q), on", [37.0, 0.0], True),
        ("sampled from softmax(Q), on", [37.0, 25.0], False),
        ("collapses", [0.66, 0.15], True),
        ("collapses", [0.66, 0.34], False),
        ("exploration and c = 2 is", [*PLAYED, (82, 2.6, 0.1), PRIOR], True),
        ("exploration and c = 2 is", [*PLAYED, (79, 2.6, 0.1), PRIOR], False),
        ("The preset `melodies` of G", [*PLAYED, (82, 2.7, 0.8), PRIOR], False),
        ("With the preset `melodies`, Q", [(0.5, 85, 0.3), (0.4, 75, 0.1), PRIOR], True),
        ("With the preset `melodies`, Q", [(0.5, 75, 0.3), (0.4, 85, 0.1), PRIOR], False),
        ("With Boltzmann exploration and", [(0.3, 85, 0.3), (0.4, 75, 0.1), PRIOR], False),
        ("makes more wide", [(61, 17, 0.7), (83, 4, 0.1)], True),
        ("makes more wide", [(61, 17, 0.7), (83, 18, 0.1)], False),
        ("It is the exploration", [61.0, 83.0], True),
        ("It is the exploration", [61.0, 60.0], False),
    ],
)  # fmt: skip
def test_what_counts_as_confirmed(words, values, confirmed):
    finding, found = finding_of(words), {}
    for runs, value in zip(finding.runs, values, strict=True):
        if not isinstance(value, dict):
            several = value if isinstance(value, tuple) else (value,)
            value = dict(zip(finding.tested, several, strict=True))
        seeds = 1 if runs.experiment == DATA else LEAST_FOR_INTERVAL
        found[runs.label] = {metric: [one] * seeds for metric, one in value.items()}
    assert (judge(finding.compared(found), most=finding.most) == "Confirmed.") == confirmed


def test_tunings_of_one_note_rnn_are_one_of_its_seeds(committed):
    """However many tune it, log p(tonic | primer) is its own."""
    finding = finding_of("tune beginnings makes the Note RNN expect")
    assert {runs.experiment for runs in finding.runs} == {"note_rnn"}
    records = [
        made(committed, runs, int(seed), **{LOG_P: value + int(seed)})
        for runs, value in zip(finding.runs, (-14.0, -7.0), strict=True)
        for seed in runs.seeds.split()
    ]
    assert finding.verdict(records) == "Confirmed."
    one_each = [one for one in records if one.seed == 0]
    assert finding.verdict(one_each).startswith("Too few runs to tell, but it holds so far. ")


def test_where_most_is_enough_the_claim_says_so():
    enough = [one for one in FINDINGS if one.most]
    assert enough
    assert all("in most statistics" in one.claim for one in enough)


def test_what_is_confirmed_for_most_stands_among_the_reasons(committed):
    finding = finding_of("on the same Note RNN, with nothing else changed")
    assert finding.verdict(committed).startswith("Confirmed. Not for: ")
    (line,) = (one for one in "".join(reasons(committed)).split("- ") if finding.claim in one)
    exception = r" Not for: compositions starting with tonic \(0\.31 → \d+\.\d+, printed 0\.0\);"
    assert re.match(re.escape(finding.claim) + exception, line)


@pytest.mark.parametrize(
    ("words", "mark"),
    [
        ("Windows of the data alone", "by construction"),
        ("Of Note RNNs, that of `swapped_stretched`", "by construction"),
        ("where data are as in `swapped_stretched`", "no control"),
    ],
)
def test_what_confirms_less_than_it_seems_is_marked_wherever_it_stands(committed, words, mark):
    finding = finding_of(words)
    told = f" {mark.capitalize()}: {finding.caveat.why}."
    (line,) = (one for one in "".join(reasons(committed)).split("\n") if finding.claim in one)
    assert line.endswith(told)
    text = page(committed)
    (row,) = (one for one in text.splitlines() if one.startswith("|") and finding.claim in one)
    assert row.rstrip(" |").endswith(f"Confirmed, {mark}")
    assert f"{finding.test}.{told}\n" in text
    (row,) = (one for one in page([]).splitlines() if one.startswith("|") and finding.claim in one)
    assert mark not in row  # where nothing is confirmed


def test_one_run_each_confirms_nothing(committed):
    loss = {"valid/log_perplexity": 0.8}
    one = made(committed, MOVED_TO_C, 20, **loss)
    other = made(committed, OWN_KEY, 0, **{"valid/log_perplexity": 0.9})
    verdict = finding_of("easier to predict").verdict([one, other])
    assert verdict.startswith("Too few runs to tell, but it holds so far. ")


@pytest.mark.parametrize(("best", "met"), [((27.0, 28.0, 30.0), True), ((20.0, 21.0, 22.0), False)])
def test_that_greedy_compositions_match_what_is_printed_is_said(committed, best, met):
    finding = finding_of("sampled from softmax(Q), on")
    records = [
        made(committed, runs, int(seed), **{TONIC: share})
        for runs, shares in zip(finding.runs, ((37.0, 38.0, 39.0), best), strict=True)
        for seed, share in zip(runs.seeds.split(), shares, strict=True)
    ]
    told = "Greedy compositions match what is printed here: 28.33 [27.00, 30.00] % start with"
    assert (told in page(records)) == met
    assert "Greedy compositions match" not in page(records[:3])


def test_g_that_trains_its_prior_is_compared_with_what_is_printed():
    finding = finding_of("on the same Note RNN, with nothing else changed")
    printed = {f"composed/{one}": [float(values[3])] * 3 for one, values in TABLE_1.items()}
    plain, leaky = (runs.label for runs in finding.runs)
    off = {name: [value + 1.0 for value in values] for name, values in printed.items()}
    assert judge(finding.compared({plain: off, leaky: printed}), most=True) == "Confirmed."
    assert judge(finding.compared({plain: printed, leaky: off}), most=True) == "Refuted."


def test_every_suggestion_is_tested():
    assert {one.suggestion for one in FINDINGS} == set(range(1, len(SUGGESTED) + 1))
