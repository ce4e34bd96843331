"""Language runs from end to end on what ships: the record, the files, and the same again."""

import json
import shlex
import signal

import pytest
import run_case
from language_case import ROW, SMALL, folder, record, run
from run_case import result

from common.interrupt import Interrupt
from common.record import find_records
from experiments.registry import experiments, find
from experiments.results.commit import shown_files
from experiments.run import Options, command
from experiments.text_model import VOCABULARY, load_run


def test_a_run_ends_with_its_record(done):
    made = record(done)
    assert (made.experiment, made.preset, made.seed, made.status) == (ROW, "smoke", 0, "done")
    assert made.overrides == SMALL
    assert made.config["data"]["train_tokens"] == 6000
    assert made.config["model"]["depth"] == 2
    assert made.data[0].name == "tiny_shakespeare"
    assert made.data[0].stand_in_for == "penn_treebank"
    assert made.data[0].tokens == {"train": 6000, "valid": 600, "test": 600}
    assert len(made.data[0].checksums["tiny_shakespeare.txt"]) == 64
    assert made.device["platform"] == "cpu"
    assert made.versions["jax"]
    assert isinstance(made.parameters, int)
    for split in ("valid", "test", "valid_full", "test_full"):
        assert made.metrics[f"{split}/perplexity"] == pytest.approx(
            2 ** made.metrics[f"{split}/bits_per_character"]
        )
    assert [row["epoch"] for row in made.curve] == [1.0, 2.0]
    best = min(row["valid/perplexity"] for row in made.curve)
    assert made.metrics["valid/perplexity"] == best  # the best checkpoint, batched
    assert "--set" in made.command


def test_files_of_a_run(done):
    path = folder(done)
    names = {entry.name for entry in path.iterdir()}
    assert names >= {
        "config.json", "manifest.json", "metrics.jsonl", "checkpoints", "record.json",
        "learning_curve.png", "sample.txt",
    }  # fmt: skip
    (session,) = json.loads((path / "manifest.json").read_text())["sessions"]
    assert session["command"] == record(done).command
    assert session["commit"] == record(done).commit
    assert len((path / "sample.txt").read_text()) == 80


def test_a_finished_model_needs_no_text(done, monkeypatch):
    monkeypatch.setattr("experiments.text_model.load_corpus", None)
    model = load_run(folder(done))
    sample = (folder(done) / "sample.txt").read_text(encoding="utf-8")
    assert model.tokenizer.decode(model.tokenizer.encode(sample)) == sample


def test_the_vocabulary_is_not_committed(done):
    assert (folder(done) / VOCABULARY).exists()
    assert VOCABULARY not in {path.name for path in shown_files(folder(done))}


def test_a_run_from_before_vocabularies_were_written_gets_its_own(finished):
    path = folder(finished)
    before = (path / VOCABULARY).read_bytes()
    (path / VOCABULARY).unlink()
    (path / "record.json").unlink()
    assert run(finished, "--set", *SMALL) == 0
    assert (path / VOCABULARY).read_bytes() == before


def test_another_seed_another_result(done):
    assert record(done, 0).metrics != record(done, 1).metrics


def test_a_finished_run_is_shown_and_not_run_again(done, capsys):
    before = (folder(done) / "record.json").stat().st_mtime_ns
    assert run(done, "--set", *SMALL) == 0
    assert (folder(done) / "record.json").stat().st_mtime_ns == before
    captured = capsys.readouterr()
    assert "done before; --fresh runs it again" in captured.err
    assert ROW in captured.out


def test_fresh_starts_over_and_the_same_seed_gives_the_same_bits(done, tmp_path):
    """`--resume` is the default. The seed was the second of two, and is alone here."""
    more = ["--seeds", "1", "--set", *SMALL]
    assert run(tmp_path, "--resume", *more, "train.epochs=1") == 0
    assert run(tmp_path, "--fresh", *more) == 0
    assert result(record(tmp_path, 1)) == result(record(done, 1))


@pytest.mark.parametrize(
    "name",
    [
        "rhn_enwik8_depth5",
        pytest.param("rhn_text8_depth10", marks=pytest.mark.slow),
        "rhn_penn_treebank_depth5_tied",
    ],
)
def test_smoke_presets_run_on_what_ships(tmp_path, name):
    assert run_case.run(tmp_path, name) == 0
    made = run_case.record(tmp_path, name)
    for metric in find(name).metrics:
        assert metric.name in made.metrics
    for published in find(name).published:
        assert published.metric in made.metrics


def test_cpu_presets_of_the_depth_study_share_one_budget():
    from highway.size import parameter_count

    for tied in ("tied", "untied"):
        rows = [f"rhn_penn_treebank_depth{depth}_{tied}" for depth in range(1, 11)]
        sizes = [
            parameter_count(experiments()[row].presets["cpu"].config.model, 10_000) for row in rows
        ]
        assert max(sizes) - min(sizes) < 0.015 * max(sizes)


def test_a_record_names_the_code_of_every_session(tmp_path, monkeypatch):
    class StopAtOnce(Interrupt):
        def check(self):
            self.received = signal.SIGTERM
            super().check()

    states = iter([("first", True), ("second", False)])

    def git_state():
        commit, dirty = next(states)
        return {"commit": commit, "dirty": dirty}

    monkeypatch.setattr("experiments.run.git_state", git_state)
    with monkeypatch.context() as patch:
        patch.setattr("experiments.train.Interrupt", StopAtOnce)
        assert run(tmp_path, "--set", *SMALL) == 143
    assert run(tmp_path, "--set", *SMALL) == 0
    made = record(tmp_path)
    assert (made.commit, made.commits, made.dirty) == ("second", ["first", "second"], True)


def test_records_are_found_below_a_folder(done):
    assert [one.seed for one in find_records(done)] == [0, 1]


def test_the_recorded_command_says_all_that_was_asked(tmp_path):
    options = Options(
        preset="smoke",
        overrides=("model.depth=3", "data.name=my text"),
        platform="cpu",
        out=tmp_path,
        data_dir=tmp_path,
    )
    words = shlex.split(command(find(ROW), options, (3, 4)))
    assert words == [
        "python", "-m", "experiments", "run", ROW, "--preset", "smoke", "--seeds", "3", "4",
        "--platform", "cpu", "--set", "model.depth=3", "data.name=my text", "--data-dir", "DIR",
    ]  # fmt: skip
    assert "--platform" not in command(find(ROW), Options(preset="smoke"), (0,))


def test_the_platform_reaches_the_record_and_tensorboard_files_are_written_on_request(tmp_path):
    options = ["--platform", "cpu", "--tensorboard"]
    assert run(tmp_path, *options, "--set", *SMALL, "train.epochs=1") == 0
    assert "--platform cpu" in record(tmp_path).command
    assert list((folder(tmp_path) / "tensorboard").glob("events*"))
