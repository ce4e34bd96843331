"""Tuning on molecules divided among devices, from the command line."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from apart import train_apart
from run_case import record, run

from common import device
from experiments.molecules import tutor

FEW = ["evaluation.samples=20", "evaluation.final_samples=20"]


@pytest.mark.parametrize("method", ["psi", "reinvent"])
def test_what_devices_cannot_divide_is_refused_before_anything_trains(
    tmp_path, monkeypatch, capsys, method
):
    monkeypatch.setattr(device, "seen", lambda platform="": 3)
    monkeypatch.setattr(tutor, "make_mesh", lambda devices: SimpleNamespace(size=devices))
    assert run(tmp_path, f"tutor_molecules_{method}", "--mesh", "data=3") == 2
    assert "can't be divided evenly by 3 devices" in capsys.readouterr().err
    assert not (tmp_path / "molecule_rnn").exists()


def test_devices_reach_a_tuning(tmp_path, monkeypatch, prior):
    class Seen(Exception):
        pass

    def stop(learner, seeds, *, mesh, threads=None):
        if threads is not None:  # else a look at whether devices can divide it, and hold it
            raise Seen(seeds, mesh)
        return SimpleNamespace(held_bytes=lambda member: 0)

    monkeypatch.setattr(device, "seen", lambda platform="": 2)
    monkeypatch.setattr(tutor, "make_mesh", lambda devices: f"a mesh of {devices}")
    monkeypatch.setattr(tutor, "Population", stop)
    with pytest.raises(Seen) as seen:
        run(
            tmp_path, "tutor_molecules_psi", "--mesh", "data=2", "--set", *FEW,
            f"molecule_rnn.run={prior}",
        )  # fmt: skip
    assert seen.value.args == ((0,), "a mesh of 2")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["psi", "reinvent"])
def test_two_devices_tune_as_one_does(tmp_path, prior, method):
    name, made = f"tutor_molecules_{method}", []
    for devices in ("1", "2"):
        out: Path = tmp_path / devices
        settings = ["--set", *FEW, f"molecule_rnn.run={prior}"]
        train_apart(out, name, "--mesh", f"data={devices}", *settings)
        made.append(record(out, name))
    wanted, found = (
        {key: value for key, value in one.metrics.items() if not key.startswith("speed/")}
        for one in made
    )
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-6, nan_ok=True)
    assert [one.device["count"] for one in made] == [1, 2]
    assert all(one.metrics["speed/scoring_seconds"] > 0 for one in made)
