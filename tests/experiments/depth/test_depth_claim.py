"""Verdicts on the papers' claims follow from metrics."""

import dataclasses
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from common.config import override, to_dict
from common.record import DataUsed, Record, find_records, write_record
from experiments.depth import claim, table
from experiments.registry import find
from experiments.results.claim import table as claim_table

RESULTS = Path(__file__).parents[3] / "results"

GATED = {
    f"layer{layer}/valid/{measure}": value
    for measure, values in {
        "lesion_cost": (1.2, 0.3, 0.1),
        "transform_activity": (0.6, 0.2, 0.3),
        "transform_std": (0.1, 0.3, 0.2),
        "centres_in_unit": (0.99, 0.97, 0.96),
        "movement": (3.0, 1.0, 1.0),
    }.items()
    for layer, value in enumerate(values, 1)
}
MEASURES = ("loss", "layer_centres_in_unit", "disc_centre", "disc_radius", "spectral_radius")
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


def found_of(metrics):
    return [(one.verdict, one.found) for one in claim.analysis_claims(metrics)]


@pytest.mark.parametrize(
    ("changed", "place", "verdict"),
    [
        ({"layer2/valid/lesion_cost": 1.5}, 0, "does not hold"),
        ({"layer3/valid/lesion_cost": -0.01}, 1, "does not hold"),
        ({"layer3/valid/transform_activity": 0.7}, 2, "does not hold"),
        ({"layer1/valid/transform_activity": 0.4}, 2, "holds in part"),  # the most, but not much
        ({"layer3/valid/transform_std": 0.05}, 3, "holds in part"),
        ({f"layer{k}/valid/transform_std": 0.05 for k in (2, 3)}, 3, "does not hold"),
        ({"layer2/valid/centres_in_unit": 0.9}, 4, "does not hold"),
        ({"plain/valid/layer_centres_in_unit": 0.98}, 5, "does not hold"),
        ({"plain/valid/loss": 1.9}, 5, "undecided"),
        ({"plain/train/diverged": 1.0}, 5, "undecided"),
    ],
)
def test_what_is_claimed_of_layers_and_spectra(changed, place, verdict):
    metrics = GATED | SPECTRA
    assert verdicts(claim.analysis_claims(metrics)) == ["holds"] * 6
    wanted = ["holds"] * 6
    wanted[place] = verdict
    assert verdicts(claim.analysis_claims(metrics | changed)) == wanted


def test_without_a_plain_model_nothing_is_said_of_it():
    spectra = {name: value for name, value in SPECTRA.items() if name.startswith("rhn")}
    assert len(claim.analysis_claims(GATED | spectra)) == 5
    told = claim.analysis_claims(GATED | spectra | {"plain/train/diverged": 1.0})[5]
    assert told == (told.text, "the plain model diverged", "undecided")


def test_of_discs_that_were_not_measured_nothing_is_said():
    old = {name: value for name, value in (GATED | SPECTRA).items() if "centres_in" not in name}
    assert len(claim.analysis_claims(old)) == 4


def test_discs_away_from_the_interval_are_told_whatever_the_plain_model_learned():
    metrics = GATED | SPECTRA | {"layer2/valid/centres_in_unit": 0.9, "plain/valid/loss": 1.9}
    held, beside = claim.analysis_claims(metrics)[4:]
    assert (held.verdict, beside.verdict) == ("does not hold", "undecided")
    assert held.found == "90 to 99 % of a layer's centres lie there"
    told = "of all layers' 97 %, of the plain model's 50 %, which learned less: validation loss"
    assert beside.found.startswith(told)


def losses(**values):
    found = {f"{name}/test/loss": value for name, value in values.items()}
    return found | {f"unigram/{split}/loss": 3.3 for split in ("train", "test")}


TRAINING = {"rnn1/train/loss": 1.4, "rnn_deep2/train/loss": 1.6}


def test_deep_against_stacked():
    metrics = TRAINING | losses(
        rnn1=1.6, rhn1=1.6, rnn_stacked2=1.50, rnn_deep2=1.51, rhn_stacked2=1.6, rhn_deep2=1.4
    )
    found = claim.stacked_claims(metrics)
    assert verdicts(found) == ["holds", "does not hold", "holds", "holds", "undecided"]
    assert "1.4000 in the transition, 1.6000 stacked" in found[3].found
    assert "train loss 1.4000 at depth 1, 1.6000 at depth 2" in found[2].found
    full = metrics | {"rhn_deep2/test_full/loss": 1.7}
    assert verdicts(claim.stacked_claims(full))[3] == "does not hold"  # that protocol counts first
    del metrics["rnn_deep2/test/loss"]
    diverged = claim.stacked_claims(metrics)
    assert verdicts(diverged) == ["holds", "holds", "holds", "holds", "does not hold"]
    assert "(diverged) in the transition" in diverged[4].found


