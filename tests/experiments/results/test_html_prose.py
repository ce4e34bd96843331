"""Markdown of the page as HTML."""

import pytest
from page_case import Page

from common.plot import learning_curves
from common.table import Table
from experiments.results.html.media import Allowance
from experiments.results.html.prose import Prose, shaped


@pytest.fixture
def folder(tmp_path):
    learning_curves(
        {"a": [(0, 1), (1, 2)]}, tmp_path / "a b.png", x_label="x", y_label="y", title="t"
    )
    (tmp_path / "other.md").write_text("")
    return tmp_path


def written(folder, text, size=10**6):
    return Page(str(Prose(folder, Allowance(size)).write(text)))


@pytest.mark.parametrize("columns", [4, 5])
def test_wide_tables_become_cards_and_every_cell_knows_its_column(folder, columns):
    titles = tuple(f"*head* {k}" for k in range(columns))
    for page in (
        written(folder, Table(titles, [[f"{k}" for k in range(columns)]]).markdown()),
        Page(str(shaped([t.replace("*", "") for t in titles], [list(range(columns))]))),
    ):
        (table,) = page.all("table")
        assert (table.get("class") == "cards") == (columns == 5)
        labels = [one["data-label"].split() for one in page.all("td")]
        assert labels == [["head", str(k)] for k in range(columns)]
        assert {one["role"] for one in page.all("td")} == {"cell"}
        assert {one["role"] for one in page.all("th")} == {"columnheader"}


def test_no_mark_stands_on_a_line_of_its_own(folder):
    page = written(folder, Table(("ours",), [["0.3 [0.1, 0.5] ◇"], ["**66.0** ✓"]]).markdown())
    assert page.texts("td") == ["0.3 [0.1, 0.5]\u00a0◇", "66.0\u00a0✓"]


def test_linked_pictures_stand_below_the_paragraph(folder):
    page = written(folder, "## See\n\nHere: [a *curve*](a%20b.png), [none](no.png).\n")
    (image,) = page.all("img")
    assert image["alt"] == "a curve"
    assert image["src"].startswith("data:image/png;base64,")
    assert page.texts("p") == ["Here: a curve, none."]
    assert [tag for tag, _, _ in page.elements].index("figure") > 0
    assert page.all("a") == []
    assert page.all("h2")[0]["id"] == "see"


def test_pictures_shown_outright(folder):
    page = written(folder, "![what it shows](a%20b.png)")
    assert [one["alt"] for one in page.all("img")] == ["what it shows"]
    assert written(folder, "![what](a%20b.png)", size=10).all("img") == []


def test_links_within_the_page_stay_and_others_become_text(folder):
    page = written(folder, "[in](#place) [file](other.md) [up](../up.png) [web](https://a.b/c)")
    assert [one["href"] for one in page.all("a")] == ["#place", "https://a.b/c"]
    assert page.texts("p") == ["in file up web"]


def test_folds_are_folds(folder):
    text = "<details>\n<summary>The same of seed 1</summary>\n\n![a](a%20b.png)\n\n</details>\n"
    html = str(Prose(folder, Allowance(10**6)).write(f"{text}\nafter\n"))
    assert Page(html).texts("summary") == ["The same of seed 1"]
    assert html.index("<details>") < html.index("<img") < html.index("</details>")
    assert "&lt;" not in html


def test_html_stays_text_but_for_line_breaks(folder):
    page = written(folder, "one<br>two <b>three</b> a&#124;b\n\n<script>4</script>\n")
    assert page.all("b", "script") == []
    assert len(page.all("br")) == 1
    assert "<b>three</b> a|b" in page.texts("p")[0]
