"""What was run smaller than in a paper's table: where it stands, and what is told of it."""

import pytest
from report_case import MC, TEST, VALID, record, seeds, words

from experiments.results import scaled_down as under_test
from experiments.results.paper_table import Answers, Asked, Line, PaperTable, summary, written
from experiments.results.row import result_rows
from experiments.results.scaled_down import scaled_down

DEEP = words("deep", published=((TEST, 66.0), (VALID, 69.9)))
FLAT = words("flat", published=((TEST, 90.6), (TEST, 90.4)))
MANY = words("many", published=((MC, 64.4),), passes=1000)
EXPERIMENTS = {one.name: one for one in (DEEP, FLAT, MANY)}
APART = "Scaled down, not comparable with the published numbers"


def table(
    *lines: tuple[str, tuple[tuple[Asked, ...], ...]], groups=("tied",), **changes
) -> PaperTable:
    found = tuple(Line((a,), b) for a, b in lines)
    return PaperTable("All", "", ("depth",), groups, found, **changes)


TABLE = table(
    ("1", ((Asked("flat", VALID), Asked("flat", TEST)),)),
    ("10", ((Asked("deep", VALID), Asked("deep", TEST)),)),
)


def answers(*records) -> Answers:
    return Answers(result_rows(records, EXPERIMENTS), EXPERIMENTS)


def read(text: str) -> tuple[str, list[list[str]]]:
    """What stands above the table, and its lines."""
    above, _, below = text.partition("\n\n")
    lines = [
        [cell.strip() for cell in one.split("|")[1:-1]] for one in below.splitlines() if "|" in one
    ]
    return above, [line for line in lines if not line[0].startswith("--")]


def test_smaller_runs_stand_apart_beside_what_was_published():
    found = answers(record(DEEP, "cpu"), record(FLAT, "cpu", metrics={TEST: 99.0}))
    assert str(written(TABLE, found).rows[1][2]) == "–"
    above, (head, flat, deep) = read(scaled_down(TABLE, found))
    assert above.startswith(f"{APART}: preset cpu on books, ")
    assert "14 of 500 epochs" in above
    assert above.endswith(" settings changed (they stand under [Every run](#every-run)).")
    assert head == [
        "depth", "parameters", "valid perplexity: paper", "valid perplexity: ours",
        "test perplexity: paper", "test perplexity: ours", "seeds",
    ]  # fmt: skip
    assert flat == ["1", "2.5 M of 21.0 M", "", "", "90.6 or 90.4", "99.00", "1"]
    assert deep == ["10", "2.5 M of 21.0 M", "69.9", "70.00", "66.0", "66.00", "1"]
    assert scaled_down(TABLE, answers()) == ""
    assert scaled_down(TABLE, answers(record(DEEP))) == ""
    assert "(they stand there)" in scaled_down(TABLE, found, where="there")


def test_what_differs_between_lines_stands_in_them():
    longer = record(FLAT, "cpu", overrides=["train.epochs=20"], metrics={TEST: 99.0})
    above, (head, flat, deep) = read(scaled_down(TABLE, answers(record(DEEP, "cpu"), longer)))
    assert "epochs" not in above
    assert "preset" not in above
    assert head[:2] == ["depth", "run"]
    assert head[-1] == "what is smaller"
    assert flat[1] == "cpu, train.epochs=20 on books"
    assert flat[-1] == "20 of 500 epochs"
    assert "parameters" not in above
    assert deep[1] == "cpu on books"
    assert deep[-1] == "14 of 500 epochs"
    assert len(head) <= under_test.MOST_COLUMNS


def test_numbers_by_another_protocol_have_a_line_of_their_own():
    """As depth 5 of the depth study, over passes with dropout."""
    ten = record(MANY, "cpu", overrides=["evaluation.mc_passes=10"], metrics={TEST: 97.0, MC: 96.0})
    asked = table(
        ("5", ((Asked("many", TEST), Asked("many", MC)),)), ("10", ((Asked("deep", TEST),),))
    )
    _, lines = read(scaled_down(asked, answers(ten, record(DEEP, "cpu"))))
    assert [(line[0], *line[-3:]) for line in lines] == [
        ("depth", "test perplexity: paper", "test perplexity: ours", "seeds"),
        ("5", "", "97.00", "1"),
        ("5, MC dropout, 10 passes", "64.4", "96.00", "1"),
        ("10", "66.0", "66.00", "1"),
    ]


