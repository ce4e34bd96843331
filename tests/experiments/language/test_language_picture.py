"""The picture of perplexity by depth shows what was published and what runs found."""

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from picture_case import described_in

from common.config import to_dict
from common.record import find_records, read_record
from experiments.language import picture
from experiments.language.depth_study import TEST, studies
from experiments.language.table import PICTURE, draw_figures
from experiments.registry import experiments, families, find
from experiments.results.markdown import report_parts

RESULTS = Path(__file__).parents[3] / "results"


@pytest.fixture(scope="module")
def records():
    """Of two seeds at depth 1, and one at 2 and 3."""
    found = []
    for depth, perplexity, seed in ((1, 170.0, 0), (1, 172.0, 1), (2, 160.0, 0), (3, 150.0, 0)):
        path = f"rhn_penn_treebank_depth{depth}_tied/cpu/seed0/record.json"
        one = read_record(RESULTS / path)
        found.append(replace(one, seed=seed, metrics={**one.metrics, TEST: perplexity}))
    return found


def as_paper(one):
    config = to_dict(find(one.experiment).preset("paper").config)
    return replace(one, preset="paper", config=config, overrides=[])


def test_the_committed_picture_is_current():
    found = studies(find_records(RESULTS))
    assert described_in(RESULTS / PICTURE) == picture.describe(found), (
        f"{PICTURE} is stale: run `python -m experiments report` and commit what it writes"
    )


def test_the_report_draws_it_below_the_table_and_it_describes_itself(records, tmp_path):
    assert draw_figures(records, tmp_path) == [tmp_path / PICTURE]
    tied, untied, ours = described_in(tmp_path / PICTURE).splitlines()
    assert tied.startswith("published, tied: test perplexity at depth 1: 90.6; 2: 75.1; 3: 70.6")
    assert untied.startswith("published, untied: test perplexity at depth 1: 89.2")
    assert ours == (
        "ours, tied, preset cpu, 2.5 M parameters: 1: 170.00, 172.00; 2: 160.00; 3: 150.00"
    )
    parts = report_parts(records, experiments(), tmp_path, families())
    assert f"]({PICTURE}" in "\n".join(parts.papers).partition("beside other models")[0]


def test_without_enough_runs_there_is_no_picture(records, tmp_path):
    assert draw_figures(records[:3], tmp_path) == []
    parts = report_parts(records[:3], experiments(), tmp_path, families())
    assert PICTURE not in "\n".join(parts.papers)


def test_a_panel_a_size_with_a_mark_a_seed(records, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(picture, "save_picture", lambda _, size, on, **__: on(made(figures, size)))
    paper = [as_paper(one) for one in records]
    picture.draw(studies([*records, *paper]), tmp_path / "picture.png")
    published, ours = figures[0].axes
    assert published.get_title(loc="left") == (
        "published, and ours (filled): 19.3 M to 32.1 M parameters"
    )
    assert ours.get_title(loc="left") == "ours, preset cpu: 2.5 M parameters"
    for axes in (published, ours):
        (marks,) = axes.collections
        assert marks.get_offsets().tolist() == [[1, 170], [1, 172], [2, 160], [3, 150]]
    (line,) = ours.lines
    assert line.get_xydata().tolist() == [[1, 171], [2, 160], [3, 150]]
    tied, untied, _ = published.lines
    assert tied.get_xydata()[0].tolist() == [1, 90.6]
    assert untied.get_xydata()[-1].tolist() == [10, 68.3]


def made(figures, size):
    figures.append(Figure(figsize=size))
    return figures[-1]
