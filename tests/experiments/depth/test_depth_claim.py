"""Verdicts on the papers' claims follow from metrics."""

import dataclasses

from common.record import Record
from experiments.depth import claim

GATED = {
    f"layer{layer}/valid/{measure}": value
    for measure, values in {
        "lesion_cost": (1.2, 0.3, 0.1),
        "transform_activity": (0.6, 0.2, 0.3),
        "transform_std": (0.1, 0.1, 0.2),
        "movement": (3.0, 1.0, 1.0),
    }.items()
    for layer, value in enumerate(values, 1)
}
MEASURES = ("loss", "centres_in_unit", "disc_centre", "disc_radius", "spectral_radius")
SPECTRA = {
    f"{model}/valid/{measure}": value
    for model, values in {
        "rhn": (1.5, 0.97, 0.4, 2.0, 0.9),
        "plain": (1.6, 0.5, 0.02, 2.0, 0.3),
    }.items()
    for measure, value in zip(MEASURES, values, strict=True)
}


def verdicts(claims):
    return [one.verdict for one in claims]


def test_what_is_claimed_of_layers_and_spectra():
    metrics = GATED | SPECTRA
    assert verdicts(claim.analysis_claims(metrics)) == ["holds"] * 4
    second = metrics | {"layer2/valid/lesion_cost": 1.5}
    assert verdicts(claim.analysis_claims(second)) == ["does not hold", "holds", "holds", "holds"]
    useless = metrics | {"layer3/valid/lesion_cost": -0.01}
    assert verdicts(claim.analysis_claims(useless))[1] == "does not hold"
    quiet = metrics | {"layer3/valid/transform_activity": 0.7}
    assert verdicts(claim.analysis_claims(quiet))[2] == "does not hold"
    for other in ({"rhn/valid/centres_in_unit": 0.9}, {"plain/valid/centres_in_unit": 0.96}):
        assert verdicts(claim.analysis_claims(metrics | other))[3] == "does not hold"


def test_without_a_plain_model_nothing_is_said_of_it():
    spectra = {name: value for name, value in SPECTRA.items() if name.startswith("rhn")}
    assert len(claim.analysis_claims(GATED | spectra)) == 3
    told = claim.analysis_claims(GATED | spectra | {"plain/train/diverged": 1.0})[3]
    assert told.verdict == "undecided"
    assert "the plain model diverged" in told.found


def losses(**values):
    return {f"{name}/test/loss": value for name, value in values.items()}


def test_deep_against_stacked():
    metrics = losses(
        rnn1=1.6, rhn1=1.6, rnn_stacked2=1.50, rnn_deep2=1.51, rhn_stacked2=1.6, rhn_deep2=1.4
    )
    found = claim.stacked_claims(metrics)
    assert verdicts(found) == ["holds", "does not hold", "holds", "undecided"]
    assert "1.4000 in the transition, 1.6000 stacked" in found[2].found
    full = metrics | {"rhn_deep2/test_full/loss": 1.7}
    assert verdicts(claim.stacked_claims(full))[2] == "does not hold"  # that protocol counts first
    del metrics["rnn_deep2/test/loss"]
    diverged = claim.stacked_claims(metrics)
    assert verdicts(diverged) == ["holds", "holds", "holds", "does not hold"]
    assert "(diverged) in the transition" in diverged[3].found


def networks(**values):
    return {
        f"{name}/train/{measure}": value
        for name, (best, share, p) in values.items()
        for measure, value in (
            ("best_loss", best),
            ("harmless_layers", share),
            ("rank_p", p),
            ("rank_n", None if p is None else 6),
        )
        if value is not None
    }


def test_plain_against_highway_networks():
    metrics = networks(
        plain10=(0.001, None, None),
        plain50=(2.3, None, None),
        highway10=(0.002, 0.2, 0.4),
        highway50=(0.008, 0.8, 0.001),
    )
    found = claim.feed_forward_claims(metrics)
    assert verdicts(found) == ["holds", "holds", "does not hold", "holds", "holds"]
    assert "80 %" in found[-1].found
    few = claim.feed_forward_claims(metrics | {"highway50/train/rank_n": 4})
    assert (few[3].verdict, "n = 4" in few[3].found) == ("undecided", True)
    del metrics["plain50/train/best_loss"]
    assert "all diverged at 50" in claim.feed_forward_claims(metrics)[1].found
    assert verdicts(claim.feed_forward_claims(metrics))[1] == "holds"


def test_nothing_is_said_of_networks_that_learned_nothing():
    metrics = networks(
        plain10=(2.2, None, None),
        plain20=(2.3, None, None),
        highway10=(2.2, 1.0, None),
        highway20=(2.3, 1.0, None),
    )
    assert verdicts(claim.feed_forward_claims(metrics)) == ["undecided", "undecided"]


def test_the_report_has_the_claims_of_finished_runs(tmp_path):
    made = Record(
        experiment="rhn_analysis", preset="cpu", seed=1, status="done", command="", config={},
        overrides=[], parameters={}, metrics=GATED | SPECTRA, curve=[], data=[], seconds={},
        device={}, versions={}, commit="", commits=[], dirty=False, finished="",
    )  # fmt: skip
    failed = dataclasses.replace(made, status="diverged", seed=2, metrics={})
    folder = tmp_path / "rhn_analysis" / "cpu" / "seed1"
    folder.mkdir(parents=True)
    (folder / "gates.png").touch()
    title, table, rules, label, layers, spectra, picture = claim.section([made, failed], tmp_path)
    assert "rhn_analysis, cpu, seed 1" in label
    assert "1.2000" in layers
    assert "0.9700" in spectra
    assert "(rhn_analysis/cpu/seed1/gates.png)" in picture
    (opening,) = claim.findings([made, failed])
    assert "The first layer matters most" in opening
    assert "holds here" in opening
    lost = dataclasses.replace(made, metrics=made.metrics | {"layer2/valid/lesion_cost": 9.0})
    assert "does not hold here" in claim.findings([lost])[0]
    assert title.startswith("### Depth")
    assert table.count("rhn_analysis, cpu, seed 1") == 4
    assert "seed 2" not in table
    assert "95 % of them lie" in rules
    assert claim.section([failed], tmp_path) == []
