"""Preprocessing as pure functions, and the corpus that comes out: what users encode and decode."""

import json

import numpy as np
import pytest

from common.datasets.corpus import Corpus, byte_symbol, words
from common.datasets.enwik8 import number_bytes
from common.datasets.jsb_chorales import read_chorales
from common.datasets.penn_treebank import number_words
from common.datasets.stream import TokenStreams, split_90_5_5
from common.datasets.text8 import number_letters
from common.datasets.tiny_shakespeare import number_characters
from common.error import DataError


def corpus(level, streams: TokenStreams) -> Corpus:
    return Corpus(
        name="sample",
        version="1.0.0",
        level=level,
        vocabulary=streams.vocabulary,
        train=streams.train.astype(np.int32),
        valid=streams.valid.astype(np.int32),
        test=streams.test.astype(np.int32),
        checksums={},
    )


def whole(streams: TokenStreams) -> np.ndarray:
    return np.concatenate([streams.train, streams.valid, streams.test])


TREEBANK = {
    "train": " the cat saw the dog \n a dog saw \n the end \n",
    "valid": " the dog \n",
    "test": " a cat \n saw \n",
}


def test_words_are_numbered_by_count_then_alphabet():
    streams = number_words(TREEBANK)
    # Counts: <eos> 3, the 3, dog 2, saw 2, and a, cat, end once each.
    assert streams.vocabulary == ("<eos>", "the", "dog", "saw", "a", "cat", "end")
    assert streams.train.tolist() == [1, 5, 3, 1, 2, 0, 4, 2, 3, 0, 1, 6, 0]
    assert streams.valid.tolist() == [1, 2, 0]
    assert streams.test.tolist() == [4, 5, 0, 3, 0]
    assert streams.train.dtype == np.uint16


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_word_outside_the_training_split_is_named_with_its_place(split):
    with pytest.raises(DataError, match=rf"'zebra' at position 2 of {split}"):
        number_words({**TREEBANK, split: "the dog zebra \n"})


def test_bytes_are_numbered_in_byte_order_over_the_whole_file():
    text = "<a>é日\n" * 40 + "~"  # the last byte occurs in the test split alone
    raw = text.encode()
    streams = number_bytes(raw)
    assert streams.vocabulary == tuple(byte_symbol(b) for b in sorted(set(raw)))
    assert "~" in streams.vocabulary
    ids = {byte: i for i, byte in enumerate(sorted(set(raw)))}
    assert whole(streams).tolist() == [ids[b] for b in raw]
    assert streams.train.dtype == np.uint8


def test_all_byte_names_are_printable_and_different():
    names = [byte_symbol(b) for b in range(256)]
    assert len(set(names)) == 256
    assert all(name.isascii() and name.isprintable() for name in names)
    assert names[ord("\n")] == "\\n"
    assert names[0xE9] == "\\xe9"
    assert names[ord("\\")] == "\\\\"
    assert names[ord("x")] == "x"


def test_letters_have_fixed_numbers():
    streams = number_letters(b" az " * 10)
    assert streams.vocabulary == tuple(" abcdefghijklmnopqrstuvwxyz")
    assert whole(streams)[:4].tolist() == [0, 1, 26, 0]


@pytest.mark.parametrize(("bad", "shown"), [("A", "'A'"), ("\n", r"'\\n'"), ("é", "'é'")])
def test_a_letter_outside_the_27_is_named_with_its_offset(bad, shown):
    with pytest.raises(DataError, match=rf"{shown}.* at offset 5"):
        number_letters(f"hello{bad} world".encode())


def test_characters_are_sorted():
    streams = number_characters("hé llo\n" * 20)
    assert streams.vocabulary == ("\n", " ", "h", "l", "o", "é")
    assert whole(streams)[:7].tolist() == [2, 5, 1, 3, 3, 4, 0]


