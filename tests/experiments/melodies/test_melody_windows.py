"""The melodies themselves: windows cut out of them, and their keys against ABC's."""

from collections import Counter

import numpy as np
import pytest
from run_case import record, run

from common.datasets import load
from common.error import DataError
from common.key import estimate_key
from experiments.melodies.data import check_keys, cut, read_signature


def test_windows_are_beginnings_and_from_anywhere():
    melodies = [np.arange(100, 140), np.arange(31), np.arange(200, 232)]
    beginnings, anywhere = cut(melodies, 32, 500, np.random.default_rng(0))
    assert [window.tolist() for window in beginnings] == [
        list(range(100, 132)), list(range(200, 232)),
    ]  # fmt: skip
    assert anywhere.shape == (500, 32)
    assert np.all(np.diff(anywhere) == 1)  # all from one melody
    # Nine places in the first, one in the last: uniform over places.
    assert sorted(set(anywhere[:, 0])) == [*range(100, 109), 200]
    assert 25 < np.sum(anywhere[:, 0] == 200) < 80
    with pytest.raises(DataError, match="no held-out melody has 32 events"):
        cut(melodies[1:2], 32, 5, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("field", "pitch_class"),
    [
        ("K:C", 0), ("K: G", 7), ("K:F", 5), ("K:Bb", 10), ("K:F#", 6), ("K:Am", 0),
        ("K:E Minor", 7), ("K:Amin", 0), ("K:A Mixolydian", 2), ("K:Dmix", 7), ("K:Ador", 7),
        ("K:Glyd", 2), ("K:Bphr", 7), ("K:Gmaj", 7), ("K:G % sic", 7), ("K:HP", None), ("", None),
        ("K:Gxyz", None),
    ],
)  # fmt: skip
def test_signatures_of_abc_fields(field, pitch_class):
    assert read_signature(f"X:1\nM:4/4\n{field}\nGABc|") == pitch_class


def test_estimated_keys_against_those_of_tunes():
    tunes = {
        "as noted": "X:1\nL:1/8\nK:G\nGABcdefg|\n",
        "in minor": "X:2\nL:1/8\nK:Am\nABcdefga|A2c2e2a2|A^GA2|\n",
        "otherwise": "X:3\nL:1/8\nK:C\nGABcde^fg|\n",  # G major
        "in no mode": "X:4\nL:1/8\nK:HP\nGABc|\n",
        "without notes": "X:5\nL:1/8\nK:C\nz8|\n",
    }
    found = check_keys(tunes.items())
    assert found["abc/tunes"] == 3
    assert found["abc/agreeing"] == pytest.approx(200 / 3)
    assert found["abc/without_estimate"] == 0


def test_keys_are_checked_where_that_is_set(tmp_path, monkeypatch):
    """Among the folk tunes; here two of them, and chorales in the place of their windows."""
    tunes = [(f"tune {key}", f"X:1\nL:1/8\nK:{key}\nGABcde^fg|\n") for key in ("G", "C")]
    monkeypatch.setattr("experiments.melodies.data.FOLK", "chorale_melodies")
    monkeypatch.setattr("experiments.melodies.data.source_tunes", lambda: tunes)
    assert run(tmp_path, "melody_data", "--set", "windows=20", "check_keys=true") == 0
    found = record(tmp_path, "melody_data").metrics
    assert (found["abc/tunes"], found["abc/agreeing"]) == (2, 50)
    assert run(tmp_path, "melody_data", "--fresh", "--set", "windows=20") == 0
    assert "abc/tunes" not in record(tmp_path, "melody_data").metrics


def test_melodies_moved_to_c_are_counted(tmp_path):
    """All splits of them, before they are moved; where they keep their keys nothing is."""
    assert run(tmp_path, "melody_data", "--set", "windows=20", "data.key=C") == 0
    found = record(tmp_path, "melody_data").metrics
    own = load("chorale_melodies")
    splits = (own.train[:40], own.valid[:10], own.test[:10])
    expected = Counter(
        "without_a_key" if (key := estimate_key(melody)) is None else key.mode
        for split in splits
        for melody in split
    )
    assert {name: found[f"keys/{name}"] for name in expected} == expected
    assert sum(value for name, value in found.items() if name.startswith("keys/")) == 60
    assert run(tmp_path, "melody_data", "--fresh", "--set", "windows=20") == 0
    assert "keys/major" not in record(tmp_path, "melody_data").metrics


def test_the_experiment_measures_held_out_melodies(tmp_path):
    settings = ["windows=300", "original_quirks=true"]
    assert run(tmp_path, "melody_data", "--set", *settings) == 0
    made = record(tmp_path, "melody_data")
    assert (made.parameters, made.curve, made.data[0].stand_in_for) == (0, [], None)
    for name in ("note_density", "mean_interval", "notes_in_motif"):
        for split in ("start", "anywhere"):
            low, value, high = (
                made.metrics[f"{one}/{name}"] for one in (f"{split}_low", split, f"{split}_high")
            )
            assert low <= value <= high
    for split in ("start", "anywhere"):  # a tune as long as eight bars is among the chorales
        after = made.metrics[f"{split}_8_bars/notes_returning_after_4_bars"]
        assert 0 < after < 100
    swapped = made.metrics["anywhere/notes_excessively_repeated"]
    assert run(tmp_path, "melody_data", "--fresh", "--set", "windows=300") == 0
    plain = record(tmp_path, "melody_data").metrics
    assert plain["anywhere/note_density"] == made.metrics["anywhere/note_density"]
    assert plain["anywhere/notes_excessively_repeated"] < swapped
    assert run(tmp_path, "melody_data", "--fresh", "--set", "windows=20") == 0
    few = record(tmp_path, "melody_data").metrics
    assert few["start/note_density"] == plain["start/note_density"]
    assert few["anywhere/note_density"] != plain["anywhere/note_density"]
    assert run(tmp_path, "melody_data", "--seeds", "1", "--set", "windows=20") == 0
    other = record(tmp_path, "melody_data", 1).metrics
    assert other["anywhere/note_density"] != few["anywhere/note_density"]
