"""Tables in the papers' shape: what stands where, and what is counted."""

import dataclasses
import re
import sys
import types

import pytest
from report_case import TEST, VALID, record, seeds, words

from common.record import DataUsed
from common.table import TOO_NARROW
from experiments import registry
from experiments.language import table as language
from experiments.registry import Family, Report
from experiments.results.markdown import MOST_FINDINGS, report_text, tables_as_text
from experiments.results.paper_table import (
    Answers,
    Asked,
    Line,
    PaperTable,
    anchor,
    choice,
    how_to_run,
    summary,
    written,
)
from experiments.results.row import named_rows, result_rows

EXPERIMENT = words(published=((TEST, 66.0), (VALID, 69.9)), passes=0)
BOTH = (Asked("words", VALID), Asked("words", TEST))
TABLE = PaperTable(
    "Words, by depth: all", "What it is.", ("model",), ("tied",),
    (Line(("another",), (("70.1",),)), Line(("ours",), (BOTH,))),
)  # fmt: skip


def answers(*records) -> Answers:
    experiments = {"words": EXPERIMENT}
    return Answers(result_rows(records, experiments), experiments)


def lines_of(table) -> list[list[str]]:
    return [list(map(str, row)) for row in table.rows]


def test_published_and_ours_stand_side_by_side_with_marks():
    found = written(TABLE, answers(*seeds(EXPERIMENT, 66.0, 66.5, 68.0)))
    assert found.titles == ("model", "tied: paper", "tied: ours")
    another, ours = lines_of(found)
    assert another == ["another", "70.1", ""]
    assert ours[1] == "69.9 / 66.0"
    assert ours[2] == "– / 66.83 [66.00, 68.00] ✓"


def test_another_precision_is_marked_as_another_setting():
    device = {"platform": "cpu", "kind": "EPYC", "products": "bfloat16"}
    found = answers(record(EXPERIMENT, device=device))
    assert lines_of(written(TABLE, found))[1][2] == "70.00 ○ / 66.00 ○"


def on(checksum: str, *values: float):
    """Runs with the paper's settings on a version of its data."""
    data = [DataUsed("books", "1.0.0", None, {}, {"books.txt": checksum})]
    return seeds(EXPERIMENT, *values, data=data)


def test_a_committed_number_says_so_beside_an_own_one_and_alone():
    known, theirs = {EXPERIMENT.name: EXPERIMENT}, [record(EXPERIMENT)]
    own = [record(EXPERIMENT, metrics={TEST: 80.0, VALID: 80.0})]
    alone, both = (
        lines_of(written(TABLE, Answers(result_rows(mine, known, theirs), known)))[1][2]
        for mine in ([], own)
    )
    assert alone.endswith("66.00 ✓<br>committed")
    assert both.split("<br>")[0].endswith("80.00 ▼, paper on books")
    assert both.endswith("66.00 ✓, paper, committed on books")


def test_runs_on_several_data_are_each_shown():
    made = [*on("a", 66.0, 66.1, 66.2), *on("b", 70.0, 71.0, 72.0)]
    for records in (made, made[::-1]):
        found = answers(*records)
        lines = lines_of(written(TABLE, found))[1][2].split("<br>")
        assert sorted(re.sub(r"\w{6}\]$", "]", line) for line in lines) == [
            "– / 66.10 [66.00, 66.20] ✓, paper on books []",
            "– / 71.00 [70.00, 72.00] ▼, paper on books []",
        ]
        assert len({line[-7:] for line in lines}) == 2
        assert summary([TABLE], found).titles[1:] == ("numbers", "▼ short", "not run")
        assert lines_of(summary([TABLE], found))[0][1:] == ["2", "1", "1"]
        assert choice(TABLE, found).startswith(
            "Of several runs with the paper's settings each is shown"
        )
    assert choice(TABLE, answers(*on("a", 66.0))) == ""


def test_the_papers_settings_by_another_name_are_not_left_out():
    back = ["train.epochs=500", "model.units=830", "model.dropout_x=0.0"]
    same = record(EXPERIMENT, "cpu", overrides=back, parameters=21_000_000, metrics={TEST: 80.0})
    cell = lines_of(written(TABLE, answers(record(EXPERIMENT), same)))[1][2]
    assert "66.00 ✓, paper on books" in cell
    assert "80.00 ▼, cpu, " in cell


