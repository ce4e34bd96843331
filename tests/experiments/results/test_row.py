"""Rows of results: which records make one, and what stands in it."""

import dataclasses
from pathlib import Path

import pytest
from report_case import (
    MC,
    TEST,
    VALID,
    only_row,
    pair,
    place,
    record,
    rows,
    seeds,
    words,
)

from common.error import DataError
from common.record import DataUsed
from experiments import registry
from experiments.registry import Published
from experiments.results.cells import as_text, kind
from experiments.results.commit import load_records
from experiments.results.markdown import report_text
from experiments.results.row import result_rows
from highway.metric import metric as language_metric


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """A registry of two experiments."""
    monkeypatch.setattr(registry, "experiments", lambda: {"words": words(), "pair": pair()})


def test_everything_in_a_row():
    experiment = words()
    row = only_row(experiment, seeds(experiment, 66.0, 66.4, dirty=True))
    assert (row.dataset, row.split, row.protocol) == ("books", "test", "full (batch 1)")
    assert row.parameters == 21_000_000
    assert row.published == (Published(TEST, "66.0", "source of 66.0"),)
    assert row.ours is not None
    assert row.ours.values == (66.0, 66.4)
    assert (row.device, row.hours) == ("1 × H200", 2.0)
    assert row.commits == ("01234567+dirty",)
    assert row.commands[1] == "python -m experiments run words --preset paper --seed 1"


def test_settings_that_do_not_matter_do_not_part_seeds():
    experiment = words()
    records = [
        record(experiment, seed=0),
        record(experiment, seed=1, overrides=["train.report_every=7", "evaluation.mc_passes=5"]),
    ]
    row = only_row(experiment, records)
    assert (row.seeds, row.changes, row.verdict.kind) == ((0, 1), (), "matched")


def test_the_number_of_passes_matters_to_monte_carlo_dropout_only():
    experiment = words(published=((TEST, 66.0), (MC, 64.0)), passes=1000)
    metrics = {TEST: 66.0, MC: 64.0}
    few = [record(experiment, overrides=["evaluation.mc_passes=10"], metrics=metrics)]
    assert only_row(experiment, few).verdict.kind == "matched"
    not_run, row = rows(experiment, few, MC)
    assert (not_run.verdict.kind, not_run.protocol) == ("not run", "MC dropout, 1000 passes")
    assert (row.verdict.kind, row.protocol) == ("other settings", "MC dropout, 10 passes")
    all_passes = [record(experiment, metrics=metrics)]
    assert only_row(experiment, all_passes, MC).verdict.kind == "matched"


def test_what_was_not_run_says_what_it_takes():
    experiment = words()
    row = only_row(experiment, [])
    assert row.verdict.kind == "not run"
    assert (row.ours, row.seeds, row.parameters) == (None, (), 21_000_000)
    assert (row.device, row.hours, row.estimated) == ("one GPU", 12.0, True)
    assert row.commands == ("python -m experiments run words --preset paper",)
    assert rows(experiment, [], VALID) == []  # nothing is published for it
    assert [row.preset for row in rows(experiment, [record(experiment, "cpu")])] == ["paper", "cpu"]


def test_diverged_seeds_are_counted_but_do_not_enter_the_mean():
    experiment = words()
    bad = record(experiment, seed=7, status="diverged", metrics={TEST: 1e30})
    row = only_row(experiment, [bad, *seeds(experiment, 66.0, 66.4)])
    assert row.ours is not None
    assert row.ours.mean == pytest.approx(66.2)
    assert (row.seeds, row.diverged) == ((0, 1), (7,))
    assert row.verdict.text == "matched; 1 of 3 seeds diverged"
    assert row.verdict.kind == "matched"


