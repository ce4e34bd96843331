"""Stacked layers against deep transitions: sizes, the choice of rates, and one small run."""

import math
from dataclasses import replace

import numpy as np
import pytest
from run_case import folder, record, run

from common.datasets import Corpus
from experiments import registry
from experiments.depth.catalogue import FAMILY
from experiments.depth.stacked import longest_path, sized_models, trials_of, unigram_losses
from experiments.registry import find
from experiments.train import DivergedRun, Outcome
from highway.config import LanguageModelConfig
from highway.size import parameter_count

NAME = "stacked_or_deep"


@pytest.mark.parametrize(("preset", "vocabulary"), [("cpu", 65), ("paper", 10_000)])
def test_all_models_have_the_same_size(preset, vocabulary):
    config = find(NAME).presets[preset].config
    models = sized_models(config, vocabulary)
    counts = [parameter_count(model, vocabulary) for model in models.values()]
    assert max(counts) <= 1.01 * min(counts)
    assert counts[0] == pytest.approx(config.parameters, rel=0.01)


def test_models_that_cannot_be_made_equal_are_refused(tmp_path, capsys):
    assert run(tmp_path, NAME, "--set", "parameters=2000") == 2
    assert "more than the smallest. Raise parameters" in capsys.readouterr().err
    assert run(tmp_path, NAME, "--set", "unequal=0.01") == 2
    assert "4.2 % more than the smallest" in capsys.readouterr().err


def test_initial_weights_are_as_wide_as_the_width_of_a_model_asks_for():
    config = find(NAME).presets["cpu"].config
    for model in sized_models(config, 65).values():
        assert model.initial_range == pytest.approx((config.initial_gain / model.units) ** 0.5)
    fixed = replace(config, initial_gain=0.0)
    assert {one.initial_range for one in sized_models(fixed, 65).values()} == {0.04}


def test_unigram_losses_are_those_of_the_training_texts_frequencies():
    text = [np.array(tokens, np.int32) for tokens in ([0, 0, 0, 1, 1], [2], [0, 1])]
    corpus = Corpus("made", "1", "character", ("a", "b", "c"), *text, {})
    found = unigram_losses(corpus)
    a, b, c = (-math.log(count / 8) for count in (4, 3, 1))
    assert found == pytest.approx(
        {
            "unigram/train/loss": (3 * a + 2 * b) / 5,
            "unigram/valid/loss": c,
            "unigram/test/loss": (a + b) / 2,
        }
    )


def test_stacks_have_layers_and_transitions_depth():
    models = sized_models(find(NAME).presets["cpu"].config, 65)
    stacked, deep = models["rhn_stacked5"], models["rhn_deep5"]
    assert (stacked.core, stacked.layers, stacked.depth) == ("rhn", 5, 1)
    assert (deep.core, deep.layers, deep.depth) == ("rhn", 1, 5)
    assert (models["rnn_deep5"].core, models["lstm_stacked5"].layers) == ("dt_rnn", 5)
    assert "lstm_deep5" not in models
    assert longest_path(deep, 20) == 100
    assert longest_path(stacked, 20) == 24
    assert longest_path(models["rnn1"], 20) == 20


def test_highway_models_are_trained_at_each_rate_and_bias():
    config = replace(
        find(NAME).presets["cpu"].config, learning_rates=(0.1, 0.2), transform_biases=(-2.0, 1.0)
    )
    models = sized_models(config, 65)
    trials = trials_of(config, "rhn_deep5", models["rhn_deep5"])
    assert {
        folder: (one.train.learning_rate, one.model.transform_bias)
        for folder, one in trials.items()
    } == {
        "rhn_deep5/rate0.1_bias-2": (0.1, -2.0),
        "rhn_deep5/rate0.1_bias1": (0.1, 1.0),
        "rhn_deep5/rate0.2_bias-2": (0.2, -2.0),
        "rhn_deep5/rate0.2_bias1": (0.2, 1.0),
    }
    assert list(trials_of(config, "rnn1", models["rnn1"])) == ["rnn1/rate0.1", "rnn1/rate0.2"]


