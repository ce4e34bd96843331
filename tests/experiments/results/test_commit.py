"""Runs brought into results/ and read from there."""

from pathlib import Path

import pytest
from report_case import place, record, words

from common.error import DataError
from common.plot import LARGEST_BYTES
from common.record import read_record, write_record
from experiments import registry
from experiments.results.commit import add_run, load_records
from experiments.results.markdown import report_text
from experiments.results.row import result_rows
from experiments.sweep.point import mark_point


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """A registry of one experiment."""
    monkeypatch.setattr(registry, "experiments", lambda: {"words": words()})


def test_the_first_record_of_a_run_counts(tmp_path):
    place(tmp_path, record(words(), seed=0, commit="plain"))
    place(tmp_path / "a=1", record(words(), seed=0, commit="point"))
    place(tmp_path / "a=1", record(words(), seed=1, commit="point"))
    found = [(one.seed, one.commit) for one in load_records(tmp_path)]
    assert found == [(0, "plain"), (1, "point")]
    assert load_records(tmp_path / "absent") == []


def test_the_same_seed_with_another_configuration_is_another_run(tmp_path):
    place(tmp_path, record(words()))
    place(tmp_path / "train.epochs=3", record(words(), overrides=["train.epochs=3"]))
    assert len(load_records(tmp_path)) == 2


def test_what_is_no_record_is_named(tmp_path):
    path = place(tmp_path, record(words()))
    path.write_text('{"experiment": "words"}')
    with pytest.raises(DataError, match=r"words/paper/seed0/record\.json: not a record"):
        load_records(tmp_path)


def test_what_is_of_no_experiment_here_is_left_out_and_named(tmp_path, capsys):
    place(tmp_path, record(words()))
    stranger = place(tmp_path / "model.depth=3", record(words("worlds"))).parent
    assert [one.experiment for one in load_records(tmp_path)] == ["words"]
    told = f"left out: {stranger}: there is no experiment 'worlds' here.\n"
    assert capsys.readouterr().err == told


def finished_run(tmp_path, **changes):
    run = tmp_path / "run"
    run.mkdir(exist_ok=True)
    write_record(record(words(), "cpu", 3, **changes), run)
    return run


def test_a_run_is_added_with_its_pictures_and_samples_only(tmp_path):
    run = finished_run(tmp_path, dirty=True)
    for name in ("curve.png", "sample.txt", "metrics.jsonl", "config.json", ".lock"):
        (run / name).write_text(name)
    (run / "checkpoints").mkdir()
    target = add_run(run, tmp_path / "results")
    assert target == tmp_path / "results/words/cpu/seed3"
    assert sorted(path.name for path in target.iterdir()) == [
        "curve.png",
        "record.json",
        "sample.txt",
    ]
    assert read_record(target / "record.json").dirty


def test_adding_a_run_again_replaces_all_of_it(tmp_path):
    run = finished_run(tmp_path)
    (run / "old.png").write_text("old")
    add_run(run, tmp_path / "results")
    (run / "old.png").unlink()
    finished_run(tmp_path, commit="later")
    target = add_run(run, tmp_path / "results")
    assert [path.name for path in target.iterdir()] == ["record.json"]
    assert [path.name for path in target.parent.iterdir()] == ["seed3"]
    assert read_record(target / "record.json").commit == "later"


@pytest.mark.parametrize("name", ["curve.png", "sample.txt"])
def test_a_large_file_is_not_added(tmp_path, name):
    run = finished_run(tmp_path)
    (run / name).write_bytes(b"x" * LARGEST_BYTES)
    add_run(run, tmp_path / "results")
    (run / name).write_bytes(b"x" * (LARGEST_BYTES + 1))
    with pytest.raises(DataError, match=f"{name}: 200,001 bytes"):
        add_run(run, tmp_path / "results")
    assert (tmp_path / "results/words/cpu/seed3" / name).stat().st_size == LARGEST_BYTES


def test_a_run_does_not_replace_one_with_other_overrides(tmp_path):
    add_run(finished_run(tmp_path), tmp_path / "results")
    other = finished_run(tmp_path, overrides=["model.depth=2"])
    found = r"other overrides \(precision=float32; this one: model\.depth=2 precision=float32\)"
    with pytest.raises(DataError, match=found):
        add_run(other, tmp_path / "results")


def test_points_of_a_grid_have_folders_of_their_own(tmp_path):
    """In the results as among the runs; all are found, and their pictures are linked."""
    for depth in (6, 7):
        settings = f"model.depth={depth}"
        mark_point(tmp_path / "runs" / settings, (settings,))
        one = record(words(), "cpu", 3, overrides=[settings])
        run = place(tmp_path / "runs" / settings, one).parent
        (run / "curve.png").touch()
        added = add_run(run, tmp_path / "results")
        assert added == tmp_path / "results" / settings / "words" / "cpu" / "seed3"
    for root in ("runs", "results"):
        found = load_records(tmp_path / root)
        assert [one.overrides for one in found] == [["model.depth=6"], ["model.depth=7"]]
        assert {row.changes for row in result_rows(found, {"words": words()})} >= {
            ("model.depth=6",),
            ("model.depth=7",),
        }
    text = report_text(found, {"words": words()}, tmp_path / "results")
    for depth in (6, 7):
        link = f"model.depth%3D{depth}/words/cpu/seed3/curve.png"
        assert f"- model.depth={depth}, seed3: [curve]({link})\n" in text


def test_a_failure_while_adding_leaves_the_old_run(tmp_path, monkeypatch):
    run = finished_run(tmp_path)
    target = add_run(run, tmp_path / "results")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("experiments.results.commit.shutil.copyfile", fail)
    with pytest.raises(OSError, match="disk full"):
        add_run(run, tmp_path / "results")
    assert [path.name for path in target.parent.iterdir()] == ["seed3"]
    assert (target / "record.json").exists()


def test_a_failure_while_replacing_leaves_the_old_run(tmp_path, monkeypatch):
    run = finished_run(tmp_path)
    target = add_run(run, tmp_path / "results")
    rename = Path.rename

    def fail(self, to):
        if ".new." in self.name:
            raise OSError("no")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no"):
        add_run(run, tmp_path / "results")
    assert [path.name for path in target.parent.iterdir()] == ["seed3"]
    assert (target / "record.json").exists()


def test_an_unfinished_run_is_not_added(tmp_path):
    with pytest.raises(DataError, match=r"no record\.json: not a run, or not finished yet"):
        add_run(tmp_path, tmp_path / "results")
