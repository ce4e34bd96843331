"""A trained RHN looked into: what it trains itself, and what other runs trained."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from run_case import folder, record, run

from common.checkpoint import Checkpoints
from common.config import from_dict
from common.record import write_record
from common.window import make_windows
from experiments.depth import look
from experiments.depth.analysis import measures
from experiments.depth.catalogue import STEP_MEASURES
from experiments.depth.config import LookConfig
from experiments.registry import find
from experiments.text_model import load_best, load_run
from highway import gates
from highway.config import LanguageModelConfig, ModelConfig
from highway.learner import LanguageModelLearner
from highway.size import parameter_count, units_nearest

NAME = "rhn_analysis"
SMALL = [
    "language.train.epochs=1",
    "language.data.train_tokens=4000",
    "language.data.evaluation_tokens=600",
    "language.model.depth=2",
]
VOCABULARY = 65


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("analysis")
    assert run(out, NAME, "--set", *SMALL) == 0
    return out


@pytest.fixture(scope="module")
def runs(done, tmp_path_factory) -> dict[str, Path]:
    """The models that the analysis trained, as if runs of their own had trained them."""
    made, out = record(done, NAME), tmp_path_factory.mktemp("models")
    settings = made.config["language"]
    rhn = ModelConfig(**settings["model"])
    plain = replace(rhn, core="dts_rnn")
    units = units_nearest(plain, VOCABULARY, parameter_count(rhn, VOCABULARY))
    changes = {"rhn": {}, "plain": {"core": "dts_rnn", "units": units}}
    for name, change in changes.items():
        shutil.copytree(folder(done, NAME) / name / "checkpoints", out / name / "checkpoints")
        config = {**settings, "model": {**settings["model"], **change}}
        write_record(replace(made, config=config, metrics={}), out / name)
    return {name: out / name for name in changes}


def test_both_models_are_trained_measured_and_drawn(done):
    made = record(done, NAME)
    shown = {metric.name for metric in find(NAME).metrics}
    measured = {name for name in shown if not name.startswith("layer")}
    measured |= {f"layer{layer}/valid/{measure}" for layer in (1, 2) for measure in STEP_MEASURES}
    assert measured == shown & made.metrics.keys()
    assert abs(made.parameters["plain"] / made.parameters["rhn"] - 1) < 0.05  # a tiny one
    for name in ("gates.png", "movement.png", "lesion.png", "spectrum.png"):
        assert (folder(done, NAME) / name).stat().st_size > 5_000
    findings = (folder(done, NAME) / "findings.txt").read_text(encoding="utf-8")
    assert "The first layer matters most" in findings
    assert "by however little" in findings  # the rules
    assert made.data[0].tokens.keys() >= {"train", "valid"}
    for name in ("rhn", "plain"):
        assert f"{made.metrics[f'{name}/valid/loss']:.4f}" in findings
    lines = [line.split("|") for line in findings.splitlines() if line.startswith("|     2 |")]
    cost = made.metrics["layer2/valid/lesion_cost"]
    assert float(lines[0][6]) == pytest.approx(cost, abs=1e-4)


def test_the_best_state_is_looked_at(done):
    """Its loss is the one by which training chose it."""
    rows = (folder(done, NAME) / "rhn" / "metrics.jsonl").read_text().splitlines()
    best = min(row["valid/loss"] for row in map(json.loads, rows) if "valid/loss" in row)
    assert record(done, NAME).metrics["rhn/valid/loss"] == pytest.approx(best, rel=1e-5)


def test_given_runs_give_the_same_and_belong_to_what_was_found(done, runs, tmp_path, capsys):
    settings = [f"run={runs['rhn']}", f"plain_run={runs['plain']}"]
    assert run(tmp_path, NAME, "--set", *settings) == 0
    made, trained = record(tmp_path, NAME), record(done, NAME)
    for name, value in made.metrics.items():
        assert value == pytest.approx(trained.metrics[name], rel=1e-4, abs=1e-6), name
    assert {"model rhn", "model plain"} <= made.data[0].checksums.keys()
    assert not (folder(tmp_path, NAME) / "rhn").exists()  # nothing was trained
    # Another model in its place: the old result isn't shown for it.
    aside = runs["rhn"].with_name("aside")
    runs["rhn"].rename(aside)
    try:
        shutil.copytree(aside, runs["rhn"])
        save_untrained(runs["rhn"])
        capsys.readouterr()
        assert run(tmp_path, NAME, "--set", *settings) == 2
        assert "model rhn" in capsys.readouterr().err
    finally:
        shutil.rmtree(runs["rhn"])
        aside.rename(runs["rhn"])


def save_untrained(path: Path) -> None:
    """Add a checkpoint of a fresh model that passes for the best."""
    config = load_run(path, None).config
    windows = make_windows(np.zeros(300, np.int32), config.train.batch_size, 20, split="train")
    checkpoints = Checkpoints(path / "checkpoints")
    state = LanguageModelLearner(config, VOCABULARY, windows).initial_state(5)
    checkpoints.save(state, {**checkpoints.latest_notes(), "best": -1.0}, -1.0)
    checkpoints.close()


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        (["run=nowhere"], 3, "nowhere: no record.json"),
        (["run={plain}"], 2, "its model.core is dts_rnn; here rhn is needed"),
        (["plain_run={plain}"], 2, "plain_run is for a run beside"),
        (["language.model.core=dt_rnn"], 2, "only an RHN can be looked into"),
        (["run={rhn}", "look.tokens=5000"], 2, "set them lower"),
        (["run={done}"], 2, "not a run of one language model"),
    ],
)
def test_what_cannot_be_looked_into_is_said(done, runs, tmp_path, capsys, settings, code, message):
    known = {**runs, "done": folder(done, NAME)}
    assert run(tmp_path, NAME, "--set", *(one.format(**known) for one in settings)) == code
    assert message in capsys.readouterr().err


def test_the_heat_maps_show_the_pieces_behind_their_context(runs):
    model = load_run(runs["rhn"], None)
    small = LookConfig(sequences=2, tokens=5, context=30)
    texts = look.pieces(model, small)
    valid = model.corpus.valid
    np.testing.assert_array_equal(texts[0], valid[:35])
    np.testing.assert_array_equal(texts[1], valid[-35:])
    shown = look.over_time(model, texts, small.context)
    assert shown.transform.shape == shown.movement.shape == (2, 5, 2)
    # The same from the beginning, cut by hand: the context is read, then left out.
    np.testing.assert_allclose(
        shown.movement, look.over_time(model, texts, 0).movement[:, 30:], rtol=1e-6
    )


def test_lesions_change_one_layer_of_one_core(runs):
    params = load_run(runs["rhn"], None).params
    changed = look.lesioned(params, 0, 1)
    different = [
        jax.tree_util.keystr(path)
        for (path, old), new in zip(
            jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(changed), strict=True
        )
        if not np.array_equal(old, new)
    ]
    assert different == ["['core']['cores'][0]['layers'][1]['bias']"]


def test_spectra_are_those_of_the_shown_steps(runs):
    model = load_run(runs["rhn"], None)
    small = LookConfig(tokens=6, context=4, spectra=3)
    (text, *_) = look.pieces(model, small)
    found = look.spectra(model, text, small)
    assert [step.time for step in found] == [0, 2, 5]
    from flax import nnx

    core = nnx.merge(model.graph, model.params).core.cores[0]
    xs = model.params["embedding"][text]
    state = core.initial_state(1)
    for x in xs[: 4 + 2]:
        state, _ = core.step(state, x[None])
    matrix = jax.jacfwd(lambda y: core.step(y[None], xs[6][None])[1][0])(state[0])
    np.testing.assert_allclose(found[1].discs.centres, np.diagonal(matrix), atol=1e-6)
    discs = found[1].discs
    for value in found[1].eigenvalues:
        assert (np.abs(value - discs.centres) <= discs.radii + 1e-5).any()
    single = gates.discs(np.asarray(gates.layer_jacobians(core, state[0], xs[6])))
    np.testing.assert_allclose(found[1].layers.centres, single.centres, atol=1e-6)
    np.testing.assert_allclose(found[1].layers.radii, single.radii, atol=1e-5)


def test_means_over_text_are_of_every_step_of_every_window(runs):
    """A text of two windows: the state goes on, and the spread is over time and rows."""
    model = load_run(runs["rhn"], None)
    train = model.config.train
    text = model.corpus.valid[: train.batch_size * (2 * train.steps + 1)]
    vars(model)["corpus"] = replace(model.corpus, valid=text)  # it's read once
    means, spread = look.over_text(model, lambda: None)
    rows = text.reshape(train.batch_size, -1)[:, :-1]
    whole = look.over_time(model, rows, 0)
    np.testing.assert_allclose(means.transform, whole.transform.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(means.movement, whole.movement.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(spread, whole.transform.std((0, 1)), rtol=1e-4)


def test_what_is_measured_stands_under_its_name():
    def step(eigenvalue, centres, layers):
        discs = (gates.Discs(np.array(one), np.array(one) + 1) for one in (centres, layers))
        whole, single = discs
        return look.Spectrum(0, whole, np.array([eigenvalue, 0]), single)

    steps = [step(3 + 4j, [0.5, 2.0], [[0.1, 0.2], [1.5, 0.2]]), step(-1, [0, 1], [[1, 0], [2, 2]])]
    mean = look.Layers(np.array([0.6, 0.2]), np.array([3.0, 4.0]))
    lesions = look.Lesions(2.0, [2.5, 1.75])
    found = measures(mean, np.array([0.01, 0.02]), lesions, {"rhn": steps, "plain": steps[:1]})
    assert found == pytest.approx(
        {
            "layer1/valid/transform_activity": 0.6,
            "layer2/valid/transform_activity": 0.2,
            "layer1/valid/transform_std": 0.01,
            "layer2/valid/transform_std": 0.02,
            "layer1/valid/movement": 3.0,
            "layer2/valid/movement": 4.0,
            "layer1/valid/lesion_cost": 0.5,
            "layer2/valid/lesion_cost": -0.25,
            "layer1/valid/centres_in_unit": 1.0,
            "layer2/valid/centres_in_unit": 0.25,
            "rhn/valid/spectral_radius": 3.0,
            "rhn/valid/disc_centre": 0.875,
            "rhn/valid/disc_radius": 1.875,
            "rhn/valid/centres_in_unit": 0.75,
            "rhn/valid/layer_centres_in_unit": 0.625,
            "plain/valid/spectral_radius": 5.0,
            "plain/valid/disc_centre": 1.25,
            "plain/valid/disc_radius": 2.25,
            "plain/valid/centres_in_unit": 0.5,
            "plain/valid/layer_centres_in_unit": 0.75,
        }
    )


def test_the_look_measures_the_rhn_with_its_own_loss(done):
    """Lesions count from the loss of the same model, and each layer's stands under its number."""
    made = record(done, NAME)
    model = load_best(folder(done, NAME) / "rhn", language(made), None)
    without = look.valid_loss(model, look.lesioned(model.params, 0, 1), lambda: None)
    cost = without - made.metrics["rhn/valid/loss"]
    assert made.metrics["layer2/valid/lesion_cost"] == pytest.approx(cost, abs=1e-6)
    means, spread = look.over_text(model, lambda: None)
    assert made.metrics["layer2/valid/transform_std"] == pytest.approx(spread[1])
    assert made.metrics["layer2/valid/movement"] == pytest.approx(means.movement[1])


def language(made) -> LanguageModelConfig:
    return from_dict(LanguageModelConfig, made.config["language"])
