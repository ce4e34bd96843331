"""A run in a file, and a run made of it again: the same to the bit, for everything that uses it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from common.checkpoint import Checkpoints
from common.config import to_dict
from common.datasets import load as load_data
from common.error import ConfigError, DataError
from common.model_file import read_model, write_model
from common.record import DataUsed, read_record, write_record
from common.window import make_windows
from experiments import text_model, trained
from experiments.cli import main
from experiments.compose import compose
from experiments.export.run_file import export, load
from experiments.melodies.domain import MELODIES
from experiments.run import Options
from experiments.sweep.state import read_state
from experiments.upstream import Upstream
from highway.config import DataConfig, LanguageModelConfig, ModelConfig, TrainConfig
from highway.learner import LanguageModelLearner
from tutor.config import NoteRNNRun, SequenceModelConfig
from tutor.evaluation import Policy

RESULTS = Path(__file__).parents[3] / "results"
NOTE_RNN = "note_rnn/cpu/seed0"
WORDS = "rhn_penn_treebank_depth3_tied/cpu/seed0"
TEXT = LanguageModelConfig(
    data=DataConfig("tiny_shakespeare", 2000, 500),
    model=ModelConfig(depth=2, units=6),
    train=TrainConfig(batch_size=2, steps=5),
)
BEST, LATER = 4.0, 4.5
"""Scores of two checkpoints."""


@pytest.fixture(scope="module")
def melodies(tmp_path_factory) -> Path:
    """A finished run of the Note RNN with other values than its prior's, a highway core in it."""
    run = tmp_path_factory.mktemp("runs") / NOTE_RNN
    config = SequenceModelConfig(core="rhn", units=6, depth=2)
    graph, prior = trained.make_graph(config, MELODIES.num_events)
    tuned = jax.tree.map(lambda leaf: leaf + 0.1, prior)
    record = read_record(RESULTS / NOTE_RNN / "record.json")
    notes = {"swapped_specials": False}
    policy = Policy(tuned, prior)
    trained.save(run, trained.Trained(MELODIES, graph, policy, config, "g", record.data[0], notes))
    write_record(record, run)
    return run


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    """A finished run of a language model, whose last checkpoint isn't its best."""
    run = tmp_path_factory.mktemp("runs") / WORDS
    corpus = text_model.load_corpus(TEXT.data, None)
    windows = make_windows(corpus.train, 2, 5, split="train")
    learner = LanguageModelLearner(TEXT, len(corpus.vocabulary), windows)
    checkpoints = Checkpoints(run / "checkpoints")
    for seed, score in ((1, BEST), (2, LATER)):
        checkpoints.save(learner.initial_state(seed), {"best": BEST}, score)
    checkpoints.close()
    record = read_record(RESULTS / WORDS / "record.json")
    used = DataUsed(corpus.name, corpus.version, None, {}, corpus.checksums)
    write_record(replace(record, config=to_dict(TEXT), data=[used]), run)
    return run


def exported(run: Path, folder: Path) -> Path:
    export(run, folder / "model.safetensors")
    return folder / "model.safetensors"


def test_a_model_of_sequences_comes_back_to_the_bit(melodies, tmp_path):
    path = load(exported(melodies, tmp_path), tmp_path / "runs")
    assert path == tmp_path / "runs" / NOTE_RNN
    before, after = trained.load(melodies), trained.load(path)
    jax.tree.map(np.testing.assert_array_equal, after.policy, before.policy)
    assert after.graph == before.graph
    assert after[3:] == before[3:]  # settings, method, data, notes
    assert (path / "record.json").read_bytes() == (melodies / "record.json").read_bytes()
    assert (
        json.loads((path / "config.json").read_text()) == read_record(path / "record.json").config
    )
    (session,) = json.loads((path / "manifest.json").read_text())["sessions"]
    assert session["loaded_from"] == "model.safetensors"
    assert read_state(path).kind == "finished"
    assert not [entry for entry in path.parent.iterdir() if entry != path]


