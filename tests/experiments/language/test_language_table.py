"""What the results say of language models in a sentence."""

from dataclasses import replace
from pathlib import Path

import pytest

from common.record import read_record
from experiments.language.table import findings

RESULTS = Path(__file__).parents[3] / "results"


@pytest.fixture(scope="module")
def row():
    """(depth, test perplexity, what else differs) → the record of a run."""
    one = read_record(RESULTS / "rhn_penn_treebank_depth3_tied/cpu/seed0/record.json")

    def record(depth, perplexity, weights="tied", **changes):
        name = f"rhn_penn_treebank_depth{depth}_{weights}"
        metrics = {"test_full/perplexity": perplexity}
        return replace(one, experiment=name, metrics=metrics, parameters=2_501_000, **changes)

    return record


def test_how_perplexity_goes_with_depth(row):
    rows = [row(10, 150.0), row(1, 171.26), row(5, 141.0), row(5, 139.0)]
    others = [row(1, 9.0, preset="smoke"), row(1, 9.0, overrides=["model.units=5"])]
    (found,) = findings([*rows, *others, row(2, 9.0, weights="untied")])
    assert found == (
        "Penn Treebank by recurrence depth, tied, preset cpu (2.5 M parameters, seeds a depth: "
        "1–2): test perplexity at depth 1: 171.3, 5: 140.0, 10: 150.0; lowest at 5 (of the "
        "published, at 10)."
    )


def test_two_depths_are_no_trend(row):
    assert findings([row(1, 171.0), row(10, 150.0), row(10, 151.0)]) == []


def test_without_ties_the_published_ones_are_those_without(row):
    (found,) = findings([row(depth, 200.0 - depth, weights="untied") for depth in (3, 7, 9)])
    assert "untied, preset cpu" in found
    assert "lowest at 9 (of the published, at 9)" in found
