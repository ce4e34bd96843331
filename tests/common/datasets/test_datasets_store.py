"""Prepared data on disk: built once, whole or not at all, by one process or two, and checked."""

import hashlib
import json
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds

from common.datasets import builder as builder_module
from common.datasets import store
from common.datasets.enwik8 import Enwik8
from common.datasets.penn_treebank import PennTreebank
from common.datasets.source import Archive, SourceFile, Sources
from common.datasets.text8 import Text8
from common.error import DataError

ROOT = Path(__file__).parents[3]


def sources(**files: bytes) -> Sources:
    return Sources(
        tuple(
            SourceFile(name.replace("__", "."), len(content), hashlib.sha256(content).hexdigest())
            for name, content in files.items()
        ),
        archive=Archive("sample.zip"),
    )


# The real preprocessing on small files of the same format. A subclass needs a name, sources and
# sizes of its own, so a sample can't pass for the real data set.
XML = (
    "<page>\n  <title>Zoë 日本 😀</title>\n  <text>[[a]] &amp; b</text>\n</page>\n" * 60
).encode()
LETTERS = b"the quick brown fox jumps over the lazy dog " * 50
LINES = {
    "train": b" the cat saw the dog \n a dog ran \n" * 30,
    "valid": b" the dog saw a cat \n" * 3,
    "test": b" a dog \n" * 4,
}


class Enwik8Sample(Enwik8):
    name = "enwik8_sample"
    SIZES: ClassVar = {}
    SOURCES = sources(enwik8_sample=XML)


class Text8Sample(Text8):
    name = "text8_sample"
    SIZES: ClassVar = {}
    SOURCES = sources(text8_sample=LETTERS)


class PennTreebankSample(PennTreebank):
    name = "penn_treebank_sample"
    SIZES: ClassVar = {"vocabulary": 7, "test": 12}
    SOURCES = sources(**{f"ptb__{split}__txt": text for split, text in LINES.items()})


@pytest.fixture
def hand(tmp_path):
    folder = tmp_path / "hand"
    folder.mkdir()
    (folder / "enwik8_sample").write_bytes(XML)
    (folder / "text8_sample").write_bytes(LETTERS)
    for split, text in LINES.items():
        (folder / f"ptb.{split}.txt").write_bytes(text)
    return folder


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def left_over(cache: Path) -> list[str]:
    """Return what lies in the cache besides prepared data and locks."""
    return [
        path.name
        for path in (cache / "tfds").iterdir()
        if path.name.startswith(".") and path.suffix != ".lock"
    ]


