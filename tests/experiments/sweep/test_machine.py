"""How a machine is divided among runs: pure."""

import pytest

from common import device
from common.error import ConfigError
from experiments.sweep.machine import Machine, Slot, divide, jobs_at_a_time, look

GIB = 2**30
TWO = Machine((0, 1), 16 * GIB)
MANY = Machine(tuple(range(64)), 32 * GIB)
GPUS = Machine(tuple(range(16)), 64 * GIB, ("2", "3"))


@pytest.mark.parametrize(
    ("machine", "runs", "jobs"),
    [
        (TWO, 20, 2),
        (TWO, 1, 1),
        (MANY, 100, 32),  # a GiB each
        (MANY, 6, 6),
        (Machine((0, 1), GIB // 2), 20, 1),
        (GPUS, 20, 2),
        (Machine((0,), 64 * GIB, ("0", "1")), 20, 1),
        (Machine((0, 1), 16 * GIB, tpu=True), 20, 1),
    ],
)
def test_how_many_at_a_time(machine, runs, jobs):
    assert jobs_at_a_time(machine, runs) == jobs


def test_more_than_there_is_room_for_is_refused():
    assert jobs_at_a_time(TWO, 20, 1) == 1
    assert jobs_at_a_time(TWO, 1, 2) == 1  # which has both cores
    assert jobs_at_a_time(TWO, 0, 2) == 1
    with pytest.raises(ConfigError, match="--jobs 3: there are 2 CPU cores here"):
        jobs_at_a_time(TWO, 20, 3)
    with pytest.raises(ConfigError, match="a TPU belongs to one process"):
        jobs_at_a_time(Machine((0, 1), GIB, tpu=True), 20, 2)


def test_cores_are_dealt_out_whole_and_each_once():
    slots = divide(Machine(tuple(range(3, 10)), GIB), 3)
    assert [slot.cores for slot in slots] == [(3, 4), (5, 6), (7, 8, 9)]
    assert {slot.gpu for slot in slots} == {None}
    assert divide(TWO, 1) == [Slot(())]


def test_gpus_are_dealt_out_and_shared_where_there_are_more_runs():
    assert [slot.gpu for slot in divide(GPUS, 2)] == ["2", "3"]
    shared = divide(GPUS, 4)
    assert [slot.gpu for slot in shared] == ["2", "3", "2", "3"]
    assert [len(slot.cores) for slot in shared] == [4] * 4
    found = shared[3].environment({"PATH": "x"})
    assert (found["CUDA_VISIBLE_DEVICES"], found["PATH"]) == ("3", "x")
    assert found["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.450"
    mine = {"XLA_PYTHON_CLIENT_MEM_FRACTION": ".2"}
    assert shared[3].environment(mine)["XLA_PYTHON_CLIENT_MEM_FRACTION"] == ".2"
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in divide(GPUS, 2)[0].environment({})
    assert divide(GPUS, 1)[0].environment({}) == {"CUDA_VISIBLE_DEVICES": "2"}


def test_threads_are_as_many_as_cores_and_one_alone_is_left_as_it_was():
    threads = {"NPROC": "2", "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    assert Slot((4, 5)).environment({}) == threads
    assert Slot(()).environment({"NPROC": "7"}) == {"NPROC": "7"}
    one = Slot((4,)).environment({"XLA_FLAGS": "--a"})
    assert (one["NPROC"], one["XLA_FLAGS"]) == ("1", "--a --xla_cpu_multi_thread_eigen=false")
    told = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=true"}
    assert Slot((4,)).environment(told)["XLA_FLAGS"] == told["XLA_FLAGS"]


def test_a_machine_is_what_this_process_may_use_of_it(monkeypatch):
    """Its cores by affinity, and a container's memory where it is one."""
    monkeypatch.setattr(device, "core_numbers", lambda: (1, 5))
    monkeypatch.setattr(device, "host_memory", lambda: 3 * GIB)
    found = look("cpu")
    assert found == Machine((1, 5), 3 * GIB)
    assert jobs_at_a_time(found, 20) == 2
