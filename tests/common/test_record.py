import dataclasses
import json
import math

import pytest

from common import record as record_module
from common.error import DataError
from common.record import (
    DataUsed,
    Record,
    find_records,
    read_record,
    write_atomically,
    write_record,
)

RECORD = Record(
    experiment="e",
    preset="cpu",
    seed=3,
    status="done",
    command="python -m experiments run e --seed 3",
    config={"model": {"depth": 2, "tied": True}, "data": {"name": "d"}},
    overrides=["model.depth=2"],
    parameters=1234,
    metrics={"valid/perplexity": 81.25, "test_full/perplexity": 79.0},
    curve=[{"step": 1.0, "epoch": 1.0, "seconds": 0.5, "valid/perplexity": 81.25}],
    data=[DataUsed("d", "1.0.0", None, {"train": 100}, {"d.txt": "ab" * 32})],
    seconds={"train": 10.0, "evaluate": 1.5},
    device={"platform": "cpu", "kind": "a CPU", "count": 1},
    versions={"jax": "0.10.2"},
    commit="0123456789abcdef",
    commits=["first", "last"],
    dirty=False,
    finished="2025-01-02T03:04:05+00:00",
)


@pytest.mark.parametrize("parameters", [1234, {"rhn": 1, "lstm": 2}])
def test_a_record_survives_being_written_and_read(tmp_path, parameters):
    record = dataclasses.replace(RECORD, parameters=parameters)
    path = write_record(record, tmp_path)
    assert path == tmp_path / "record.json"
    assert read_record(path) == record
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


def test_a_record_holds_plain_finite_numbers_only(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_record(dataclasses.replace(RECORD, metrics={"a/b": math.nan}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def changed(**fields):
    values = dataclasses.asdict(RECORD) | fields
    return json.dumps({key: value for key, value in values.items() if value is not ...})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("[1]", "object"),
        (changed(metrics=...), "metrics"),
        (changed(seed="first"), "seed"),
        (changed(status="running"), "status"),
        (changed(metrics={"a/b": "low"}), "metrics.a/b"),
    ],
)
def test_what_is_no_record_is_refused_by_name(tmp_path, text, complaint):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read_record(path)
    assert str(path) in str(error.value)
    assert complaint in str(error.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "record.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a record"):
        read_record(path)


def test_a_missing_record_is_refused(tmp_path):
    with pytest.raises(DataError, match="can't be read: No such file"):
        read_record(tmp_path / "record.json")


def test_records_are_found_by_their_place(tmp_path):
    for seed in (1, 0):
        folder = tmp_path / "e" / "cpu" / f"seed{seed}"
        folder.mkdir(parents=True)
        write_record(dataclasses.replace(RECORD, seed=seed), folder)
    (tmp_path / "e" / "cpu" / ".seed2.old").mkdir()
    (tmp_path / "e" / "cpu" / ".seed2.old" / "record.json").write_text("not one")
    assert [record.seed for record in find_records(tmp_path)] == [0, 1]
    assert find_records(tmp_path / "absent") == []


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "f"
    write_atomically(path, "old")

    def fail(_):
        raise OSError("disk full")

    monkeypatch.setattr(record_module.os, "fsync", fail)
    with pytest.raises(DataError, match=r"/f: can't be written: disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]