def test_diverged_seeds_are_counted_among_all_that_were_trained_alike():
    """Whatever of them was evaluated: a metric that two have isn't one of which a half diverged."""
    experiment = words(published=((TEST, 66.0), (MC, 64.0)), passes=9)
    without = {"overrides": ["evaluation.mc_passes=0"]}
    lost = {"status": "diverged", "metrics": {}}
    made = [record(experiment, seed=seed, metrics={TEST: 66.0}, **without) for seed in (0, 1)]
    made.append(record(experiment, seed=2, metrics={TEST: 66.0, MC: 64.0}))
    for more in ({}, without):
        diverged = record(experiment, seed=3, **lost, **more)
        for metric, own in ((TEST, (0, 1, 2)), (MC, (2,))):
            row = only_row(experiment, [*made, diverged], metric)
            assert (row.seeds, row.diverged, row.trained) == (own, (3,), (0, 1, 2, 3))
            assert row.verdict.text == "matched; 1 of 4 seeds diverged"
            assert kind(row) == "matched; 1 of 4 seeds diverged"
    assert rows(experiment, [*made[:2], diverged], MC)[0].verdict.kind == "not run"


def test_records_with_overrides_have_rows_of_their_own():
    experiment = words()
    records = [
        record(experiment, "cpu", 0),
        record(experiment, "cpu", 0, overrides=["model.tied=false"]),
        record(experiment, "cpu", 1),
    ]
    _, plain, changed = rows(experiment, records)
    assert (plain.changes, plain.seeds) == ((), (0, 1))
    assert (changed.changes, changed.seeds) == (("model.tied=false",), (0,))


def test_a_setting_removed_since_is_a_difference():
    experiment = words()
    old = record(experiment)
    old.config["train"]["gone"] = 1
    _, row = rows(experiment, [old])
    assert row.settings == ("train.gone: (absent) → 1",)


def test_the_first_of_two_records_of_a_seed_counts():
    experiment = words()
    twice = [record(experiment, metrics={TEST: value}) for value in (66.0, 70.0)]
    row = only_row(experiment, twice)
    assert row.ours is not None
    assert row.ours.values == (66.0,)


def test_own_runs_never_share_a_mean_with_committed_ones():
    experiment = words()
    own = seeds(experiment, 50.0, 50.0, preset="cpu")
    theirs = seeds(experiment, 92.0, 92.5, preset="cpu")[1:]
    both = {"words": experiment}
    found = result_rows([*own, *theirs], both, committed=theirs)  # a copy of one lies here, too
    mine, committed = (row for row in found if row.ours and row.metric.name == TEST)
    assert (mine.ours.values, mine.label, mine.committed) == ((50.0, 50.0), "cpu", False)
    assert (committed.ours.values, committed.label) == ((92.5,), "cpu, committed")
    for full in (False, True):
        text = as_text([mine, committed], full=full)
        assert "cpu, committed" in text
        assert "never averaged" in text
    assert "committed" not in as_text([mine])


def test_what_a_committed_run_answers_is_not_called_not_run():
    experiment = words()
    (row,) = (
        row
        for row in result_rows([], {"words": experiment}, seeds(experiment, 66.0))
        if row.metric.name == TEST
    )
    assert (row.committed, row.verdict.kind) == (True, "matched")


def test_every_point_of_a_grid_is_named_by_its_settings():
    """The one of the preset's own value, too; its seeds are those of the preset all the same."""
    experiment = words()
    points = [
        record(experiment, "cpu", 0, overrides=[f"model.tied={value}"])
        for value in ("true", "false")
    ]
    _, changed, plain = rows(experiment, points)
    assert (plain.label, plain.changes) == ("cpu, model.tied=true", ())
    assert (changed.label, changed.changes) == ("cpu, model.tied=false", ("model.tied=false",))
    _, alike = rows(experiment, [record(experiment, "cpu", 1), points[0]])
    assert (alike.label, alike.seeds) == ("cpu, model.tied=true", (0, 1))


def test_an_experiment_with_several_models_and_no_paper():
    experiment = pair()
    records = [
        record(
            experiment,
            "cpu",
            seed,
            overrides=[f"rhn.train.report_every={seed + 1}"],
            parameters={"rhn": 5, "lstm": 6},
            metrics={metric.name: 2.25 for metric in experiment.metrics},
            data=[DataUsed("play", "1.0.0", None, {}, {})],
        )
        for seed in (0, 1)
    ]
    first, second = result_rows(records, {"pair": experiment})
    assert (first.parameters, first.protocol, first.split) == (5, "full (batch 1)", "test")
    assert (second.parameters, second.protocol, second.split) == (6, "batched", "valid")
    assert first.seeds == second.seeds == (0, 1)
    assert first.verdict.kind == first.verdict.text == ""
    assert "rhn: bits per character" in report_text(records, {"pair": experiment}, Path("none"))


