"""Runs from end to end on what ships: the record, resuming, and what can go wrong."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from orbax.checkpoint import v1 as ocp

from common import training
from common.interrupt import Interrupt
from common.record import Record, find_records, read_record
from experiments.cli import main
from experiments.registry import experiments, find
from experiments.run import Options, command

ROW = "rhn_penn_treebank_depth2_tied"
SMALL = ["data.train_tokens=6000", "data.evaluation_tokens=600", "train.report_every=5"]


def run(out: Path, *arguments: str, name: str = ROW) -> int:
    return main(["run", name, "--preset", "smoke", "--out", str(out), *arguments])


def start(out: Path, *arguments: str, name: str = ROW) -> subprocess.Popen:
    """The same as `run`, in a process of its own that can be killed."""
    command = [sys.executable, "-m", "experiments", "run", name, "--preset", "smoke"]
    return subprocess.Popen(
        [*command, "--out", str(out), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def folder(out: Path, seed: int = 0, name: str = ROW) -> Path:
    return out / name / "smoke" / f"seed{seed}"


def record(out: Path, seed: int = 0, name: str = ROW) -> Record:
    return read_record(folder(out, seed, name) / "record.json")


def result(made: Record) -> tuple:
    """What must not depend on when, where and in how many sessions a run was done."""
    curve = [{key: row[key] for key in row if key != "seconds"} for row in made.curve]
    return made.metrics, curve, made.parameters, made.config, made.data


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A finished run of each of two seeds."""
    out = tmp_path_factory.mktemp("done")
    assert run(out, "--seeds", "0", "1", "--set", *SMALL) == 0
    return out


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


def test_another_seed_another_result(done):
    assert record(done, 0).metrics != record(done, 1).metrics


def test_the_same_seed_gives_the_same_bits(done, tmp_path):
    assert run(tmp_path, "--seeds", "1", "--set", *SMALL) == 0
    assert result(record(tmp_path, 1)) == result(record(done, 1))


def test_a_finished_run_is_shown_and_not_run_again(done, capsys):
    before = (folder(done) / "record.json").stat().st_mtime_ns
    assert run(done, "--set", *SMALL) == 0
    assert (folder(done) / "record.json").stat().st_mtime_ns == before
    captured = capsys.readouterr()
    assert "done before; --fresh runs it again" in captured.err
    assert ROW in captured.out


def test_a_directory_of_another_configuration_is_refused(done, capsys):
    assert run(done, "--set", "model.depth=3") == 2
    assert "holds a run with another configuration" in capsys.readouterr().err
    assert record(done).config["model"]["depth"] == 2


def test_resume_is_the_default_and_fresh_starts_over(done, tmp_path):
    assert run(tmp_path, "--resume", "--set", *SMALL, "train.epochs=1") == 0
    assert run(tmp_path, "--fresh", "--set", *SMALL) == 0
    assert result(record(tmp_path)) == result(record(done))


@pytest.mark.parametrize(
    "name",
    ["quickstart", "rhn_enwik8_depth5", "rhn_text8_depth10", "rhn_penn_treebank_depth5_tied"],
)
def test_smoke_presets_run_on_what_ships(tmp_path, name):
    assert run(tmp_path, name=name) == 0
    made = record(tmp_path, name=name)
    for metric in find(name).metrics:
        assert metric.name in made.metrics
    for published in find(name).published:
        assert published.metric in made.metrics
    if name == "quickstart":
        rhn, lstm = made.parameters["rhn"], made.parameters["lstm"]
        assert abs(rhn - lstm) < 0.02 * rhn
        assert "--- lstm ---" in (folder(tmp_path, name=name) / "sample.txt").read_text()


def test_quickstart_models_have_the_same_size():
    from experiments.quickstart.catalogue import VOCABULARY
    from highway.size import parameter_count

    config = find("quickstart").presets["cpu"].config
    sizes = [parameter_count(config.model(name).model, VOCABULARY) for name in ("rhn", "lstm")]
    assert abs(sizes[0] - sizes[1]) < 0.01 * sizes[0]


def test_cpu_presets_of_the_depth_study_share_one_budget():
    from highway.size import parameter_count

    for tied in ("tied", "untied"):
        rows = [f"rhn_penn_treebank_depth{depth}_{tied}" for depth in range(1, 11)]
        sizes = [
            parameter_count(experiments()[row].presets["cpu"].config.model, 10_000) for row in rows
        ]
        assert max(sizes) - min(sizes) < 0.015 * max(sizes)


