"""States of runs, from files that runs leave: written here by hand, locked for real."""

import fcntl
import json
import os
import shutil
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from run_case import folder, run

from common.record import read_record, write_record
from common.run_directory import RunDirectory
from common.run_lock import GLANCE_SECONDS, in_use
from experiments.cli import main
from experiments.sweep.state import find_runs, read_state

NAME = "rhn_penn_treebank_depth3_tied"


def rows(path: Path, *rows: dict, total: int | None = None) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if total is not None:
        schedule = {"total": total, "items_per_update": 50, "item": "tokens"}
        (path / "schedule.json").write_text(json.dumps(schedule))
    return path


def row(step: int, seconds: float, **metrics: float) -> dict:
    named = {name.replace("_", "/", 1): value for name, value in metrics.items()}
    return {"step": step, "epoch": 0.1, **named, "seconds": seconds}


def test_a_run_that_goes_on(tmp_path):
    path = rows(
        tmp_path / NAME / "smoke" / "seed0",
        row(10, 1.0, train_loss=3.0),
        row(20, 3.0, valid_perplexity=40.0),
        row(30, 5.0, train_loss=2.0),
        total=90,
    )
    assert read_state(path).kind == "stopped"
    with RunDirectory(path):
        state = read_state(path)
    assert (state.kind, state.step, state.total) == ("running", 30, 90)
    assert (state.speed.updates, state.speed.items) == (5.0, 250.0)
    assert state.seconds_left == 12.0
    assert state.score == ("valid/perplexity", 40.0)
    assert state.metrics == {"train/loss": 2.0, "valid/perplexity": 40.0}
    assert state.cells() == {
        "state": "running",
        "progress": "30 of 90 (33 %)",
        "score": "valid/perplexity 40",
        "speed": "250 tokens/s",
        "left": "12 s",
    }
    assert read_state(path).cells()["speed"] == ""


def test_speed_is_that_of_the_last_minute(tmp_path):
    fast = [row(100 * k, k) for k in range(10)]
    slow = [row(900 + k, 9 + 10.0 * k) for k in range(1, 20)]
    state = read_state(rows(tmp_path / "seed0", *fast, *slow))
    assert state.speed.updates == pytest.approx(0.1)


def test_a_run_of_before_schedules_were_written(tmp_path):
    state = read_state(rows(tmp_path / "seed0", row(10, 1.0), row(20, 2.0)))
    assert (state.progress, state.seconds_left) == ("20", None)


def test_rows_cut_by_a_kill_or_damaged_are_left_out(tmp_path):
    path = rows(tmp_path / "seed0", row(10, 1.0), total=90)
    with (path / "metrics.jsonl").open("a") as stream:
        stream.write("[]\nnull\n" + json.dumps(row(20, 2.0))[:15])
    (path / "schedule.json").write_text("[")
    assert (read_state(path).step, read_state(path).total) == (10, None)
    (path / "metrics.jsonl").write_text("")
    assert read_state(path).kind == "stopped"


def test_what_is_not_begun(tmp_path):
    assert read_state(tmp_path / "seed0").kind == "waiting"
    with RunDirectory(tmp_path / "seed1"):
        assert read_state(tmp_path / "seed1").kind == "running"
    assert read_state(tmp_path / "seed1").kind == "waiting"


def test_seeds_that_train_together_have_their_own_numbers(tmp_path):
    joint = {"step": 10, "seed3/composed/reward": 1.0, "seed5/composed/reward": 2.0}
    rows(tmp_path / "seeds3-5", {**joint, "seconds": 1.0}, total=20)
    (tmp_path / "seed5").mkdir()
    state = read_state(tmp_path / "seed5")
    assert (state.kind, state.step, state.total) == ("stopped", 10, 20)
    assert state.metrics["composed/reward"] == 2.0
    assert read_state(tmp_path / "seed4").kind == "waiting"


