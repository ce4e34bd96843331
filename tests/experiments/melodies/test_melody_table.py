from dataclasses import replace

import pytest

from common.config import override, to_dict
from common.plot import LARGEST_BYTES
from common.record import DataUsed, Record
from experiments import registry
from experiments.melodies import table as melody_table
from experiments.melodies.catalogue import TABLE_1
from experiments.melodies.explain import page
from experiments.melodies.finding import FINDINGS, LEAPS, MOTIF, TONIC, Runs
from experiments.results.paper_table import Answers, written
from experiments.results.row import result_rows


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


def test_methods_stand_side_by_side_and_with_what_the_paper_printed(records, tmp_path):
    text = "\n".join(melody_table.section(records, tmp_path))
    assert row_of(text, "statistic")[1:] == ["Note RNN", "Q", "RL only"]
    cells = row_of(text, "notes in motif")
    assert cells[1] == "5"
    assert cells[2].startswith("11 [")  # three seeds: their mean and an interval
    assert cells[3] == "30"  # one seed: its value
    (paper,) = melody_table.tables()
    answers = Answers(result_rows(records, registry.experiments()), registry.experiments())
    cells = row_of(written(paper, answers).markdown(), "notes in motif")
    assert cells[1] == "5.9<br>5 ◇"
    assert cells[2].startswith("75.7<br>11 [")
    assert cells[3:] == ["73.8<br>–", "69.3<br>–"]


def test_runs_with_other_settings_or_that_diverged_stay_out(records, tmp_path):
    others = [
        made("tutor_melodies_q", 3, 99.0, overrides=["learn.c=2.0"]),
        replace(made("tutor_melodies_q", 4, 99.0), status="diverged"),
    ]
    shown = melody_table.section(records, tmp_path)
    assert melody_table.section([*records, *others], tmp_path) == shown


def test_data_and_how_melodies_move_stand_beside(records, tmp_path):
    data = replace(
        made("melody_data", 0, 0.0, preset="own_key"),
        metrics={"start/notes_in_motif": 21.0, "anywhere/on_beat": 90.0},
    )
    moving = replace(records[0], metrics={**records[0].metrics, "composed/on_beat": 58.0})
    text = "\n".join(melody_table.section([data, moving, *records[1:]], tmp_path))
    assert row_of(text, "statistic")[1] == "data, from anywhere"
    assert row_of(text, "notes in motif")[1] == ""
    cells = row_of(text, "notes on the beat, %")
    assert (cells[1], cells[3]) == ("90", "58")


def test_of_three_tuned_note_rnns_each_counts_once():
    """Tuned by 3, 1 and 1 seeds: the interval is over the three means 11, 20 and 30."""
    runs = [made("tutor_melodies_q", seed, 10.0 + seed) for seed in (0, 1, 2)]
    for seed, prior, value in ((3, 1, 20.0), (4, 2, 30.0)):
        change = f"note_rnn.seed={prior}"
        one = made("tutor_melodies_q", seed, value, overrides=[change])
        one.config["note_rnn"]["seed"] = prior
        runs.append(one)
    (found,) = melody_table.by_experiment(runs, melody_table.SETTINGS[0]).values()
    assert melody_table.means(found, "composed/notes_in_motif") == [11.0, 20.0, 30.0]
    assert melody_table.means(found[:4], "composed/notes_in_motif") == [10.0, 11.0, 12.0, 20.0]
    assert melody_table.value_of(found, "composed/notes_in_motif") == "20.3 [11, 30]"


def test_a_finding_is_judged_by_its_records():
    finding = next(one for one in FINDINGS if "falls as c grows" in one.claim)
    runs = {one.label: one for one in finding.runs}

    def made_with(label, share):
        changes, seed = runs[label].changes, int(runs[label].seeds.split()[0])
        one = made("tutor_melodies_q", seed, share, preset="in_c", overrides=changes)
        return replace(one, metrics={TONIC: share})

    falling = [made_with("Q, c = 0.5", 90.0), made_with("Q, c = 1", 20.0)]
    assert finding.verdict(falling) == "Not tested yet: no record of Q, c = 2."
    undefined = replace(made_with("Q, c = 2", 5.0), metrics={LEAPS: 1.0})
    assert finding.verdict([*falling, undefined]) == "Not tested yet: no record of Q, c = 2."
    flat = [*falling, made_with("Q, c = 2", 60.0)]
    assert finding.verdict([*falling, made_with("Q, c = 2", 5.0)]) == "Confirmed."
    assert finding.verdict(flat) == "Not confirmed by these records."
    text = page(flat)
    assert "**Not confirmed by these records.** It counts as confirmed if the share falls" in text
    changes = text.split("### Compositions starting with tonic")[1].split("###")[0]
    assert "| c 0.5 → 1" in changes
    assert changes.index("| c 0.5 → 1") < changes.index("| c 0.5 → 2")  # the larger one first
    assert "| `learn.c` | Q  |     90 |    20 |        -70 |" in changes
    (command,) = runs["Q, c = 2"].commands
    assert f"    {command}\n" in text


