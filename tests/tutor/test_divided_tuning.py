"""A tuning of one seed divided among devices: what one device does, to rounding."""

from pathlib import Path

import pytest
from apart import run_apart

FAST = ["scored in Python"]
SLOW = ["q", "psi", "g", "g that trains its prior", "policy gradient"]
METHODS = [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def tune(devices, names):
    return run_apart(Path(__file__).with_name("divided_tuning.py"), devices, *names)


@pytest.fixture(scope="module")
def fast():
    return tune("1,2,8", FAST)


@pytest.fixture(scope="module")
def slow():
    return tune("1,2,8", SLOW)


@pytest.fixture
def tuned(request, method):
    """What each number of devices made of a method."""
    return request.getfixturevalue("fast" if method in FAST else "slow")["tuned"][method]


def require_close(these, wanted):
    assert these["metrics"] == pytest.approx(wanted["metrics"], rel=1e-4, abs=1e-6)
    assert these["weights"] == pytest.approx(wanted["weights"], rel=1e-4)
    if "did" in wanted:
        assert these["did"] == wanted["did"]
        assert these["felt"] == pytest.approx(wanted["felt"], rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_several_devices_tune_as_one_does(tuned, method):
    """The same events, stored at the same places; the same numbers to rounding."""
    one = tuned["1"]
    assert one["halves"][0] != one["halves"][1]
    for devices, several in tuned.items():
        assert (several["used"], several["compiled"]) == ([int(devices)], 1)
        for these, wanted in zip(several["halves"], one["halves"], strict=True):
            require_close(these, wanted)


@pytest.mark.parametrize("method", METHODS)
def test_fewer_devices_go_on_and_more_do(tuned, method):
    first, *_, most = tuned.values()
    assert len(most["by fewer"]) == len(tuned) - 1
    for these in most["by fewer"]:
        require_close(these, most["halves"][1])
    require_close(most["by more"], first["halves"][1])


@pytest.mark.parametrize("method", METHODS[:-1])
def test_each_device_holds_its_share_and_the_memory_stays_where_it_is(tuned, method):
    assert [of["held"]["replay"] for of in tuned.values()] == [72 // int(n) for n in tuned]
    assert [of["held"]["actor"] for of in tuned.values()] == [8 // int(n) for n in tuned]
    assert all(of["moved"] == [] for of in tuned.values())


def test_a_call_of_python_serves_all_environments_of_all_devices(fast):
    for of in fast["tuned"]["scored in Python"].values():
        assert of["calls"] == [50, 8]


def test_each_device_calls_python_for_the_seeds_that_it_has(fast):
    one, two = fast["seeds"]
    assert two == pytest.approx(one, rel=1e-5)
    assert one["seed0/train/reward"] != one["seed1/train/reward"]


def test_what_cannot_be_divided_is_refused(fast):
    alone, *uneven = fast["refused"]
    assert "learn.environments=1: one sequence at a time leaves 2 devices nothing" in alone
    wanted = (
        "learn.environments=5 can't be divided evenly by 2 devices",
        "learn.replay_capacity=8 leaves each of 2 devices fewer places",
        "learn.batch_size=7 can't be divided evenly by 2 devices",
        "learn.environments=5 can't be divided evenly by 2 devices",
    )
    for text, words in zip(uneven, wanted, strict=True):
        assert words in text