def wait_for(path: Path, lines: int, process: subprocess.Popen) -> None:
    """Until a metrics file has so many lines, or the process has ended."""
    while process.poll() is None:
        if path.exists() and len(path.read_text().splitlines()) >= lines:
            return
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_same_command_continues(tmp_path, done, number, code):
    arguments = ["--set", *SMALL]
    process = start(tmp_path, *arguments)
    wait_for(folder(tmp_path) / "metrics.jsonl", 2, process)
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == code, output
    assert "The same command continues it." in output
    assert "Traceback" not in output
    assert run(tmp_path, *arguments) == 0
    assert result(record(tmp_path)) == result(record(done))


def test_40_updates_are_17_and_a_stop_and_23_more(tmp_path, monkeypatch):
    """Bit for bit, parameters and all, with dropout on, through a checkpoint on disk."""
    forty = ["data.train_tokens=4020", "data.evaluation_tokens=600", "train.report_every=8"]

    class StopAt17(Interrupt):
        checks = 0

        def check(self):
            StopAt17.checks += 1  # once before each update
            if StopAt17.checks == 18:
                self.received = signal.SIGTERM
            super().check()

    monkeypatch.setattr(training, "CALL_SECONDS", 0.0)
    assert run(tmp_path / "whole", "--set", *forty) == 0
    monkeypatch.setattr("experiments.train.Interrupt", StopAt17)
    assert run(tmp_path / "cut", "--set", *forty) == 143
    assert json.loads(last_line(tmp_path / "cut"))["step"] == 16
    monkeypatch.undo()
    assert run(tmp_path / "cut", "--set", *forty) == 0
    assert record(tmp_path / "cut").curve[-1]["step"] == 40
    assert result(record(tmp_path / "cut")) == result(record(tmp_path / "whole"))
    digests = [newest_digest(tmp_path / one) for one in ("whole", "cut")]
    assert digests[0] == digests[1]


def last_line(out: Path) -> str:
    return (folder(out) / "metrics.jsonl").read_text().splitlines()[-1]


def newest_digest(out: Path) -> str:
    """The digest of all arrays of the last training state saved."""
    path = folder(out) / "checkpoints"
    newest = max((entry for entry in path.iterdir()), key=lambda entry: int(entry.name))
    return ocp.metadata(newest).custom_metadata["digest"]


def test_kill_9_and_the_same_command_ends_with_the_same_bits(tmp_path, done):
    for lines in (1, 8, 15):
        process = start(tmp_path, "--set", *SMALL)
        wait_for(folder(tmp_path) / "metrics.jsonl", lines, process)
        process.kill()
        process.communicate()
    assert run(tmp_path, "--set", *SMALL) == 0
    assert result(record(tmp_path)) == result(record(done))


def test_a_run_directory_in_use_is_refused(tmp_path, capsys):
    process = start(tmp_path, "--set", "train.epochs=2000")
    wait_for(folder(tmp_path) / "metrics.jsonl", 1, process)
    try:
        assert run(tmp_path, "--set", "train.epochs=2000") == 2
        assert "another process is running here" in capsys.readouterr().err
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


