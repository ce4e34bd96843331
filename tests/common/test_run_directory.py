import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common import device
from common.error import ConfigError, DataError
from common.process import Process
from common.run_directory import RunDirectory


def test_a_directory_with_work_in_it_belongs_to_one_configuration(tmp_path):
    with RunDirectory(tmp_path / "run") as run:
        run.claim({"model": {"depth": 2}})
        run.claim({"model": {"depth": 3}})  # nothing was done yet: a start that failed
        run.append_metrics({"step": 1}, "metrics.jsonl")
        run.claim({"model": {"depth": 3}})
        with pytest.raises(
            ConfigError, match=r"model\.depth: 3 → 4.*\n.*as they were.*--out.*--fresh"
        ):
            run.claim({"model": {"depth": 4}})


def test_settings_that_may_differ_are_the_last_ones_until_the_run_is_finished(tmp_path):
    def kept():
        return json.loads((tmp_path / "config.json").read_text())

    with RunDirectory(tmp_path) as run:
        run.claim({"chunk": 1})
        run.append_metrics({"step": 1}, "metrics.jsonl")
        run.claim({"chunk": 2}, lambda old, new: [])
        assert kept() == {"chunk": 2}
        (tmp_path / "record.json").touch()
        run.claim({"chunk": 3}, lambda old, new: [])
        assert kept() == {"chunk": 2}


