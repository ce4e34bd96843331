"""The optimisation study from the command line: cells, resuming, claims, tables, the picture."""

import json
import math
import re
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from run_case import folder, record, result, run

from common.compute import Compute
from common.config import override
from common.datasets import load
from common.error import ConfigError
from common.interrupt import Interrupt
from common.plot import LARGEST_BYTES
from common.record import find_records, write_record
from experiments.optimisation import table
from experiments.optimisation.catalogue import CORES, FAMILY, cell_name
from experiments.optimisation.cell import Cell, Run
from experiments.optimisation.config import OptimisationConfig
from experiments.optimisation.finding import claims, drawn_rates, in_brief, rank_tests
from experiments.optimisation.picture import draw_swarm, offsets
from experiments.optimisation.run import cell_models, make_search, runs
from highway.config import SearchConfig
from highway.roll_model import frequency_nll, pad
from highway.size import roll_parameter_count

NAME = "rhn_optimization"
RESULTS = Path(__file__).parents[3] / "results"
(STUDY,) = FAMILY.experiments


ONE_DEPTH = ["--set", "depths=[1]"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    assert run(out, NAME, *ONE_DEPTH) == 0
    return out


def read_cells(out, seed=0):
    return json.loads((folder(out, NAME, seed) / "study.json").read_text())


def made_run(loss, *, diverged_at=-1, valid=9.0):
    return Run(0.1, 0.01, -2.0, loss, valid, valid, 3, 5, diverged_at)


def made_cells(losses):
    """Cells of (core, depth) → losses."""
    return [
        Cell(cell_name(core, depth), core, depth, 9, [made_run(loss) for loss in each])
        for (core, depth), each in losses.items()
    ]


FREQUENCY_NLL = 20.0
"""What settings of made cells have to come below."""
SEARCH = SearchConfig(settings=6, epochs=5)


def metrics_of(cells):
    each = {cell.name: cell.metrics(FREQUENCY_NLL) for cell in cells}
    named = {f"{cell}/{k}": value for cell, found in each.items() for k, value in found.items()}
    return named | rank_tests(cells, FREQUENCY_NLL) | drawn_rates(cells)


def judge(cells):
    return claims(metrics_of(cells), SEARCH)


def as_the_paper_says(core, depth):
    """RHNs get better with depth, the others worse."""
    level = 8.0 - 0.1 * depth if core == "rhn" else 8.0 + depth
    return [level + 0.01 * k for k in range(6)]


PAPER = {(core, depth): as_the_paper_says(core, depth) for core in CORES for depth in (1, 6)}


@pytest.mark.parametrize("preset", ["smoke", "cpu", "paper"])
def test_at_each_depth_the_architectures_are_equally_large_to_one_percent(preset):
    config = STUDY.presets[preset].config
    models = cell_models(config, 88)
    assert [(one.depth, one.core) for one in models] == [
        (depth, core) for depth in config.depths for core in CORES
    ]
    for depth in config.depths:
        counts = [roll_parameter_count(one, 88) for one in models if one.depth == depth]
        assert max(counts) <= 1.01 * min(counts)
        assert counts[0] == pytest.approx(config.parameters_per_step * depth, rel=0.1)


def test_a_study_has_a_record_of_every_cell_with_what_was_measured(finished):
    made, cells = record(finished, NAME), read_cells(finished)
    assert [cell["name"] for cell in cells] == [cell_name(core, 1) for core in CORES]
    for cell in cells:
        tried = cell["runs"]
        assert len(tried) == 3
        best = min(tried, key=lambda one: one["best_valid"])
        found = {k: made.metrics[f"{cell['name']}/{k}"] for k in ("valid/nll", "test/nll")}
        assert found == {"valid/nll": best["best_valid"], "test/nll": best["test"]}
        lowest = [one["best_train"] for one in tried]
        assert made.metrics[f"{cell['name']}/train/best_nll"] == min(lowest)
        frequency = made.metrics["train/frequency_nll"]
        median = np.median(np.minimum(lowest, frequency))
        assert made.metrics[f"{cell['name']}/train/median_nll"] == pytest.approx(median)
        place = 1 + sum(one["learning_rate"] > best["learning_rate"] for one in tried)
        assert made.metrics[f"{cell['name']}/search/rate_place"] == place
    assert made.parameters == {
        cell_name(one.core, one.depth): roll_parameter_count(one, 88)
        for one in cell_models(STUDY.presets["smoke"].config, 88)
        if one.depth == 1
    }
    chorales = load("jsb_chorales")
    used = {"train": chorales.train[:12], "valid": chorales.valid[:4], "test": chorales.test[:4]}
    assert made.data[0].tokens == {split: sum(map(len, rolls)) for split, rolls in used.items()}
    assert {(row["step"], row["epoch"]) for row in made.curve} == {(1, 1), (2, 2), (3, 3)}
    settings = [[one["std"] for one in cell["runs"]] for cell in cells]
    assert settings == [settings[0]] * 3  # all cells try the same ones
    assert len(set(settings[0])) == 3
    # The test split is another than the validation split.
    assert max(abs(one["test"] - one["best_valid"]) for one in cells[0]["runs"]) > 1e-3
    # The same architecture at depth 1: what differs are the weights they begin with.
    alike = [cell["runs"] for cell in cells if cell["name"] in ("dt_rnn_depth1", "dts_rnn_depth1")]
    assert alike[0] != alike[1]


def test_the_seed_and_the_ranges_decide_what_is_tried():
    splits = {split: pad([np.eye(4, 88, dtype=np.uint8)] * 3) for split in ("train", "valid")}
    config = override(STUDY.presets["smoke"].config, ["search.highest_rate=0.001"])
    model = cell_models(config, 88)[0]
    states = [make_search(config, model, splits, seed, Compute()) for seed in (0, 1)]
    first, second = (state.members for _, state in states)
    assert not set(np.asarray(first.setting.std)) & set(np.asarray(second.setting.std))
    assert not np.array_equal(first.params["output_kernel"], second.params["output_kernel"])
    assert not np.array_equal(states[0][0].order(0), states[1][0].order(0))
    assert first.setting.learning_rate.max() <= 0.001


def test_a_setting_that_finished_no_epoch_has_no_losses():
    """Not even a test loss of its initial weights."""
    splits = {split: pad([np.eye(4, 88, dtype=np.uint8)] * 3) for split in ("train", "valid")}
    config = STUDY.presets["smoke"].config
    _, state = make_search(config, cell_models(config, 88)[0], splits, 0, Compute())
    found = runs(state.members, np.full(3, 60.0))
    assert {(one.best_train, one.best_valid, one.test) for one in found} == {(None, None, None)}


class StopInTheSecondCell(Interrupt):
    """SIGTERM comes at the seventh look."""

    checks = 0

    def check(self):
        StopInTheSecondCell.checks += 1
        if StopInTheSecondCell.checks == 7:
            self.received = signal.SIGTERM
        super().check()


def test_a_study_stopped_in_the_middle_of_a_cell_ends_with_the_same_bits(
    finished, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        patch.setattr("common.training.CALL_SECONDS", 0.0)
        patch.setattr("experiments.train.Interrupt", StopInTheSecondCell)
        assert run(tmp_path, NAME, *ONE_DEPTH) == 143
    assert not (folder(tmp_path, NAME) / "dts_rnn_depth1").exists()
    capsys.readouterr()
    assert run(tmp_path, NAME, *ONE_DEPTH) == 0
    assert "dt_rnn_depth1  continues at update 1" in capsys.readouterr().err
    assert result(record(tmp_path, NAME)) == result(record(finished, NAME))
    assert read_cells(tmp_path) == read_cells(finished)


def test_the_claim_holds_where_only_the_others_get_worse_with_depth():
    judged = judge(made_cells(PAPER))
    assert [claim.verdict for claim in judged] == ["holds"] * 6
    assert "1: 7.90, 6: 7.40" in judged[1].found


@pytest.mark.parametrize(
    ("changed", "verdicts"),
    [
        ({("rhn", 6): [9.0] * 6}, ["does not hold", "does not hold", "holds", "holds"]),
        ({("dt_rnn", 6): [7.0] * 6}, ["holds in part", "holds", "does not hold", "holds"]),
        (
            {("rhn", 6): [9.0] * 6, ("dt_rnn", 6): [7.0] * 6, ("dts_rnn", 6): [7.0] * 6},
            ["does not hold"] * 4,
        ),
        (  # nothing is shown where nothing was trained
            {("rhn", 1): [math.inf] * 6, ("rhn", 6): [math.inf] * 6},
            ["undecided", "undecided", "holds", "holds"],
        ),
        (  # one lucky setting, against all the others
            {("rhn", 6): [7.9, 9.0, 9.1, 9.2, 9.3, 9.4], ("rhn", 1): [8.0] * 6},
            ["undecided", "undecided", "holds", "holds"],
        ),
        (
            {("rhn", 1): [math.inf] * 6, ("rhn", 6): [math.inf] * 6, ("dt_rnn", 6): [7.0] * 6},
            ["undecided", "undecided", "does not hold", "holds"],
        ),
    ],
)
def test_the_whole_claim_is_decided_by_rhns(changed, verdicts):
    judged = judge(made_cells(PAPER | changed))
    assert [claim.verdict for claim in judged[:4]] == verdicts
    for claim in judged[1:4]:
        assert f"{claim.text}: {claim.verdict}" in judged[0].found


def test_runs_that_learned_nothing_are_equal():
    """However far above they end; what learned decides, and below five pairs nothing does."""
    learned = {key: losses[:4] for key, losses in PAPER.items()}
    wild = {("rhn", depth): [30.0, math.inf] for depth in (1, 6)}
    wild |= {(core, depth): [21.0 + depth, 22.0] for core in CORES for depth in (1, 6)} | wild
    cells = made_cells({key: [*losses, *wild[key]] for key, losses in learned.items()})
    metrics = metrics_of(cells)
    same = metrics_of(made_cells({key: [*learned[key], 20.0, 20.0] for key in PAPER}))
    assert {k: v for k, v in metrics.items() if "/train/" in k} == {
        k: v for k, v in same.items() if "/train/" in k
    }
    assert metrics["dt_rnn/train/n_harder"] == 4
    assert metrics["rhn_depth1/train/median_nll"] == pytest.approx(7.925)
    judged = claims(metrics, SEARCH)
    assert {claim.verdict for claim in judged} == {"undecided"}
    assert "4, 4 of 6 settings learned" in judged[1].found
    assert "4 against 4 of 6 learned; p = 0.062 (n = 4)" in judged[4].found
    nothing = made_cells({key: [*losses[:3], 21.0, 22.0, 23.0] for key, losses in PAPER.items()})
    assert metrics_of(nothing)["rhn_depth1/train/median_nll"] == pytest.approx((7.92 + 20.0) / 2)


def test_the_finding_tells_where_the_search_is_at_its_edge():
    cells = made_cells(PAPER)
    for cell in cells:
        cell.runs[:] = [
            replace(run, learning_rate=0.01 * (k + 1), best_valid=9.0 - (k == best))
            for k, run in enumerate(cell.runs)
            for best in [4 if cell.core == "rhn" else 0]
        ]
    cells[1].runs[4] = replace(cells[1].runs[4], best_epoch=5, epochs=5)
    (found, *_) = (claim.found for claim in judge(cells))
    assert "one of the 2 largest rates drawn in 2 of 6 searches: none over 0.06 was drawn" in found
    assert "where up to 1 may be" in found
    assert found.endswith("still falling at the last epoch: RHN depth 6")
    assert "still falling" not in judge(made_cells(PAPER))[0].found


def test_rank_tests_are_those_of_the_losses():
    found = rank_tests(made_cells(PAPER), FREQUENCY_NLL)
    assert found["depth6/train/p_rhn_below_dt_rnn"] == pytest.approx(1 / 64)  # 6 of 6 pairs
    assert found["depth6/train/p_rhn_below_dt_rnn_unpaired"] == pytest.approx(1 / 924)
    assert found["rhn/train/p_harder"] == pytest.approx(1.0)
    assert found["dt_rnn/train/p_harder"] == pytest.approx(1 / 64)
    alike = rank_tests(made_cells({key: [9.0, 9.0] for key in PAPER}), FREQUENCY_NLL)
    assert not any(name.endswith(("p_rhn_below_dt_rnn", "kruskal", "p_harder")) for name in alike)
    assert alike["rhn/train/n_harder"] == 0
    assert found["depth6/train/p_kruskal"] < 0.01


def test_pairs_of_next_to_equal_losses_say_nothing():
    close = {key: [9.0 + (0.001 if key[0] == "rhn" else 0.05)] * 9 for key in PAPER}
    metrics = metrics_of(made_cells(close))
    assert "depth6/train/p_rhn_below_dt_rnn" not in metrics
    assert metrics["depth6/train/p_rhn_below_dt_rnn_unpaired"] < 0.001
    judged = claims(metrics, SEARCH)[4]
    assert judged.verdict == "undecided"
    assert "no two runs differ" in judged.found


@pytest.mark.parametrize(("count", "verdict"), [(4, "undecided"), (5, "holds")])
def test_too_few_pairs_decide_nothing(count, verdict):
    few = {key: losses[:count] for key, losses in PAPER.items()}
    judged = judge(made_cells(few))
    assert {claim.verdict for claim in judged} == {verdict}
    assert f"(n = {count})" in judged[1].found


def test_what_learned_is_below_the_frequencies_of_the_keys():
    rolls = pad([np.array([[1, 0, 1], [1, 0, 0]], np.uint8), np.array([[1, 0, 0]], np.uint8)])
    wanted = -(math.log(1 / 3) / 3 + 2 * math.log(2 / 3) / 3)
    assert frequency_nll(rolls) == pytest.approx(wanted)
    cell = Cell("rhn_depth6", "rhn", 6, 9, [made_run(loss) for loss in (10.0, 11.5, None, 8.0)])
    assert cell.metrics(11.0)["search/learned"] == 2
    assert cell.metrics(11.0)["train/median_nll"] == pytest.approx(10.5)  # of 8, 10, 11, 11


def test_a_run_that_diverged_counts_till_then_and_without_an_epoch_ranks_last():
    later, at_once = made_run(7.0, diverged_at=40), made_run(None, diverged_at=0, valid=None)
    cell = Cell("rhn_depth6", "rhn", 6, 9, [later, at_once, made_run(8.0)])
    found = cell.metrics(11.0)
    assert found["search/diverged"] == 2
    assert (found["train/best_nll"], found["train/median_nll"]) == (7.0, 8.0)
    lost = replace(cell, runs=[at_once] * 5 + [later])
    assert lost.metrics(11.0)["train/median_nll"] == 11.0
    assert not {"train/best_nll", "test/nll"} & replace(cell, runs=[at_once]).metrics(11.0).keys()
    cells = [*made_cells({key: PAPER[key] for key in PAPER if key != ("rhn", 6)}), lost]
    judged = judge(cells)
    assert "6: 7.00; median 1: 7.93, 6: 20.00; 6, 1 of 6 settings learned" in judged[1].found
    assert judged[4].verdict == "does not hold"


def test_tables_show_each_cell_and_its_best_setting(finished):
    made = record(finished, NAME)
    text = "\n".join(table.section([made], finished))
    lines = [line for line in text.splitlines() if line.startswith("| RHN, depth 1 ")]
    of_all, of_best = lines
    assert f"{made.parameters['rhn_depth1']:,}" in of_all
    for line, form, name in (
        (of_all, "{:.3f}", "train/best_nll"),
        (of_best, "{:.3f}", "test/nll"),
        (of_best, "{:.2g}", "search/best_learning_rate"),
    ):
        assert form.format(made.metrics[f"rhn_depth1/{name}"]) in line
    assert "![Best training loss of every run](rhn_optimization/smoke/seed0/swarm.png)" in text
    assert table.section([replace(made, status="diverged")], finished) == []
    findings = (folder(finished, NAME) / "findings.txt").read_text()
    above, _, _ = text.partition(findings)
    assert above != text
    assert "**Recalled, not checked against the paper**: the claim, and the settings" in above
    assert "3 of 60 settings" in text


def test_committed_findings_are_those_of_their_records():
    records = [one for one in find_records(RESULTS) if one.experiment == NAME]
    assert records
    for one in records:
        place = RESULTS / NAME / one.preset / f"seed{one.seed}" / "findings.txt"
        found = table.findings_text(one.metrics, one.parameters, table.search_of(one))
        assert place.read_text(encoding="utf-8") == found


def as_committed(seed, **fields):
    """The committed record of seed 0, of another seed and whatever else is other."""
    (one,) = (one for one in find_records(RESULTS) if one.experiment == NAME and not one.seed)
    return replace(one, seed=seed, **fields)


def test_a_study_has_its_own_swarm_and_its_settings_for_a_title(tmp_path):
    usual = as_committed(0)
    config = usual.config | {"depths": [1, 2]}
    changed = replace(usual, config=config, overrides=["depths=[1,2]"])
    place = tmp_path / NAME / "cpu" / "seed0"
    place.mkdir(parents=True)
    (place / "swarm.png").touch()
    write_record(usual, place)
    first, second = "\n".join(table.section([changed, usual], tmp_path)).split("### How ")[1:]
    assert first.startswith("hard to optimise, by architecture and depth: cpu, seed 0\n")
    assert "![Best training loss of every run](rhn_optimization/cpu/seed0/swarm.png)" in first
    assert second.startswith("hard to optimise, by architecture and depth: cpu, seed 0, depths=[1")
    assert "swarm.png" not in second


def test_seeds_of_a_study_have_one_verdict_sentence():
    metrics = {seed: metrics_of(made_cells(PAPER)) for seed in (1, 2)}
    each = [as_committed(0), *(as_committed(k, metrics=one) for k, one in metrics.items())]
    (opening,) = table.findings(each)
    assert (
        "holds here (2 of 3 seeds), undecided (1), scaled down; best training NLL at depth 1 → "
        in opening
    )
    title = "how-hard-to-optimise-by-architecture-and-depth-cpu-seeds-0-1-2"
    assert "(rhn_optimization, cpu, seeds 0, 1, 2; claim recalled, not checked; [" in opening
    assert opening.endswith(f"; [what was found](#{title})).")


def test_means_over_seeds_are_called_so_and_leave_out_what_diverged():
    usual = metrics_of(made_cells(PAPER))
    first, last = (f"{usual[f'rhn_depth{k}/train/best_nll']:.2f}" for k in (1, 6))
    assert f"RHN {first} → {last}, " in in_brief([usual])
    assert "means of" not in in_brief([usual])
    lost = {k: v for k, v in usual.items() if k != "rhn_depth6/train/best_nll"}
    told = in_brief([usual, lost, usual])
    assert told.endswith(", means of 3 seeds")
    assert f"RHN {first} → {last} (diverged in 1 of 3 seeds), " in told
    assert f"RHN {first} → diverged, " in in_brief([lost])


def test_seeds_of_a_study_share_the_claims_and_fold_the_rest(tmp_path):
    metrics = {k: metrics_of(made_cells(PAPER)) | {table.FREQUENCY: 11.0} for k in (1, 2)}
    each = [as_committed(0), *(as_committed(k, metrics=one) for k, one in metrics.items())]
    for one in each:
        place = tmp_path / NAME / "cpu" / f"seed{one.seed}"
        place.mkdir(parents=True)
        (place / "swarm.png").touch()
        write_record(one, place)
    text = "\n".join(table.section(each, tmp_path))
    assert text.startswith(
        "### How hard to optimise, by architecture and depth: cpu, seeds 0, 1, 2"
    )
    assert text.count("| RHNs keep being optimisable as depth grows") == 1
    assert re.search(r"\| holds \(2 of 3 seeds\), undecided \(1\) +\|", text)
    first, others = text.split("<details>\n<summary>The same of seeds 1, 2</summary>\n")
    assert first.count("#### Seed 0\n") == first.count("seed0/swarm.png") == 1
    best = f"{each[1].metrics['rhn_depth1/train/best_nll']:.3f}"
    assert best not in first.partition("#### Seed 0")[2]
    assert others.count(best) >= 1
    assert [others.count(f"seed{k}/swarm.png") for k in range(3)] == [0, 1, 1]


def test_the_swarm_is_small_and_the_same_again_whatever_diverged(tmp_path):
    cells = made_cells(PAPER)
    cells[0].runs.extend([made_run(None, diverged_at=0), made_run(30.0, diverged_at=9)])
    first = draw_swarm(cells, tmp_path / "a.png", "$title", 11.0).read_bytes()
    assert len(first) < LARGEST_BYTES
    assert draw_swarm(cells, tmp_path / "b.png", "$title", 11.0).read_bytes() == first
    cells[0].runs[0] = made_run(11.0)
    assert draw_swarm(cells, tmp_path / "c.png", "$title", 11.0).read_bytes() != first


def test_points_of_a_swarm_do_not_lie_upon_one_another():
    heights = [1.0, 1.0, 1.01, 2.0, 1.02, 1.0]
    places = sorted(zip(heights, offsets(heights, 0.1), strict=True))
    near = [x for height, x in places if height < 2]
    assert len(set(near)) == len(near)
    assert all(abs(a - b) > 0.05 for a, b in pairwise(sorted(near)))
    assert dict(places)[2.0] == 0


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("search.lowest_rate=2", "search.lowest_rate=2 is above search.highest_rate=1"),
        ("data.name=tiny_shakespeare", "not a set of piano rolls"),
        ("parameters_per_step=300", "raise parameters_per_step"),
        ("search.settings=100000000", "Lower search.settings or parameters_per_step"),
        ("depths=[]", "depths"),
    ],
)
def test_what_cannot_be_run_is_refused_in_plain_words(tmp_path, capsys, setting, words):
    assert run(tmp_path, NAME, "--set", setting) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_the_way_asked_for_is_the_one_that_computes(tmp_path, monkeypatch):
    asked = []

    def stop(config, model, splits, seed, compute, mesh):
        asked.append(compute)
        raise ConfigError("that is all")

    monkeypatch.setattr("experiments.optimisation.run.make_search", stop)
    for kernel in ("scan", "jax"):
        assert run(tmp_path / kernel, NAME, "--kernel", kernel) == 2
    assert run(tmp_path / "auto", NAME, "--precision", "bfloat16") == 2
    assert asked == [Compute("scan"), Compute("jax"), Compute("jax", "bfloat16")]


def test_settings_may_be_given_as_lists():
    config = override(OptimisationConfig(), ["depths=[2, 3]", "search.transform_biases=[-1]"])
    assert (config.depths, config.search.transform_biases) == ((2, 3), (-1.0,))
