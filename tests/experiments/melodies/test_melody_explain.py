"""The page on Table 1, of the committed records and of made-up ones."""

import re

import pytest
from finding_case import GROUPS, note_rnns, read_command

from common.config import override
from experiments import registry
from experiments.melodies import explain
from experiments.melodies.explain import page
from experiments.melodies.finding import FINDINGS
from experiments.melodies.table import SETTINGS, by_experiment


@pytest.mark.parametrize("runs", GROUPS, ids=lambda runs: " ".join(runs.commands[-1].split()[3:]))
def test_the_commands_of_the_page_make_its_numbers(runs, committed):
    """Where there are records at all, there is one for each seed of the command."""
    found = runs.among(committed)
    if not found:
        assert "Not tested yet" in page_of(runs, committed)
        return
    asked = read_command(runs.commands[-1])
    assert sorted(one.seed for one in found) == asked.seeds
    for one in found:
        assert sorted(one.overrides) == sorted(asked.overrides)
        assert (one.experiment, one.preset) == (asked.name, asked.preset)
    if runs.experiment.startswith("tutor_"):
        assert len(note_rnns(found)) == 1


def page_of(runs, committed):
    (verdict,) = {one.verdict(committed) for one in FINDINGS if runs in one.runs}
    return verdict


def test_statistics_of_table_1_have_the_names_of_the_paper(committed):
    text = page(committed)
    assert "\n### Compositions with unique max note\n" in text
    assert "\n### Compositions with unique min note\n" in text
    judged = [one.verdict(committed) for one in FINDINGS if one.suggestion == 5]
    assert any("mean autocorrelation, lag 2" in one for one in judged)
    heads = [line for line in text.splitlines() if line.startswith("| run ")]
    whole = sum("composed/mean_autocorrelation3" in one.tested for one in FINDINGS)
    named = sum("| mean autocorrelation, lag 3 |" in " ".join(head.split()) for head in heads)
    assert named == whole > 2
    assert not any(re.search(r"autocorrelation\d|unique (high|low)", line) for line in heads)


def test_commands_of_the_page_can_be_given(committed):
    """All of them, those of the settings among them, as the command line reads them."""
    lines = [line.strip() for line in page(committed).splitlines() if line.startswith("    ")]
    commands = set(lines)
    assert len(commands) == len(lines)
    assert len(commands) > len(GROUPS)
    for command in commands:
        asked = read_command(command)
        override(registry.find(asked.name).preset(asked.preset).config, asked.overrides)


def test_records_are_sorted_out_once_a_setting(committed, monkeypatch):
    asked = []

    def counted(records, setting):
        asked.append(setting)
        return by_experiment(records, setting)

    monkeypatch.setattr(explain, "by_experiment", counted)
    page(committed[:5])
    assert asked == list(SETTINGS)


def test_a_note_rnn_of_its_own_is_made_before_what_tunes_it(committed):
    commands = [line for line in page(committed[:5]).splitlines() if line.startswith("    ")]
    for place, command in enumerate(commands):
        if "note_rnn.run=" in command:
            preset, seed = command.split("note_rnn.run=runs/note_rnn/")[1].split()[0].split("/seed")
            made = f"run note_rnn --preset {preset} --seeds {seed}"
            assert any(made in one for one in commands[:place])