def test_more_than_256_characters_are_refused():
    with pytest.raises(DataError, match="300 different"):
        number_characters("".join(map(chr, range(1000, 1300))))


@pytest.mark.parametrize(
    ("n", "sizes"),
    [(100_000_000, (90_000_000, 5_000_000, 5_000_000)), (1000, (900, 50, 50)), (19, (17, 0, 2))],
)
def test_split_90_5_5(n, sizes):
    ids = np.broadcast_to(np.uint8(0), n)
    assert tuple(map(len, split_90_5_5(ids))) == sizes


def test_split_keeps_the_order():
    ids = np.arange(40)
    assert np.concatenate(split_90_5_5(ids)).tolist() == ids.tolist()


@pytest.mark.parametrize(
    ("level", "streams", "text"),
    [
        ("word", number_words(TREEBANK), "the cat saw\na dog\n"),
        ("word", number_words(TREEBANK), "\n\nthe\n"),
        ("character", number_letters(b"abc"), "a quick brown fox"),
        ("byte", number_bytes("né<日本>\\ \n\t😀".encode()), "日\\n<é>\n😀"),
    ],
)
def test_decode_undoes_encode(level, streams, text):
    sample = corpus(level, streams)
    ids = sample.encode(text)
    assert ids.dtype == np.int32
    assert sample.decode(ids) == text
    assert np.array_equal(sample.encode(sample.decode(ids)), ids)


def test_decode_shows_bytes_that_are_not_utf8():
    sample = corpus("byte", number_bytes("aé".encode()))
    assert sample.decode(sample.encode(b"\xa9a")) == "\\xa9a"


@pytest.mark.parametrize(
    ("level", "streams", "text", "message"),
    [
        ("word", number_words(TREEBANK), "the cat\nbit the dog", r"word 'bit' at position 3"),
        ("character", number_letters(b"abc"), "abC", r"character 'C' at position 2"),
        ("byte", number_bytes(b"abc"), "abz", r"byte 'z' at position 2"),
    ],
)
def test_encode_names_the_unknown_token(level, streams, text, message):
    with pytest.raises(DataError, match=message):
        corpus(level, streams).encode(text)


@pytest.mark.parametrize("bad", [-1, 27])
def test_decode_names_the_bad_id(bad):
    with pytest.raises(DataError, match=rf"id {bad} at position 1 is outside 0\.\.26"):
        corpus("character", number_letters(b"abc")).decode([0, bad])


def test_encode_of_nothing():
    assert corpus("character", number_letters(b"abc")).encode("").shape == (0,)


def test_words_split_at_any_white_space():
    assert words("a  b\n\tc") == ["a", "b", "<eos>", "c"]


def chorales(**splits) -> bytes:
    return json.dumps({"train": [[[60]]], "valid": [[[60]]], "test": [[[60]]], **splits}).encode()


def test_chorales_become_piano_rolls_with_their_rests():
    rolls = read_chorales(chorales(train=[[[21, 108], [], [60]], [[]]]))
    first, second = rolls["train"]
    assert first.shape == (3, 88)
    assert first.dtype == np.uint8
    assert np.argwhere(first).tolist() == [[0, 0], [0, 87], [2, 39]]
    assert second.tolist() == [[0] * 88]


@pytest.mark.parametrize("pitch", [20, 109, -1, 60.5, "60", True, None])
def test_a_pitch_off_the_piano_is_named_with_its_place(pitch):
    with pytest.raises(DataError, match=r"valid chorale 1, step 2: the pitch"):
        read_chorales(chorales(valid=[[[60]], [[60], [], [60, pitch]]]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[]", "expected the splits"),
        (b'{"train": []}', "expected the splits"),
        (chorales(test=[]), "test is not a list of chorales"),
        (chorales(test=[[60]]), "test chorale 0 is not a list of steps"),
    ],
)
def test_a_file_that_is_not_chorales_is_refused(content, message):
    with pytest.raises(DataError, match=message):
        read_chorales(content)
