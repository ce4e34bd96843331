"""Language runs that stop, are killed or lose files go on with the same bits."""

import json
import os
import signal
from pathlib import Path

import pytest
from language_case import SMALL, folder, record, run, start, wait_for
from orbax.checkpoint import v1 as ocp
from run_case import result

from common import training
from common.interrupt import Interrupt
from highway import evaluation


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
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


def test_a_cut_between_protocols_of_the_final_evaluation(tmp_path, done, monkeypatch):
    """Those that were finished aren't done again; of other code all are."""
    full, calls = evaluation.full, []

    def watched(*arguments, **settings):
        calls.append(settings)
        if stopped and len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return full(*arguments, **settings)

    monkeypatch.setattr(evaluation, "full", watched)
    counts = []
    for stopped, code in ((True, "one"), (False, "one"), (False, "other")):
        calls.clear()
        monkeypatch.setattr("experiments.language.run.code_digest", lambda code=code: code)
        assert run(tmp_path, "--set", *SMALL) == (143 if stopped else 0)
        counts.append(len(calls))
        if not stopped:
            assert result(record(tmp_path)) == result(record(done))
            (folder(tmp_path) / "record.json").unlink()
    assert counts == [2, 1, 2]  # of validation and test


def test_what_each_protocol_depends_on(done):
    """Whatever one of these is, another configuration never takes what was measured by it."""
    rows = json.loads((folder(done) / "evaluations.json").read_text())
    by_name = {row["protocol"]: row["of"] for row in rows}
    assert list(by_name) == ["valid", "valid_full", "test", "test_full"]
    train, model = (record(done).config[name] for name in ("train", "model"))
    for name, of in by_name.items():
        assert set(of) >= {"parameters", "tokens", "compute", "code"}
        assert (of["seed"], of["model"], of["level"]) == (0, model, "character")
        chunk = {"softmax_chunk": train["softmax_chunk"]}
        windows = {key: train[key] for key in ("batch_size", "steps")}
        assert of["settings"] == (chunk if name.endswith("full") else windows | chunk)
    tokens = {name: of["tokens"] for name, of in by_name.items()}
    assert tokens["valid"] == tokens["valid_full"] != tokens["test"] == tokens["test_full"]


@pytest.mark.slow
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


def test_kill_9_and_the_same_command_ends_with_the_same_bits(tmp_path, done):
    for lines in (1, 12):
        process = start(tmp_path, "--set", *SMALL)
        wait_for(folder(tmp_path) / "metrics.jsonl", lines, process)
        process.kill()
        process.communicate()
    assert run(tmp_path, "--set", *SMALL) == 0
    assert result(record(tmp_path)) == result(record(done))


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


def test_an_interrupted_seed_stops_those_after_it(tmp_path):
    process = start(tmp_path, "--seeds", "0", "1", "--set", *SMALL, "train.epochs=50")
    wait_for(folder(tmp_path) / "metrics.jsonl", 1, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not folder(tmp_path, 1).exists()


def last_line(out: Path) -> str:
    return (folder(out) / "metrics.jsonl").read_text().splitlines()[-1]


def newest_digest(out: Path) -> str:
    """The digest of all arrays of the last training state saved."""
    path = folder(out) / "checkpoints"
    newest = max((entry for entry in path.iterdir()), key=lambda entry: int(entry.name))
    return ocp.metadata(newest).custom_metadata["digest"]
