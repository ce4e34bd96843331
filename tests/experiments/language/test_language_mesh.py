"""Language models divided among devices: the same losses, whatever their number on the way."""

import pytest
from language_case import SMALL, folder, record, run, start, wait_for
from run_case import result


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
