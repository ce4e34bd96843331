"""Charts of the page that have many curves."""

from types import SimpleNamespace

from experiments.results.html.curve import MOST_CURVES, charts


def test_a_dozen_curves_are_all_drawn_each_in_a_style_of_its_own():
    rows = [{"step": step, **{f"m{k}/train/loss": 1.0 * k for k in range(12)}} for step in (1, 2)]
    (chart,) = charts([SimpleNamespace(status="done", curve=rows)], [])
    assert [curve.label for curve in chart.curves] == [f"m{k} train" for k in range(12)]
    styles = [(colour, dash) for _, colour, dash in chart.styled]
    assert len(set(styles)) == 12 <= MOST_CURVES