def test_it_composes_and_is_tuned_as_the_original(melodies, tmp_path):
    path = load(exported(melodies, tmp_path), tmp_path / "runs")
    made = [compose(run, tmp_path / name, count=2) for run, name in ((melodies, "a"), (path, "b"))]
    np.testing.assert_array_equal(made[0].events, made[1].events)
    upstream = Upstream("note_rnn", MELODIES)
    options = Options("cpu", out=tmp_path)
    sums = [upstream.inputs(NoteRNNRun(run=str(run)), options) for run in (melodies, path)]
    assert sums[0] == sums[1]
    assert sums[0]["Note RNN"]


def test_a_language_model_is_its_best_state_to_the_bit(words, tmp_path):
    path = load(exported(words, tmp_path), tmp_path / "runs")
    before, after = text_model.load_run(words, None), text_model.load_run(path, None)
    jax.tree.map(np.testing.assert_array_equal, after.params, before.params)
    assert after.checksum == before.checksum
    assert after.graph == before.graph
    corpus = load_data("tiny_shakespeare")
    windows = make_windows(corpus.train[:2000], 2, 5, split="train")
    best = LanguageModelLearner(TEXT, len(corpus.vocabulary), windows).initial_state(1)
    np.testing.assert_array_equal(after.params["embedding"], best.params["embedding"])


def test_a_file_has_the_vocabulary_and_needs_no_text(monkeypatch, words, tmp_path):
    first, again = exported(words, tmp_path), tmp_path / "again.safetensors"
    path, corpus = load(first, tmp_path / "runs"), load_data("tiny_shakespeare")
    monkeypatch.setattr("experiments.text_model.load_corpus", stop)
    with pytest.raises(KeyboardInterrupt):
        text_model.load_run(words)  # a run from before vocabularies were written
    model = text_model.load_run(path)
    assert model.tokenizer == corpus.tokenizer
    assert model.tokenizer.decode(model.tokenizer.encode("to be")) == "to be"
    export(path, again)
    assert read_model(again).about == read_model(first).about
    with pytest.raises(KeyboardInterrupt):
        _ = model.corpus


def test_a_file_from_before_vocabularies_were_written(words, tmp_path):
    file = exported(words, tmp_path)
    params, about = read_model(file)
    del about["vocabulary"]
    write_model(file, params, about)
    path = load(file, tmp_path / "runs")
    assert not (path / text_model.VOCABULARY).exists()
    assert text_model.load_run(path).tokenizer == load_data("tiny_shakespeare").tokenizer


def test_another_text_than_it_learned_from_is_refused(words, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(words, run)
    record = read_record(run / "record.json")
    other = replace(record.data[0], checksums={"input.txt": "0123456789abcdef"})
    write_record(replace(record, data=[other]), run)
    told = "on other data: tiny_shakespeare .*0123456789ab.*\nGive the text that it learned from"
    with pytest.raises(ConfigError, match=told):
        text_model.load_run(run)
    text_model.save(run, text_model.load_run(words).params, load_data("tiny_shakespeare").tokenizer)
    model = text_model.load_run(run)  # its ids are known without a text
    with pytest.raises(ConfigError, match=told):
        _ = model.corpus


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"name": "a", "level": "syllable", "vocabulary": ["b"]}']
)
def test_a_damaged_vocabulary_is_said(words, tmp_path, content):
    path = load(exported(words, tmp_path), tmp_path / "runs")
    (path / text_model.VOCABULARY).write_text(content)
    with pytest.raises(DataError, match=r"vocabulary.json: damaged"):
        text_model.load_run(path)


def test_a_text_brought_by_hand_is_looked_for(monkeypatch, words, tmp_path):
    asked = []
    load_corpus = text_model.load_corpus

    def look(config, data_dir):
        asked.append(data_dir)
        return load_corpus(config, None)

    monkeypatch.setattr("experiments.text_model.load_corpus", look)
    file = tmp_path / "model.safetensors"
    assert main(["export", str(words), str(file), "--data-dir", str(tmp_path)]) == 0
    assert asked == [tmp_path]
    card = file.with_suffix(".md").read_text()
    assert "load_run" in card
    assert "load_cells" in card


