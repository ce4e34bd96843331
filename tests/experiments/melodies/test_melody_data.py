"""A run belongs to its data: other files, other Note RNNs are refused; splits are checked first."""

import json
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from melody_case import FEW, LITTLE, Q, refused, tune
from run_case import folder, record, run

from common import datasets
from common.key import move_to_c, stretch
from common.melody import swap_specials
from common.midi import write_melody
from experiments import trained
from experiments.cli import main
from experiments.melodies.note_rnn import load_melodies
from tutor.config import MelodyDataConfig
from tutor.evaluation import Policy

MIDI = ["--set", "data.name=midi_melodies", *LITTLE]


def write_files(where, count: int, first: int = 0, length: int = 40) -> None:
    where.mkdir(exist_ok=True)
    for number in range(first, first + count):
        random = np.random.default_rng(number)
        write_melody(random.integers(2, 30, length), where / f"melody{number}.mid")


@pytest.mark.parametrize(
    "change",
    [*(pytest.param(one, marks=pytest.mark.slow) for one in ("another", "more")), "one edited"],
)
def test_a_stopped_run_refuses_other_files_and_names_a_folder_that_is_gone(
    tmp_path, capsys, stopped, change
):
    here, there = tmp_path / "a", tmp_path / "b"
    write_files(here, 4)
    stopped(tmp_path / "runs", "note_rnn", "--data-dir", str(here), *MIDI)
    rows = (folder(tmp_path / "runs", "note_rnn") / "metrics.jsonl").read_bytes()
    write_files(there, 5 if change == "more" else 4, first=9 if change == "another" else 0)
    if change == "one edited":
        write_files(there, 1, length=60)
    assert run(tmp_path / "runs", "note_rnn", "--data-dir", str(there), *MIDI) == 2
    refused(
        capsys, 2, "holds a run on other data: midi_melodies (MIDI files ",
        "and now midi_melodies (MIDI files", "Give it what it began with", "--out", "--fresh",
    )  # fmt: skip
    assert (folder(tmp_path / "runs", "note_rnn") / "metrics.jsonl").read_bytes() == rows
    here.rename(tmp_path / "moved")
    for data in (["--data-dir", str(here)], []):
        assert run(tmp_path / "runs", "note_rnn", *data, *MIDI) == 3
        refused(capsys, 3, "--data-dir")
    # The same files elsewhere are the same data.
    assert run(tmp_path / "runs", "note_rnn", "--data-dir", str(tmp_path / "moved"), *MIDI) == 0
    assert "continues at update" in capsys.readouterr().err


def test_a_finished_run_is_not_shown_for_other_files(tmp_path, capsys):
    here, there = tmp_path / "a", tmp_path / "b"
    write_files(here, 4)
    write_files(there, 4, first=4)
    out = tmp_path / "runs"
    assert run(out, "note_rnn", "--data-dir", str(here), *MIDI) == 0
    made = record(out, "note_rnn")
    assert run(out, "note_rnn", "--data-dir", str(there), *MIDI) == 2
    refused(capsys, 2, str(folder(out, "note_rnn")), "on other data", "--out", "--fresh")
    (tmp_path / "empty").mkdir()
    assert run(out, "note_rnn", "--data-dir", str(tmp_path / "empty"), *MIDI) == 3
    for data in (["--data-dir", str(here)], []):  # without a folder nothing else is asked for
        assert run(out, "note_rnn", *data, *MIDI) == 0
        assert "done before" in capsys.readouterr().err
    assert record(out, "note_rnn") == made
    assert run(out, "note_rnn", "--fresh", "--data-dir", str(there), *MIDI) == 0
    assert record(out, "note_rnn").data != made.data


@pytest.mark.slow
def test_a_run_without_its_data_written_down_continues(tmp_path, stopped):
    """As those of before have it."""
    stopped(tmp_path, "note_rnn", "--set", *LITTLE)
    (folder(tmp_path, "note_rnn") / "data.json").unlink()
    assert run(tmp_path, "note_rnn", "--set", *LITTLE) == 0
    kept = json.loads((folder(tmp_path, "note_rnn") / "data.json").read_text())
    assert kept["checksums"] == record(tmp_path, "note_rnn").data[0].checksums


def retrained(note_rnn, path) -> None:
    """Makes the run of another Note RNN out of a copy of one: none of its weights is the same."""
    shutil.copytree(note_rnn, path)
    model = trained.load(path)
    shutil.rmtree(path / trained.FOLDER)
    params = jax.tree.map(lambda leaf: leaf + 0.01, model.policy.prior)
    trained.save(path, model._replace(policy=Policy(params, params)))


