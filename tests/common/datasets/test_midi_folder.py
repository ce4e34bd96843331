"""Folders of MIDI files as users have them: links, odd names, what can't be read, odd files."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from common.datasets import load, midi_melodies, status
from common.datasets.melody import make_melodies
from common.datasets.midi_folder import MidiFiles, find_files, printable
from common.error import DataError, InterruptedRun
from common.melody import NoMelody, Note
from common.midi import write_melody


def write(path: Path, seed: int) -> None:
    write_melody(np.random.default_rng(seed).integers(2, 30, 40), path)


def named(folder: Path, name: bytes) -> Path:
    return Path(os.fsdecode(os.fsencode(folder) + b"/" + name))


@pytest.fixture
def songs(tmp_path):
    folder = tmp_path / "songs"
    folder.mkdir()
    for number in range(3):
        write(folder / f"song{number}.mid", number)
    return folder


@contextlib.contextmanager
def nobody():
    """Be a user whom permissions bind."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public():
    """A folder that any user may search, with a file and a subfolder that none may read."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    for number, name in enumerate(("a", "shut/b", "open/c")):
        (folder / name).parent.mkdir(exist_ok=True)
        write(folder / f"{name}.mid", number)
    (folder / "shut").chmod(0)
    (folder / "open" / "d.mid").touch(0o000)
    yield folder
    (folder / "shut").chmod(0o700)
    shutil.rmtree(folder)


# Links


def test_linked_files_and_folders_are_read(songs, tmp_path):
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    write(tmp_path / "elsewhere" / "deep" / "far.mid", 8)
    write(tmp_path / "one.mid", 9)
    before = MidiFiles(songs).sha256()
    (songs / "linked").symlink_to(tmp_path / "elsewhere")
    (songs / "one.mid").symlink_to("../one.mid")
    assert list(MidiFiles(songs)) == [
        "linked/deep/far.mid",
        "one.mid",
        "song0.mid",
        "song1.mid",
        "song2.mid",
    ]
    melodies = load("midi_melodies", data_dir=songs, cache_dir=tmp_path / "cache")
    assert melodies.counts["kept"] == 5
    assert MidiFiles(songs).sha256() != before


def test_links_in_circles_and_twice_to_a_folder_are_searched_once(songs):
    (songs / "sub").mkdir()
    write(songs / "sub" / "x.mid", 7)
    before = MidiFiles(songs).sha256()
    (songs / "a circle").symlink_to(".")
    (songs / "sub" / "up").symlink_to("..")
    (songs / "again").symlink_to("sub")
    assert MidiFiles(songs).sha256() == before
    (songs.parent / "link").symlink_to(songs)
    assert MidiFiles(songs.parent / "link").sha256() == before


def test_links_to_nothing_are_counted_and_named(songs, tmp_path):
    (songs / "gone.mid").symlink_to("nowhere.mid")
    (songs / "disk").symlink_to("../not/there")
    (songs / "self.mid").symlink_to("self.mid")
    (songs / "notes.txt").symlink_to("nowhere")
    (songs / ".#lock").symlink_to("user@host")
    melodies = load("midi_melodies", data_dir=songs, cache_dir=tmp_path / "cache")
    assert melodies.skipped == (
        "disk: unreadable: a link to what isn't there",
        "gone.mid: unreadable: a link to what isn't there",
        "self.mid: unreadable: cannot be read: Too many levels of symbolic links",
    )
    assert melodies.counts["unreadable"] == 3
    before = MidiFiles(songs).sha256()
    (songs / "gone.mid").unlink()
    assert MidiFiles(songs).sha256() != before


# What can't be read


def test_what_permissions_forbid_is_counted_and_named(public):
    cache = public / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    with nobody():
        melodies = load("midi_melodies", data_dir=public, cache_dir=cache)
    assert melodies.skipped == (
        "open/d.mid: unreadable: cannot be read: Permission denied",
        "shut/: folder not searched: cannot be read: Permission denied",
    )
    assert melodies.counts["kept"] == 2
    # Once it can be read, it is other data.
    (public / "shut").chmod(0o755)
    with nobody():
        assert load("midi_melodies", data_dir=public, cache_dir=cache).counts["kept"] == 3


def test_a_data_folder_that_permissions_forbid_is_told(public, tmp_path):
    cache = public / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    status("penn_treebank", tmp_path, cache)  # imports what nobody may read
    for folder in (public / "shut", public / "shut" / "inside"):
        for name in ("midi_melodies", "penn_treebank"):
            with nobody():
                assert status(name, folder, cache).state == "missing"
            with nobody(), pytest.raises(DataError, match=r"cannot read the data folder .*denied"):
                load(name, data_dir=folder, cache_dir=cache, download=False)
    (public / "a.mid").unlink()
    shutil.rmtree(public / "open")
    shutil.rmtree(cache)
    with nobody(), pytest.raises(DataError, match=r"as far as it can be read: shut/: cannot be"):
        find_files(public)


def test_things_that_are_no_files(songs, tmp_path):
    os.mkfifo(songs / "pipe.mid")  # reading it would wait for ever
    (songs / "folder.mid").mkdir()
    write(songs / "folder.mid" / "inside.MIDI", 5)
    (songs / "empty.mid").touch()
    with (songs / "huge.mid").open("wb") as file:
        file.truncate(1 << 40)
    melodies = load("midi_melodies", data_dir=songs, cache_dir=tmp_path / "cache")
    assert melodies.counts["kept"] == 4
    assert melodies.skipped == (
        "empty.mid: unreadable: it is empty",
        "huge.mid: unreadable: 1,099,511,627,776 bytes are too many for a melody",
        "pipe.mid: unreadable: neither a file nor a folder",
    )


def test_a_file_that_vanishes_is_left_out(songs):
    files = MidiFiles(songs)
    (songs / "song1.mid").unlink()
    with pytest.raises(NoMelody, match=r"song1\.mid: unreadable: cannot be read: No such file"):
        files["song1.mid"]
    assert len(files.sha256()) == 64


# Whatever a reader raises


@pytest.mark.parametrize(
    "error",
    [
        AssertionError(),
        ZeroDivisionError("division by zero"),
        MemoryError(),
        RecursionError("too deep"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "odd"),
        OSError(5, "Input/output error"),
        StopIteration(),
        DataError("some other file"),
    ],
)
def test_whatever_a_reader_raises_leaves_out_that_file_alone(error, songs, tmp_path, monkeypatch):
    read = midi_melodies.find_melody

    def odd(content, name):
        if name == "song1.mid":
            raise error
        return read(content, name)

    monkeypatch.setattr(midi_melodies, "find_melody", odd)
    melodies = load("midi_melodies", data_dir=songs, cache_dir=tmp_path / "cache")
    assert melodies.counts["kept"] == 2
    (skipped,) = melodies.skipped
    assert skipped.startswith(f"song1.mid: unreadable: {type(error).__name__}")
    assert str(error).removesuffix(".") in skipped


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), InterruptedRun("stopped", 2)])
def test_a_reader_is_stopped_by_signals(stop):
    def read(name, content):
        if name == "b":
            raise stop
        return [Note(0, 1, 60)]

    with pytest.raises(type(stop)):
        make_melodies([("a", b""), ("b", b"")], read)


# Names


NAMES = (
    b"caf\xe9.mid",
    b"bad\xff.mid",
    "日本.mid".encode(),
    b"new\nline.mid",
    b"d\xfcr/esc\x1b[1m.mid",
)


def test_names_that_are_not_text(songs):
    assert printable(os.fsdecode(b"caf\xe9 \x1b[1m\n.mid")) == r"caf\xe9 \x1b[1m\n.mid"
    assert printable("日本 é.mid") == "日本 é.mid"
    # Names that look alike when they are printed stay two files.
    write(named(songs, b"caf\xe9.mid"), 4)
    write(songs / r"caf\xe9.mid", 5)
    assert len(MidiFiles(songs)) == 5


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_names_that_are_not_utf8_in_a_process(encoding, songs, tmp_path):
    """As text on the standard streams, in the checksum, and in what is stored."""
    named(songs, b"d\xfcr").mkdir()
    for number, name in enumerate(NAMES):
        write(named(songs, name), 10 + number)
    named(songs, b"\xe4.mid").write_bytes(b"MThd")
    # Where the encoding of the file system is ASCII, all other bytes are surrogates.
    environment = {
        **os.environ,
        "HIGHWAY_TUTOR_CACHE": str(tmp_path / "cache"),
        "PYTHONIOENCODING": encoding,
        "LC_ALL": "POSIX" if encoding == "ascii" else "C.UTF-8",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
    }
    command = [sys.executable, "-m", "experiments", "data", "midi_melodies", "--data-dir"]
    done = subprocess.run(
        [*command, str(songs)], env=environment, capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = b" ".join(done.stdout.split())
    assert b"9 found, 8 kept, 1 unreadable" in told
    assert rb"\xe4.mid: unreadable: cut off in its header" in told
    digest = MidiFiles(songs).sha256()
    assert list((tmp_path / "cache" / "tfds" / "midi_melodies").glob(f"folder-{digest[:16]}"))
    melodies = load("midi_melodies", data_dir=songs, cache_dir=tmp_path / "cache")
    assert melodies.skipped == (r"\xe4.mid: unreadable: cut off in its header, after 4 bytes",)


def test_the_checksum_of_plain_folders_is_as_it_was(tmp_path):
    """Runs of before know their data by it."""
    for name, content in (("b.mid", b"1"), ("a/x.MIDI", b"2"), ("a.mid", b""), ("é.mid", b"3")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert list(MidiFiles(tmp_path)) == ["a/x.MIDI", "a.mid", "b.mid", "é.mid"]
    assert MidiFiles(tmp_path).sha256() == (
        "b08edc6aea89033cb7c295b09a253fca87df8126d24874a415171c8a80552694"
    )