def test_a_damaged_latest_checkpoint_costs_no_more_than_an_epoch(tmp_path, done, capsys):
    more = [*SMALL, "train.epochs=4"]
    assert run(tmp_path / "whole", "--set", *more) == 0
    assert run(tmp_path / "cut", "--set", *more) == 0
    path = folder(tmp_path / "cut")
    (path / "record.json").unlink()
    newest = max((path / "checkpoints").iterdir(), key=lambda entry: int(entry.name))
    arrays = max((f for f in newest.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    os.truncate(arrays, arrays.stat().st_size // 2)
    capsys.readouterr()
    assert run(tmp_path / "cut", "--set", *more) == 0
    error = capsys.readouterr().err
    assert str(newest) in error
    assert "Going back to the checkpoint before it" in error
    assert result(record(tmp_path / "cut")) == result(record(tmp_path / "whole"))


def test_divergence_is_recorded_and_exits_with_4(tmp_path, capsys):
    arguments = ["--set", *SMALL, "train.learning_rate=1e30", "train.clip_norm=1e30"]
    for _ in range(2):  # the second time from the record
        assert run(tmp_path, *arguments) == 4
    error = capsys.readouterr().err
    assert "is not finite" in error
    assert "Lower the learning rate" in error
    made = record(tmp_path)
    assert made.status == "diverged"
    assert made.metrics == {}


def test_data_that_are_missing_or_wrong_exit_with_3(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HIGHWAY_TUTOR_CACHE", str(tmp_path / "cache"))
    hand = tmp_path / "hand"
    command = ["run", ROW, "--preset", "cpu", "--out", str(tmp_path), "--data-dir", str(hand)]
    assert main(command) == 3
    assert "there is no such folder" in capsys.readouterr().err
    hand.mkdir()
    for content in (b"", b"not a zip", b"PK\x03\x04 cut short"):
        (hand / "ptb.zip").write_bytes(content)
        assert main(command) == 3
        error = capsys.readouterr().err
        assert str(hand / "ptb.zip") in error
        assert len(error.strip().splitlines()) <= 2
    assert not list((tmp_path / "cache").glob("tfds/penn_treebank/*"))


def test_a_full_disk_is_told_plainly_and_the_run_goes_on_when_there_is_space(small_disk, done):
    filler = small_disk / "filler"
    arguments = ["--set", *SMALL]
    for free in (60_000, 0):  # no room for a checkpoint, then not even for a line
        disk = os.statvfs(small_disk)
        filler.write_bytes(b"x" * (disk.f_bavail * disk.f_frsize - free))
        process = start(small_disk, *arguments)
        output = process.communicate(timeout=120)[0]
        assert process.returncode == 3, output
        assert "Traceback" not in output
        (error,) = [line for line in output.splitlines() if line.startswith("error: ")]
        assert str(small_disk) in error
        filler.unlink()
    assert run(small_disk, *arguments) == 0
    assert result(record(small_disk)) == result(record(done))


def test_a_run_whose_checkpoints_are_all_damaged_says_so_and_records_nothing(tmp_path, capsys):
    assert run(tmp_path, "--set", *SMALL) == 0
    (folder(tmp_path) / "record.json").unlink()
    for checkpoint in (folder(tmp_path) / "checkpoints").iterdir():
        (checkpoint / "_CHECKPOINT_METADATA").write_text("")
    assert run(tmp_path, "--set", *SMALL) == 3
    assert "start again with --fresh" in capsys.readouterr().err.lower()
    assert not (folder(tmp_path) / "record.json").exists()


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


def test_a_loss_too_large_for_its_perplexity_still_makes_a_record(tmp_path):
    arguments = [*SMALL, "train.learning_rate=3000", "train.clip_norm=1e9"]
    assert run(tmp_path, "--set", *arguments) in (0, 4)
    made = record(tmp_path)
    assert made.status in ("done", "diverged")


def test_an_interrupted_seed_stops_those_after_it(tmp_path):
    process = start(tmp_path, "--seeds", "0", "1", "--set", *SMALL, "train.epochs=50")
    wait_for(folder(tmp_path) / "metrics.jsonl", 1, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not folder(tmp_path, 1).exists()


def test_splits_too_short_are_found_before_training(tmp_path, capsys):
    assert run(tmp_path, "--set", "data.evaluation_tokens=20") == 2
    assert "valid split has 20 tokens, too few" in capsys.readouterr().err
    assert not (folder(tmp_path) / "metrics.jsonl").exists()
    assert run(tmp_path, "--set", *SMALL) == 0  # the failed start is not in the way


def test_a_damaged_record_is_named_with_what_to_do(tmp_path, capsys):
    assert run(tmp_path, "--set", *SMALL) == 0
    (folder(tmp_path) / "record.json").write_text("{")
    assert run(tmp_path, "--set", *SMALL) == 3
    assert "Delete it; the command that made it" in capsys.readouterr().err
    (folder(tmp_path) / "record.json").unlink()
    assert run(tmp_path, "--set", *SMALL) == 0


def test_a_dataset_that_is_no_text_is_refused(tmp_path, capsys):
    assert run(tmp_path, "--set", "data.name=jsb_chorales") == 2
    assert "needs a text corpus" in capsys.readouterr().err


def test_a_split_too_short_for_one_window_is_refused(tmp_path, capsys):
    assert run(tmp_path, "--set", "data.train_tokens=30") == 2
    assert "train split has 30 tokens, too few" in capsys.readouterr().err


def test_tensorboard_files_are_written_on_request(tmp_path):
    assert run(tmp_path, "--tensorboard", "--set", *SMALL, "train.epochs=1") == 0
    assert list((folder(tmp_path) / "tensorboard").glob("events*"))


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


def test_the_platform_on_the_command_line_reaches_the_record(tmp_path):
    settings = [*SMALL, "train.epochs=1"]
    assert run(tmp_path, "--platform", "cpu", "--set", *settings) == 0
    assert "--platform cpu" in record(tmp_path).command