def test_the_header_has_the_record_and_readable_names(words, tmp_path):
    params, about = read_model(exported(words, tmp_path))
    record = read_record(words / "record.json")
    assert "/".join([about["experiment"], about["preset"], f"seed{about['seed']}"]) == WORDS
    assert about["metrics"] == record.metrics
    assert about["config"] == to_dict(TEXT)
    assert about["data"][0]["checksums"] == record.data[0].checksums
    assert about["commit"] == record.commit
    assert params["core"]["cores"][0]["layers"][1]["kernel"].dtype == np.float32


def test_the_last_part_of_a_run(melodies, tmp_path):
    run = tmp_path / "run"
    config = SequenceModelConfig(units=7)
    graph, params = trained.make_graph(config, MELODIES.num_events)
    used = read_record(melodies / "record.json").data[0]
    lstm = trained.Trained(MELODIES, graph, Policy(params, params), config, "q", used, {})
    trained.save(run / "first", lstm)
    shutil.copytree(melodies / trained.FOLDER, run / "second" / trained.FOLDER)
    record = replace(read_record(melodies / "record.json"), parameters={"second": 1, "first": 2})
    write_record(record, run)
    path = load(exported(run, tmp_path), tmp_path / "runs")
    assert trained.find(path) == path / "first"
    assert trained.load(path / "first").model == config
    assert "load_cells" not in (tmp_path / "model.md").read_text()  # an LSTM has none


def test_the_commands(capsys, melodies, tmp_path):
    file = tmp_path / "deep" / "note_rnn.safetensors"
    assert main(["export", str(melodies), str(file)]) == 0
    card = file.with_suffix(".md")
    assert capsys.readouterr().out.split() == [str(file), str(card)]
    text = card.read_text()
    assert "experiments compose runs/note_rnn/cpu/seed0" in text
    assert 'load_cells("note_rnn.safetensors")' in text
    assert "load_run" not in text
    assert main(["load", str(file), "--out", str(tmp_path / "o")]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "o" / NOTE_RNN)]
    assert main(["load", str(file), "--out", str(tmp_path / "o")]) == 2
    assert "there is a run already" in capsys.readouterr().err


def test_what_can_not_be_exported(capsys, melodies, words, tmp_path):
    def refused(code: int, run: Path, name: str, *words: str) -> str:
        assert main(["export", str(run), str(tmp_path / name), *words]) == code
        return capsys.readouterr().err

    assert "ends in .safetensors" in refused(2, melodies, "model.md")
    assert "not a run, or not finished" in refused(3, tmp_path, "a.safetensors")
    gone = tmp_path / "gone"
    shutil.copytree(words, gone)
    shutil.rmtree(gone / "checkpoints")
    assert "the model is gone" in refused(3, gone, "a.safetensors")
    shutil.copyfile(RESULTS / "quickstart/cpu/seed0/record.json", gone / "record.json")
    assert "not a run of one language model" in refused(2, gone, "a.safetensors")
    missing = str(tmp_path / "missing")
    assert "no such folder" in refused(3, words, "a.safetensors", "--data-dir", missing)
    assert not list(tmp_path.glob("*.safetensors"))


def test_what_can_not_be_loaded(melodies, tmp_path):
    file = exported(melodies, tmp_path)
    params, about = read_model(file)

    def refused(kind, words, params=params, **changes):
        write_model(file, params, {**about, **changes})
        with pytest.raises(kind, match=words):
            load(file, tmp_path / "runs")

    refused(ConfigError, "unknown experiment 'note_rn'. Did you mean", experiment="note_rn")
    refused(DataError, "no model of a run", seed="one")
    refused(DataError, "no model of a run", vocabulary={"level": "word"})
    refused(DataError, "isn't the name of a folder", preset="../../elsewhere")
    refused(DataError, "isn't the name of a folder", part="../elsewhere")
    refused(DataError, "lacks networks", params={"params": params["params"]})
    assert not (tmp_path / "runs").exists()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match="damaged"):
        load(file, tmp_path / "runs")


def test_half_a_run_is_never_left(monkeypatch, melodies, tmp_path):
    file = exported(melodies, tmp_path)
    monkeypatch.setattr("experiments.export.run_file.write_record", stop)
    with pytest.raises(KeyboardInterrupt):
        load(file, tmp_path / "runs")
    assert not list((tmp_path / "runs/note_rnn/cpu").iterdir())


def stop(*_):
    raise KeyboardInterrupt
