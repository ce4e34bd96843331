"""What tuning refuses: exit codes and plain errors."""

import dataclasses

import pytest
from melody_case import SMALL, Q, refused, tune
from run_case import folder, run

from common.checkpoint import Checkpoints
from common.record import read_record, write_record
from experiments import trained
from experiments.molecules.domain import MOLECULES
from tutor.evaluation import Policy


def test_a_directory_that_is_no_note_rnn(tmp_path, capsys):
    assert tune(tmp_path, "q", tmp_path) == 3
    refused(capsys, 3, str(tmp_path), "no trained sequence model here", "not finished yet")
    assert tune(tmp_path, "q", tmp_path / "nowhere") == 3
    refused(capsys, 3, str(tmp_path / "nowhere"), "no trained sequence model")


def test_another_note_rnn_in_the_place_of_the_presets_is_not_taken_for_it(highway, capsys):
    assert run(highway, Q, "--set", *SMALL) == 2
    refused(
        capsys, 2, str(folder(highway, "note_rnn")), "isn't that of preset smoke",
        "model.core: lstm → rhn", "--set note_rnn.run=", "--out",
    )  # fmt: skip


def test_an_unknown_preset_of_the_note_rnn(tmp_path, capsys):
    assert run(tmp_path, Q, "--set", "note_rnn.preset=smok") == 2
    refused(capsys, 2, "note_rnn has no preset 'smok'", "Did you mean 'smoke'?")


def test_a_note_rnn_that_diverged_is_not_tuned(tmp_path, note_rnn, capsys):
    made = dataclasses.replace(read_record(note_rnn / "record.json"), status="diverged", metrics={})
    folder(tmp_path, "note_rnn").mkdir(parents=True)
    write_record(made, folder(tmp_path, "note_rnn"))
    assert run(tmp_path, Q) == 4
    assert "the Note RNN diverged, there is nothing to tune" in capsys.readouterr().err


def test_a_note_rnn_of_another_vocabulary(tmp_path, capsys, note_rnn):
    checkpoints = Checkpoints(tmp_path / "other" / trained.FOLDER)
    kept = trained.load(note_rnn)
    notes = {"model": {}, "method": "q", "num_events": 40, "swapped_specials": False}
    checkpoints.save(kept.policy._asdict(), notes)
    checkpoints.close()
    assert tune(tmp_path, "q", tmp_path / "other") == 2
    refused(capsys, 2, str(tmp_path / "other"), "knows 40 events; melodies have 38")


def test_a_model_of_molecules(tmp_path, capsys, note_rnn):
    found = trained.load(note_rnn)
    graph, params = trained.make_graph(found.model, MOLECULES.num_events)
    molecules = found._replace(
        domain=MOLECULES, graph=graph, policy=Policy(params, params), notes={}
    )
    trained.save(tmp_path / "other", molecules)
    assert tune(tmp_path, "q", tmp_path / "other") == 2
    words = "a model of molecules is there, not one of melodies", "--set note_rnn.run=DIR"
    refused(capsys, 2, str(tmp_path / "other"), *words)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["learn.iterations=1320"], ["learn.iterations=1320", "evaluation.every=600"]),
        (
            ["learn.environments=28", "learn.replay_capacity=420"],
            ["learn.iterations=1200", "28 environments", "140"],
        ),
        (["learn.replay_capacity=410"], ["replay_capacity=410", "multiple", "environments=40"]),
        (["learn.double=true", "learn.method=psi"], ["learn.double=true", "q, rl_only"]),
        (
            ["learn.replay_capacity=20", "learn.environments=20"],
            ["learn.replay_capacity=20", "32"],
        ),
        (["learn.replay_capacity=1000000000"], ["GiB of memory", "learn.replay_capacity"]),
        (
            ["evaluation.final_compositions=1000000000"],
            ["GiB of memory", "evaluation.final_compositions"],
        ),
    ],
)
def test_settings_that_do_not_fit(tmp_path, note_rnn, capsys, settings, words):
    assert tune(tmp_path, "q", note_rnn, *settings) == 2
    refused(capsys, 2, *words)
    assert not list(tmp_path.rglob("record.json"))