def test_a_record_of_an_unknown_experiment_is_refused():
    stranger = record(words("worlds"))
    with pytest.raises(DataError, match=r"'worlds' \(paper, seed 0\).*Did you mean 'words'"):
        result_rows([stranger], {"words": words()})


def test_a_number_published_for_no_metric_is_refused():
    with pytest.raises(ValueError, match="words has no metric 'test/wit'"):
        words(published=(("test/wit", 1.0),))


def test_a_number_published_for_a_metric_without_a_better_side_is_refused():
    neither = dataclasses.replace(language_metric(TEST), better="neither")
    with pytest.raises(ValueError, match=f"words: {TEST} has a published number, and no better"):
        words(metrics=(neither,))
    words(metrics=(neither,), published=())


def test_rows_stand_in_the_order_of_an_experiments_own_presets():
    experiment = words()
    presets = {name: experiment.presets[name] for name in ("paper", "smoke", "cpu")}
    turned = dataclasses.replace(experiment, presets=presets)
    made = [record(experiment, name) for name in ("smoke", "cpu", "paper")]
    assert [row.preset for row in rows(experiment, made)] == ["paper", "cpu", "smoke"]
    assert [row.preset for row in rows(turned, made)] == ["cpu", "smoke", "paper"]


def test_runs_on_other_data_are_kept_apart_and_it_is_said(tmp_path):
    def on(checksum, seed):
        used = DataUsed("books", "1.0.0", None, {"train": 9}, {"a.mid": checksum})
        return record(words(), seed=seed, data=[used])

    records = [on("aa", 0), on("bb", 1), on("aa", 2)]
    first, second = rows(words(), records)
    assert (first.seeds, second.seeds) == ((0, 2), (1,))
    assert first.dataset == f"books [{first.data}]" != second.dataset
    for full in (False, True):
        text = as_text([first, second], full=full)
        assert first.data in text
        assert second.data in text
        assert "kept apart" in text
    for folder, one in zip(("", "a=1"), (on("aa", 0), on("bb", 0)), strict=True):
        place(tmp_path / folder, one)
    assert len(load_records(tmp_path)) == 2
    together = rows(words(), records[::2])
    assert [row.dataset for row in together] == ["books"]
    assert "kept apart" not in as_text(together)


def test_the_table_has_few_columns_unless_all_are_asked_for():
    found = rows(words(), [record(words())])
    titles = [cell.strip() for cell in as_text(found).splitlines()[0].strip("|").split("|")]
    assert titles == ["metric", "published", "ours", "n seeds", "verdict"]
    assert "command" in as_text(found, full=True).splitlines()[0]


def test_a_cpu_is_told_with_its_cores():
    cpu = {"platform": "cpu", "kind": "EPYC"}
    told = [
        only_row(words(), [record(words(), device=cpu | more)]).device
        for more in (
            {"cores": 1},
            {"cores": 2},
            {},
        )
    ]
    assert told == ["EPYC, 1 core", "EPYC, 2 cores", "EPYC"]


BFLOAT16 = {"platform": "cpu", "kind": "EPYC", "cores": 2, "kernel": "cpu", "products": "bfloat16"}
TF32 = {"platform": "gpu", "kind": "H200", "count": 1, "precision": "tensorfloat32"}


@pytest.mark.parametrize(("device", "precision"), [(BFLOAT16, "bfloat16"), (TF32, "tensorfloat32")])
def test_precisions_are_never_averaged(tmp_path, device, precision):
    """Nor does a run of one stand for that of another, by the same settings and seed."""
    experiment = words()
    records = [
        *seeds(experiment, 66.0, 66.4),
        *seeds(experiment, 70.0, 70.4, device=device),
    ]
    plain, narrow = rows(experiment, records)
    assert plain.ours
    assert narrow.ours
    assert (plain.ours.values, plain.changes) == ((66.0, 66.4), ())
    assert (narrow.ours.values, narrow.changes) == ((70.0, 70.4), (f"precision={precision}",))
    assert narrow.device.endswith(f", {precision} precision")
    for folder, one in zip(("", "a=1"), (records[0], records[2]), strict=True):
        place(tmp_path / folder, one)
    assert len(load_records(tmp_path)) == 2
