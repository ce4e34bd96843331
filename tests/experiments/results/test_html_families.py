"""report.html of the committed records: all families' parts find their way in."""

import re
from pathlib import Path

import pytest
from page_case import Page

from common.record import Record
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


@pytest.fixture(scope="module")
def whole() -> tuple[list[Record], str]:
    """All committed records, and their page."""
    found, _ = finished_runs(RESULTS)
    text = page_text(found, registry.experiments(), RESULTS, registry.families())
    return [one.record for one in found], text


@pytest.mark.slow
def test_every_committed_experiment_shows_its_curves_melodies_and_molecules(whole):
    """However many runs others have."""
    records, text = whole
    assert len(text.encode()) < MOST_BYTES
    sections = re.split(r'<section class="experiment" aria-labelledby="', text)[1:]
    by_name = {one.partition('"')[0]: one for one in sections}
    curved = {one.experiment for one in records if len(one.curve) > 1}
    assert {name for name, one in by_name.items() if 'class="chart"' in one} >= curved
    rolls = {name for name, one in by_name.items() if 'class="roll"' in one}
    assert rolls
    assert {name for name, one in by_name.items() if "<audio" in one} == rolls
    grids = {path.parts[-4] for path in RESULTS.glob("*/*/seed0/molecules.png")}
    assert grids
    assert {name for name, one in by_name.items() if 'alt="molecules: ' in one} == grids