def test_what_is_undecided_of_a_gain_is_so_of_its_opposite():
    metrics = TRAINING | losses(rnn1=1.6, rnn_stacked2=1.7, rnn_deep2=1.61)
    assert verdicts(claim.stacked_claims(metrics)) == ["undecided", "holds", "holds"]
    worse = metrics | {"rnn_deep2/test/loss": 1.69, "rnn_deep2/train/loss": 1.3}
    assert verdicts(claim.stacked_claims(worse)) == ["holds", "does not hold", "undecided"]


@pytest.mark.parametrize("missed", [3.27, 3.4])
def test_nothing_is_decided_by_a_model_that_learned_nothing(missed):
    """Within 1 % of the tokens' frequencies, or above them."""
    metrics = losses(rhn1=1.6, rhn_stacked2=missed, rhn_deep2=1.4)
    deep, stacked = claim.stacked_claims(metrics)
    assert (deep.verdict, stacked.verdict) == ("holds", "undecided")
    assert f"{missed:.4f} stacked; stacked it learned nothing (3.3000 by" in stacked.found
    metrics |= {"rhn_deep2/test/loss": missed, "rhn_stacked2/test/loss": 1.6}
    assert verdicts(claim.stacked_claims(metrics)) == ["undecided", "undecided"]
    del metrics["unigram/test/loss"]
    assert "wasn't measured" in claim.stacked_claims(metrics)[1].found


def networks(depths, best, learned, p_harder, p_below):
    """Metrics of plain and highway networks, whose values come in this order for each depth."""
    found = {"search/members": 16.0}
    for kind, k in (("plain", 0), ("highway", 1)):
        found |= {f"{kind}/train/p_harder": p_harder[k], f"{kind}/train/n_harder": 6.0}
        for depth, losses_of, counts in zip(depths, best, learned, strict=True):
            found[f"{kind}{depth}/train/best_loss"] = losses_of[k]
            found[f"{kind}{depth}/train/learned"] = counts[k]
            found[f"{kind}{depth}/train/median_loss"] = 2 * losses_of[k]
    for depth, p in zip(depths, p_below, strict=True):
        cell = f"highway{depth}/train"
        found |= {f"{cell}/p_below_plain": p, f"{cell}/n_below_plain": 6.0}
        found[f"{cell}/harmless_layers"] = 0.8
    return found


AS_PUBLISHED = networks(
    (10, 50), ((0.001, 0.002), (2.3, 0.008)), ((9, 9), (0, 8)), (0.01, 0.6), (0.4, 0.001)
)


def test_plain_against_highway_networks():
    found = claim.feed_forward_claims(AS_PUBLISHED)
    assert verdicts(found) == ["holds", "holds", "does not hold", "holds", "holds"]
    assert "0.002 at 10, 0.008 at 50; 9, 8 of 16 learned; 50 layers end higher" in found[0].found
    assert "over half learned nothing against 0.016; 0 and 8 of 16 learned" in found[3].found
    assert "80 % at 10, 80 % at 50" in found[4].found
    few = claim.feed_forward_claims(AS_PUBLISHED | {"highway50/train/n_below_plain": 4.0})
    assert (few[3].verdict, "n = 4" in few[3].found) == ("undecided", True)
    half = claim.feed_forward_claims(AS_PUBLISHED | {"highway10/train/harmless_layers": 0.3})
    assert half[4].verdict == "holds in part"
    lost = {k: v for k, v in AS_PUBLISHED.items() if k != "plain50/train/best_loss"}
    told = claim.feed_forward_claims(lost)[1]
    assert ("all diverged at 50" in told.found, told.verdict) == (True, "holds")


def test_where_the_best_and_the_ranks_disagree_it_is_undecided():
    changed = {"plain50/train/best_loss": 0.005, "highway/train/p_harder": 0.01}
    assert verdicts(claim.feed_forward_claims(AS_PUBLISHED | changed))[:2] == ["undecided"] * 2


def test_nothing_is_said_of_networks_that_learned_nothing():
    metrics = networks((10, 20), ((2.2, 2.2), (2.3, 2.3)), ((0, 0), (0, 0)), (0.9, 0.9), (0.9, 0.9))
    found = claim.feed_forward_claims(metrics)
    assert verdicts(found) == ["undecided", "undecided", "does not hold", "does not hold"]


@pytest.mark.parametrize("name", sorted(table.EXPERIMENTS))
def test_committed_findings_begin_with_the_claims_of_their_records(name):
    made = [one for one in find_records(RESULTS) if one.experiment == name]
    assert made
    subject = claim.SUBJECTS[table.EXPERIMENTS[name].kind]
    for one in made:
        place = RESULTS / name / one.preset / f"seed{one.seed}" / "findings.txt"
        judged = claim_table(subject.claims(one.metrics)).markdown()
        begin = "\n".join([judged, subject.rules])
        assert place.read_text(encoding="utf-8").startswith(begin)


