"""Language models divided among devices: the same losses, whatever their number on the way."""

from types import SimpleNamespace

import pytest
from language_case import SMALL, folder, record, run, start, wait_for
from run_case import result

from common import device
from common.window import windows_bytes
from experiments.language import run as language_run


@pytest.mark.slow
def test_two_devices_begin_and_one_ends(tmp_path, done):
    arguments = ["--set", *SMALL]
    process = start(tmp_path, "--mesh", "data=2", *arguments)
    wait_for(folder(tmp_path) / "metrics.jsonl", 8, process)  # beyond the first epoch
    process.kill()
    output = process.communicate()[0]
    assert (folder(tmp_path) / "checkpoints" / "0").exists(), output
    assert run(tmp_path, *arguments) == 0
    made, alone = record(tmp_path), record(done)
    assert made.device["count"] == 1
    assert made.metrics == pytest.approx(alone.metrics, rel=1e-3)
    assert result(made) != result(alone)  # two devices did round otherwise


def test_a_process_cuts_only_its_rows_of_the_batch(tmp_path, monkeypatch):
    class Seen(Exception):
        pass

    class Learner:
        def __init__(self, config, size, windows, compute, mesh):
            raise Seen(windows, mesh)

    monkeypatch.setattr(device, "seen", lambda platform="": 2)
    monkeypatch.setattr(language_run, "make_mesh", lambda devices: SimpleNamespace(size=devices))
    asked, needed = [], []
    monkeypatch.setattr(device, "require_memory", lambda least, settings: needed.append(least))
    monkeypatch.setattr(language_run, "own_places", lambda *asks: asked.append(asks) or [1, 3])
    monkeypatch.setattr(language_run, "LanguageModelLearner", Learner)
    with pytest.raises(Seen) as seen:
        run(tmp_path, "--mesh", "data=2", "--set", *SMALL)
    windows, mesh = seen.value.args
    batch, setting = asked[0][1:]
    assert (asked[0][0], setting) == (mesh, "train.batch_size")
    assert mesh.size == 2
    assert needed[0] == windows_bytes(6000, batch, windows.inputs.shape[2]) / 2  # of each device
    assert batch > windows.inputs.shape[1] == 2
    assert windows.targets.shape == windows.inputs.shape


def test_what_lies_on_the_devices_is_kept_nowhere_else(tmp_path, monkeypatch):
    trials = []

    class Trial(language_run._Trial):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            trials.append(self)

    monkeypatch.setattr(language_run, "_Trial", Trial)
    assert run(tmp_path, "--set", *SMALL) == 0
    (trial,) = trials
    assert (len(trial.corpus.train), trial.tokens["train"]) == (0, 6000)
    assert record(tmp_path).data[0].tokens["train"] == 6000