def test_a_damaged_configuration_is_named(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.claim({"a": 1})
        run.append_metrics({"step": 1}, "metrics.jsonl")
        for content in ('{"a":', "[]"):
            (tmp_path / "config.json").write_text(content)
            with pytest.raises(DataError, match=r"config\.json: damaged"):
                run.claim({"a": 1})


def test_a_second_process_is_refused_until_the_first_one_ends(tmp_path):
    hold = (
        "import sys, pathlib; from common.run_directory import RunDirectory\n"
        "run = RunDirectory(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "held\n"
    with pytest.raises(ConfigError, match="another process is running here"):
        RunDirectory(tmp_path)
    child.kill()  # no chance to clean up: the lock must go with the process
    child.wait()
    with RunDirectory(tmp_path):
        pass


def test_metrics_are_rewound_to_what_a_checkpoint_had_seen(tmp_path):
    with RunDirectory(tmp_path) as run:
        for step in range(5):
            run.append_metrics({"step": step}, "rhn/metrics.jsonl")
        with (tmp_path / "rhn/metrics.jsonl").open("a") as stream:
            stream.write('{"step": 5, "tr')  # a kill in the middle of a line
        assert len(run.read_metrics("rhn/metrics.jsonl")) == 5
        run.rewind_metrics(3, "rhn/metrics.jsonl")
        assert run.read_metrics("rhn/metrics.jsonl") == [{"step": step} for step in range(3)]
        with pytest.raises(DataError, match=r"1 of 4 rows are missing"):
            run.rewind_metrics(4, "rhn/metrics.jsonl")


def test_a_damaged_row_is_named(tmp_path):
    with RunDirectory(tmp_path) as run:
        (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nrubbish\n{"step": 3}\n')
        with pytest.raises(DataError, match=r"metrics\.jsonl: line 2 is damaged"):
            run.read_metrics("metrics.jsonl")


def test_numbers_that_are_not_finite_stay_out_of_the_metrics(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.append_metrics({"a": float("inf"), "b": float("nan"), "c": 1.0}, "metrics.jsonl")
        assert run.read_metrics("metrics.jsonl") == [{"a": None, "b": None, "c": 1.0}]


def test_sessions_add_up_in_the_manifest(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.begin_session({"commit": "a"})
        assert run.begin_session({"commit": "b"}) == [{"commit": "a"}, {"commit": "b"}]


def replace_folder(path):
    path.rename(path.with_name("elsewhere"))
    path.mkdir()
    (path / ".lock").touch()


REMOVALS = {
    "deleted": (shutil.rmtree, "deleted, moved or replaced"),
    "replaced": (replace_folder, "deleted, moved or replaced"),
    "lock": (lambda path: (path / ".lock").unlink(), r"its \.lock was deleted"),
    "metrics": (lambda path: (path / "metrics.jsonl").unlink(), "rows are missing"),
}


@pytest.mark.parametrize("kind", REMOVALS)
def test_what_is_removed_under_a_run_is_not_made_again(tmp_path, kind):
    remove, words = REMOVALS[kind]
    path = tmp_path / "run"
    with RunDirectory(path) as run:
        run.claim({"a": 1})
        run.append_metrics({"step": 1}, "metrics.jsonl")
        remove(path)
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(DataError, match=words):
            run.append_metrics({"step": 2}, "metrics.jsonl")
        if kind != "metrics":
            with pytest.raises(DataError, match=words):
                run.begin_session({})
        assert sorted(tmp_path.rglob("*")) == before


def test_work_without_its_configuration_is_not_taken_for_any(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.claim({"a": 1})
        run.append_metrics({"step": 1}, "metrics.jsonl")
        (tmp_path / "config.json").unlink()
        with pytest.raises(DataError, match=r"config\.json is gone(.|\n)*--fresh"):
            run.claim({"a": 1})


def test_a_lost_manifest_leaves_earlier_commits_unknown(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.begin_session({"commit": "a", "dirty": False})
        run.append_metrics({"step": 1}, "metrics.jsonl")
        (tmp_path / "manifest.json").unlink()
        first, second = run.begin_session({"commit": "b", "dirty": False})
        assert (first["commit"], first["dirty"]) == ("", True)
        assert second["commit"] == "b"


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ({"x64": True}, "x64: True → False"),
        ({"precision": "bfloat16"}, "precision: bfloat16 → float32"),
        ({"random": "rbg"}, "random: rbg → threefry2x32"),
        ({"platform": "gpu", "precision": "default"}, "precision: default → float32"),
    ],
)
def test_work_of_another_precision_is_refused(tmp_path, then, words):
    with RunDirectory(tmp_path) as run:
        run.claim({"a": 1})
        run.begin_session({"device": {**device.describe(), **then}})
        run.claim({"a": 1})  # nothing was done yet
        run.append_metrics({"step": 1}, "metrics.jsonl")
        with pytest.raises(ConfigError, match=words):
            run.claim({"a": 1})


@pytest.mark.parametrize(
    "then",
    [
        {"platform": "cpu", "precision": "default"},  # as old manifests have it
        {"platform": "gpu", "precision": "float32"},
        {"platform": "cpu", "precision": "highest"},
    ],
)
def test_the_same_precision_by_another_name_continues(tmp_path, then):
    with RunDirectory(tmp_path) as run:
        run.claim({"a": 1})
        run.begin_session({"device": then})
        run.append_metrics({"step": 1}, "metrics.jsonl")
        run.claim({"a": 1})


@pytest.mark.parametrize("content", ['{"sessions": 3}', "{}", '{"sessions": ["x"]}'])
def test_a_damaged_manifest_is_named(tmp_path, content):
    with RunDirectory(tmp_path) as run:
        (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(DataError, match=r"manifest\.json: damaged"):
            run.begin_session({})


@pytest.mark.parametrize("name", ["a [x]", "gs:", "back\\slash", os.fsdecode(b"\xff")], ids=ascii)
def test_every_name_of_a_directory_works(tmp_path, name):
    with RunDirectory(tmp_path / name) as run:
        run.claim({"a": 1})
        run.append_metrics({"step": 1}, "metrics.jsonl")
        assert run.read_metrics("metrics.jsonl") == [{"step": 1}]
    assert json.loads((tmp_path / name / "config.json").read_text()) == {"a": 1}


DATA = {"name": "songs", "version": "1.0.0", "checksums": {"a.zip": "0" * 64, "b.zip": "1" * 64}}


def begin(run: RunDirectory, folder: str) -> None:
    run.claim_data(DATA, folder)
    run.append_metrics({"step": 1}, str(Path(folder) / "metrics.jsonl"))


@pytest.mark.parametrize("folder", ["", "part"])
@pytest.mark.parametrize(
    "checksums", [{**DATA["checksums"], "b.zip": "2" * 64}, {}, {"b.zip": "1" * 64}, {"c.zip": "1"}]
)
def test_a_training_refuses_other_data(tmp_path, folder, checksums):
    with RunDirectory(tmp_path) as run:
        run.claim_data({**DATA, "checksums": checksums}, folder)  # nothing was done yet
        begin(run, folder)
        run.claim_data({**DATA, "version": "1.1.0"}, folder)  # how it is prepared is no matter
        with pytest.raises(ConfigError, match=r"other data: songs \([ab]\.zip") as refusal:
            run.claim_data({**DATA, "checksums": checksums}, folder)
        assert len(str(refusal.value).splitlines()) == 2
        run.claim_data({**DATA, "checksums": checksums}, "another")


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"name": 1, "checksums": []}'])
def test_damaged_notes_of_the_data_are_named(tmp_path, content):
    with RunDirectory(tmp_path) as run:
        begin(run, "")
        (tmp_path / "data.json").write_text(content)
        with pytest.raises(DataError, match=r"data\.json: damaged"):
            run.claim_data(DATA)


def test_a_folder_of_any_name_around_a_run_hides_none_of_its_work(tmp_path):
    with RunDirectory(tmp_path / ".before" / "seed0") as run:
        run.claim({"a": 1})
        run.append_metrics({"step": 1}, "metrics.jsonl")
        with pytest.raises(ConfigError, match="another configuration"):
            run.claim({"a": 2})


def test_how_work_was_computed_is_what_process_0_found(tmp_path):
    class Second(Process):
        def lead(self, work):
            return {"kernel": "cpu", "precision": "bfloat16"}  # its own disk may be another

    with RunDirectory(tmp_path, Second(1, 2)) as run:
        assert run.computed_before() == {"kernel": "cpu", "precision": "bfloat16"}
        with pytest.raises(ConfigError, match="kernel: cpu → scan"):
            run.require_compute({"kernel": "scan", "precision": "bfloat16"})
