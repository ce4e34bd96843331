"""What a machine has, and how it is divided among runs."""

import importlib.metadata
import importlib.util
import os
from types import SimpleNamespace

import pytest

from common import device
from common.error import ConfigError
from experiments.sweep.machine import Machine, Places, Slot, divide, jobs_at_a_time, look, places

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


def test_places_are_what_the_machine_has_for_so_many():
    assert places(TWO, 2) == Places(2, cores=2, accelerators=0)
    assert places(GPUS, 4) == Places(4, cores=16, accelerators=2)
    assert places(Machine((0, 1), GIB, tpu=True), 1).accelerators == 1


def test_gpus_are_dealt_out_and_shared_where_there_are_more_runs():
    assert [slot.gpu for slot in divide(GPUS, 2)] == ["2", "3"]
    shared = divide(GPUS, 4)
    assert [slot.gpu for slot in shared] == ["2", "3", "2", "3"]
    assert [len(slot.cores) for slot in shared] == [4] * 4
    found = shared[3].environment({"PATH": "x"})
    assert (found["CUDA_VISIBLE_DEVICES"], found["PATH"]) == ("3", "x")
    fractions = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")

    def told(slot, **before):
        return {k: v for k, v in slot.environment(before).items() if k in fractions}

    assert told(shared[3]) == {"XLA_CLIENT_MEM_FRACTION": "0.450"}
    for name in fractions:  # JAX ends where both are set
        assert told(shared[3], **{name: ".2"}) == {name: ".2"}
    assert told(divide(GPUS, 2)[0]) == {}
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


@pytest.fixture
def with_cuda(tmp_path, monkeypatch):
    """JAX's plugin for GPUs, libtpu, and an nvidia-smi that says and returns what is asked for."""
    plugin = SimpleNamespace(metadata={"Name": "jax_cuda12_plugin"})
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: [plugin])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name in ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)

    def says(lines, code=0):
        program = tmp_path / "nvidia-smi"
        program.write_text(f'#!/bin/sh\n[ "$*" = -L ] && printf "{lines}"\nexit {code}\n')
        program.chmod(0o755)

    says("GPU 0: H (UUID: x)\\n  MIG 1g Device 0: (UUID: y)\\nGPU 1: H (UUID: z)\\n")
    return says


def test_gpus_are_those_that_jax_would_see(with_cuda, monkeypatch):
    assert look("auto").gpus == look("gpu").gpus == ("0", "1")
    assert look("cpu").gpus == ()
    for told, found in (("3, 5", ("3", "5")), ("", ()), ("-1", ())):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
        assert look("auto").gpus == found
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with_cuda("GPU 0: H\\n", code=9)
    assert look("auto").gpus == ()
    with_cuda("GPU 0: H\\n")
    assert look("auto").gpus == ("0",)
    monkeypatch.setattr(importlib.metadata, "distributions", list)
    assert look("auto").gpus == ()


@pytest.mark.parametrize(
    ("told", "platform", "gpus", "tpu"),
    [
        ("", "auto", 2, True),
        ("cpu", "auto", 0, False),
        ("cuda,cpu", "auto", 2, False),
        ("tpu", "auto", 0, True),
        ("cpu", "gpu", 2, False),  # each run is told itself
        ("cpu", "tpu", 0, True),
    ],
)
def test_jax_may_be_told_where_to_run(with_cuda, monkeypatch, told, platform, gpus, tpu):
    monkeypatch.setenv("JAX_PLATFORMS", told)
    found = look(platform)
    assert (len(found.gpus), found.tpu) == (gpus, tpu)
