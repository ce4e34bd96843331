"""A batch divided among devices: what one device computes, to rounding; in a process of 8."""

from pathlib import Path

import jax.numpy as jnp
import pytest
from apart import run_apart

from common.mesh import make_mesh, replicate, summed


@pytest.fixture(scope="module")
def found():
    return run_apart(Path(__file__).with_name("eight_devices.py"))


@pytest.mark.parametrize("trained", ["note_rnn", "language"])
def test_several_devices_learn_what_one_does(found, trained):
    one = found[trained].pop("1")
    assert one[0] == [1]
    for devices, these in found[trained].items():
        assert these[0] == [int(devices)]
        for part in (1, 2, 3):
            assert these[part] == pytest.approx(one[part], rel=1e-5)
        assert these[-1] == 1  # compiled once


@pytest.mark.parametrize("trained", ["search", "population"])
def test_members_divided_among_devices_have_the_same_bits(found, trained):
    """But for a search with one member on each device: XLA then rounds products otherwise."""
    one = found[trained].pop("1")
    assert one[0] == [1]
    for devices, these in found[trained].items():
        assert these[0] == [int(devices)]
        if (trained, devices) == ("search", "8"):
            for part in (1, 2):
                assert these[part] == pytest.approx(one[part], rel=1e-6)
        else:
            assert these[1:] == one[1:]
        assert these[-1] == 1  # compiled once
    if trained == "population":
        assert len(set(one[3])) > 2  # some diverged, at different steps; others went on


def test_members_go_on_with_more_devices_and_with_fewer(found):
    _, _, _, _, whole, _ = found["population"]["2"]
    assert found["moved"] == [whole] * 3


def test_each_device_holds_its_part_of_the_windows(found):
    assert found["held"] == [1, 1]


def test_how_much_memory_arrays_take_is_foretold(found):
    for machine, device in found["bytes"]:
        assert (machine[0], device[0]) == (machine[1], device[1])
    whole, divided, both = (device[0] for _, device in found["bytes"])
    assert (divided, both) == (whole / 4 + whole, whole / 4)
    assert found["members"][0] == found["members"][1] > 0  # CPUs share the machine's


def test_what_cannot_be_divided_evenly_is_refused(found):
    settings = ("prior.batch_size=5", "train.batch_size=5", "seeds=3")
    for text, setting in zip(found["refused"], settings, strict=True):
        assert f"{setting} can't be divided evenly by 2 devices" in text


def test_one_device_needs_no_mesh():
    x = jnp.arange(3.0)
    assert make_mesh(1) is None
    assert replicate(x, None) is x
    assert summed(lambda w, x: w * jnp.sum(x), None, 2.0, x) == 6