def test_of_runs_with_other_settings_the_nearest_is_shown_and_that_is_told():
    far = record(EXPERIMENT, overrides=["model.dropout_i=0.1", "model.dropout_o=0.1"])
    near = record(EXPERIMENT, overrides=["model.dropout_x=0.9"], metrics={TEST: 77.0, VALID: 78.0})
    found = answers(far, near)
    assert lines_of(written(TABLE, found))[1][2] == "78.00 ○ / 77.00 ○"
    assert "fewest settings that aren't the paper's" in choice(TABLE, found)
    assert choice(TABLE, answers(near)) == ""
    found = answers(far, near, record(EXPERIMENT))
    assert lines_of(written(TABLE, found))[1][2].endswith("66.00 ✓")
    assert choice(TABLE, found) == ""


def test_numbers_of_two_runs_in_a_cell_each_say_whose_they_are():
    far = record(EXPERIMENT, overrides=["model.dropout_i=0.1", "model.dropout_o=0.1"])
    near = record(EXPERIMENT, overrides=["model.dropout_x=0.9"], metrics={TEST: 77.0})
    assert lines_of(written(TABLE, answers(far, near)))[1][2].split("<br>") == [
        "70.00 ○ / –, paper, model.dropout_i=0.1, model.dropout_o=0.1 on books",
        "– / 77.00 ○, paper, model.dropout_x=0.9 on books",
    ]


def test_seeds_that_diverged_are_counted_beside_the_number():
    bad = record(EXPERIMENT, seed=5, status="diverged", metrics={})
    found = answers(*seeds(EXPERIMENT, 66.0, 66.5), bad)
    assert lines_of(written(TABLE, found))[1][2].endswith("66.00, 66.50 ✓, 1 ✗")


def test_a_table_says_how_to_run_its_numbers():
    names = ("words_depth1_tied", "words_depth1", "words_depth10_tied", "letters", "words_depth2")
    lines = tuple(Line((name,), ((Asked(name, TEST), Asked(name, VALID)),)) for name in names)
    assert how_to_run(PaperTable("All", "", ("model",), ("",), lines)) == (
        "To run a number: `python -m experiments run NAME --preset paper`; NAME: "
        "`words_depth{1,10}_tied`, `words_depth{1,2}`, `letters`.\n"
    )


def test_the_summary_counts_each_number_once():
    def counts(*records) -> dict[str, str]:
        found = summary([TABLE], answers(*records))
        (line,) = lines_of(found)
        assert line[0] == "[Words, by depth: all](#words-by-depth-all)"
        return dict(zip(found.titles[1:], line[1:], strict=True))

    assert counts() == {"numbers": "2", "not run": "2"}
    assert counts(record(EXPERIMENT, "cpu")) == {"numbers": "2", "scaled down": "2"}
    full = counts(record(EXPERIMENT, "cpu"), *seeds(EXPERIMENT, 66.0, 66.5, 68.0))
    assert full == {"numbers": "2", "✓ matched": "1", "scaled down": "1"}


def test_numbers_on_other_data_that_are_near_are_marked_and_counted():
    """Of words on a stand-in, where the paper's data can't be had."""
    experiment = dataclasses.replace(EXPERIMENT, stand_in="books")
    known = {"words": experiment}
    data = [DataUsed("books", "1.0.0", "others", {}, {})]
    made = [record(experiment, data=data, metrics={TEST: 66.1, VALID: 80})]
    found = Answers(result_rows(made, known), known)
    assert lines_of(written(TABLE, found))[1][2] == "80.00 ◇ / 66.10 ◇≈"
    counted = summary([TABLE], found)
    assert counted.titles == ("table", "numbers", "◇ other data")
    assert lines_of(counted)[0][1:] == ["2", "2 (1 ≈)"]


