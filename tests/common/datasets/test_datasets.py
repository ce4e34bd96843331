"""The datasets as users meet them: the catalogue, the real data, and how quietly they load."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import common.datasets
from common.datasets import DATASETS, default_cache_dir, load, status, verify
from common.error import ConfigError, DataError

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared" / "data"
needs_ptb = pytest.mark.skipif(
    not (SHARED / "ptb.zip").is_file(),
    reason=f"the Penn Treebank may not be shipped: needs {SHARED / 'ptb.zip'}",
)


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("name", DATASETS)
def test_catalogue_and_builders_agree(name):
    info = DATASETS[name]
    builder = common.datasets._builder(name)
    assert info.name == builder.name == name
    if builder.SOURCES.files:
        assert set(info.source_files) == set(builder.SOURCES.accepted)
    assert str(builder.VERSION) in builder.RELEASE_NOTES
    assert len(info.how_to_get.splitlines()) <= 2
    assert all(builder.TEXT[key] for key in ("description", "homepage", "citation"))
    for file in builder.SOURCES.files:
        assert len(bytes.fromhex(file.sha256)) == 32


def test_what_does_not_ship_has_mirrors_and_checksums():
    for name in ("penn_treebank", "enwik8", "text8", "mnist"):
        sources = common.datasets._builder(name).SOURCES
        if sources.archive and sources.archive.download:
            assert len(sources.archive.download.mirrors) > 1
            assert len(bytes.fromhex(sources.archive.download.sha256)) == 32
        else:
            assert all(len(file.mirrors) > 1 for file in sources.files)


def test_an_unknown_dataset_comes_with_a_suggestion(tmp_path):
    for call in (load, status, verify):
        with pytest.raises(ConfigError, match="Did you mean 'enwik8'"):
            call("enwiki8", cache_dir=tmp_path)
    with pytest.raises(ConfigError, match="Known: penn_treebank, "):
        load("zzz")


def test_no_folder_of_verify_is_taken_for_the_other(tmp_path):
    with pytest.raises(TypeError, match="positional"):
        verify("digits", tmp_path)  # type: ignore[misc]
    assert not verify("digits", data_dir=tmp_path, cache_dir=tmp_path / "cache").prepared


def test_cache_dir_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HIGHWAY_TUTOR_CACHE", raising=False)
    assert default_cache_dir() == tmp_path / ".cache" / "highway-tutor"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_cache_dir() == tmp_path / ".cache" / "highway-tutor"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_dir() == tmp_path / "xdg" / "highway-tutor"
    monkeypatch.setenv("HIGHWAY_TUTOR_CACHE", "~/own")
    assert default_cache_dir() == tmp_path / "own"


def test_importing_the_package_is_cheap():
    result = python(
        "import sys; import common.datasets as d; d.DATASETS['enwik8'].title\n"
        "print([m for m in ('numpy', 'jax', 'tensorflow_datasets', 'absl') if m in sys.modules])"
    )
    assert result.stdout == "[]\n", result.stderr


def test_corpus_types_are_reached_through_the_package():
    from common.datasets import ChoraleSet, Corpus, MelodySet

    names = (Corpus.__name__, ChoraleSet.__name__, MelodySet.__name__)
    assert names == ("Corpus", "ChoraleSet", "MelodySet")
    with pytest.raises(AttributeError, match="Other"):
        _ = common.datasets.Other


def test_what_ships_loads_offline_and_without_a_word(tmp_path):
    """No network, no TensorFlow, no output, and nothing in HOME but our own cache."""
    result = python(
        "import socket, sys\n"
        "def deny(*args, **kwargs): raise AssertionError('network')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = deny\n"
        "from common.datasets import load, status, verify\n"
        "for name in ('tiny_shakespeare', 'jsb_chorales', 'chorale_melodies', 'digits'):\n"
        "    load(name); load(name); status(name); assert verify(name).ok\n"
        "assert 'tensorflow' not in sys.modules and 'jax' not in sys.modules\n",
        HOME=str(tmp_path),
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == [".cache"]
    assert [path.name for path in (tmp_path / ".cache").iterdir()] == ["highway-tutor"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def test_jsb_chorales(cache):
    chorales = load("jsb_chorales", cache_dir=cache)
    assert [len(s) for s in (chorales.train, chorales.valid, chorales.test)] == [229, 76, 77]
    rolls = [roll for s in (chorales.train, chorales.valid, chorales.test) for roll in s]
    assert all(roll.dtype == np.uint8 and roll.shape[1] == 88 for roll in rolls)
    assert [sum(map(len, s)) for s in (chorales.train, chorales.valid, chorales.test)] == [
        13_807,
        4_602,
        4_725,
    ]
    assert set(np.unique(np.concatenate(rolls))) == {0, 1}
    pitches = 21 + np.flatnonzero(np.concatenate(rolls).any(0))
    assert (pitches.min(), pitches.max()) == (43, 96)
    assert sum(int((~roll.any(1)).sum()) for roll in rolls) == 64  # rests are kept
    first_test_step = 21 + np.flatnonzero(chorales.test[0][0])
    assert first_test_step.tolist() == [72, 76, 79, 84]


def test_tiny_shakespeare(cache):
    corpus = load("tiny_shakespeare", cache_dir=cache)
    assert [len(s) for s in (corpus.train, corpus.valid, corpus.test)] == [
        1_003_854,
        55_769,
        55_771,
    ]
    assert len(corpus.vocabulary) == 65
    assert list(corpus.vocabulary) == sorted(corpus.vocabulary)
    assert corpus.decode(corpus.train[:14]) == "First Citizen:"
    whole = corpus.decode(np.concatenate([corpus.train, corpus.valid, corpus.test]))
    assert corpus.checksums == {"tiny_shakespeare.txt": hashlib.sha256(whole.encode()).hexdigest()}


def test_shipped_files_are_packed_reproducibly():
    for path in (Path(common.datasets.__file__).parent / "files").glob("*.gz"):
        assert path.read_bytes()[4:8] == bytes(4), "gzip time stamp"


@pytest.mark.parametrize("name", ["penn_treebank", "enwik8", "text8"])
def test_offline_without_the_data_says_what_to_bring(name, tmp_path):
    with pytest.raises(DataError) as caught:
        load(name, cache_dir=tmp_path, download=False)
    message = str(caught.value)
    assert "downloading is off" in message
    for file in DATASETS[name].source_files:
        assert file in message
    assert status(name, cache_dir=tmp_path).state == "missing"


@pytest.mark.parametrize("name", ["enwik8", "text8"])
def test_another_file_cannot_pass_for_the_real_one(name, tmp_path):
    (tmp_path / name).write_bytes(b"a small file")
    with pytest.raises(
        DataError, match=r"Expected 100,000,000 bytes, sha256 [0-9a-f]{64}; found 12 bytes"
    ):
        load(name, data_dir=tmp_path, cache_dir=tmp_path / "cache", download=False)


@needs_ptb
def test_penn_treebank(cache):
    assert status("penn_treebank", SHARED, cache).state == "preparable"
    corpus = load("penn_treebank", data_dir=SHARED, cache_dir=cache, download=False)
    assert corpus.level == "word"
    assert [len(s) for s in (corpus.train, corpus.valid, corpus.test)] == [929_589, 73_760, 82_430]
    assert len(corpus.vocabulary) == 10_000
    assert corpus.vocabulary[:5] == ("the", "<unk>", "<eos>", "N", "of")
    counts = np.bincount(corpus.train, minlength=10_000)
    assert counts.min() > 0
    assert (np.diff(counts) <= 0).all()
    assert corpus.decode(corpus.test[:8]) == "no it was n't black monday\nbut"
    assert set(corpus.checksums) == {"ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"}
    assert status("penn_treebank", None, cache).state == "ready"
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        load("penn_treebank", cache_dir=cache)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3
    assert verify("penn_treebank", cache_dir=cache).ok
