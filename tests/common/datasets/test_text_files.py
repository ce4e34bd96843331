"""A text of the user's own: which files are read, how they are cut, and what can't be used."""

import hashlib

import numpy as np
import pytest

from common.datasets import load, status, verify
from common.error import DataError
from experiments.cli import main

TEXT = "Zoë liest 日本語.\nOft.\n" * 20
LINES = {"train": "a cat\na dog\na bird\n", "valid": "a cat\na fish\n", "test": "the dog\n"}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HIGHWAY_TUTOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_lines(folder, **changes: str) -> None:
    for split, text in {**LINES, **changes}.items():
        (folder / f"{split}.txt").write_text(text, encoding="utf-8")


def test_one_file_is_divided(folder, cache):
    (folder / "my book.TXT").write_text(TEXT, encoding="utf-8")
    (folder / "read me.md").write_text("not text")
    (folder / ".hidden.txt").write_text("not text")
    assert status("text_files", folder).state == "preparable"
    corpus = load("text_files", folder)
    assert (corpus.name, corpus.level) == ("text_files", "character")
    assert corpus.vocabulary == tuple(sorted(set(TEXT)))
    whole = np.concatenate([corpus.train, corpus.valid, corpus.test])
    assert corpus.decode(whole) == TEXT
    assert [len(corpus.train), len(corpus.valid)] == [len(TEXT) * 9 // 10, len(TEXT) // 20]
    assert corpus.checksums == {"text": hashlib.sha256(TEXT.encode()).hexdigest()}
    found = status("text_files", folder)
    assert (found.state, found.advice.partition(": ")[2]) == (
        "ready",
        f"{len(set(TEXT))} different characters",
    )
    assert verify("text_files", data_dir=folder).ok


def test_three_files_are_the_splits_whatever_lies_beside_them(folder, cache):
    write_lines(folder)
    (folder / "notes.txt").write_text("~")
    corpus = load("text_files", folder)
    found = {split: corpus.decode(getattr(corpus, split)) for split in LINES}
    assert found == LINES
    assert corpus.vocabulary == tuple(sorted(set("".join(LINES.values()))))
    assert corpus.checksums.keys() == {"train.txt", "valid.txt", "test.txt"}


def test_a_changed_text_is_prepared_anew_and_a_moved_one_is_not(folder, cache, tmp_path):
    write_lines(folder)
    first = load("text_files", folder)
    write_lines(folder, test="a bee\n")
    assert status("text_files", folder).state == "preparable"
    second = load("text_files", folder)
    assert second.decode(second.test) == "a bee\n"
    assert second.checksums != first.checksums
    moved = folder.rename(tmp_path / "moved")
    assert status("text_files", moved).state == "ready"


def test_windows_files_are_read_as_others(folder, cache):
    content = b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode()
    (folder / "a.txt").write_bytes(content)
    corpus = load("text_files", folder)
    assert corpus.decode(np.concatenate([corpus.train, corpus.valid, corpus.test])) == TEXT


def words_of(folder, **changes: str) -> tuple[tuple[str, ...], dict[str, str]]:
    write_lines(folder, **changes)
    corpus = load("text_files_words", folder)
    assert corpus.level == "word"
    return corpus.vocabulary, {split: corpus.decode(getattr(corpus, split)) for split in LINES}


def test_words_of_the_training_split_and_line_ends(folder, cache):
    vocabulary, texts = words_of(folder, valid="a cat\n", test="a dog\n")
    assert vocabulary == ("<eos>", "a", "bird", "cat", "dog")  # by count, then alphabet
    assert texts == {**LINES, "valid": "a cat\n", "test": "a dog\n"}


def test_words_that_are_unknown_are_learnt_from_those_that_occur_once(folder, cache):
    """`<eos>` and a occur thrice in the training split, cat, dog and bird once."""
    vocabulary, texts = words_of(folder)
    assert vocabulary == ("<eos>", "<unk>", "a")
    assert texts["train"] == "a <unk>\n" * 3
    assert texts["test"] == "<unk> <unk>\n"


def test_a_text_with_its_own_unknown_words_keeps_the_others(folder, cache):
    vocabulary, texts = words_of(folder, train="a cat\na <unk>\n")
    assert vocabulary == ("<eos>", "a", "<unk>", "cat")
    assert (texts["valid"], texts["test"]) == ("a cat\na <unk>\n", "<unk> <unk>\n")


def test_unknown_words_have_a_number_where_none_occurs_once(folder, cache):
    vocabulary, texts = words_of(folder, train="a cat a cat\n\n")
    assert vocabulary == ("<eos>", "a", "cat", "<unk>")
    assert texts["valid"] == "a cat\na <unk>\n"


def test_one_file_of_words_is_divided(folder, cache):
    (folder / "a.txt").write_text("one two three\n" * 25)  # 100 words with line ends
    corpus = load("text_files_words", folder)
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [90, 5, 5]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"no text in .*mine; it needs one \.txt file, or train\.txt, valid\.txt and test"),
        ({"a.txt": b"a", "b.txt": b"b"}, r"has 2 \.txt files \(a\.txt, b\.txt\); .* Join or"),
        ({"train.txt": b"a", "valid.txt": b"b"}, r"2 \.txt files .* valid\.txt and test\.txt"),
        ({"a.txt": b""}, r"mine/a\.txt is empty"),
        ({"a.txt": b" \n"}, r"mine/a\.txt is empty"),
        (
            {"train.txt": b"a", "valid.txt": b"b\ncaf\xe9\n", "test.txt": b"c"},
            r"mine/valid\.txt isn't UTF-8: byte 0xe9 in line 2\. .*iconv -f LATIN1",
        ),
    ],
)
def test_what_cannot_be_used_is_named_with_its_remedy(folder, cache, capsys, files, message):
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"^text_files: .*{message}"):
        load("text_files", folder)
    assert main(["data", "text_files", "--data-dir", str(folder)]) == 3


def test_too_many_words_are_told(folder, cache, monkeypatch):
    monkeypatch.setattr("common.datasets.text_files.MOST_SYMBOLS", 2)
    write_lines(folder)
    with pytest.raises(DataError, match=r"test\.txt: 3 different words.*data\.name=text_files$"):
        load("text_files_words", folder)


def test_without_a_folder(cache):
    assert status("text_files").state == "missing"
    with pytest.raises(DataError, match=r"text_files needs a folder .*--data-dir FOLDER"):
        load("text_files")
