"""A tuning of one seed divided among devices and processes, from the command line."""

import sys
from types import SimpleNamespace

import pytest
from apart import train_apart
from melody_case import FEW, Q, refused
from run_case import record, run
from together import run_together

from common import device
from experiments.melodies import tutor

SEVERAL = [
    *FEW, "learn.environments=8", "learn.update_every=8",
    "learn.iterations=80", "learn.report_every=40", "evaluation.every=40",
]  # fmt: skip
"""Ten steps and seven updates: two processes of one machine wait 20 to 340 ms for each other."""


@pytest.mark.parametrize(
    ("settings", "seeds", "words"),
    [
        (["learn.environments=1"], "0", "learn.environments=1: one sequence at a time"),
        (["learn.environments=5", "learn.batch_size=30"], "0", "learn.environments=5 can't be"),
        (SEVERAL, "0 1 2", "seeds=3 can't be divided evenly by 2 devices"),
    ],
)
def test_what_devices_cannot_divide_is_refused_before_anything_trains(
    tmp_path, monkeypatch, capsys, settings, seeds, words
):
    monkeypatch.setattr(device, "seen", lambda platform="": 2)
    monkeypatch.setattr(tutor, "make_mesh", lambda devices: SimpleNamespace(size=devices))
    options = ["--mesh", "data=2", "--seeds", *seeds.split(), "--set", *FEW, *settings]
    assert run(tmp_path, Q, *options) == 2
    refused(capsys, 2, words)
    assert not (tmp_path / "note_rnn").exists()


@pytest.mark.slow
def test_two_devices_or_two_processes_tune_as_one_device_does(tmp_path, note_rnn):
    settings = ["--set", *SEVERAL, f"note_rnn.run={note_rnn}"]
    for devices in ("1", "2"):
        train_apart(tmp_path / devices, Q, "--mesh", f"data={devices}", *settings)
    wanted, by_devices = (record(tmp_path / devices, Q) for devices in ("1", "2"))
    out = tmp_path / "processes"
    out.mkdir()
    run_together(
        lambda index, port: [
            *(sys.executable, "-m", "experiments", "run", Q, "--preset", "smoke"),
            *("--out", str(out), "--process", str(index), *settings),
            *("--coordinator", f"127.0.0.1:{port}", "--processes", "2"),
        ],
        out,
    )
    by_processes = record(out, Q)
    for made in (by_devices, by_processes):
        assert made.metrics == pytest.approx(wanted.metrics, rel=1e-4)
        assert [row["eval/reward"] for row in made.curve] == pytest.approx(
            [row["eval/reward"] for row in wanted.curve], rel=1e-4
        )
        assert made.device["count"] == 2
    assert by_processes.device["processes"] == 2
