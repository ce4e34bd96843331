"""The claims about Table 1, tested by the committed records and by made-up ones."""

from pathlib import Path

import pytest

from common.config import flatten, from_dict, to_dict
from common.record import read_record
from experiments import registry
from experiments.melodies.explain import PIECES
from experiments.melodies.finding import CHANGES, FINDINGS

RESULTS = Path(__file__).parents[3] / "results"
GROUPS = tuple(
    dict.fromkeys(
        [
            *(runs for change in CHANGES for runs in (change.before, change.after)),
            *(runs for finding in FINDINGS for runs in finding.runs),
            *PIECES,
        ]
    )
)
"""All runs whose numbers and commands the page has."""


@pytest.fixture(scope="module")
def committed():
    paths = [*RESULTS.glob("*melod*/**/record.json"), *RESULTS.glob("note_rnn/**/record.json")]
    return [read_record(path) for path in paths]


def settings_of(record, committed):
    """All settings of a run by name, those of the Note RNN that it tuned among them."""
    config = registry.find(record.experiment).preset(record.preset).config
    found = flatten(to_dict(from_dict(type(config), record.config)))
    chosen = {one: found.pop(f"note_rnn.{one}", None) for one in ("preset", "seed", "run")}
    if chosen["preset"]:
        where = chosen["run"] or f"note_rnn/{chosen['preset']}/seed{chosen['seed']}"
        preset, seed = where.split("/")[-2:]
        (prior,) = (
            one
            for one in committed
            if (one.experiment, one.preset, f"seed{one.seed}") == ("note_rnn", preset, seed)
        )
        found = {**settings_of(prior, committed), **found}
    return found


def note_rnns(records):
    return {one.checksums["Note RNN"] for record in records for one in record.data}


@pytest.mark.parametrize("change", CHANGES, ids=lambda one: f"{one.of}: {one.what}")
def test_the_two_sides_of_a_change_differ_in_what_it_names(change, committed):
    before, after = (runs.among(committed) for runs in (change.before, change.after))
    assert before
    assert after
    for one in before:
        for other in after:
            old, new = settings_of(one, committed), settings_of(other, committed)
            assert {name for name in old if old[name] != new[name]} == {change.setting}
    if change.of == "Q" and change.setting.startswith("learn."):
        assert len(note_rnns([*before, *after])) == 1


@pytest.mark.parametrize("runs", GROUPS, ids=lambda runs: " ".join(runs.commands[-1].split()[3:]))
def test_the_commands_of_the_page_make_its_numbers(runs, committed):
    """Where there are records at all, there is one for each seed of the command."""
    found = runs.among(committed)
    if not found:
        assert "Not tested yet" in page_of(runs, committed)
        return
    command = runs.commands[-1]
    seeds, _, changes = command.partition(" --seeds ")[2].partition(" --set ")
    assert sorted(one.seed for one in found) == [int(seed) for seed in seeds.split()]
    for one in found:
        assert sorted(one.overrides) == sorted(changes.split())
        assert f"run {one.experiment} --preset {one.preset} " in command
    if runs.experiment.startswith("tutor_"):
        assert len(note_rnns(found)) == 1


def page_of(runs, committed):
    (verdict,) = {one.verdict(committed) for one in FINDINGS if runs in one.runs}
    return verdict


def test_tunings_of_other_note_rnns_stay_out(committed):
    (runs,) = (one for one in GROUPS if one.label == "Q, c = 0.5")
    elsewhere = [one for one in committed if one.overrides == ["note_rnn.seed=1"]]
    assert elsewhere
    assert not runs.among(elsewhere)
