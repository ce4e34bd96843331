"""`--mesh` reaches the learner of every family that says that it divides its trainings."""

import sys

import pytest
from run_case import run

from common import device
from experiments.registry import experiments, load

UPSTREAM = ("note_rnn", "molecule_rnn")
"""Others start from their models; tuning is watched in melodies/test_melody_wiring.py."""
RUNNERS = {
    one.runner: one.name
    for one in reversed(experiments().values())
    if one.divisible and not (one.inputs and one.name not in UPSTREAM)
}
"""Each with the first experiment that it runs: others may need data that the user brings."""


class Asked(Exception):
    """A learner looked at the mesh it was given."""


class Mesh:
    def __init__(self, devices: int):
        self.devices = devices

    @property
    def size(self) -> int:
        raise Asked(self.devices)


@pytest.mark.parametrize("name", RUNNERS.values())
def test_devices_reach_the_learner(tmp_path, monkeypatch, name):
    for runner in RUNNERS:
        load(runner)
    monkeypatch.setattr(device, "seen", lambda platform="": 3)
    for module in list(sys.modules.values()):
        if module.__name__.startswith("experiments.") and hasattr(module, "make_mesh"):
            monkeypatch.setattr(module, "make_mesh", Mesh)
    with pytest.raises(Asked) as asked:
        run(tmp_path, name, "--mesh", "data=3")
    assert asked.value.args == (3,)


def test_the_others_refuse(tmp_path, capsys):
    for one in experiments().values():
        if not one.divisible:
            assert run(tmp_path, one.name, "--mesh", "data=2") == 2
            assert f"--mesh data=2: {one.name} trains on one device." in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
