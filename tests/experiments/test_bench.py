import json

import pytest

from experiments import bench
from experiments.cli import main
from experiments.melodies import bench as melodies


@pytest.mark.slow
def test_the_tutor_benchmark_prints_one_flat_object_of_numbers(monkeypatch, capsys):
    monkeypatch.setattr(melodies, "COMPOSITIONS", 100)
    monkeypatch.setattr(melodies, "SETTINGS", ("vectorised",))
    monkeypatch.setattr(melodies, "SEEDS", 1)  # compiled once
    monkeypatch.setattr(bench, "PRODUCT_SIZE", 64)
    monkeypatch.setattr(bench, "PIECES", 1)
    assert main(["bench", "tutor", "--json", "--seconds", "0.01"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert {
        "vectorised/steps_per_second",
        "vectorised/updates_per_second",
        "compositions_per_second",
        "peak_memory_bytes",
    } <= measured.keys()
    assert all(isinstance(value, int | float) and value > 0 for value in measured.values())
    steps, updates = (measured[f"vectorised/{what}_per_second"] for what in ("steps", "updates"))
    assert updates == steps / 5


def test_the_benchmark_of_the_note_rnn_measures_every_way(monkeypatch):
    monkeypatch.setattr(bench, "PRODUCT_SIZE", 64)
    monkeypatch.setattr(bench, "PIECES", 1)
    measured = melodies.note_rnn(0.01)
    assert all(value > 0 for value in measured.values())
    ways = ("", "one_device_", "plain_")
    assert {f"{way}updates_per_second" for way in ways} <= measured.keys()
    assert measured["devices"] == 1
    ratio = measured["updates_per_second"] / measured["plain_updates_per_second"]
    assert measured["times_plain"] == ratio


def test_bench_refuses_what_it_does_not_know(capsys):
    for arguments in (
        ["bench", "tuter"],
        ["bench", "tutor", "--seconds", "-1"],
        ["bench", "tutor", "--mesh", "2"],
        ["bench", "tutor", "--mesh", "data=0"],
    ):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        assert "error:" in capsys.readouterr().err