def outcome(loss: float) -> Outcome:
    metrics = {"valid/loss": loss, "test/loss": loss}
    curve = [
        {"step": step, "epoch": float(step), "valid/loss": loss, "train/loss": loss + extra}
        for step, extra in ((1, 0.5), (2, -0.1), (3, 0.2))
    ]
    return Outcome(100, metrics, curve, [], {"training": 1.0})


def test_the_rate_best_on_validation_counts(tmp_path, monkeypatch):
    """Losses by rate, of which one diverges; what trains is stood in for."""
    asked = []

    def train(context):
        settings = context.config
        rate, model = settings.train.learning_rate, settings.model
        asked.append((context.place.folder, context.seeds))
        if model.core == "lstm" or rate > 0.1:
            return {3: DivergedRun("too fast", outcome(9.0))}
        return {3: outcome(model.layers + model.depth + 10 * rate)}

    monkeypatch.setattr(registry, "runner_of", lambda kind: train)
    settings = ["depths=[2]", "unequal=0.1", "learning_rates=[0.01,0.02,0.5]"]
    assert run(tmp_path, NAME, "--seeds", "3", "--set", *settings) == 0
    made = record(tmp_path, NAME, 3)
    assert made.metrics["rhn_deep2/valid/loss"] == pytest.approx(3.1)
    assert made.metrics["rhn_deep2/train/loss"] == pytest.approx(3.0)  # the lowest of its epochs
    assert "lstm_stacked2/valid/loss" not in made.metrics
    assert ("rhn_deep2/rate0.02", (3,)) in asked
    text = (folder(tmp_path, NAME, 3) / "findings.txt").read_text(encoding="utf-8")
    assert "batch 1" not in text  # it wasn't measured
    assert f"{made.metrics['unigram/test/loss']:.4f} |" in text
    assert [line.split("|")[5].strip() for line in text.splitlines() if "| lstm_" in line] == [
        "diverged"
    ]


def test_a_new_row_of_the_catalogue_runs(tmp_path, monkeypatch):
    row = replace(find(NAME), name="stacked_again")
    monkeypatch.setattr(registry, "families", lambda: [replace(FAMILY, experiments=(row,))])
    monkeypatch.setattr(registry, "runner_of", lambda kind: lambda context: {0: outcome(1.0)})
    assert run(tmp_path, row.name, "--set", "depths=[2]", "unequal=0.1") == 0
    text = (folder(tmp_path, row.name) / "findings.txt").read_text(encoding="utf-8")
    assert "One loss is better than another" in text


def test_it_diverges_only_where_everything_does(tmp_path, monkeypatch):
    made = DivergedRun("too fast", outcome(9.0))
    monkeypatch.setattr(registry, "runner_of", lambda kind: lambda context: {0: made})
    assert run(tmp_path, NAME, "--set", "depths=[1]") == 4
    assert record(tmp_path, NAME).status == "diverged"


def test_one_of_them_is_really_trained(tmp_path, monkeypatch):
    """The others are stood in for, which saves most of the time."""
    real = registry.runner_of(LanguageModelConfig)

    def train(context):
        return real(context) if context.config.model.core == "dt_rnn" else {0: outcome(9.0)}

    monkeypatch.setattr(registry, "runner_of", lambda kind: train)
    settings = ["depths=[1]", "data.train_tokens=2000", "data.evaluation_tokens=400"]
    assert run(tmp_path, NAME, "--set", *settings) == 0
    made = record(tmp_path, NAME)
    assert set(made.parameters) == {"rnn1", "rhn1", "lstm1"}
    assert made.metrics["rnn1/test/loss"] < 4.3
    assert made.data[0].name == "tiny_shakespeare"
    assert (folder(tmp_path, NAME) / "curves.png").exists()