def made(name, metrics, seed=0, *changes, **fields):
    """A record of preset cpu with some settings changed."""
    config = override(find(name).preset("cpu").config, changes)
    common = {
        "command": "", "parameters": {}, "curve": [], "data": [], "seconds": {}, "versions": {},
        "device": {"precision": "highest"}, "commit": "", "commits": [], "dirty": False,
        "finished": "", "status": "done", "preset": "cpu", "config": to_dict(config),
        "overrides": [*changes],
    }  # fmt: skip
    return Record(experiment=name, metrics=metrics, seed=seed, **(common | fields))


def put(one, root, *names):
    """Write a record and empty pictures where a report's folder has them."""
    folder = root / one.experiment / one.preset / f"seed{one.seed}"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    write_record(one, folder)


def test_the_report_has_the_claims_of_finished_runs(tmp_path):
    done = made("rhn_analysis", GATED | SPECTRA, 1)
    failed = dataclasses.replace(done, status="diverged", seed=2, metrics={})
    put(done, tmp_path, "gates.png")
    title, recalled, claims, scales, rules, label, layers, spectra, picture = table.section(
        [done, failed], tmp_path
    )
    assert label == "#### rhn_analysis, cpu, seed 1\n"
    assert "1.2000" in layers
    assert "0.5000" in spectra
    assert "(rhn_analysis/cpu/seed1/gates.png)" in picture
    assert title.startswith("### Depth")
    assert recalled.startswith("**Recalled, not checked against the paper**: rhn_analysis: the c")
    assert "stacked_or_deep" not in recalled
    assert claims.count("| rhn_analysis, cpu, seeds 1, 2 |") == 6
    assert claims.count("(1 of 2 seeds), diverged (1)") == 6
    assert claims.count("| seed 1: ") == 6
    assert scales.startswith("- rhn_analysis, cpu, seed 1: ")
    assert "95 % of them lie" in rules
    assert table.section([failed], tmp_path) == []


def test_several_seeds_share_lines_and_tables(tmp_path):
    each = [
        made("rhn_analysis", GATED | SPECTRA, 0),
        made("rhn_analysis", GATED | SPECTRA | {"layer1/valid/lesion_cost": 0.0}, 1),
        made("rhn_analysis", GATED | SPECTRA, 4),
    ]
    for record in each:
        put(record, tmp_path, "gates.png")
    text = "\n".join(table.section(each, tmp_path))
    (line,) = [one for one in text.splitlines() if one.startswith("| The first layer matters")]
    found = re.findall(r"seed (\d): [^|<]* layer 1 costs ([\d.]+) nats", line)
    assert found == [("0", "1.200"), ("1", "0.000"), ("4", "1.200")]
    assert "| holds (2 of 3 seeds), does not hold (1) " in line
    assert "| rhn_analysis, cpu, seeds 0, 1, 4 |" in line
    assert text.count("loss without it") == 1
    assert " 0.8000 | " in text
    assert "Means over 3 seeds; their intervals stand under [Every run](#every-run)." in text
    first, others = text.split("<details>\n<summary>The same of seeds 1, 4</summary>\n\n")
    assert first.count("seed0/gates.png") == 1
    assert "seed1" not in first
    assert [others.count(f"seed{seed}/gates.png") for seed in (0, 1, 4)] == [0, 1, 1]


def test_a_new_row_of_the_catalogue_is_in_the_report_as_the_others_of_its_kind(
    tmp_path, monkeypatch
):
    usual = made("rhn_analysis", GATED | SPECTRA)
    row = dataclasses.replace(find(usual.experiment), name="rhn_again")
    monkeypatch.setitem(table.EXPERIMENTS, row.name, row)
    both = [usual, dataclasses.replace(usual, experiment=row.name)]
    text = "\n".join(table.section(both, tmp_path))
    assert text.count("The first layer matters most") == 2
    assert text.count("loss without it") == 2
    assert "rhn_again: Of gates and lesions" in text
    assert len(table.findings(both)) == 2


CHANGED = "search.epochs=8"