def test_a_run_of_several_trainings_shows_the_last(tmp_path):
    path = tmp_path / "quickstart" / "cpu" / "seed0"
    rows(path / "rhn", row(40, 1.0, valid_perplexity=9.0), total=40)
    last = rows(path / "tutor", row(5, 1.0, train_loss=1.0), total=50)
    stamp = (path / "rhn" / "metrics.jsonl").stat().st_mtime_ns
    os.utime(last / "metrics.jsonl", ns=(stamp + 10**9, stamp + 10**9))
    state = read_state(path)
    assert state.progress == "tutor: 5 of 50 (10 %)"
    assert state.metrics == {"rhn/valid/perplexity": 9.0, "tutor/train/loss": 1.0}


def test_checkpoints_may_come_and_go_under_a_look(tmp_path):
    path = rows(tmp_path / "seed0", row(10, 1.0))
    stop = threading.Event()

    def save() -> None:
        while not stop.is_set():
            for part in range(20):
                (path / "checkpoints" / "1.tmp" / str(part)).mkdir(parents=True)
            shutil.rmtree(path / "checkpoints" / "1.tmp")

    saver = threading.Thread(target=save)
    saver.start()
    try:
        assert {read_state(path).step for _ in range(300)} == {10}
    finally:
        stop.set()
        saver.join()


def test_what_stood_aside_for_a_fresh_run_counts_no_more(tmp_path):
    rows(tmp_path / "seed0" / ".before", row(10, 1.0))
    assert read_state(tmp_path / "seed0").kind == "waiting"


def test_a_damaged_record_is_told(tmp_path):
    path = rows(tmp_path / "seed0", row(10, 1.0))
    (path / "record.json").write_text("{")
    assert read_state(path).kind == "damaged"
    assert "not a record" in read_state(path).cells()["progress"]


def test_a_record_of_no_experiment_here_is_told(tmp_path):
    results = Path(__file__).parents[3] / "results"
    made = read_record(results / NAME / "cpu/seed0/record.json")
    for name, told in (("worlds", "there is no experiment 'worlds' here"), (made.experiment, "")):
        path = rows(tmp_path / name / "seed0", row(10, 1.0))
        write_record(replace(made, experiment=name), path)
        assert (read_state(path).kind, read_state(path).cells()["progress"]) == ("finished", told)


def test_runs_are_found_at_any_depth_in_the_order_of_their_seeds(tmp_path):
    for name in ("a/cpu/seed10", "a/cpu/seed2", "x/a/cpu/seed0", "a/cpu/.hidden/seed1"):
        (tmp_path / name / "checkpoints" / "seed9").mkdir(parents=True)
    found = [path.relative_to(tmp_path).as_posix() for path in find_runs(tmp_path)]
    assert found == ["a/cpu/seed2", "a/cpu/seed10", "x/a/cpu/seed0"]
    assert find_runs(tmp_path / "a" / "cpu" / "seed2") == [tmp_path / "a" / "cpu" / "seed2"]


def test_looking_at_a_lock_keeps_nobody_from_it(tmp_path):
    """A look that lasts, for a machine, an eternity."""
    (tmp_path / ".lock").touch()
    with (tmp_path / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert not in_use(tmp_path)
        looker = threading.Timer(GLANCE_SECONDS / 3, partial(fcntl.flock, held, fcntl.LOCK_UN))
        looker.start()
        with RunDirectory(tmp_path):
            assert in_use(tmp_path)
        looker.join()
    assert not in_use(tmp_path)


def test_the_command(tmp_path, capsys):
    assert main(["status", str(tmp_path / "absent")]) == 3
    assert "there is no such folder" in capsys.readouterr().err
    assert main(["status", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"No runs in {tmp_path}.\n"
    assert run(tmp_path, NAME, "--set", "train.epochs=1", "data.train_tokens=4000") == 0
    schedule = json.loads((folder(tmp_path, NAME) / "schedule.json").read_text())
    assert schedule["total"] == schedule["evaluate_every"]  # one epoch
    assert schedule["item"] == "tokens"
    capsys.readouterr()
    assert main(["status", str(tmp_path), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["state"], told["score"]["metric"]) == ("finished", "valid/perplexity")
    (folder(tmp_path, NAME) / "record.json").unlink()
    assert main(["status", str(tmp_path)]) == 0
    assert f"{schedule['total']} of {schedule['total']} (100 %)" in capsys.readouterr().out
