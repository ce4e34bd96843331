"""Methods are told apart in pairs of runs that share seed, prior and data, and in no others."""

import pytest
from report_case import record, words

from common.record import DataUsed
from common.table import summarize
from experiments.results.same_seed import differences, seed_by_seed

MEASURES = {"composed/reward": "reward", "composed/kl": "KL"}
WORDS = words()


def run(seed, reward, kl=1.0, *, prior=0, checksum="a", songs="same"):
    sums = {"songs": songs, "Note RNN": checksum}
    return record(
        WORDS,
        seed=seed,
        config={"note_rnn": {"seed": prior}},
        metrics={"composed/reward": reward} | ({} if kl is None else {"composed/kl": kl}),
        data=[DataUsed("tunes", "1.0.0", None, {"train": 1}, sums)],
    )


def runs(*rewards, first=0, **changes):
    return [run(first + seed, reward, **changes) for seed, reward in enumerate(rewards)]


def rows(**methods):
    """The rows below the heads, and the method that the heading names."""
    parts = seed_by_seed(methods, "note_rnn", MEASURES)
    if not parts:
        return None, []
    heading, table = parts
    head, _, *lines = table.splitlines()
    assert [cell.strip() for cell in head.strip("|").split("|")] == [
        "method", "seeds", "reward", "KL",
    ]  # fmt: skip
    named = heading.removeprefix("**Difference from ").partition(",")[0]
    return named, [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_difference_is_now_less_before_of_what_both_have():
    assert differences({1: 10.0, 2: 20.0}, {3: 1.0, 2: 25.0, 1: 9.0}) == {2: 5.0, 1: -1.0}
    assert list(differences({1: 10.0, 2: 20.0}, {2: 25.0, 1: 9.0})) == [2, 1]


def test_from_three_seeds_on_it_is_a_mean_with_its_interval_over_pairs():
    """Seeds spread by far more than methods differ: pairs tell them apart."""
    q, psi = runs(0.0, 100.0, 200.0, 300.0), runs(1.0, 102.0, 203.0, 302.0, kl=1.5)
    named, [row] = rows(Q=q, Ψ=psi[::-1])
    assert named == "Q"
    found = summarize([1.0, 2.0, 3.0, 2.0])
    assert row == [
        "Ψ", "0, 1, 2, 3", f"+2.00 [+{found.low:.2f}, +{found.high:.2f}]", "+0.50",
    ]  # fmt: skip
    _, [row] = rows(Ψ=psi, Q=q)
    assert row[2].startswith("-2.00 [-")
    assert row[3] == "-0.50"


def test_of_two_seeds_the_differences_stand_alone_and_one_is_none():
    named, found = rows(Q=runs(1.0, 2.0, 3.0), Ψ=runs(1.5, 1.0), G=runs(9.0))
    assert (named, found) == ("Q", [["Ψ", "0, 1", "+0.50, -1.00", "+0.00, +0.00"]])
    assert rows(Q=runs(1.0), Ψ=runs(1.5)) == (None, [])
    assert rows(Q=runs(1.0, 2.0)) == (None, [])
    assert rows() == (None, [])


@pytest.mark.parametrize(
    "other",
    [{"first": 2}, {"prior": 1}, {"checksum": "b"}, {"songs": "others"}],
    ids=["seed", "seed of the prior", "checksum of the prior", "data"],
)
def test_runs_of_another_seed_prior_or_data_make_no_pair(other):
    q = runs(1.0, 2.0, 3.0)
    assert rows(Q=q, Ψ=runs(1.5, 2.5, 4.5, **other)) == (None, [])
    mixed = [*runs(1.5, 2.5), *runs(99.0, 99.0, **{"first": 2, **other})]
    _, [row] = rows(Q=q, Ψ=mixed) if "first" not in other else rows(Q=q[:2], Ψ=mixed)
    assert row[1:3] == ["0, 1", "+0.50, +0.50"]


def test_the_first_method_is_one_that_shares_seeds_with_another():
    elsewhere = runs(1.0, 2.0, first=7)
    named, [row] = rows(Q=elsewhere, Ψ=runs(1.0, 2.0), G=runs(1.0, 3.0))
    assert (named, row[:3]) == ("Ψ", ["G", "0, 1", "+0.00, +1.00"])


def test_of_several_priors_each_counts_once():
    def both(a, b, c, d):
        return [*runs(a, b, c), run(3, d, prior=1, checksum="b")]

    _, [row] = rows(Q=both(0.0, 0.0, 0.0, 0.0), Ψ=both(1.0, 2.0, 3.0, 7.0))
    assert row[1:3] == ["0, 1, 2, 3", "+2.00, +7.00 (2 priors)"]


def test_what_some_runs_lack_is_told_of_how_many_pairs_it_is():
    psi = [*runs(1.0, 2.0), run(2, 3.0, kl=None)]
    _, [row] = rows(Q=runs(0.0, 0.0, 0.0), Ψ=psi)
    assert row[3] == "+0.00, +0.00 (in 2 pairs)"
    _, [row] = rows(Q=runs(0.0, 0.0, kl=None), Ψ=runs(1.0, 1.0))
    assert row[3] == ""