def test_bytes_from_file_to_corpus(hand, cache):
    corpus = store.load(Enwik8Sample, hand, cache, download=False)
    assert (corpus.name, corpus.version, corpus.level) == ("enwik8_sample", "1.0.0", "byte")
    streams = [corpus.train, corpus.valid, corpus.test]
    assert [len(stream) for stream in streams[:2]] == [len(XML) * 90 // 100, len(XML) * 5 // 100]
    assert all(s.dtype == np.int32 and s.ndim == 1 for s in streams)
    assert corpus.decode(np.concatenate(streams)) == XML.decode()
    assert len(corpus.vocabulary) == len(set(XML))
    assert corpus.checksums == {"enwik8_sample": hashlib.sha256(XML).hexdigest()}
    with pytest.raises(ValueError, match="read-only"):
        corpus.train[0] = 1


def test_letters_from_file_to_corpus(hand, cache):
    corpus = store.load(Text8Sample, hand, cache, download=False)
    assert (corpus.level, len(corpus.vocabulary)) == ("character", 27)
    whole = np.concatenate([corpus.train, corpus.valid, corpus.test])
    assert corpus.decode(whole) == LETTERS.decode()


def test_words_from_files_to_corpus(hand, cache):
    corpus = store.load(PennTreebankSample, hand, cache, download=False)
    assert corpus.level == "word"
    assert corpus.vocabulary == ("<eos>", "dog", "the", "a", "cat", "ran", "saw")
    assert corpus.decode(corpus.valid) == "the dog saw a cat\n" * 3


def test_long_streams_are_stored_in_order(hand, cache, monkeypatch):
    monkeypatch.setattr(builder_module, "_CHUNK", 17)
    corpus = store.load(Text8Sample, hand, cache, download=False)
    assert corpus.decode(corpus.train) == LETTERS[: len(LETTERS) * 9 // 10].decode()


def test_a_build_of_other_sizes_than_published_is_refused(hand, cache, monkeypatch):
    monkeypatch.setattr(Text8Sample, "SIZES", Text8.SIZES)
    with pytest.raises(DataError, match=r"train has 1,980 entries, expected 90,000,000"):
        store.load(Text8Sample, hand, cache, download=False)
    assert left_over(cache) == []


def test_arrays_come_in_the_order_they_were_written(hand, cache, monkeypatch):
    monkeypatch.setattr(builder_module, "_CHUNK", 17)
    store.load(Text8Sample, hand, cache, download=False)
    read = Text8Sample.as_data_source
    with monkeypatch.context() as patch:  # as several files might be read
        patch.setattr(Text8Sample, "as_data_source", lambda *a, **k: list(read(*a, **k))[::-1])
        corpus = store.load(Text8Sample, hand, cache, download=False)
    assert corpus.decode(corpus.train) == LETTERS[: len(LETTERS) * 9 // 10].decode()


def test_another_version_is_prepared_beside_the_first(hand, cache, monkeypatch):
    first = store.load(Text8Sample, hand, cache, download=False)
    monkeypatch.setattr(Text8Sample, "VERSION", tfds.core.Version("1.1.0"))
    assert store.status(Text8Sample, hand, cache).state == "preparable"
    second = store.load(Text8Sample, hand, cache, download=False)
    assert (first.version, second.version) == ("1.0.0", "1.1.0")
    folders = {path.name for path in (cache / "tfds" / "text8_sample").iterdir()}
    assert folders == {"1.0.0", "1.1.0"}


def test_the_second_load_needs_no_sources(hand, cache):
    first = store.load(Text8Sample, hand, cache, download=False)
    for path in hand.iterdir():
        path.unlink()
    hand.rmdir()
    second = store.load(Text8Sample, hand, cache, download=False)
    assert np.array_equal(first.train, second.train)
    assert second.checksums == first.checksums
    assert second.vocabulary == first.vocabulary


def test_prepared_data_can_be_read_from_a_folder_that_cannot_be_written(hand, cache):
    store.load(Text8Sample, hand, cache, download=False)
    (cache / "tfds" / ".text8_sample.lock").unlink()
    before = sorted(cache.rglob("*"))
    store.load(Text8Sample, None, cache, download=False)
    assert sorted(cache.rglob("*")) == before


def test_a_builder_and_its_data_source_can_be_pickled(hand, cache):
    store.load(Text8Sample, hand, cache, download=False)
    builder = pickle.loads(pickle.dumps(Text8Sample(data_dir=cache / "tfds")))
    source = pickle.loads(pickle.dumps(builder.as_data_source(split="test")))
    assert source[0]["tokens"].dtype == np.uint8


# Failures


def test_data_prepared_from_other_sources_than_the_class_names_is_refused(hand, cache, monkeypatch):
    store.load(Text8Sample, hand, cache, download=False)
    edited = LETTERS[::-1]
    (hand / "text8_sample").write_bytes(edited)
    monkeypatch.setattr(Text8Sample, "SOURCES", sources(text8_sample=edited))
    for data_dir in (hand, None):
        with pytest.raises(DataError, match=r"text8_sample.*Raise VERSION .* or delete"):
            store.load(Text8Sample, data_dir, cache, download=False)
    state = store.status(Text8Sample, hand, cache)
    assert (state.state, state.path) == ("damaged", cache / "tfds" / "text8_sample" / "1.0.0")
    assert "Raise VERSION" in state.advice
    monkeypatch.setattr(Text8Sample, "VERSION", tfds.core.Version("1.1.0"))
    corpus = store.load(Text8Sample, hand, cache, download=False)
    assert corpus.decode(corpus.train) == edited.decode()[: len(corpus.train)]


@pytest.mark.parametrize("error", [DataError("bad"), ValueError("bug"), KeyboardInterrupt()])
def test_a_build_that_fails_in_the_middle_leaves_nothing(hand, cache, monkeypatch, error):
    def half(self, prepared, split):
        yield prepared.train[:5]
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Text8Sample, "_chunks", half)
        with pytest.raises(type(error)):
            store.load(Text8Sample, hand, cache, download=False)
    assert left_over(cache) == []
    assert store.status(Text8Sample, hand, cache).state == "preparable"
    assert len(store.load(Text8Sample, hand, cache, download=False).train) == 1980


def test_a_wrong_source_leaves_nothing(hand, cache):
    (hand / "text8_sample").write_bytes(LETTERS[:-1])
    with pytest.raises(DataError, match="not the expected text8_sample"):
        store.load(Text8Sample, hand, cache, download=False)
    assert left_over(cache) == []
    (hand / "text8_sample").write_bytes(LETTERS)
    store.load(Text8Sample, hand, cache, download=False)


def test_a_cache_that_cannot_be_written_is_told(hand, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot prepare data in .*\n.*HIGHWAY_TUTOR_CACHE"):
        store.load(Text8Sample, hand, tmp_path / "file", download=False)


def damage(path: Path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_verify_names_every_damaged_file(hand, cache):
    assert not store.verify(Text8Sample, cache).prepared
    store.load(Text8Sample, hand, cache, download=False)
    good = store.verify(Text8Sample, cache)
    assert good.ok
    assert {"metadata.json", "dataset_info.json", "features.json"} < set(good.checked)
    assert sum("array_record" in name for name in good.checked) == 3
    for name in good.checked:
        damage(good.path / name)
        report = store.verify(Text8Sample, cache)
        assert not report.ok
        assert len(report.damaged) == 1
        assert report.damaged[0].startswith(f"{good.path / name}: sha256 ")
        with pytest.raises(DataError, match=rf"prepared data is damaged: .*{name}.*; delete "):
            store.load(Text8Sample, hand, cache, download=False)
        damage(good.path / name)
    assert store.verify(Text8Sample, cache).ok


@pytest.mark.parametrize("name", ["seal.json", "metadata.json"])
@pytest.mark.parametrize("content", [None, b"", b'{"files": 3}'])
def test_missing_and_truncated_files_are_named(hand, cache, name, content):
    store.load(Text8Sample, hand, cache, download=False)
    path = store.verify(Text8Sample, cache).path / name
    path.unlink() if content is None else path.write_bytes(content)
    assert store.verify(Text8Sample, cache).damaged[0].startswith(f"{path}: ")
    state = store.status(Text8Sample, hand, cache)
    assert state.state == "damaged"
    assert str(path) in state.advice
    with pytest.raises(DataError, match=name):
        store.load(Text8Sample, hand, cache, download=False)


def test_status_goes_from_missing_to_ready(hand, cache, tmp_path):
    state = store.status(Text8Sample, None, cache)
    assert (state.state, state.path) == ("missing", None)
    assert "text8_sample, sample.zip" in state.advice
    assert store.status(Text8Sample, tmp_path / "nowhere", cache).state == "missing"
    assert store.status(Text8Sample, hand, cache).state == "preparable"
    store.load(Text8Sample, hand, cache, download=False)
    assert store.status(Text8Sample, None, cache).state == "ready"


def test_status_names_a_source_of_the_wrong_size(hand, cache):
    (hand / "text8_sample").write_bytes(b"")
    state = store.status(Text8Sample, hand, cache)
    assert state.state == "damaged"
    assert f"{hand / 'text8_sample'} has 0 bytes, expected 2,200" in state.advice


# Other processes

SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from common.datasets import store
from test_datasets_store import Text8Sample
hand, cache, marker, mode = Path({hand!r}), Path({cache!r}), Path({marker!r}), sys.argv[1]

class Watched(Text8Sample):
    name = "watched"
    def _chunks(self, prepared, split):
        yield from super()._chunks(prepared, split)
        with marker.open("a") as file:
            file.write(split + "\\n")
        if mode == "hang":
            time.sleep(60)
        time.sleep(0.1)

if mode == "together":
    print("here", flush=True)
    sys.stdin.readline()
print(len(store.load(Watched, hand, cache, download=False).train), flush=True)
"""


@pytest.fixture
def run(hand, cache, tmp_path):
    """Start a process that prepares the sample, telling `marker` each split it has written."""
    marker = tmp_path / "marker"
    code = SCRIPT.format(
        tests=str(Path(__file__).parent), hand=str(hand), cache=str(cache), marker=str(marker)
    )
    started = []

    def start(mode: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", code, mode],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start, marker
    for process in started:
        process.kill()
        process.communicate()


def test_a_build_that_was_killed_is_swept_and_done_again(run, cache):
    start, marker = run
    process = start("hang")
    deadline = time.monotonic() + 30
    while not marker.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert marker.exists()
    assert left_over(cache) != []
    assert not (cache / "tfds" / "watched").exists()
    out, err = start("alone").communicate(timeout=60)
    assert (out, err) == ("1980\n", "")
    assert left_over(cache) == []


def test_two_processes_prepare_the_same_data_once(run, cache):
    start, marker = run
    both = [start("together"), start("together")]
    for process in both:
        assert process.stdout.readline() == "here\n"
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in both:
        assert process.communicate(timeout=60) == ("1980\n", "")
    assert marker.read_text().split() == ["train", "valid", "test"]
    assert left_over(cache) == []


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; from common.datasets import load\n"
        "from common.error import DataError\n"
        "cache = Path(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))\n"
        "try: load('tiny_shakespeare', cache_dir=cache)\n"
        "except DataError as error: print(error)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "print(sorted(p.name for p in (cache / 'tfds').iterdir()))\n"
        "print(len(load('tiny_shakespeare', cache_dir=cache).train))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"cannot prepare data in {tmp_path}: "), result
    assert "File too large" in lines[0]
    assert lines[-2:] == ["['.tiny_shakespeare.lock']", "1003854"]


def test_prepared_data_hold_nothing_of_where_they_were_built(hand, cache, tmp_path):
    store.load(Text8Sample, hand, cache, download=False)
    moved = cache.rename(tmp_path / "moved")
    assert len(store.load(Text8Sample, None, moved, download=False).train) == 1980
    for path in (moved / "tfds").rglob("*.json"):
        assert str(tmp_path) not in path.read_text()
        json.loads(path.read_text())