@pytest.mark.parametrize("point", [CHANGED, "from=old%2Fagain"])
def test_each_run_has_its_own_pictures_and_its_settings_for_a_name(point, tmp_path):
    usual = made("highway_depth", AS_PUBLISHED)
    changed = made("highway_depth", AS_PUBLISHED, 0, CHANGED)
    narrow = dataclasses.replace(usual, device={"precision": "default"})
    put(usual, tmp_path, "swarm.png")
    put(changed, tmp_path / point, "curves.png")
    text = "\n".join(table.section([narrow, changed, usual], tmp_path))
    names = ("", f", {CHANGED}", ", precision=default")
    labels = [f"highway_depth, cpu, seed 0{name}" for name in names]
    assert [text.count(f"| {one} ") for one in labels] == [5, 5, 5]
    headed = dict(part.split("\n", 1) for part in text.split("#### ")[1:])
    folder = quote(f"{point}/highway_depth/cpu/seed0")
    assert {name: body.strip() for name, body in headed.items()} == {
        labels[0]: f"![swarm: {labels[0]}](highway_depth/cpu/seed0/swarm.png)",
        labels[1]: f"![curves: {labels[1]}]({folder}/curves.png)",
    }  # of the third there is no record, so no picture can be its


def test_runs_on_other_data_are_told_apart(tmp_path):
    used = [DataUsed("digits", "1.0.0", "mnist", {"train": 9}, {"a": mark}) for mark in "xy"]
    both = [made("highway_depth", AS_PUBLISHED, data=[one]) for one in used]
    text = "\n".join(table.section(both, tmp_path))
    assert len(set(re.findall(r"seed 0, data \w{6}", text))) == 2
    assert len(table.findings(both)) == 2


UNDECIDED = AS_PUBLISHED | {"highway/train/p_harder": 0.01}
HARDER = UNDECIDED | {"highway50/train/best_loss": 0.5}


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        ([HARDER], "does not hold here, scaled down (highway_depth, cpu, seed 0; "),
        ([AS_PUBLISHED] * 3, "holds here (3 of 3 seeds), scaled down (highway_depth"),
        ([UNDECIDED, AS_PUBLISHED, UNDECIDED], "holds here (1 of 3 seeds), undecided (2), scaled"),
        ([HARDER, None, AS_PUBLISHED], "holds here (1 of 3 seeds), does not hold (1), diverged (1"),
    ],
)
def test_seeds_of_the_same_settings_have_one_verdict_sentence(metrics, told):
    runs = [
        made("highway_depth", one or {}, seed, status="done" if one else "diverged")
        for seed, one in enumerate(metrics)
    ]
    (opening,) = table.findings(runs)
    claimed = "Highway networks don't get harder to train with depth"
    assert opening.startswith(f"{claimed}: {told}")
    assert "; claim recalled, not checked; [what was found]" in opening
    assert opening.endswith("(#depth-gates-and-lesions-claims-and-findings)).")


def test_the_sentence_on_lesions_says_what_speaks_against_it():
    costs = (1.2, 0.6)
    runs = [
        made("rhn_analysis", GATED | SPECTRA | {"layer1/valid/lesion_cost": cost}, seed)
        for seed, cost in enumerate(costs)
    ]
    (opening,) = table.findings(runs)
    assert "; lesion of layer 1 costs 0.600 to 1.200 nats, of the others 0.100 to 0.300" in opening
    assert "0.300, but it alone reads the input (rhn_analysis, cpu, seeds 0, 1; " in opening


def test_means_of_fewer_seeds_are_told(tmp_path):
    whole = GATED | SPECTRA
    lost = {name: value for name, value in whole.items() if not name.startswith("plain")}
    both = [made("rhn_analysis", one, seed) for seed, one in enumerate((whole, lost))]
    assert "Means over 2 seeds, of some numbers over fewer; " in "\n".join(
        table.section(both, tmp_path)
    )


def test_other_settings_have_a_sentence_of_their_own():
    usual = made("highway_depth", AS_PUBLISHED)
    changed = [made("highway_depth", UNDECIDED, seed, CHANGED) for seed in (0, 1)]
    again = dataclasses.replace(usual, metrics=HARDER, commit="another")
    first, second = table.findings([*changed, usual, again])
    assert "holds here, scaled down (highway_depth, cpu, seed 0; " in first
    assert "undecided here (2 of 2 seeds)" in second
    assert f"(highway_depth, cpu, seeds 0, 1, {CHANGED}; " in second


def test_a_seed_without_the_main_claim_counts_as_not_judged():
    found = TRAINING | losses(rnn1=1.6, rhn1=1.6, rnn_deep2=1.7, rhn_deep2=1.4)
    lost = {name: value for name, value in found.items() if name != "rhn1/test/loss"}
    runs = [made("stacked_or_deep", one, seed) for seed, one in enumerate((lost, found, found))]
    (opening,) = table.findings(runs)
    assert "Highway transitions gain from depth" in opening
    assert "holds here (2 of 3 seeds), not judged (1)" in opening


def test_of_smoke_runs_nothing_is_found():
    assert table.findings([made("highway_depth", AS_PUBLISHED, preset="smoke")]) == []
