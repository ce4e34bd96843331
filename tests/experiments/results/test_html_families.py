"""report.html of the committed records: all families' parts find their way in."""

from pathlib import Path

from page_case import Page

from experiments import registry
from experiments.results.collect import finished_runs
from experiments.results.html.page import MOST_BYTES, page_text

RESULTS = Path(__file__).parents[3] / "results"


def test_one_seed_of_each_committed_experiment():
    found, _ = finished_runs(RESULTS)
    first = {one.record.experiment: one for one in reversed(found)}
    text = page_text(list(first.values()), registry.experiments(), RESULTS, registry.families())
    page = Page(text)
    assert "At a glance" in page.texts("h2")
    assert set(first) <= set(page.texts("h2"))
    assert len(text.encode()) < MOST_BYTES
    assert len(page.ids()) == len(set(page.ids()))
    targets = [one["href"] for one in page.all("a") if one["href"].startswith("#")]
    assert {target.removeprefix("#") for target in targets} <= set(page.ids())
    assert all(one["alt"] for one in page.all("img"))
    assert page.all("audio")
