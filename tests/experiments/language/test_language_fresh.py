"""`--fresh` loses nothing before something new is saved, whatever the start fails of."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from language_case import ROW, SMALL, folder, record, run, start, wait_for
from run_case import result

from common.run_directory import RunDirectory
from common.stand_aside import BEFORE

ORBAX_WRITES = ".orbax-checkpoint-tmp"
"""In the names of files of a save that hasn't ended."""


def content(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name != ".lock"
    }


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (["data.name=tiny_shakespear"], 2),
        (["data.name=chorale_melodies"], 2),
        (["data.name=midi_melodies"], 3),
        (["data.train_tokens=5"], 2),
        (["data.evaluation_tokens=5"], 2),
        (["model.depth=0"], 2),
    ],
)
def test_a_start_that_fails_loses_nothing(finished, capsys, settings, code):
    before = content(folder(finished))
    assert run(finished, "--fresh", "--set", *SMALL, *settings) == code
    assert content(folder(finished)) == before
    assert "Traceback" not in capsys.readouterr().err
    assert run(finished, "--set", *SMALL) == 0
    assert "done before" in capsys.readouterr().err


def test_no_data_and_a_damaged_source_lose_nothing(finished, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HIGHWAY_TUTOR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "ptb.zip").write_text("no zip")
    before = content(folder(finished))
    settings = ["--set", *SMALL, "data.name=penn_treebank"]
    assert run(finished, "--fresh", "--data-dir", str(tmp_path), *settings) == 3
    assert content(folder(finished)) == before
    assert "the run from before is back" in capsys.readouterr().err


def test_what_is_refused_for_one_seed_leaves_the_others(finished, capsys):
    before = content(finished)
    assert run(finished, "--fresh", "--seeds", "0", "1", "--set", "data.train_tokens=5") == 2
    after = content(finished)
    assert {name: after[name] for name in before} == before


KILLED = """
import os, signal, sys
from common.training import Training
Training._advance = lambda *_: os.kill(os.getpid(), int(sys.argv[1]))
from experiments.cli import main
sys.exit(main(sys.argv[2:]))
"""
"""The command line in which a signal comes before the first update."""


@pytest.mark.parametrize(("number", "code"), [("9", -9), ("15", 143)])
def test_a_signal_before_the_first_update_loses_nothing(finished, capsys, number, code):
    before = content(folder(finished))
    command = ["run", ROW, "--preset", "smoke", "--out", str(finished), "--set", *SMALL]
    stopped = (
        KILLED
        if number == "9"
        else KILLED.replace(
            "lambda *_: os.kill(os.getpid(), int(sys.argv[1]))",
            "lambda *words: (os.kill(os.getpid(), int(sys.argv[1])), words[-1].check())",
        )
    )
    done = subprocess.run(
        [sys.executable, "-c", stopped, number, *command, "--fresh"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    if number == "9":
        assert (folder(finished) / BEFORE).exists()
        capsys.readouterr()
    assert run(finished, "--set", *SMALL) == 0
    told = capsys.readouterr().err + done.stderr
    assert "the run from before is back" in told
    assert "done before" in told
    assert content(folder(finished)) == before


def test_the_new_run_takes_the_place_once_it_is_saved(tmp_path, done):
    assert run(tmp_path, "--set", *SMALL, "train.epochs=1") == 0
    process = start(tmp_path, "--fresh", "--set", *SMALL)
    wait_for(folder(tmp_path) / "metrics.jsonl", 10, process)  # beyond the first evaluation
    process.kill()
    process.communicate()
    assert run(tmp_path, "--set", *SMALL) == 0
    assert not (folder(tmp_path) / BEFORE).exists()
    assert result(record(tmp_path)) == result(record(done))


def test_a_full_disk_at_the_start_loses_nothing(small_disk, done, capsys):
    shutil.copytree(folder(done), folder(small_disk))
    before = content(folder(small_disk))
    filler = small_disk / "filler"
    for free in (60_000, 0):  # no room for a checkpoint, then not even for a line
        disk = os.statvfs(small_disk)
        filler.write_bytes(b"x" * (disk.f_bavail * disk.f_frsize - free))
        assert run(small_disk, "--fresh", "--set", *SMALL) == 3
        # Threads of Orbax may still write files of a save that failed; its next start deletes them.
        after = content(folder(small_disk)).items()
        assert {name: what for name, what in after if ORBAX_WRITES not in name} == before
        assert str(small_disk) in capsys.readouterr().err
        filler.unlink()
    assert run(small_disk, "--set", *SMALL) == 0
    assert "done before" in capsys.readouterr().err


def test_other_files_beside_the_run_come_back_too(finished):
    note = folder(finished) / "my notes.txt"
    note.write_text("mine")
    assert run(finished, "--fresh", "--set", "data.train_tokens=5") == 2
    assert note.read_text() == "mine"
    assert record(finished).status == "done"


def test_a_run_in_use_and_one_behind_a_link_lose_nothing(tmp_path, finished, capsys):
    before = content(folder(finished))
    failing = ["--fresh", "--set", "data.train_tokens=5"]
    with RunDirectory(folder(finished)):
        assert run(finished, "--fresh", "--set", *SMALL) == 2
        assert "another process is running here" in capsys.readouterr().err
    here = folder(tmp_path)
    here.parent.mkdir(parents=True)
    here.symlink_to(folder(finished))
    assert run(tmp_path, *failing) == 2
    assert here.is_symlink()
    assert content(folder(finished)) == before
