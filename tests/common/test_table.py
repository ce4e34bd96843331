import io
import math
import re
import warnings

import numpy as np
import pytest

from common.table import COVERAGE, TOO_NARROW, Summary, Table, summarize


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def render(monkeypatch):
    """Renders a table for a terminal of a given width; without the codes for bold type."""

    def text(table, width):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm")
        return re.sub(r"\x1b\[[0-9;]*m", "", table.render(Terminal()))

    return text


@pytest.mark.parametrize("values", [[5.0], [4.0, 6.0]])
def test_fewer_than_three_values_have_no_interval(values):
    assert summarize(values) == Summary(5.0, None, None, tuple(values))


def test_the_interval_of_three_values_is_their_range():
    # Of the 27 equally likely resamples one is all-lowest: 1/27 > 2.5 %, so the 2.5 % point is it.
    assert summarize([2.0, 1.0, 6.0]) == Summary(3.0, 1.0, 6.0, (2.0, 1.0, 6.0))


@pytest.mark.parametrize(("count", "share"), COVERAGE.items())
def test_how_often_an_interval_holds_the_true_mean_is_as_legends_say(monkeypatch, count, share):
    monkeypatch.setattr("common.table.RESAMPLES", 499)
    samples = np.random.default_rng(0).normal(size=(600, count))
    found = [summarize(sample.tolist()) for sample in samples]
    assert np.mean([one.low <= 0 <= one.high for one in found]) == pytest.approx(
        share / 100, abs=0.03
    )
    assert re.search(rf"with {count} in (about )?{share} %", TOO_NARROW)


def test_the_interval_narrows_with_more_values_and_ignores_their_order():
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    summary = summarize(values)
    assert summary.mean == 4.5
    # The normal approximation: 4.5 ± 1.96 · σ/√8, σ² = 5.25, is 2.91 .. 6.09.
    assert summary.low == pytest.approx(2.91, abs=0.15)
    assert summary.high == pytest.approx(6.09, abs=0.15)
    turned = summarize(values[::-1])
    assert (turned.low, turned.high) == (summary.low, summary.high)


def test_the_interquartile_mean_of_eight_values_has_an_interval_of_its_own():
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 800.0]
    assert summarize(values[:7]).middle is None
    found = summarize(values)
    assert (found.mean, found.middle) == (103.5, 4.5)
    assert 1 < found.middle_low < 4.5 < found.middle_high < 300 < found.high
    assert summarize([0.1] * 8) == Summary(0.1, 0.1, 0.1, (0.1,) * 8, 0.1, 0.1, 0.1)


def test_equal_values_have_an_interval_of_no_width_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert summarize([0.1] * 5) == Summary(0.1, 0.1, 0.1, (0.1,) * 5)


def test_a_value_that_is_not_finite_leaves_no_interval():
    assert summarize([1.0, 2.0, math.inf]) == Summary(math.inf, None, None, (1.0, 2.0, math.inf))


def test_line_breaks_are_told_in_the_way_of_whatever_shows_them(render):
    table = Table(("run", "a<br>b"), [("words<br>on books", "1\n2")], frozenset({"a<br>b"}))
    assert "| words<br>on books | 1<br>2 |" in table.markdown()
    assert table.render(io.StringIO()) == (
        "| run             | a, b |\n| --------------- | ---: |\n| words, on books | 1, 2 |\n"
    )
    lines = [line.split() for line in render(table, 60).splitlines()]
    assert lines == [["a"], ["run", "b"], ["words", "1"], ["on", "books", "2"]]


def test_no_values_is_an_error():
    with pytest.raises(ValueError, match="no values"):
        summarize([])


def test_markdown_is_aligned():
    table = Table(("name", "score"), [("a", 1.5), ("long one", None)], frozenset({"score"}))
    assert table.markdown() == (
        "| name     | score |\n| -------- | ----: |\n| a        |   1.5 |\n| long one |       |\n"
    )


@pytest.mark.parametrize(
    ("cell", "escaped"),
    [
        ("a|b", r"a\|b"),
        (r"a\|b", r"a\\\|b"),
        ("two\nlines", "two<br>lines"),
        ("rhn_depth10 [1, 2]", "rhn_depth10 [1, 2]"),
        ("`code`", "`code`"),
    ],
)
def test_markdown_escapes_what_would_break_the_table(cell, escaped):
    assert Table(("t",), [(cell,)]).markdown().splitlines()[2].strip("| ") == escaped


def test_markdown_pads_by_display_width():
    lines = Table(("t", "u"), [("音楽", "x"), ("abcd", "y")]).markdown().splitlines()
    assert lines[2:] == ["| 音楽 | x   |", "| abcd | y   |"]


def test_a_row_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="1 cells under 2 titles"):
        Table(("a", "b"), [("x",)])


def test_piped_output_is_markdown():
    table = Table(("a",), [("[bold]x | y",)])
    assert table.render(io.StringIO()) == table.markdown()


def test_a_table_that_fits_is_one_table(render):
    text = render(Table(("name", "score"), [("[red]a", 1.5), ("b", 2)]), 80)
    assert [line.split() for line in text.splitlines()] == [
        ["name", "score"],
        ["[red]a", "1.5"],
        ["b", "2"],
    ]


def test_words_fold_rather_than_vanish(render):
    words = [f"word{k}" for k in range(12)]
    text = render(Table(("left", "right"), [(" ".join(words), "end")]), 40)
    assert set(words) <= set(text.split())
    assert max(map(len, text.splitlines())) <= 40


def test_a_long_word_is_broken_no_more_than_a_short_one(render):
    name = "a_name_of_thirty_letters_or_so"
    assert name in render(Table(("name", "text"), [(name, "some words " * 20)]), 60)


@pytest.mark.parametrize("width", [20, 80])
def test_a_table_too_wide_for_the_terminal_keeps_every_cell(render, width):
    cells = tuple(f"{k}" * 15 for k in range(10, 22))
    text = render(Table(tuple(f"title{k}" for k in range(12)), [cells, cells]), width)
    assert max(map(len, text.splitlines())) <= width
    joined = "".join(text.split())
    for number, cell in enumerate(cells):
        assert joined.count(f"title{number}{cell}") == 2


def test_empty_cells_take_no_line_in_a_block(render):
    text = render(Table(("one", "none", "word"), [("x", None, "w" * 30)]), 20)
    assert "none" not in text


@pytest.mark.parametrize("width", [8, 14, 20, 27])
def test_a_very_narrow_terminal_shows_values_too(render, width):
    table = Table(("metric", "ours, mean [95 % CI]", "verdict"), [("reward", "1.25", "matched")])
    text = render(table, width)
    assert max(map(len, text.splitlines())) <= width
    for value in ("reward", "1.25", "matched"):
        assert value in "".join(text.split())
