"""Model cards: every number comes from the record, and limits are told."""

from dataclasses import replace
from pathlib import Path

import pytest

from common.record import Record, read_record
from experiments.export.card import card
from experiments.registry import find

RESULTS = Path(__file__).parents[3] / "results"


@pytest.fixture(scope="module")
def words() -> Record:
    return read_record(RESULTS / "rhn_penn_treebank_depth3_tied/cpu/seed0/record.json")


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def written(record: Record, **uses: bool) -> str:
    uses = {"is_text": False, "has_cells": False, **uses}
    return card(record, find(record.experiment), "model.safetensors", **uses)


def test_results_stand_beside_what_was_published(words):
    changed = replace(words, metrics={"test_full/perplexity": 87.654321})
    text = section(written(changed), "Results")
    published = next(
        p for p in find(words.experiment).published if p.metric == "test_full/perplexity"
    )
    (line,) = [one for one in text.splitlines() if "87.65" in one]
    assert f"{published.printed} ({published.source})" in line
    assert f"{87.654321 - published.value:+.2f}" in line
    assert "scaled down" in line
    assert "full" in line
    assert "*full (batch 1)*: " in text  # what it means
    assert written(words).count("87.65") == 0


def test_data_settings_and_making(words):
    text = written(words)
    for name, checksum in words.data[0].checksums.items():
        assert f"| {name}" in section(text, "Data")
        assert f"`{checksum}`" in section(text, "Data")
    made = section(text, "How it was made")
    assert f"`{words.command}`" in made
    assert words.commit[:8] in made
    assert words.device["kind"] in made
    assert f"jax {words.versions['jax']}" in made
    settings = section(text, "Settings")
    paper = find(words.experiment).preset("paper").config
    (units,) = [one for one in settings.splitlines() if "`model.units`" in one]
    assert f"`{words.config['model']['units']}`" in units
    assert f"`{paper.model.units}`" in units
    (depth,) = [one for one in settings.splitlines() if "`model.depth`" in one]
    assert depth.count("`3`") == 1  # as in the paper
    assert f"{words.parameters:,}" in section(text, "What it is")


def test_limits(words):
    text = section(written(words), "Limits")
    assert "Scaled down: " in text
    assert "epochs" in text
    assert "One run with one seed" in text
    assert "not committed" not in text
    assert "not committed" in section(written(replace(words, dirty=True)), "Limits")
    data = replace(words.data[0], name="play", stand_in_for="penn_treebank")
    stood_in = written(replace(words, data=[data]))
    assert "play stands in for penn_treebank" in section(stood_in, "Limits")


def test_uses(words):
    plain = section(written(words), "Use")
    assert "experiments load model.safetensors" in plain
    assert "runs/rhn_penn_treebank_depth3_tied/cpu/seed0" in plain
    assert "experiments compose runs/rhn_penn_treebank_depth3_tied/cpu/seed0" in plain
    assert "load_cells" not in plain
    assert "load_run" not in plain
    loaded = 'load_run("runs/rhn_penn_treebank_depth3_tied/cpu/seed0")'
    assert loaded in section(written(words, is_text=True), "Use")
    assert 'load_cells("model.safetensors")' in section(written(words, has_cells=True), "Use")


def test_several_models_and_no_published_numbers():
    record = read_record(RESULTS / "quickstart/cpu/seed0/record.json")
    text = written(record)
    for name, count in record.parameters.items():
        assert f"{name} {count:,}" in section(text, "What it is")
    assert "Nothing is published" in section(text, "Limits")
