"""Runs that stand aside: whichever step is the last one done, one whole run is there afterwards."""

import os
import shutil
from pathlib import Path

import pytest

from common import stand_aside
from common.stand_aside import BEFORE, is_saved, note_training, set_aside, settle

OLD = {"record.json": "old", "checkpoints/3/state": "old", "rhn/metrics.jsonl": "old"}
BEGUN = {"config.json": "new", "metrics.jsonl": ""}
SAVED = {**BEGUN, "note_rnn/checkpoints/0/state": "new"}


class Killed(Exception):
    """The process ended here."""


def fill(path: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)


def content(path: Path) -> dict[str, str]:
    files = (file for file in path.rglob("*") if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(path)): file.read_text() for file in files}


@pytest.fixture
def run(tmp_path) -> Path:
    path = tmp_path / "seed0"
    fill(path, {".lock": "", **OLD})
    return path


def test_what_is_not_replaced_comes_back(run):
    told = []
    set_aside(run)
    assert not is_saved(run)
    fill(run, BEGUN)
    settle(run, told.append)
    assert content(run) == OLD
    assert told == [f"{run}: nothing of the new run is saved; the run from before is back."]
    settle(run, told.append)
    assert (content(run), len(told)) == (OLD, 1)


@pytest.mark.parametrize("name", ["record.json", "checkpoints/0/state", "rhn/checkpoints/0/state"])
def test_what_is_saved_takes_the_place(run, name):
    set_aside(run)
    fill(run, {**BEGUN, name: "new"})
    settle(run, pytest.fail)
    assert content(run) == {**BEGUN, name: "new"}


def test_a_save_that_was_cut_is_none(run):
    set_aside(run)
    fill(run, {**BEGUN, "checkpoints/0.orbax-checkpoint-tmp/state": "half"})
    settle(run, lambda text: None)
    assert content(run) == OLD


def test_nothing_stands_aside_where_nothing_was(tmp_path):
    fill(tmp_path, {".lock": ""})
    set_aside(tmp_path)
    note_training(tmp_path, tmp_path / "elsewhere")
    assert [entry.name for entry in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("new", [BEGUN, SAVED], ids=["begun", "saved"])
@pytest.mark.parametrize("steps", range(14))
def test_a_kill_at_any_step_leaves_one_whole_run(run, monkeypatch, new, steps):
    left = steps

    def counted(real):
        def step(*arguments, **keywords):
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return real(*arguments, **keywords)

        return step

    begun = False
    with monkeypatch.context() as patch:
        for owner, name in ((Path, "rename"), (Path, "mkdir"), (Path, "rmdir"), (Path, "unlink")):
            patch.setattr(owner, name, counted(getattr(owner, name)))
        patch.setattr(os, "unlink", counted(os.unlink))  # as rmtree does
        try:
            set_aside(run)
            left += 100
            fill(run, new)
            begun = True
            left -= 100
            settle(run, lambda text: None)
        except Killed:
            pass
    settle(run, lambda text: None)
    assert content(run) == (new if begun and new is SAVED else OLD)
    assert not [entry.name for entry in run.iterdir() if entry.name.startswith(BEFORE)]


@pytest.mark.parametrize("saves", [False, True])
def test_a_run_that_trains_elsewhere_is_saved_there(tmp_path, saves):
    """Seeds that train together: their records in seed<k>, their training in seeds0-1."""
    seed, joint = tmp_path / "seed0", tmp_path / "seeds0-1"
    old = {"record.json": "old"}
    trained = {"checkpoints/7/state": "old", "metrics.jsonl": "old"}
    fill(seed, old)
    fill(joint, trained)
    os.utime(joint / "checkpoints" / "7", (1, 1))
    set_aside(seed)
    set_aside(joint)
    note_training(seed, joint)
    fill(seed, {"config.json": "new"})
    fill(joint, SAVED if saves else BEGUN)
    for path in (joint, seed):  # in either order: a crash may leave it to the next command
        settle(path, lambda text: None)
    assert content(seed) == ({"config.json": "new"} if saves else old)
    assert content(joint) == (SAVED if saves else trained)
    settle(seed, pytest.fail)


def test_links_are_removed_and_what_they_lead_to_stays(run, tmp_path):
    fill(tmp_path / "elsewhere", {"precious": "x"})
    set_aside(run)
    (run / "link").symlink_to(tmp_path / "elsewhere")
    settle(run, lambda text: None)
    assert content(run) == OLD
    assert (tmp_path / "elsewhere" / "precious").exists()


def test_a_folder_that_cannot_be_deleted_is_no_end(run, monkeypatch):
    """The new run is saved: what stays of the old one goes the next time."""
    set_aside(run)
    fill(run, SAVED)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path: (_ for _ in ()).throw(PermissionError(path)))
        with pytest.raises(PermissionError):
            stand_aside.settle(run, pytest.fail)
    settle(run, pytest.fail)
    assert content(run) == SAVED
