"""docs/performance.md says what its record of measurements says."""

import json
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
WAYS = ("plain_", "", "bfloat16_", "kernel_", "kernel_bfloat16_")


@pytest.fixture(scope="module")
def measured():
    return json.loads((DOCS / "performance.json").read_text())["measured"]


def test_every_number_of_the_table_is_measured(measured):
    lines = (DOCS / "performance.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    plain = measured["ptb/plain_words_per_second"]
    assert len(rows[2:]) == len(WAYS)
    for way, (_, words, ratio, share) in zip(WAYS, rows[2:], strict=True):
        speed = measured[f"ptb/{way}words_per_second"]
        assert words == f"{speed:,.0f}"
        assert float(ratio) == round(speed / plain, 2)
        assert float(share) == round(measured[f"ptb/{way}fraction_of_matmul_bound"], 2)


def test_the_bounds_are_measured(measured):
    text = (DOCS / "performance.md").read_text()
    assert f"{measured['ptb/matmul_bound_words_per_second']:,.0f} words/s" in text
    assert f"{measured['sgemm_gflops']:.0f} GFLOP/s" in text
