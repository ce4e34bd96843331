from dataclasses import replace

import pytest

from common.config import to_dict
from common.plot import LARGEST_BYTES
from common.record import DataUsed, Record
from experiments import registry
from experiments.melodies import table as melody_table
from experiments.melodies.catalogue import TABLE_1


def made(name, seed, value, preset="paper", overrides=()):
    """A record whose statistics are all `value`, with two evaluations of the policy."""
    experiment = registry.find(name)
    return Record(
        experiment=name,
        preset=preset,
        seed=seed,
        status="done",
        command="python -m experiments run",
        config=to_dict(experiment.preset(preset).config),
        overrides=list(overrides),
        parameters=60_000,
        metrics={f"composed/{key}": value for key in (*TABLE_1, "reward", "log_prior")},
        curve=[
            {"step": step, "epoch": 1, "seconds": 1, "eval/reward": value, "eval/log_prior": -value}
            for step in (100_000, 200_000)
        ],
        data=[DataUsed("folk_melodies", "1.0.0", "songs", {"train": 1}, {})],
        seconds={"training": 60.0},
        device={"platform": "cpu", "kind": "a processor"},
        versions={},
        commit="abc",
        commits=["abc"],
        dirty=False,
        finished="2026-01-01T00:00:00+00:00",
    )


@pytest.fixture
def records():
    tuned = [made("tutor_melodies_q", seed, 10.0 + seed) for seed in (0, 1, 2)]
    return [*tuned, made("tutor_melodies_rl_only", 0, 30.0), made("note_rnn", 0, 5.0)]


def row_of(text, statistic):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {statistic} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_methods_stand_side_by_side_with_what_the_paper_printed(records, tmp_path):
    text = "\n".join(melody_table.section(records, tmp_path))
    assert row_of(text, "statistic")[1:] == [
        "Note RNN, paper",
        "Note RNN, ours",
        "Q, paper",
        "Q, ours",
        "RL only, ours",
    ]
    cells = row_of(text, "notes in motif")
    assert cells[1:3] == ["5.9", "5"]
    assert cells[3] == "75.7"
    assert cells[4].startswith("11 [")  # three seeds: their mean and an interval
    assert cells[5] == "30"  # one seed: its value


def test_runs_with_other_settings_or_that_diverged_stay_out(records, tmp_path):
    others = [
        made("tutor_melodies_q", 3, 99.0, overrides=["learn.c=2.0"]),
        replace(made("tutor_melodies_q", 4, 99.0), status="diverged"),
    ]
    shown = melody_table.section(records, tmp_path)
    assert melody_table.section([*records, *others], tmp_path) == shown


def test_no_table_without_tuned_models(records, tmp_path):
    assert melody_table.section(records[-1:], tmp_path) == []
    assert melody_table.draw_figures(records[-1:], tmp_path) == []


def test_pictures_are_small_the_same_again_and_linked(records, tmp_path):
    paths = melody_table.draw_figures(records, tmp_path)
    assert [path.name for path in paths] == [
        "tutor_melodies_paper_reward.png",
        "tutor_melodies_paper_log_prior.png",
    ]
    first = [path.read_bytes() for path in paths]
    assert all(len(content) < LARGEST_BYTES for content in first)
    melody_table.draw_figures(records, tmp_path)
    assert [path.read_bytes() for path in paths] == first
    text = "\n".join(melody_table.section(records, tmp_path))
    assert all(path.name in text for path in paths)
