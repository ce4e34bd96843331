import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common import plot
from common.error import DataError
from common.plot import LARGEST_BYTES, learning_curves, save_picture

LABELS: Any = {"x_label": "epoch", "y_label": "perplexity", "title": "A title with $ and _"}
CURVE = [(epoch, 100 + 200 / (1 + epoch)) for epoch in range(50)]


def size(path):
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(header[16:20]), int.from_bytes(header[20:24])


def draw(tmp_path, series, name="p.png", **options):
    return learning_curves(series, tmp_path / name, **LABELS, **options)


def test_a_picture_of_the_expected_size(tmp_path):
    path = draw(tmp_path, {"training": CURVE, "validation": CURVE[::2]}, name="new/folder/p.png")
    assert path == tmp_path / "new/folder/p.png"
    assert size(path) == (1000, 600)
    assert path.stat().st_size < LARGEST_BYTES


def test_the_same_numbers_give_the_same_bytes_whatever_the_users_style(tmp_path):
    import matplotlib

    series = {"a": CURVE}
    first = draw(tmp_path, series, name="1.png").read_bytes()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        second = draw(tmp_path, series, name="2.png").read_bytes()
        assert matplotlib.rcParams["font.size"] == 30
    assert first == second
    assert b"Software" not in first
    assert b"Date" not in first


def test_empty_and_unusable_series_are_skipped(tmp_path):
    some = draw(tmp_path, {"a": CURVE}, name="1.png").read_bytes()
    unusable = {"a": CURVE, "none": [], "nan": [(0, math.nan), (1, math.inf)]}
    assert draw(tmp_path, unusable, name="2.png").read_bytes() == some


@pytest.mark.parametrize(
    "series",
    [
        {},
        {"one point": [(1, 2.0)]},
        {"a": [(0, 1e9), (1, math.inf), (2, math.nan), (3, 2.0)]},
        {"a": [(math.nan, 1.0), (0.5, 0.0), (1.5, -1.0), (2.5, 3.0)]},
        {f"seed {k} of a run with a long name": CURVE for k in range(30)},
    ],
)
@pytest.mark.filterwarnings("error")
def test_odd_series_are_drawn(tmp_path, series):
    assert size(draw(tmp_path, series)) == (1000, 600)


def test_a_picture_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(plot, "LARGEST_BYTES", 1000)
    with pytest.raises(DataError, match=r"p\.png: \d+ bytes, over 1000"):
        draw(tmp_path, {"a": CURVE})


def test_labels_keep_their_place_or_move_apart():
    assert plot._spread([0.2, 0.8], [0.1, 0.1]) == [0.2, 0.8]
    assert plot._spread([0.5, 0.5], [0.1, 0.1]) == pytest.approx([0.45, 0.55])
    assert plot._spread([1.0, 1.0], [0.1, 0.1]) == pytest.approx([0.9, 1.0])
    assert plot._spread([0.0, 0.0], [0.1, 0.1]) == pytest.approx([0.0, 0.1])


def test_importing_it_does_not_import_matplotlib():
    check = "import sys, common.plot, common.table; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def test_a_picture_that_is_too_large_gets_few_colours(tmp_path, monkeypatch):
    """Where even that doesn't help it is refused; its description stays."""

    def draw(figure):
        axes = figure.add_axes((0, 0, 1, 1))
        for number in range(400):
            turn = np.linspace(0, 6.3, 100) + number
            axes.plot(np.cos(turn) * number, np.sin(turn) * number + number, alpha=0.35, lw=0.4)

    path = save_picture(tmp_path / "few.png", (10, 6), draw, "circles")
    assert 0.2 * LARGEST_BYTES < path.stat().st_size <= LARGEST_BYTES
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert picture.size == (1000, 600)
        assert picture.text["Description"] == "circles"
    monkeypatch.setattr(plot, "LARGEST_BYTES", 1000)
    with pytest.raises(DataError, match=r"few.png: \d+ bytes, over 1000"):
        save_picture(path, (10, 6), draw)
