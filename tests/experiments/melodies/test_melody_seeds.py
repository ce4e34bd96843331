"""Seeds that train together and stop: asked for otherwise, nothing starts over silently."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from melody_case import FEW, LITTLE, Q, refused
from run_case import folder, record, result, run

from common.run_directory import RunDirectory


@pytest.fixture(scope="module")
def little(tmp_path_factory) -> Path:
    """A Note RNN, quickly trained."""
    out = tmp_path_factory.mktemp("little")
    assert run(out, "note_rnn", "--set", *LITTLE) == 0
    return folder(out, "note_rnn")


def tune(out: Path, little: Path, *arguments: str) -> int:
    return run(out, Q, *arguments, "--set", *FEW, f"note_rnn.run={little}")


def halves(out: Path) -> set[str]:
    """The trainings here, with how many sessions each had."""
    found = out.glob("*/smoke/seed*/metrics.jsonl")
    manifests = {path.parent.name: path.with_name("manifest.json") for path in found}
    return {
        f"{name}: {len(json.loads(path.read_text())['sessions'])}"
        for name, path in manifests.items()
    }


@pytest.mark.slow
def test_in_another_order_or_with_others_they_go_on(tmp_path, little, stopped, capsys):
    given = ["--set", *FEW, f"note_rnn.run={little}"]
    assert tune(tmp_path / "whole", little, "--seeds", "0", "1") == 0
    out = tmp_path / "cut"
    stopped(out, Q, "--seeds", "0", "1", *given)
    rows = (folder(out, Q, "s0-1") / "metrics.jsonl").read_bytes()
    for asked in (["0"], ["1", "2"]):
        assert tune(out, little, "--seeds", *asked) == 2
        everyone = " ".join(sorted({"0", "1", *asked}))
        refused(capsys, 2, "seeds 0, 1 train together here", f"--seeds {everyone}", "--fresh")
    assert (folder(out, Q, "s0-1") / "metrics.jsonl").read_bytes() == rows
    assert tune(out, little, "--seeds", "2", "1", "0") == 0
    assert "continues at update" in capsys.readouterr().err
    assert halves(out) == {"seeds0-1: 2", "seed2: 1"}
    for seed in (0, 1):
        assert result(record(out, Q, seed)) == result(record(tmp_path / "whole", Q, seed))
        assert "--seeds 0 1" in record(out, Q, seed).command
    assert "--seeds 2" in record(out, Q, 2).command

    (folder(out, Q, 1) / "record.json").unlink()  # as after a kill between two records
    before = sorted(folder(out, Q, 0).glob("policy/*")), (folder(out, Q, 0) / "record.json").stat()
    made = record(out, Q, 0)
    assert tune(out, little, "--seeds", "1") == 0
    assert result(record(out, Q, 1)) == result(record(tmp_path / "whole", Q, 1))
    after = sorted(folder(out, Q, 0).glob("policy/*")), (folder(out, Q, 0) / "record.json").stat()
    assert (after[0], after[1].st_mtime_ns) == (before[0], before[1].st_mtime_ns)
    assert record(out, Q, 0) == made
    assert halves(out) == {"seeds0-1: 3", "seed2: 1"}


def test_one_that_began_alone_goes_on_alone(tmp_path, little, stopped, capsys):
    stopped(tmp_path, Q, "--seeds", "1", "--set", *FEW, f"note_rnn.run={little}")
    assert tune(tmp_path, little, "--seeds", "0", "1") == 0
    assert "continues at update" in capsys.readouterr().err
    assert halves(tmp_path) == {"seed1: 2", "seed0: 1"}


@pytest.mark.slow
def test_a_fresh_start_of_both_that_fails_brings_both_back(tmp_path, little, capsys):
    assert tune(tmp_path, little, "--seeds", "0", "1") == 0
    made = [record(tmp_path, Q, seed) for seed in (0, 1)]
    assert (
        run(tmp_path, Q, "--fresh", "--seeds", "1", "0", "--set", f"note_rnn.run={tmp_path}") == 3
    )
    assert capsys.readouterr().err.count("the run from before is back") == 3
    assert [record(tmp_path, Q, seed) for seed in (0, 1)] == made
    assert halves(tmp_path) == {"seeds0-1: 1"}
    assert tune(tmp_path, little, "--seeds", "0", "1") == 0
    assert tune(tmp_path, little, "--fresh", "--seeds", "1", "0") == 0
    again = [record(tmp_path, Q, seed) for seed in (0, 1)]
    assert list(map(result, again)) == list(map(result, made))  # in the order they had
    assert not list(tmp_path.rglob(".before*"))


def start(out: Path, name: str) -> subprocess.Popen:
    """A tuning in a process of its own."""
    command = [sys.executable, "-m", "experiments", "run", name, "--preset", "smoke"]
    return subprocess.Popen(
        [*command, "--out", str(out), "--set", *FEW],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_tutors_that_need_the_same_note_rnn(tmp_path):
    """One trains it, the other waits and then tunes the same."""
    names = (Q, "tutor_melodies_psi")
    both = [start(tmp_path, name) for name in names]
    told = [process.communicate(timeout=200)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    first, second = (record(tmp_path, name).data[0].checksums["Note RNN"] for name in names)
    assert first == second
    sessions = json.loads((folder(tmp_path, "note_rnn") / "manifest.json").read_text())["sessions"]
    assert len(sessions) == 1


@pytest.mark.parametrize("number", [pytest.param(2, marks=pytest.mark.slow), 15])
def test_one_that_waits_says_so_once_and_can_be_stopped(tmp_path, number):
    here = folder(tmp_path, "note_rnn")
    with RunDirectory(here):
        process = start(tmp_path, Q)
        assert process.stderr is not None
        first = process.stderr.readline()
        assert f"{here}: another process trains this Note RNN; waits for it" in first
        time.sleep(1.2)
        assert process.poll() is None
        process.send_signal(number)
        rest = process.communicate(timeout=20)[1]
    assert process.returncode in (128 + number, -number)
    assert "Traceback" not in rest
    assert "waits for it" not in rest