def test_groups_of_columns_are_named_where_there_are_several():
    asked = table(
        ("1", ((Asked("flat", TEST),), (Asked("deep", TEST),))), groups=("untied", "tied")
    )
    text = scaled_down(asked, answers(record(DEEP, "cpu")))
    assert read(text)[1][1][0] == "1, tied"
    assert text.endswith("\n\nNot run at any size: untied: 1.\n")


def test_lines_that_were_run_at_no_size_are_named():
    small = scaled_down(TABLE, answers(record(DEEP, "cpu")))
    assert small.endswith("|\n\nNot run at any size: 1.\n")
    for other in (record(FLAT), record(FLAT, "cpu")):
        assert "Not run" not in scaled_down(TABLE, answers(record(DEEP, "cpu"), other))


def test_a_number_of_some_of_a_lines_seeds_says_of_how_many():
    def line(*tests: float | None) -> list[str]:
        """Valid and test perplexity and seeds, where the test is None the seed has none."""
        made = []
        for seed, value in enumerate(tests):
            metrics = {VALID: 97.0} if value is None else {VALID: 97.0, TEST: value}
            made.append(record(DEEP, "cpu", seed, metrics=metrics))
        found = read(scaled_down(TABLE, answers(*made)))[1][1]
        return [found[3], *found[5:]]

    assert line(96.0, None, None) == ["97.00", "96.00 (1 seed)", "3"]
    assert line(None, 95.0, 96.0) == ["97.00", "95.00, 96.00 (2 seeds)", "3"]
    assert line(96.0, 96.0, 96.0) == ["97.00", "96.00", "3"]


def test_a_smaller_run_that_diverged_stands_apart():
    found = answers(record(DEEP, "cpu", status="diverged", metrics={}))
    assert str(written(TABLE, found).rows[1][2]) == "–"
    above, (_, line) = read(scaled_down(TABLE, found))
    assert line[3] == "✗"
    assert ", 1 of 1 seed diverged, " in above
    counted = summary([TABLE], found)
    assert counted.titles[-2:] == ("scaled down", "not run")
    assert [str(one) for one in counted.rows[0]][-2:] == ["2", "2"]
    full = answers(record(DEEP, status="diverged", metrics={}))
    assert str(written(TABLE, full).rows[1][2]) == "✗ / ✗"
    assert scaled_down(TABLE, full) == ""


def test_many_measures_of_a_model_stand_below_each_other(monkeypatch):
    monkeypatch.setattr(under_test, "MOST_MEASURES", 1)
    entries = [(name, ((Asked("deep", one),),)) for name, one in (("valid", VALID), ("test", TEST))]
    asked = table(*entries, whose="theirs")
    small = [*seeds(DEEP, 66.0, 67.0, preset="cpu"), record(DEEP, "cpu", 2)]
    above, lines = read(scaled_down(asked, answers(*small)))
    assert above.startswith(f"{APART}: preset cpu on books, 2.5 M of 21.0 M parameters, ")
    assert above.endswith(", 3 seeds.")
    assert lines == [
        ["depth", "theirs", "ours"],
        ["valid", "69.9", "70.00 (1 seed)"],
        ["test", "66.0", "66.33 [66.00, 67.00]"],
    ]
    longer = record(DEEP, "cpu", overrides=["train.epochs=20"], metrics={TEST: 60.0})
    above, lines = read(scaled_down(asked, answers(*small, longer)))
    assert lines[0] == [
        "depth",
        "theirs",
        "ours: cpu on books",
        "ours: cpu, train.epochs=20 on books",
    ]
    assert [line[-1] for line in lines[1:]] == ["", "60.00"]
    assert "20 of 500 epochs" in above


@pytest.mark.parametrize("much", ["MOST_RUNS", "groups"])
def test_too_many_runs_are_counted_and_linked(monkeypatch, much):
    monkeypatch.setattr(under_test, "MOST_MEASURES", 1)
    both = (Asked("deep", VALID), Asked("deep", TEST))
    asked = table(("1", (both,)))
    if much == "groups":
        asked = table(("1", (both, (Asked("flat", TEST),))), groups=("untied", "tied"))
    else:
        monkeypatch.setattr(under_test, "MOST_RUNS", 0)
    assert scaled_down(asked, answers(record(DEEP, "cpu"))) == (
        f"{APART}: 1 run of `deep`; they stand under [Every run](#every-run).\n"
    )
