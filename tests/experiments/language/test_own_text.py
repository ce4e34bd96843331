"""`rhn_text`: a folder with a text is all that it takes."""

import hashlib

import pytest
from run_case import folder, record, run

from experiments.cli import main

SHORT = ["model.units=6", "model.depth=1", "train.epochs=1", "evaluation.sample_tokens=5"]
TEXT = "".join(f"{number} bottles of beer on the wall\n" for number in range(150))


@pytest.fixture
def mine(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "beer.txt").write_text(TEXT)
    return folder


def test_characters_then_another_text_is_refused(tmp_path, mine, capsys):
    out = tmp_path / "runs"
    arguments = ["--data-dir", str(mine), "--set", *SHORT]
    assert run(out, "rhn_text", *arguments) == 0
    made = record(out, "rhn_text")
    (data,) = made.data
    assert (data.name, data.stand_in_for) == ("text_files", None)
    assert data.checksums == {"text": hashlib.sha256(TEXT.encode()).hexdigest()}
    assert "beer" not in str(made)  # neither file nor folder are named
    assert {"valid/bits_per_character", "test_full/bits_per_character"} <= made.metrics.keys()
    capsys.readouterr()
    assert main(["table", "rhn_text", "--out", str(out), "--results", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "bits per character" in shown
    assert "not run" not in shown
    (mine / "beer.txt").write_text(TEXT.upper())
    assert run(out, "rhn_text", *arguments) == 2
    error = capsys.readouterr().err
    assert str(folder(out, "rhn_text")) in error
    assert "on other data" in error


def test_words(tmp_path, mine):
    settings = [*SHORT, "data.name=text_files_words", "train.batch_size=2", "train.steps=10"]
    assert run(tmp_path, "rhn_text", "--data-dir", str(mine), "--set", *settings) == 0
    made = record(tmp_path, "rhn_text")
    assert [(data.name, data.stand_in_for) for data in made.data] == [("text_files_words", None)]
    assert "test_full/perplexity" in made.metrics
    assert "test_full/bits_per_character" not in made.metrics


def test_a_text_that_is_missing_or_too_short_is_told(tmp_path, mine, capsys):
    assert run(tmp_path, "rhn_text") == 3
    assert "text_files needs a folder with one .txt file" in capsys.readouterr().err
    (mine / "beer.txt").write_text("too little\n" * 9)
    assert run(tmp_path, "rhn_text", "--data-dir", str(mine)) == 2
    assert "the valid split has 4 tokens, too few for one window" in capsys.readouterr().err
    assert main(["table", "rhn_text", "--out", str(tmp_path), "--results", str(tmp_path)]) == 0
    assert "not run" not in capsys.readouterr().out
