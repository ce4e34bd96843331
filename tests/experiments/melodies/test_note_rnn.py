"""The Note RNN from end to end, as one types it: its record, what composes, its data."""

import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from melody_case import RULES, refused
from run_case import record, run

from common.midi import write_melody
from common.record import read_record
from experiments import trained
from experiments.cli import main
from experiments.melodies.note_rnn import compose as compose_alone
from experiments.registry import find
from tutor.evaluation import Composer


def test_the_note_rnn_leaves_a_record_and_what_composes(note_rnn, capsys):
    made = read_record(note_rnn / "record.json")
    assert (made.experiment, made.status, made.parameters) == ("note_rnn", "done", 4166)
    for published in find("note_rnn").published:
        if "leaps" not in published.metric:  # there may be none
            assert published.metric in made.metrics
    assert made.metrics["valid/log_perplexity"] < math.log(38) / 2
    assert 0.5 < made.metrics["valid/accuracy"] < 1
    for name in RULES:
        low, value, high = (
            made.metrics[f"{split}/{name}"]
            for split in ("composed_low", "composed", "composed_high")
        )
        assert low <= value <= high
    assert -10 < made.metrics["composed/log_p_tonic"] < 0
    (data,) = made.data
    assert (data.name, data.stand_in_for) == (
        "chorale_melodies",
        "30,000 MIDI songs, never released",
    )
    assert [row["step"] for row in made.curve] == [30, 60]
    best = min(row["valid/log_perplexity"] for row in made.curve)
    assert made.metrics["valid/log_perplexity"] == best
    assert (note_rnn / "learning_curve.png").exists()
    kept = trained.load(note_rnn)
    assert (kept.method, kept.notes["swapped_specials"], kept.model.units) == ("q", False, 16)
    assert sum(leaf.size for leaf in jax.tree.leaves(kept.policy.prior)) == 4166

    assert run(note_rnn.parents[2], "note_rnn") == 0  # the directory is that of the plain preset
    assert "done before" in capsys.readouterr().err


def test_parameters_kept_are_not_bound_to_a_device(note_rnn):
    """If they were, all that mixes them with new arrays would be compiled twice."""
    assert not any(leaf.committed for leaf in jax.tree.leaves(trained.load(note_rnn).policy))


def test_a_note_rnn_composes_with_the_keys_of_its_seed(note_rnn):
    model = trained.load(note_rnn)
    made = [
        compose_alone(model.graph, model.policy.prior, seed, 3, lambda: None).events
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_the_chances_of_a_tonic_are_those_after_every_primer(note_rnn):
    """Middle C, after any event but the highest note; from the model as it was saved."""
    model = trained.load(note_rnn)
    network = nnx.merge(model.graph, model.policy.prior)
    found = []
    for primer in range(37):
        _, logits = network.step(network.initial_state(1), np.array([primer]))
        found.append(jax.nn.log_softmax(logits[0])[14])  # MIDI 60
    told = record(note_rnn.parents[2], "note_rnn").metrics["composed/log_p_tonic"]
    assert told == pytest.approx(float(np.mean(found)), abs=1e-5)


def test_seeds_of_a_note_rnn_compose_with_different_keys(tmp_path, monkeypatch):
    drawn = []

    class Watched(Composer):
        def compose(self, policy, key, *arguments, **keywords):
            drawn.append(jax.random.key_data(key).tolist())
            return super().compose(policy, key, *arguments, **keywords)

    monkeypatch.setattr("experiments.melodies.note_rnn.Composer", Watched)
    settings = ["--set", "prior.iterations=2", "prior.report_every=1"]
    assert run(tmp_path, "note_rnn", "--seeds", "0", "1", *settings) == 0
    assert drawn == [jax.random.key_data(jax.random.key(seed)).tolist() for seed in (0, 1)]


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        (["data.name=tiny_shakespeare"], 2, ["data.name=tiny_shakespeare", "melodies"]),
        (["data.name=chorale_melody"], 2, ["unknown dataset", "Did you mean 'chorale_melodies'"]),
        (["data.name=midi_melodies"], 3, ["midi_melodies needs a folder", "--data-dir FOLDER"]),
        (["prior.masked=24"], 2, ["prior.masked=24", "prior.steps=24"]),
        (["prior.masked=2000", "prior.steps=3000"], 3, ["prior.masked=2000", "no sequence"]),
        (["model.depth=2"], 2, ["model.core=lstm", "model.core=rhn"]),
    ],
)
def test_data_and_settings_that_a_note_rnn_refuses(tmp_path, capsys, settings, code, words):
    assert run(tmp_path, "note_rnn", "--set", *settings) == code
    refused(capsys, code, *words)


def test_without_music21_the_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("common.datasets.folk_melodies.corpus_folder", lambda: None)
    monkeypatch.setenv("HIGHWAY_TUTOR_CACHE", str(tmp_path / "cache"))
    assert main(["run", "note_rnn", "--preset", "cpu", "--out", str(tmp_path)]) == 3
    refused(capsys, 3, "folk_melodies", 'pip install "highway-tutor[music]"')


def write_midi_files(where: Path, count: int) -> None:
    """Melodies unlike each other, and a file that isn't one."""
    where.mkdir()
    for number in range(count):
        random = np.random.default_rng(number)
        write_melody(random.integers(2, 30, 40), where / f"melody{number}.mid")
    (where / "broken.mid").write_bytes(b"MThd and no more")
    (where / "readme.txt").write_text("no music")


def test_a_folder_of_midi_files_with_an_unreadable_one(tmp_path, capsys):
    write_midi_files(tmp_path / "few", 2)
    settings = ["--set", "data.name=midi_melodies", "prior.iterations=2", "prior.report_every=1"]
    assert run(tmp_path / "runs", "note_rnn", "--data-dir", str(tmp_path / "few"), *settings) == 3
    refused(capsys, 3, "midi_melodies: the valid split is empty", "bring more melodies (2 here)")

    write_midi_files(tmp_path / "enough", 4)
    assert (
        run(tmp_path / "runs", "note_rnn", "--data-dir", str(tmp_path / "enough"), *settings) == 0
    )
    told = capsys.readouterr().err
    assert "skipped broken.mid" in told
    assert "5 found, 1 unreadable, 4 kept" in told
    made = record(tmp_path / "runs", "note_rnn")
    (data,) = made.data
    assert data.name == "midi_melodies"
    assert data.tokens == {"train": 80, "valid": 40, "test": 40}
    assert "--data-dir DIR" in made.command
    assert str(tmp_path) not in json.dumps(made.config)
