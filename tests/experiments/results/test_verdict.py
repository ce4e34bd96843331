"""What is said of a run beside its paper: matched, better, short, scaled down, and why."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
from report_case import (
    MC,
    TEST,
    only_row,
    record,
    rows,
    seeds,
    words,
)

from common.config import IMMATERIAL, Amount, OnlyFor, Prefix, meanings, override
from common.record import DataUsed, find_records
from common.table import summarize
from experiments import registry
from experiments.registry import Preset, Published
from experiments.results.verdict import RULES, Departure, Verdict, depart, judge
from highway.config import LanguageModelConfig


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([66.0], "matched"),
        ([66.66], "matched"),  # 1 % above, the limit
        ([65.34], "matched"),
        ([66.67], "short"),
        ([65.33], "better"),
        ([60.0, 64.0], "better"),  # within their range, but two seeds have no interval
        ([60.0, 72.0, 75.0], "matched"),  # mean 69, the interval 60 .. 75 holds 66
        ([68.0, 69.0, 70.0], "short"),
        ([63.0, 64.0, 65.0], "better"),
    ],
)
def test_verdicts_of_the_papers_own_settings(values, kind):
    row = only_row(words(), seeds(words(), *values))
    assert row.verdict.kind == row.verdict.text == kind
    assert row.seeds == tuple(range(len(values)))
    assert row.differences == (pytest.approx(sum(values) / len(values) - 66.0),)
    assert row.as_published


def test_two_published_values_are_both_judged():
    experiment = words(published=((TEST, 66.0), (TEST, 65.0)))
    row = only_row(experiment, seeds(experiment, 66.2))
    # 66.2 is 0.3 % above 66.0 and 1.8 % above 65.0; 66.0 is the nearer.
    assert row.verdict.text == "matched (66.0), short (65.0)"
    assert row.verdict.kind == "matched"
    assert row.differences == (pytest.approx(0.2), pytest.approx(1.2))
    assert only_row(experiment, seeds(experiment, 70.0)).verdict.text == "short"


def test_a_scaled_down_run_says_by_how_much():
    experiment = words()
    row = only_row(experiment, [record(experiment, "cpu")], preset="cpu")
    assert row.verdict.kind == "scaled down"
    assert row.verdict.text == (
        "scaled down: 2.5 M of 21.0 M parameters, 14 of 500 epochs; 2 settings changed"
    )
    assert row.settings == (
        "model.dropout_x: 0.0 → 0.1",
        "model.units: 830 → 200",
        "train.epochs: 500 → 14",
    )
    assert row.differences == (0.0,)  # the data are the paper's
    assert not row.as_published


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (30_000, "30,000 of 21,000,000 parameters"),
        (150_000, "0.15 M of 21.0 M parameters"),
    ],
)
def test_two_counts_are_told_in_one_form(count, text):
    experiment = words()
    _, row = rows(experiment, [record(experiment, parameters=count)])
    assert row.verdict.text == f"scaled down: {text}"


def test_a_part_of_the_corpus_leaves_no_difference():
    experiment = words()
    part = [record(experiment, overrides=["data.train_tokens=5000000"])]
    (not_run, row) = rows(experiment, part)
    assert not_run.verdict.kind == "not run"
    assert row.verdict.text == "scaled down: the first 5.0 M training tokens"
    assert row.differences == ()
    assert row.changes == ("data.train_tokens=5000000",)


def test_a_stand_in_leaves_no_difference():
    experiment = words()
    row = only_row(experiment, [record(experiment, "smoke")], preset="smoke")
    assert row.verdict.text == (
        "scaled down: 2.5 M of 21.0 M parameters, the first 12,000 training tokens, "
        "2 of 500 epochs, play stands in for books"
    )
    assert row.differences == ()


@pytest.mark.parametrize("used", [("books", "real books"), ("pamphlets", None)])
def test_other_data_at_the_papers_settings_is_no_papers_run(used):
    experiment = words()
    name, stand_in_for = used
    data = [DataUsed(name, "1.0.0", stand_in_for, {}, {})]
    not_run, row = rows(experiment, seeds(experiment, 66.0, data=data))
    assert not_run.verdict.kind == "not run"
    assert (row.verdict.kind, row.differences) == ("scaled down", ())


def test_settings_that_are_not_the_papers_nor_smaller():
    experiment = words()
    changed = [record(experiment, overrides=["train.learning_rate=0.3", "train.epochs=1000"])]
    _, row = rows(experiment, changed)
    assert row.verdict.text == (
        "other settings: 1,000 epochs (more than the paper's 500); 1 setting changed"
    )
    larger = [record(experiment, parameters=22_000_000)]
    _, row = rows(experiment, larger)
    assert row.verdict.text == "other settings: 22.0 M parameters (more than the paper's 21.0 M)"


def test_another_precision_is_a_setting_that_is_not_the_papers():
    experiment = words()
    device = {"platform": "cpu", "kind": "EPYC", "cores": 2, "products": "bfloat16"}
    not_run, row = rows(experiment, [record(experiment, device=device)])
    assert not_run.verdict.kind == "not run"
    assert row.verdict.text == "other settings: bfloat16 precision"
    assert row.settings == ("precision: float32 → bfloat16",)
    assert (row.full_size, row.as_published) == (True, False)


PUBLISHED = [
    one for one in registry.experiments().values() if one.published and "paper" in one.presets
]


@pytest.mark.parametrize("experiment", PUBLISHED, ids=lambda one: one.name)
def test_a_smaller_model_never_passes_for_the_papers(experiment):
    """By its parameters where the paper's are known, else by its units."""
    metric = experiment.published[0].metric
    used = [DataUsed(name, "1.0.0", None, {}, {}) for name in experiment.preset("paper").data]
    if (count := experiment.paper_parameters) is None:
        smaller = record(experiment, overrides=["model.units=10"], data=used)
    else:
        smaller = record(experiment, parameters=count // 2, data=used)
        assert not departs_in_size(
            dataclasses.replace(smaller, parameters=count), experiment, metric
        )
    assert departs_in_size(smaller, experiment, metric)


def departs_in_size(one, experiment, metric):
    return depart(one, experiment, metric).smaller


def test_committed_runs_of_the_papers_size_have_the_papers_parameters():
    counted = {
        (one.experiment, one.parameters)
        for one in find_records(Path(__file__).parents[3] / "results")
        if one.preset == "paper" and not one.overrides
    }
    assert len(counted) > 3
    assert all(registry.find(name).paper_parameters == count for name, count in counted)


def tuning(name, preset, *overrides):
    """A tuning's row of its first metric, on the data that its preset reads."""
    experiment = registry.find(name)
    measured = experiment.metrics[0].name
    used = [DataUsed(one, "1.0.0", None, {}, {}) for one in experiment.preset(preset).data]
    fields = {"parameters": experiment.paper_parameters or 1, "metrics": {measured: 1.0}}
    made = record(experiment, preset, overrides=overrides, data=used, **fields)
    return only_row(experiment, [made], measured, preset)


@pytest.mark.parametrize(
    ("name", "preset", "words"),
    [
        ("tutor_melodies_q", "in_c", "4,000 of 30,000 updates of the Note RNN"),
        ("tutor_melodies_psi", "swapped_stretched", "4,000 of 30,000 updates of the Note RNN"),
        ("tutor_melodies_g", "smoke", "the first 40 training melodies of the Note RNN"),
        ("tutor_molecules_g", "cpu", "6,000 of 60,000 updates of the molecule RNN"),
        ("tutor_molecules_g", "cpu", "256 of 768 units of the molecule RNN"),
    ],
)
def test_a_start_from_a_smaller_model_is_scaled_down(name, preset, words):
    row = tuning(name, preset)
    assert (row.verdict.kind, row.full_size) == ("scaled down", False)
    assert f"{words}," in row.verdict.text
    # How well the model itself was measured makes no difference to what starts from it.
    assert "compositions of the" not in row.verdict.text


def test_a_start_from_the_papers_model_is_of_the_papers_size():
    row = tuning("tutor_melodies_q", "paper")
    assert (row.verdict.kind, row.full_size) == ("other data", True)
    row = tuning("tutor_melodies_q", "paper_beginnings")  # of as many updates
    assert (row.verdict.kind, row.full_size) == ("other settings", True)


@pytest.mark.parametrize("override", ["note_rnn.run=elsewhere/seed0", "note_rnn.preset=gone"])
def test_a_start_from_a_model_of_unknown_size_never_passes_for_the_papers(override):
    row = tuning("tutor_melodies_q", "paper", override)
    assert (row.verdict.kind, row.full_size) == ("scaled down", False)
    assert "another Note RNN, of training that isn't recorded" in row.verdict.text


def test_a_start_from_a_model_of_a_part_of_the_data_leaves_no_difference():
    experiment = registry.find("tutor_melodies_q")
    metric = experiment.published[0].metric
    used = [DataUsed(experiment.data[0], "1.0.0", None, {}, {})]  # as if somebody had them
    for preset, other in (("smoke", True), ("in_c", False), ("paper", False)):
        made = record(experiment, preset, data=used, parameters=experiment.paper_parameters)
        assert depart(made, experiment, metric).other_data == other


def test_a_run_that_only_diverged():
    experiment = words()
    bad = record(experiment, status="diverged", metrics={})
    row = only_row(experiment, [bad])
    assert (row.ours, row.differences) == (None, ())
    assert row.verdict.text == "diverged: 1 of 1 seeds"
    bad = record(experiment, "cpu", status="diverged", metrics={})
    row = only_row(experiment, [bad], preset="cpu")
    assert row.verdict.kind == "diverged"
    assert row.verdict.text.startswith("diverged: 1 of 1 seeds; scaled down: 2.5 M of")
    # Where other seeds finished, a metric that they lack is not blamed on the divergence.
    assert [r.preset for r in rows(experiment, [bad, record(experiment, "cpu", 1)], MC)] == []


def test_a_setting_added_since_takes_its_default():
    experiment = words()
    old = record(experiment)
    del old.config["train"]["optimizer"]
    assert only_row(experiment, [old]).verdict.kind == "matched"


@dataclass(frozen=True)
class ToyConfig:
    plain: int = 1
    many: Annotated[int, Amount("things")] = 10
    quiet: Annotated[int, IMMATERIAL] = 1
    first: Annotated[int, Prefix("letters")] = 0
    passes: Annotated[int, OnlyFor("test_mc")] = 1


@dataclass(frozen=True)
class NestedConfig:
    part: ToyConfig = field(default_factory=ToyConfig)
    also: ToyConfig = field(default_factory=ToyConfig)


def toy(**changes):
    paper = Preset(NestedConfig(), 1.0, "one GPU", ("books",))
    fields = {"presets": {"paper": paper}, "default_preset": "paper", "paper_parameters": None}
    return words("toy", **(fields | changes))


@pytest.mark.parametrize(
    ("override", "metric", "text"),
    [
        ("part.plain=2", TEST, "other settings: 1 setting changed"),
        ("also.plain=2", TEST, "other settings: 1 setting changed"),
        ("part.many=4", TEST, "scaled down: 4 of 10 things"),
        ("also.many=20", TEST, "other settings: 20 things (more than the paper's 10)"),
        ("part.many=1000000", TEST, "other settings: 1,000,000 things (more than the paper's 10)"),
        ("part.quiet=2", TEST, "matched"),
        ("part.first=7", TEST, "scaled down: the first 7 letters"),
        ("part.passes=2", TEST, "matched"),
        ("part.passes=2", MC, "other settings: 1 setting changed"),
    ],
)
def test_what_is_said_beside_a_setting_reaches_the_verdict(override, metric, text):
    experiment = toy(published=((TEST, 66.0), (MC, 66.0)))
    made = record(experiment, overrides=[override], metrics={TEST: 66.0, MC: 66.0})
    found = [row for row in rows(experiment, [made], metric) if row.ours is not None]
    assert [row.verdict.text for row in found] == [text]


def test_a_setting_that_says_nothing_is_material():
    for experiment in registry.experiments().values():
        kind = type(experiment.presets[experiment.default_preset].config)
        assert all(not key.endswith(("depth", "learning_rate")) for key in meanings(kind))
    known = meanings(LanguageModelConfig)
    assert "model.units" not in known  # its parameters tell its size
    assert known["train.epochs"] == Amount("epochs")
    assert known["train.report_every"] == IMMATERIAL
    assert known["evaluation.mc_passes"] == OnlyFor("test_mc")


def test_what_is_less_is_told_before_what_is_more():
    """And what is more makes no run smaller, be it of the run or of the model it starts from."""
    experiment = toy()
    both = record(experiment, overrides=["also.many=20", "part.many=4", "part.plain=2"])
    _, row = rows(experiment, [both])
    assert row.verdict.text == (
        "scaled down: 4 of 10 things; 20 things (more than the paper's 10); 1 setting changed"
    )
    row = tuning("tutor_melodies_q", "melodies")
    assert "; 2,000 pieces of eight bars (more than the paper's 0); " in row.verdict.text


def test_a_start_from_a_model_of_more_training_is_of_the_papers_size(monkeypatch):
    known = registry.experiments()
    first = known["note_rnn"]
    longer = override(first.preset("paper").config, ["prior.iterations=60000"])
    presets = first.presets | {"longer": dataclasses.replace(first.presets["paper"], config=longer)}
    known |= {"note_rnn": dataclasses.replace(first, presets=presets)}
    monkeypatch.setattr(registry, "experiments", lambda: known)
    row = tuning("tutor_melodies_q", "paper", "note_rnn.preset=longer")
    assert (row.verdict.kind, row.full_size) == ("other settings", True)
    more = "; 60,000 updates of the Note RNN (more than the paper's 30,000); "
    assert more in row.verdict.text


def test_more_in_one_thing_is_no_difference_in_data_alone():
    unavoidable = {"amounts": ("a for b",), "stand_in": ("a for b",), "unavoidable": True}
    assert dataclasses.replace(SAME, **unavoidable).only_in_data
    more = dataclasses.replace(SAME, **unavoidable, more=("2 things (more than the paper's 1)",))
    assert not more.only_in_data
    assert dataclasses.replace(SAME, more=more.more)
    assert not SAME


SAME = Departure(
    size=(),
    amounts=(),
    more=(),
    smaller=False,
    other_data=False,
    settings=(),
    stand_in=(),
    unavoidable=False,
    others=0,
)


@pytest.mark.parametrize(
    ("better", "published", "ours", "kind"),
    [
        ("lower", 0.5, 0.4, "better"),
        ("lower", 0.5, 0.6, "short"),
        ("lower", 0.5, 0.503, "matched"),
        ("higher", 92.0, 95.0, "better"),
        ("higher", 92.0, 80.0, "short"),
        ("higher", 92.0, 91.5, "matched"),
        ("toward zero", -0.16, -0.05, "better"),
        ("toward zero", -0.16, 0.05, "better"),
        ("toward zero", -0.16, -0.3, "short"),
        ("toward zero", -0.16, 0.3, "short"),
        ("toward zero", 28.7, 40.0, "short"),
        ("toward zero", 0.0, 0.0, "matched"),
        ("toward zero", 0.0, 0.1, "short"),
    ],
)
def test_which_side_of_a_published_value_is_the_better(better, published, ours, kind):
    value = Published("composed/thing", str(published), "a table")
    verdict = judge(summarize([ours]), [value], SAME, better=better, seeds=1, diverged=0)
    assert (verdict.kind, verdict.text) == (kind, kind)


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        ([50.2], "within 1 %"),
        ([60.0], "above"),
        ([40.0], "below"),
        ([44.0, 55.0, 70.0], "in the interval"),
        ([0.0, 50.0, 100.0], "within 1 %"),
        ([44.0, 45.0, 46.0], "below"),
    ],
)
@pytest.mark.parametrize("better", ["lower", "higher", "toward zero"])
def test_runs_on_other_data_are_not_judged(better, ours, words):
    """Whichever side is the better: that they are above or below judges nothing."""
    other = dataclasses.replace(SAME, amounts=("a for b",), stand_in=("a for b",), unavoidable=True)
    value = Published("composed/thing", "50.0", "a table")
    verdict = judge(summarize(ours), [value], other, better=better, seeds=1, diverged=0)
    close = words not in ("above", "below")
    assert verdict == Verdict("other data", f"other data: a for b; {words}", close)
    assert words.startswith("within") or f"**{words}**" in RULES
    two = [value, Published("composed/thing", "45.0", "another")]
    verdict = judge(summarize([47.0]), two, other, better=better, seeds=1, diverged=0)
    assert verdict.text == "other data: a for b; below (50.0), above (45.0)"


def test_other_data_where_nobody_has_the_papers_is_told_and_compared():
    other = dataclasses.replace(SAME, amounts=("a for b",), stand_in=("a for b",), unavoidable=True)
    value = Published("composed/thing", "0.5", "a table")
    verdict = judge(summarize([0.7]), [value], other, better="higher", seeds=1, diverged=0)
    assert verdict == Verdict("other data", "other data: a for b; above")
    smaller = dataclasses.replace(other, settings=("learn.iterations: 2 → 1",), smaller=True)
    assert (
        judge(summarize([0.7]), [value], smaller, better="higher", seeds=1, diverged=0).kind
        == "scaled down"
    )
