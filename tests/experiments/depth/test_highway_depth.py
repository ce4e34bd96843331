"""Plain and highway networks by depth: one small run, and what it leaves."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from run_case import folder, record, result, run

from experiments.depth.config import ImageConfig
from experiments.depth.feed_forward import (
    Cell,
    harmless_share,
    load_images,
    mean_curve,
    networks,
    rank_tests,
)
from experiments.registry import find
from highway.config import FeedForwardConfig
from highway.feed_forward import Score, evaluate, parameter_count

NAME = "highway_depth"
SMALL = ["layers=[10]", "search.members=2"]


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("depth")
    assert run(out, NAME, "--set", *SMALL) == 0
    return out


def test_each_kind_and_depth_is_trained_and_measured(done):
    made = record(done, NAME)
    assert set(made.parameters) == {"plain10", "highway10"}
    for cell in made.parameters:
        for measure in ("train/best_loss", "train/median_loss", "valid/error", "test/error"):
            assert math.isfinite(made.metrics[f"{cell}/{measure}"])
        assert made.metrics[f"{cell}/train/best_loss"] <= made.metrics[f"{cell}/train/median_loss"]
        curve = [row for row in made.curve if f"{cell}/train/loss" in row]
        assert [row["epoch"] for row in curve] == [1, 2]
    assert made.metrics["search/members"] == 2
    assert "highway10/train/n_below_plain" in made.metrics
    listed = {metric.name for metric in find(NAME).metrics}
    compared = {f"highway10/train/{one}_below_plain" for one in ("n", "p")}
    assert {name for name in made.metrics if "10/" in name} - listed <= compared


def made_cell(losses: list[float]) -> Cell:
    """A cell whose members ended with these training losses; infinite ones diverged."""
    scores = {
        member: dict.fromkeys(("train", "valid", "test"), Score(loss, 0.1))
        for member, loss in enumerate(losses)
        if math.isfinite(loss)
    }
    curves = {
        member: [{"step": 1, "epoch": 1.0, "train/loss": 10.0 * member}]
        for member in range(len(losses))
    }
    return Cell(FeedForwardConfig("highway", 10, 8), 100, {}, scores, {}, curves, {})


def test_curves_are_means_over_the_best_members():
    cell = made_cell([0.6, 0.2, math.inf, 0.1])
    assert mean_curve(cell, 2) == [{"step": 1, "epoch": 1.0, "train/loss": 20.0}]
    assert mean_curve(cell, 9)[0]["train/loss"] == pytest.approx(40 / 3)
    assert cell.learned == [3, 1]


def test_rank_tests_compare_networks_of_the_same_settings():
    """What is solved is equal, and so is what learned nothing; nine of ten pairs are left."""
    plain = [0.02 + 0.001 * k for k in range(9)] + [2.3]
    losses = {
        "plain10": plain,
        "highway10": [0.011] * 9 + [math.inf],
        "plain50": [math.inf] * 9 + [2.5],
        "highway50": [0.001 * k for k in range(9)] + [2.4],
    }
    found = rank_tests(losses)
    certain = pytest.approx(1 / 2**9)
    assert (found["highway10/train/p_below_plain"], found["highway10/train/n_below_plain"]) == (
        certain,
        9,
    )
    assert (found["plain/train/p_harder"], found["plain/train/n_harder"]) == (certain, 9)
    assert found["highway/train/p_harder"] == pytest.approx(1.0)
    assert rank_tests({name: losses[name] for name in ("plain10", "highway10")}).keys() == {
        "highway10/train/p_below_plain",
        "highway10/train/n_below_plain",
    }


def test_a_layer_does_little_harm_below_a_hundredth_of_the_images():
    assert harmless_share([-0.02, 0.0099, 0.0101, 0.4]) == 0.5


def test_images_are_cut_to_the_configured_numbers():
    images = load_images(ImageConfig(train_images=30, evaluation_images=7), None)
    assert [len(one.labels) for one in (images.train, images.valid, images.test)] == [30, 7, 7]
    assert images.train.pixels.shape == (30, 8, 8)


def test_it_leaves_pictures_members_and_findings(done):
    path = folder(done, NAME)
    for name in ("curves.png", "swarm.png", "lesion.png"):
        assert (path / name).stat().st_size > 5_000
    members = (path / "members.txt").read_text(encoding="utf-8").splitlines()
    assert len(members) == 2 + 2 * 2
    assert "| highway 10 |" in (path / "findings.txt").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_finished_training_is_measured_again_to_the_same(done):
    before = record(done, NAME)
    (folder(done, NAME) / "record.json").unlink()
    assert run(done, NAME, "--set", *SMALL) == 0
    assert result(record(done, NAME)) == result(before)


def test_another_seed_another_result(done, tmp_path):
    assert run(tmp_path, NAME, "--seeds", "1", "--set", *SMALL) == 0
    ours, theirs = record(tmp_path, NAME, 1).metrics, record(done, NAME).metrics
    for cell in ("plain10", "highway10"):
        assert ours[f"{cell}/train/best_loss"] != theirs[f"{cell}/train/best_loss"]


def test_networks_whose_losses_are_not_finite_count_as_diverged(done, tmp_path, monkeypatch):
    """The first network of each kind is made such a one."""
    shutil.copytree(folder(done, NAME), folder(tmp_path, NAME))
    (folder(tmp_path, NAME) / "record.json").unlink()
    lost: dict[tuple[int, ...], bytes] = {}

    def measure(params, rectified, examples):
        one = np.asarray(params.output_kernel).tobytes()
        if lost.setdefault(params.kernel.shape, one) == one:
            return Score(math.nan, 1.0)
        return evaluate(params, rectified, examples)

    monkeypatch.setattr("experiments.depth.feed_forward.evaluate", measure)
    assert run(tmp_path, NAME, "--set", *SMALL) == 0
    made = record(tmp_path, NAME)
    for cell in ("plain10", "highway10"):
        assert made.metrics[f"{cell}/train/diverged"] == 1
        assert f"{cell}/train/median_loss" not in made.metrics  # half of two is infinite
        assert math.isfinite(made.metrics[f"{cell}/train/best_loss"])
    lines = (folder(tmp_path, NAME) / "members.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 + 2 * 2
    lost_ones = [line.split("|") for line in lines if "diverged" in line]
    assert [line[1].strip() for line in lost_ones] == ["plain 10", "highway 10"]
    assert all(float(line[3]) > 0 for line in lost_ones)  # its learning rate


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
