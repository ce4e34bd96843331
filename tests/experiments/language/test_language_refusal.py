"""What language runs refuse, and runs that diverge: exit codes and plain errors."""

from language_case import ROW, SMALL, folder, record, run, start, wait_for

from common import device
from common.config import override
from common.window import windows_bytes
from experiments.cli import main
from experiments.registry import find
from highway.size import training_bytes


def test_a_directory_of_another_configuration_is_refused(done, capsys):
    assert run(done, "--set", "model.depth=3") == 2
    assert "holds a run with another configuration" in capsys.readouterr().err
    assert record(done).config["model"]["depth"] == 2


def test_what_changes_no_result_may_change_before_a_run_goes_on(tmp_path, done, capsys):
    process = start(tmp_path, "--set", *SMALL)
    wait_for(folder(tmp_path) / "metrics.jsonl", 2, process)
    process.terminate()
    process.communicate(timeout=60)
    assert run(tmp_path, "--set", *SMALL, "evaluation.mc_batch_size=7") == 0
    assert record(tmp_path).metrics == record(done).metrics
    assert record(tmp_path).config["evaluation"]["mc_batch_size"] == 7
    capsys.readouterr()
    assert run(tmp_path, "--set", *SMALL, "evaluation.mc_batch_size=9") == 0
    assert "done before (evaluation.mc_batch_size: 7 → 9); --fresh" in capsys.readouterr().err


def test_a_learning_rate_that_vanishes_is_noted_before_anything_trains(tmp_path, capsys):
    fast = ["train.learning_rate_decay=50", "data.name=nothing"]
    assert run(tmp_path, "--set", *SMALL, "train.epochs=9", *fast) != 0
    assert "note: train.epochs=9 with" in capsys.readouterr().err


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


def test_a_run_whose_checkpoints_are_all_damaged_says_so_and_records_nothing(finished, capsys):
    (folder(finished) / "record.json").unlink()
    for checkpoint in (folder(finished) / "checkpoints").iterdir():
        (checkpoint / "_CHECKPOINT_METADATA").write_text("")
    assert run(finished, "--set", *SMALL) == 3
    assert "start again with --fresh" in capsys.readouterr().err.lower()
    assert not (folder(finished) / "record.json").exists()


def test_a_loss_too_large_for_its_perplexity_still_makes_a_record(tmp_path):
    arguments = [*SMALL, "train.learning_rate=3000", "train.clip_norm=1e9"]
    assert run(tmp_path, "--set", *arguments) in (0, 4)
    made = record(tmp_path)
    assert made.status in ("done", "diverged")


def test_a_text_that_the_device_cannot_hold_is_refused(tmp_path, capsys, monkeypatch):
    """By 8 bytes for each token that is trained on, beside what the rest of training needs."""
    settings = [*SMALL, "data.train_tokens=60000"]
    config = override(find(ROW).preset("smoke").config, settings)
    model = training_bytes(config.model, config.train, 65)
    text = windows_bytes(60_000, config.train.batch_size, config.train.steps)
    assert 7 * 60_000 < text < 8 * 60_000
    there = device.describe()
    many = "data.train_tokens, of which there are 60,000."
    for held, words in ((text - 1, f"Lower {many}"), (text + model - 1, f"train.steps or {many}")):
        facts = {**there, "memory_bytes": held}
        monkeypatch.setattr(device, "describe", lambda count=1, facts=facts: facts)
        assert run(tmp_path, "--set", *settings) == 2
        assert words in capsys.readouterr().err


def test_splits_too_short_are_found_before_training(tmp_path, capsys):
    assert run(tmp_path, "--set", "data.evaluation_tokens=20") == 2
    assert "valid split has 20 tokens, too few" in capsys.readouterr().err
    assert not (folder(tmp_path) / "metrics.jsonl").exists()
    assert run(tmp_path, "--set", *SMALL) == 0  # the failed start is not in the way


def test_a_damaged_record_is_named_with_what_to_do(finished, capsys):
    (folder(finished) / "record.json").write_text("{")
    assert run(finished, "--set", *SMALL) == 3
    assert "Delete it; the command that made it" in capsys.readouterr().err
    (folder(finished) / "record.json").unlink()
    assert run(finished, "--set", *SMALL) == 0


def test_a_dataset_that_is_no_text_is_refused(tmp_path, capsys):
    assert run(tmp_path, "--set", "data.name=jsb_chorales") == 2
    assert "needs a text corpus" in capsys.readouterr().err


def test_a_split_too_short_for_one_window_is_refused(tmp_path, capsys):
    assert run(tmp_path, "--set", "data.train_tokens=30") == 2
    assert "train split has 30 tokens, too few" in capsys.readouterr().err