def test_a_tutor_refuses_a_note_rnn_that_was_retrained(tmp_path, capsys, stopped, note_rnn):
    first = tmp_path / "first"
    shutil.copytree(note_rnn, first)
    given = ["--set", *FEW, f"note_rnn.run={first}"]
    stopped(tmp_path, Q, *given)
    assert tune(tmp_path / "done", "q", first, *FEW) == 0
    made = record(tmp_path / "done", Q)
    kept = first.rename(tmp_path / "kept")
    retrained(note_rnn, first)
    assert run(tmp_path, Q, *given) == 2
    refused(capsys, 2, str(folder(tmp_path, Q)), "Note RNN", "on other data", "--fresh")
    assert tune(tmp_path / "done", "q", first, *FEW) == 2
    refused(capsys, 2, str(folder(tmp_path / "done", Q)), "Note RNN", "on other data")
    first.rename(tmp_path / "retrained")
    assert tune(tmp_path / "done", "q", first, *FEW) == 0  # nothing says that it changed
    kept.rename(first)
    capsys.readouterr()
    assert run(tmp_path, Q, *given) == 0
    assert "continues at update" in capsys.readouterr().err
    assert tune(tmp_path / "done", "q", first, *FEW) == 0
    assert record(tmp_path / "done", Q) == made
    assert record(tmp_path, Q).data == made.data


def no_rows(out) -> bool:
    return not any(path.stat().st_size for path in out.rglob("metrics.jsonl"))


@pytest.mark.parametrize("short", ["train", "valid", "test"])
def test_a_split_too_short_is_named_before_anything_trains(tmp_path, capsys, monkeypatch, short):
    load = datasets.load

    def cut(name, **keywords):
        found = load(name, **keywords)
        return replace(found, **{short: tuple(one[:9] for one in getattr(found, short))})

    monkeypatch.setattr("experiments.melodies.note_rnn.load", cut)
    assert run(tmp_path, "note_rnn", "--set", *LITTLE) == 3
    refused(capsys, 3, f"the {short} split has no sequence of more than 9 events", "prior.masked=8")
    assert no_rows(tmp_path)


def test_a_folder_whose_test_split_is_too_short(tmp_path, capsys):
    """Three files, of which one goes into each split; one of them has four notes."""
    write_files(tmp_path / "data", 2)
    write_files(tmp_path / "data", 1, first=2, length=4)
    assert run(tmp_path / "runs", "note_rnn", "--data-dir", str(tmp_path / "data"), *MIDI) == 3
    refused(capsys, 3, "split has no sequence of more than 9 events", "Bring more or longer ones")
    assert no_rows(tmp_path)


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        (["note_rnn.prior.masked=2000", "note_rnn.prior.steps=3000"], 3, "the train split has no"),
        (["note_rnn.data.name=midi_melodies"], 3, "midi_melodies needs a folder"),
        (["data.evaluation_tokens=100"], 2, "the valid split has 100 tokens"),
        (["tutor.learn.environments=28", "tutor.learn.replay_capacity=1400"], 2, "is no multiple"),
    ],
)
def test_no_part_of_the_quickstart_trains_where_another_cannot(
    tmp_path, capsys, settings, code, words
):
    assert run(tmp_path, "quickstart", "--set", *settings) == code
    refused(capsys, code, words)
    assert no_rows(tmp_path)


def test_no_note_rnn_is_trained_for_a_tutor_that_cannot_begin(tmp_path, capsys):
    settings = ["learn.environments=28", "learn.replay_capacity=420"]
    assert run(tmp_path, Q, "--set", *FEW, *settings) == 2
    refused(capsys, 2, "learn.iterations=1200 is no multiple of 140")
    assert not list(tmp_path.iterdir())
    assert main(["show", Q, "--set", *FEW, *settings]) == 2


def test_a_part_of_a_run_refuses_other_files_before_the_parts_before_it(tmp_path, capsys, stopped):
    """The first language model is stopped; the Note RNN, not begun, may yet have other files."""
    here, there = tmp_path / "a", tmp_path / "b"
    write_files(here, 4)
    write_files(there, 4, first=4)
    settings = ["--set", "note_rnn.data.name=midi_melodies"]
    out = tmp_path / "runs"
    stopped(out, "quickstart", "--data-dir", str(here), *settings)
    part = folder(out, "quickstart") / "note_rnn"
    (part / "metrics.jsonl").write_text('{"step": 1}\n')  # as if it had begun
    rows = (folder(out, "quickstart") / "rhn" / "metrics.jsonl").read_bytes()
    assert run(out, "quickstart", "--data-dir", str(there), *settings) == 2
    refused(capsys, 2, str(part), "on other data")
    assert (folder(out, "quickstart") / "rhn" / "metrics.jsonl").read_bytes() == rows


def test_melodies_are_moved_stretched_and_swapped_as_configured():
    """The factors are in the place of stretch_factors: the second melody of three stays."""
    plain = MelodyDataConfig("chorale_melodies", train_melodies=3, evaluation_melodies=3)
    own = load_melodies(plain, None, swapped=False)
    every = replace(plain, key="C", stretch=((1, 0.4), (2, 0.2), (4, 0.4)))
    changed = load_melodies(every, None, swapped=True)
    for split in ("train", "valid", "test"):
        moved = move_to_c(getattr(own, split)).melodies
        assert not all(map(np.array_equal, moved, getattr(own, split)))
        for before, after, factor in zip(moved, getattr(changed, split), (4, 1, 4), strict=True):
            assert np.array_equal(after, swap_specials(stretch(before, factor)))


def test_shares_of_factors_add_up(capsys):
    assert main(["run", "note_rnn", "--set", "data.stretch=[[1, 0.5], [2, 0.4]]"]) == 2
    refused(capsys, 2, "data.stretch=[[1, 0.5], [2, 0.4]]", "add up to 1")
