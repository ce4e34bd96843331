"""Plain and highway networks by depth: one small run, and what it leaves."""

import math
from pathlib import Path

import pytest
from run_case import folder, record, result, run

from experiments.depth.feed_forward import networks
from experiments.registry import find
from highway.feed_forward import parameter_count

NAME = "highway_depth"
SMALL = ["layers=[3,10]", "search.members=2"]


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("depth")
    assert run(out, NAME, "--seeds", "0", "1", "--set", *SMALL) == 0
    return out


def test_each_kind_and_depth_is_trained_and_measured(done):
    made = record(done, NAME)
    assert set(made.parameters) == {"plain3", "highway3", "plain10", "highway10"}
    for cell in made.parameters:
        for measure in ("train/best_loss", "train/median_loss", "valid/error", "test/error"):
            assert math.isfinite(made.metrics[f"{cell}/{measure}"])
        assert made.metrics[f"{cell}/train/best_loss"] <= made.metrics[f"{cell}/train/median_loss"]
        curve = [row for row in made.curve if f"{cell}/train/loss" in row]
        assert [row["epoch"] for row in curve] == [1, 2]
    assert 0 <= made.metrics["highway10/train/harmless_layers"] <= 1
    assert 0 < made.metrics["highway10/train/rank_p"] <= 1
    listed = {metric.name for metric in find(NAME).metrics}
    assert {name for name in made.metrics if "10/" in name} - listed == {"highway10/train/rank_p"}


def test_it_leaves_pictures_members_and_findings(done):
    path = folder(done, NAME)
    for name in ("curves.png", "swarm.png", "lesion.png"):
        assert (path / name).stat().st_size > 5_000
    members = (path / "members.txt").read_text(encoding="utf-8").splitlines()
    assert len(members) == 2 + 4 * 2
    assert "| highway 10 |" in (path / "findings.txt").read_text(encoding="utf-8")


def test_seeds_differ_and_a_finished_training_is_measured_again_to_the_same(done):
    before = record(done, NAME)
    assert before.metrics != record(done, NAME, 1).metrics
    (folder(done, NAME) / "record.json").unlink()
    assert run(done, NAME, "--set", *SMALL) == 0
    assert result(record(done, NAME)) == result(before)


def test_a_batch_larger_than_the_data_is_refused(tmp_path, capsys):
    assert run(tmp_path, NAME, "--set", "search.batch_size=500") == 2
    assert "search.batch_size=500" in capsys.readouterr().err


def test_other_data_than_images_is_refused(tmp_path, capsys):
    assert run(tmp_path, NAME, "--set", "data.name=tiny_shakespeare") == 2
    assert "needs a dataset of images" in capsys.readouterr().err


@pytest.mark.parametrize(("preset", "pixels"), [("cpu", 64), ("paper", 784)])
def test_both_kinds_have_equal_parameters(preset, pixels):
    cells = networks(find(NAME).presets[preset].config, pixels, 10)
    assert len(cells) == 8
    for plain, highway in zip(cells[::2], cells[1::2], strict=True):
        assert (plain.kind, highway.kind, plain.layers) == ("plain", "highway", highway.layers)
        counts = [parameter_count(one, pixels, 10) for one in (plain, highway)]
        assert abs(counts[0] / counts[1] - 1) < 0.01
