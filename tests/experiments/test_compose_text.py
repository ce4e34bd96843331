"""`compose` of language models: texts of a finished run, without its corpus."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.config import to_dict
from common.datasets.corpus import Tokenizer
from common.record import read_record, write_record
from common.window import Windows
from experiments import text_model
from experiments.cli import main
from highway.config import EvaluationConfig, LanguageModelConfig, ModelConfig
from highway.learner import LanguageModelLearner

RESULTS = Path(__file__).parents[2] / "results"
RUN = "rhn_penn_treebank_depth3_tied/cpu/seed0"
CONFIG = LanguageModelConfig(
    model=ModelConfig(depth=2, units=6, initial_range=1.0),
    evaluation=EvaluationConfig(sample_tokens=7),
)
WORDS = Tokenizer("words", "word", ("the", "<eos>", "a", "dog", "cat", "<unk>"))
LETTERS = Tokenizer("letters", "character", tuple("abc \n"))


def keep(run: Path, tokenizer: Tokenizer) -> Path:
    """A finished run of a model that has learned nothing; no corpus has its vocabulary."""
    nothing = np.zeros((1, 1, 1), np.int32)
    size = len(tokenizer.vocabulary)
    learner = LanguageModelLearner(CONFIG, size, Windows(nothing, nothing))
    text_model.save(run, learner.initial_state(0).params, tokenizer)
    record = read_record(RESULTS / RUN / "record.json")
    write_record(replace(record, config=to_dict(CONFIG)), run)
    return run


@pytest.fixture(scope="module")
def letters(tmp_path_factory) -> Path:
    return keep(tmp_path_factory.mktemp("letters"), LETTERS)


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    return keep(tmp_path_factory.mktemp("words"), WORDS)


def drawn(run: Path, folder: Path, *arguments: str) -> list[str]:
    assert main(["compose", str(run), "--out", str(folder), *arguments]) == 0
    return [path.read_text().rstrip("\n") for path in sorted(folder.glob("text*.txt"))]


def test_texts_are_written_and_printed(letters, tmp_path, capsys):
    found = drawn(letters, tmp_path, "-n", "3", "--tokens", "40", "--seed", "1")
    shown = capsys.readouterr().out
    assert len(set(found)) == 3
    assert all(set(text) <= set(LETTERS.vocabulary) and 20 < len(text) <= 40 for text in found)
    assert all(text.rstrip() in shown for text in found)
    fewer = drawn(letters, tmp_path, "-n", "2", "--tokens", "40", "--seed", "1")
    assert fewer == found[:2]
    assert "1 file of earlier texts deleted" in capsys.readouterr().err
    assert drawn(letters, tmp_path, "-n", "2", "--tokens", "40", "--seed", "2") != fewer
    cold = drawn(letters, tmp_path, "-n", "2", "--tokens", "40", "--temperature", "0.00001")
    assert cold[0] == cold[1]


def test_a_primer_is_gone_on_from(words, tmp_path):
    primer = tmp_path / "primer.txt"
    primer.write_text("the dog <unk>\nthe cat")
    (found,) = drawn(words, tmp_path / "out", "-n", "1", "--primer", str(primer))
    begin, rest = found[:21], found[21:]
    assert begin.split() == ["the", "dog", "<unk>", "the", "cat"]
    assert len(rest.replace("\n", " <eos> ").split()) <= 7  # as many as the run's own sample


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--primer", "{folder}/none.txt"], 3, "none.txt: can't be read"),
        (["--primer", "{folder}/empty.txt"], 3, "a primer has 1 to 100,000 characters, not 0"),
        (["--primer", "{folder}/other.txt"], 3, "other.txt: letters: the character 'x'"),
        (["--primer", "{folder}/latin.txt"], 3, "latin.txt: a primer is text in UTF-8"),
        (["--primer", "{folder}/empty.txt", "--out", "{folder}"], 2, "Choose another --out"),
        (["--data-dir", "{folder}/none"], 3, "there is no such folder"),
        (["--bars", "8", "--wav"], 2, "--bars, --wav can't be asked of it"),
        (["--out", "{run}"], 2, "here lie the files of a run"),
    ],
)
def test_refusals(letters, tmp_path, capsys, arguments, code, told):
    for name, content in (("empty", b""), ("other", b"abx"), ("latin", b"\xe9")):
        (tmp_path / f"{name}.txt").write_bytes(content)
    words = [one.format(folder=tmp_path, run=letters) for one in arguments]
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "out")]
    assert main(["compose", str(letters), *words, *out]) == code
    assert told in capsys.readouterr().err
    assert not list(tmp_path.rglob("text1.txt"))


def test_a_run_without_vocabulary_asks_for_its_corpus(words, tmp_path, monkeypatch):
    asked = []

    def look(config, data_dir):
        asked.append(data_dir)
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.text_model.load_corpus", look)
    (words / text_model.VOCABULARY).rename(tmp_path / "aside.json")
    try:
        assert main(["compose", str(words), "--data-dir", str(tmp_path)]) == 130
    finally:
        (tmp_path / "aside.json").rename(words / text_model.VOCABULARY)
    assert asked == [tmp_path]