def test_the_page_opens_with_findings_a_picture_and_a_summary(tmp_path, monkeypatch):
    """A family's report has what it has: of two one draws, and one has findings and tables."""
    module = types.ModuleType("toy_tables")
    module.FULL = Report(
        tables=lambda: [TABLE],
        findings=lambda records: [f"finding {k} of {len(records)}" for k in range(9)],
        section=lambda records, folder: ["### What more\n"],
        picture="shown.png",
    )
    module.BARE = Report()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names = "toy_tables:FULL", "toy_tables:BARE"
    families = [Family((EXPERIMENT,), report=names[0]), Family((), report=names[1])]
    made = seeds(EXPERIMENT, 66.0, 66.5, 68.0)
    text = report_text(made, {"words": EXPERIMENT}, tmp_path, families)
    assert "shown.png" not in text  # it isn't there
    (tmp_path / "shown.png").write_bytes(b"png")
    lines = report_text(made, {"words": EXPERIMENT}, tmp_path, families).splitlines()
    places = [
        lines.index(wanted)
        for wanted in (
            "## At a glance", f"- finding {MOST_FINDINGS - 1} of 3", "![shown](shown.png)",
            "**Also here.** [What more](#what-more) · [Every run](#every-run)"
            " · [Not run](#not-run).",
            "## Words, by depth: all", "What it is.", "### What more", "## Every run",
        )
    ]  # fmt: skip
    assert places == sorted(places)
    assert f"- finding {MOST_FINDINGS} of 3" not in lines
    assert "\n".join(lines[: places[3]]).count(TOO_NARROW) == 1


def test_findings_are_chosen_in_turns_and_told_by_family(tmp_path, monkeypatch):
    module = types.ModuleType("toy_tables")
    module.MANY = Report(lambda: [TABLE], lambda _: [f"many {k}" for k in range(9)])
    module.ONE = Report(findings=lambda _: ["one"])
    monkeypatch.setitem(sys.modules, module.__name__, module)
    families = [Family((), report=f"toy_tables:{name}") for name in ("MANY", "ONE")]
    text = report_text([], {"words": EXPERIMENT}, tmp_path, families)
    told = [line for line in text.splitlines() if line.startswith(("- many", "- one"))]
    assert told == [*(f"- many {k}" for k in range(MOST_FINDINGS - 1)), "- one"]


@pytest.fixture
def family(monkeypatch):
    """The registry's only one, with the table above."""
    module = types.ModuleType("toy_tables")
    module.REPORT = Report(tables=lambda: [TABLE])
    monkeypatch.setitem(sys.modules, module.__name__, module)
    found = Family((EXPERIMENT,), report="toy_tables:REPORT")
    monkeypatch.setattr(registry, "families", lambda: [found])
    monkeypatch.setattr(registry, "experiments", lambda: {"words": EXPERIMENT})
    return found


def test_smaller_runs_stand_below_their_table_on_the_page_and_in_a_pipe(family, tmp_path):
    made = [record(EXPERIMENT, "cpu")]
    page = report_text(made, registry.experiments(), tmp_path, [family])
    assert "preset cpu on books, 14 of 500 epochs, 2 settings changed (they stand under [" in page
    assert "| ours  | 2.5 M of 21.0 M |" in page
    told = tables_as_text(named_rows([], made))
    assert "2 settings changed (they stand in `table --full`)." in told
    assert "| ours  | 2.5 M of 21.0 M |" in told
    assert "<br>" not in told


def test_what_was_chosen_stands_below_its_table_on_the_page_and_in_a_pipe(family, tmp_path):
    made = [*on("a", 66.0), *on("b", 70.0)]
    page = report_text(made, registry.experiments(), tmp_path, [family])
    for told in (page, tables_as_text(named_rows([], made))):
        assert choice(TABLE, answers(*made)) in told
        assert "66.00 ✓, paper on books [" in told


def test_anchors_are_githubs():
    assert anchor("Sequence Tutor, Table 1") == "sequence-tutor-table-1"


@pytest.mark.parametrize("name", ["language", "melodies", "molecules"])
def test_tables_of_the_papers_ask_for_what_is_published(name):
    """They have seven columns at most, and every number that they ask for was printed."""
    name = f"experiments.{name}.table:REPORT"
    (family,) = [one for one in registry.families() if one.report == name]
    none = Answers([], registry.experiments())
    for table in registry.load(family.report).tables():
        assert len(written(table, none).titles) <= 7
        assert all(none.published(asked) for asked in table.asked())


def test_every_published_language_model_is_in_a_table():
    asked = {one for table in language.tables() for one in table.asked()}
    published = {
        Asked(one.name, number.metric)
        for family in registry.families() if family.report == f"{language.__name__}:REPORT"
        for one in family.experiments for number in one.published
    }  # fmt: skip
    assert asked == published