PLAYED = [(58, 3.9, 1.3), (70, 4.4, 0.7), (82, 2.6, 0.1)]
BASE = {TONIC: 90.0, LEAPS: 94.0, MOTIF: 72.0}


@pytest.mark.parametrize(
    ("words", "values", "holds"),
    [
        ("either cure alone", [0.3, 37.0, 60.0, 2.0, 50.0, 91.0, 1.0], True),
        ("either cure alone", [0.3, 37.0, 60.0, 2.0, 20.0, 91.0, 1.0], False),
        ("either cure alone", [0.3, 37.0, 60.0, 2.0, 50.0, 91.0, 40.0], False),
        ("out of the data", [6.0, 1.0], True),
        ("out of the data", [6.0, 1.3], False),
        ("easier to predict", [0.88, 0.85], True),
        ("easier to predict", [0.85, 0.88], False),
        ("only where rests and holds", [8.0, 24.0, 42.0, 69.0], True),
        ("only where rests and holds", [8.0, 24.0, 52.0, 69.0], False),
        ("Double Q", [BASE, BASE | {LEAPS: 85.0}], True),
        ("Double Q", [BASE, BASE | {LEAPS: 83.0}], False),
        ("collapses", [0.66, 0.15], True),
        ("collapses", [0.66, 0.34], False),
        ("nearer to the prior", [*PLAYED, (75, 2.7, 0.2), (84, 2.6, 0)], True),
        ("nearer to the prior", [*PLAYED, (69, 2.7, 0.2), (84, 2.6, 0)], False),
    ],
)
def test_what_counts_as_confirmed(words, values, holds):
    (finding,) = (one for one in FINDINGS if words in one.claim)
    found = {}
    for runs, value in zip(finding.runs, values, strict=True):
        if isinstance(value, dict):
            found[runs.label] = value
        else:
            several = value if isinstance(value, tuple) else (value,)
            found[runs.label] = dict(zip(finding.tested, several, strict=True))
    assert finding.holds(found) == holds


def test_g_that_trains_its_prior_is_compared_with_what_is_printed():
    (finding,) = (
        one for one in FINDINGS if "trains the prior" in one.claim or "training" in one.claim
    )
    printed = {f"composed/{one}": values[3] for one, values in TABLE_1.items()}
    plain, leaky = (runs.label for runs in finding.runs)
    off = {name: value + 1.0 for name, value in printed.items()}
    assert finding.holds({plain: off, leaky: printed})
    assert not finding.holds({plain: printed, leaky: off})


def test_intervals_stand_where_something_varies():
    metric = "composed/notes_in_motif"
    (one,) = [replace(made("note_rnn", 0, 10.0), metrics={metric: 10.0})]
    assert melody_table.value_of([one], metric) == "10"
    ends = {"composed_low/notes_in_motif": 9.0, "composed_high/notes_in_motif": 11.0}
    wide = replace(one, metrics=one.metrics | ends)
    assert melody_table.value_of([wide], metric) == "10 [9, 11]"
    assert melody_table.value_of([wide, wide, wide], metric) == "10"


@pytest.mark.parametrize("finding", FINDINGS, ids=range(1, len(FINDINGS) + 1))
def test_commands_of_findings_are_commands(finding):
    groups = list(finding.runs)
    groups += [runs.note_rnn for runs in finding.runs if runs.note_rnn]
    for runs in groups:
        experiment = registry.find(runs.experiment)
        override(experiment.preset(runs.preset).config, runs.overrides)


def test_the_note_rnn_of_its_own_is_made_first_and_looked_for():
    prior = Runs("prior", "note_rnn", "cpu", ("prior.learning_rate=0.5",), "13")
    runs = Runs("Q", "tutor_melodies_q", "in_c", ("learn.c=2.0",), "31 32", note_rnn=prior)
    where = "note_rnn.run=runs/note_rnn/cpu/seed13"
    assert runs.commands == (
        "python -m experiments run note_rnn --preset cpu --seeds 13 --set prior.learning_rate=0.5",
        "python -m experiments run tutor_melodies_q --preset in_c --seeds 31 32 "
        f"--set learn.c=2.0 {where}",
    )
    own, other = (
        made("tutor_melodies_q", seed, 1.0, preset="in_c", overrides=["learn.c=2.0", *more])
        for seed, more in ((31, [where]), (32, []))
    )
    assert runs.among([own, other]) == [own]


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
