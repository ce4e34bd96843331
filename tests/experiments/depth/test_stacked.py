"""Stacked layers against deep transitions: sizes, the choice of rates, and one small run."""

import pytest
from run_case import folder, record, run

from experiments import registry
from experiments.depth.stacked import longest_path, sized_models
from experiments.registry import find
from experiments.train import DivergedRun, Outcome
from highway.config import LanguageModelConfig
from highway.size import parameter_count

NAME = "stacked_or_deep"


@pytest.mark.parametrize(("preset", "vocabulary"), [("cpu", 65), ("paper", 10_000)])
def test_all_models_have_the_same_size(preset, vocabulary):
    config = find(NAME).presets[preset].config
    models = sized_models(config, vocabulary)
    for name, model in models.items():
        count = parameter_count(model, vocabulary)
        assert abs(count / config.parameters - 1) < 0.01, name


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


def outcome(loss: float) -> Outcome:
    metrics = {"valid/loss": loss, "test/loss": loss}
    curve = [{"step": 1, "epoch": 1.0, "valid/loss": loss}]
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
    settings = ["depths=[2]", "learning_rates=[0.01,0.02,0.5]"]
    assert run(tmp_path, NAME, "--seeds", "3", "--set", *settings) == 0
    made = record(tmp_path, NAME, 3)
    assert made.metrics["rhn_deep2/valid/loss"] == pytest.approx(3.1)
    assert "lstm_stacked2/valid/loss" not in made.metrics
    assert ("rhn_deep2/rate0.02", (3,)) in asked
    text = (folder(tmp_path, NAME, 3) / "findings.txt").read_text(encoding="utf-8")
    assert [line.split("|")[5].strip() for line in text.splitlines() if "| lstm_" in line] == [
        "diverged"
    ]


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
