"""The picture of Table 1 shows what the committed records have, beside what the paper printed."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from melody_case import Q
from picture_case import described_in
from test_melody_table import made

from common.plot import LARGEST_BYTES
from common.record import find_records
from experiments.melodies import picture
from experiments.melodies.catalogue import COLUMNS, FIGURES, TABLE_1
from experiments.melodies.table import PICTURE, SETTINGS, described, draw_figures, figure_2

REPOSITORY = Path(__file__).parents[3]
TONIC = "compositions_starting_with_tonic"


def test_the_committed_picture_is_current():
    path = REPOSITORY / "results" / PICTURE
    shown = picture.dots(find_records(REPOSITORY / "results"))
    assert described_in(path) == picture.describe(shown), (
        f"{path} is stale: run `python -m experiments report` and commit what it writes"
    )
    assert {dot.preset for dot in shown} == set(picture.LABELS)
    assert path.stat().st_size < LARGEST_BYTES


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda one: one.preset)
def test_the_committed_curves_are_current(setting):
    records = find_records(REPOSITORY / "results")
    tuned = [one for one in records if (one.experiment, one.preset) == (Q, setting.preset)]
    found = figure_2(records, setting)
    assert set(found) == (set(FIGURES) if tuned else set())
    for name, curves in found.items():
        path = REPOSITORY / "results" / f"tutor_melodies_{setting.preset}_{name}.png"
        assert described_in(path) == described(setting.label(name), curves), (
            f"{path} is stale: run `python -m experiments report` and commit what it writes"
        )


def test_the_readme_opens_with_it():
    opening = (REPOSITORY / "README.md").read_text(encoding="utf-8").partition("\n## ")[0]
    assert re.findall(r"!\[[^\]]+\]\(([^)]+)\)", opening) == [f"results/{PICTURE}"]


@pytest.fixture
def records():
    tuned = [made("tutor_melodies_q", seed, 10.0 + seed) for seed in (0, 1, 2)]
    in_c = [made("tutor_melodies_q", seed, 40.0 + seed, "in_c") for seed in (0, 1, 2)]
    return [*tuned, *in_c, made("note_rnn", 0, 5.0)]


def test_the_report_draws_it_and_it_describes_itself(records, tmp_path):
    assert tmp_path / PICTURE in draw_figures(records, tmp_path)
    lines = described_in(tmp_path / PICTURE).splitlines()
    note_rnn, q = (line for line in lines if line.startswith("compositions starting with tonic"))
    assert note_rnn.endswith("Note RNN: published 0.9; ours, settings as published 5.00")
    as_published, _, in_c = picture.LABELS.values()
    assert q.endswith(
        f"Q: published 28.8; {as_published} 11.00 [10.00, 12.00]; {in_c} 41.00 [40.00, 42.00]"
    )


def test_dots_stand_at_what_was_printed_and_found(records):
    shown = [dot for dot in picture.dots(records) if dot.statistic == TONIC]
    axes = Figure().subplots()
    picture._draw_panel(axes, TONIC, shown)
    published, as_published, adagrad, in_c = (
        one.get_offsets().tolist() for one in axes.collections
    )
    assert adagrad == []
    assert published == [
        [float(TABLE_1[TONIC][COLUMNS[name]]), k] for k, name in enumerate(COLUMNS)
    ]
    assert [x for x, _ in as_published] == [5.0, 11.0]
    assert [x for x, _ in in_c] == [41.0]
    assert round(in_c[0][1]) == list(COLUMNS).index("tutor_melodies_q")
    assert [list(line.get_xdata()) for line in axes.lines] == [[10.0, 12.0], [40.0, 42.0]]


def test_each_of_ours_has_a_height_of_its_own(records):
    summed = [made("tutor_melodies_q", seed, 25.0, "adagrad") for seed in (0, 1, 2)]
    axes = Figure().subplots()
    shown = [dot for dot in picture.dots([*records, *summed]) if dot.statistic == TONIC]
    picture._draw_panel(axes, TONIC, [dot for dot in shown if dot.method == Q])
    heights = [one.get_offsets().tolist()[-1][1] for one in axes.collections[1:]]
    assert len(heights) == len(picture.LABELS)
    assert min(after - before for before, after in pairwise(heights)) > 0.1
    line = list(COLUMNS).index(Q)
    assert min(abs(height - line) for height in heights) > 0.1  # the published number's
    assert {round(height) for height in heights} == {line}


def test_no_picture_without_tuned_models(tmp_path):
    assert draw_figures([made("note_rnn", 0, 5.0)], tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_curves_of_the_released_code_are_said_to_be_of_last_events():
    labels = {one.preset: one.label("reward") for one in SETTINGS}
    assert labels["paper"] == "music-theory reward, mean over events"
    assert labels["swapped_stretched"].endswith("reward, mean over the last event of each piece")
