"""Presets of melody experiments as they are shown, and the better side of their metrics."""

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from melody_case import Q

from common.config import differences, fill, to_dict
from common.melody import NUM_EVENTS
from common.record import read_record
from experiments.cli import main
from experiments.melodies.catalogue import PAPER_PARAMETERS
from experiments.registry import find
from experiments.results.row import result_rows
from tutor.size import parameter_count

RESULTS = Path(__file__).parents[3] / "results"


def test_the_papers_size_is_that_of_its_preset():
    model = find("note_rnn").preset("paper").config.model
    assert parameter_count(model, NUM_EVENTS) == PAPER_PARAMETERS


def test_presets_as_they_are_shown(capsys):
    for method in ("q", "psi", "g", "rl_only"):
        shown = []
        for preset in ("original", "paper"):
            assert main(["show", f"tutor_melodies_{method}", "--preset", preset]) == 0
            shown.append(capsys.readouterr().out)
        assert shown[0] == shown[1]
        assert "Preset paper (of smoke, cpu, vectorised, melodies, in_c, rhn" in shown[0]
        assert "paper_beginnings, adagrad, paper, original):" in shown[0]
        assert "learn.environments=1\n" in shown[0]
        assert main(["show", f"tutor_melodies_{method}", "--preset", "vectorised"]) == 0
        vectorised = capsys.readouterr().out
        assert "learn.environments=40\n" in vectorised
        changed = set(vectorised.splitlines()) ^ set(shown[0].splitlines())
        assert len(changed) == 4  # the heading and the environments: as many events and updates
    assert main(["show", Q, "--preset", "origina"]) == 2
    assert "Did you mean 'original'?" in capsys.readouterr().err


def test_presets_differ_from_one_another_in_what_their_names_say():
    def changed(experiment: str, one: str, other: str) -> set[str]:
        presets = find(experiment).presets
        configs = (to_dict(presets[name].config) for name in (one, other))
        return set(differences(*configs))

    beginnings = "prior.beginnings: 0.0 → 0.25"
    swapped = "original_quirks: False → True"
    stretched = "data.stretch: [] → [[1, 0.4], [2, 0.2], [4, 0.4]]"
    assert changed("note_rnn", "paper", "paper_beginnings") == {beginnings}
    assert changed("note_rnn", "paper", "adagrad") == {
        "prior.optimizer: adam → adagrad", "prior.reduction: mean → sum",
    }  # fmt: skip
    assert changed("note_rnn", "cpu_own_key", "cpu") == {beginnings, "data.key: own → C"}
    assert changed("note_rnn", "cpu_own_key", "cpu_quirks") == {swapped}
    assert changed("note_rnn", "cpu_own_key", "cpu_unmasked") == {"prior.masked: 8 → 0"}
    assert changed("note_rnn", "cpu", "swapped_stretched") == {swapped, stretched}
    assert changed("note_rnn", "cpu", "rhn") == {
        "model.core: lstm → rhn", "model.depth: 1 → 3", "model.units: 100 → 90",
    }  # fmt: skip
    for method in ("q", "psi", "g", "rl_only"):
        name = f"tutor_melodies_{method}"
        assert changed(name, "paper", "paper_beginnings") == {
            "note_rnn.preset: paper → paper_beginnings"
        }
        assert changed(name, "paper", "adagrad") == {"note_rnn.preset: paper → adagrad"}
        assert changed(name, "paper", "in_c") == {"note_rnn.preset: paper → cpu"}
        assert changed(name, "in_c", "rhn") == {"note_rnn.preset: cpu → rhn"}
        assert changed(name, "paper", "swapped_stretched") == {
            "note_rnn.preset: paper → swapped_stretched", swapped,
        }  # fmt: skip


def test_records_from_before_a_setting_are_of_the_preset_that_keeps_its_value():
    path = RESULTS / "note_rnn" / "paper" / "seed0" / "record.json"
    today = read_record(path)
    later = {"beginnings", "optimizer", "reduction"}
    prior = {name: value for name, value in today.config["prior"].items() if name not in later}
    old = replace(today, config={**today.config, "prior": prior})
    experiment = find("note_rnn")
    rows = result_rows([old], {"note_rnn": experiment})
    assert {row.changes for row in rows if row.seeds} == {()}
    mislabelled = result_rows([replace(old, preset="paper_beginnings")], {"note_rnn": experiment})
    assert {row.changes for row in mislabelled if row.seeds} == {("prior.beginnings=0.0",)}


def test_promised_hours_are_those_of_the_records():
    by_preset = {}
    for path in (
        *RESULTS.glob("note_rnn/*/*/record.json"),
        *RESULTS.glob("tutor_melodies_*/*/*/record.json"),
    ):
        one = read_record(path)
        if not one.overrides:
            hours = sum(one.seconds.values()) / 3600
            by_preset.setdefault((one.experiment, one.preset), []).append(hours)
    for (experiment, preset), hours in by_preset.items():
        told = find(experiment).preset(preset)
        assert not told.estimated
        assert told.hours == pytest.approx(fmean(hours), abs=0.005), (experiment, preset)


def test_the_better_side_of_each_published_statistic():
    directions = {p.metric: find(Q).metric(p.metric).better for p in find(Q).published}
    assert directions["composed/mean_autocorrelation1"] == "toward zero"
    assert directions["composed/notes_not_in_key"] == "toward zero"
    assert directions["composed/leaps_resolved"] == "higher"
    assert len(directions) == 11
    note_rnn = {metric.name: metric.better for metric in find("note_rnn").metrics}
    assert note_rnn["valid/accuracy"] == "higher"
    assert note_rnn["valid/log_perplexity"] == "lower"
    assert find("tutor_melodies_rl_only").published == ()


def test_settings_from_before_the_newer_ones_are_those_of_today_with_their_defaults():
    """As a run directory compares them, when a run from then goes on."""
    config = find("note_rnn").presets["paper"].config
    today = to_dict(config)
    before = {**today, "data": {**today["data"]}, "prior": {**today["prior"]}}
    for group, key in (("data", "key"), ("data", "stretch"), ("prior", "beginnings")):
        del before[group][key]
    assert fill(type(config), before) == today
