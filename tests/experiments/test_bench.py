import json

import pytest

from common import device
from common.error import ConfigError
from experiments import bench
from experiments.cli import main
from experiments.melodies import bench as melodies
from experiments.registry import benchmarks


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


def test_devices_reach_the_benchmark_that_divides(monkeypatch, capsys):
    asked = []

    def measured(seconds, devices=1):
        return asked.append(devices) or {"speed": 1.0}

    configured = []
    monkeypatch.setattr(melodies, "note_rnn", measured)
    monkeypatch.setattr(device, "configure", lambda *settings: configured.append(settings[2]))
    monkeypatch.setattr(device, "seen", lambda platform="": 2)
    assert main(["bench", "note_rnn"]) == 0
    assert main(["bench", "note_rnn", "--mesh", "data=2"]) == 0
    assert (asked, configured) == ([1, 2], [1, 2])
    assert main(["bench", "note_rnn", "--mesh", "data=3"]) == 2
    assert "--mesh data=3: JAX sees 2 devices here" in capsys.readouterr().err
    assert asked == [1, 2]


def test_a_benchmark_makes_a_mesh_of_the_devices_asked_for(monkeypatch):
    def stop(devices):
        raise ConfigError(f"a mesh of {devices}")

    monkeypatch.setattr(bench, "PRODUCT_SIZE", 64)
    monkeypatch.setattr(melodies, "make_mesh", stop)
    with pytest.raises(ConfigError, match="a mesh of 2"):
        melodies.note_rnn(0.01, devices=2)


@pytest.mark.parametrize("name", sorted(set(benchmarks()) - {"note_rnn"}))
def test_the_others_measure_one_device(name, monkeypatch, capsys):
    monkeypatch.setattr(device, "configure", lambda *settings: None)
    monkeypatch.setattr(device, "seen", lambda platform="": 2)
    assert main(["bench", name, "--mesh", "data=2"]) == 2
    assert f"--mesh data=2: bench {name} measures one device" in capsys.readouterr().err


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
