"""Choosing a platform, the precision of products, and what is said of the machine."""

import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from common import device
from common.error import ConfigError


@pytest.fixture
def settings():
    """JAX's settings as they are, put back afterwards."""
    names = (
        "jax_default_matmul_precision",
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: jax.config.values[name] for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def lowered(platform: str) -> str:
    """The program of a matrix product as it is compiled for a platform."""
    x = jnp.ones((2, 2))
    return jax.jit(jnp.matmul).trace(x, x).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(("platform", "lowers_to"), [("gpu", "cuda"), ("tpu", "tpu")])
def test_products_on_an_accelerator_are_float32(monkeypatch, platform, lowers_to):
    """Their default is less exact; what counts is the program that is compiled."""
    assert "HIGHEST" not in lowered(lowers_to)
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(platform=platform)])
    device.configure("auto", None)
    assert "HIGHEST" in lowered(lowers_to)


@pytest.mark.usefixtures("settings")
def test_products_on_a_gpu_may_be_in_tf32(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(platform="gpu")])
    device.configure("auto", None, tf32=True)
    assert "HIGHEST" not in lowered("cuda")
    assert "HIGH" in lowered("cuda")  # what JAX calls TF32
    assert device.numerics()["precision"] == "tensorfloat32"
    assert device.other_numerics({"platform": "gpu", "precision": "float32"})


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(("share", "said"), [(0.5, "0.5"), (0, "as needed"), (None, None)])
def test_the_memory_of_a_gpu_is_taken_as_asked(monkeypatch, share, said):
    """By the variables that JAX reads as it starts."""
    names = (
        "XLA_PYTHON_CLIENT_PREALLOCATE",
        "XLA_CLIENT_MEM_FRACTION",
        "XLA_PYTHON_CLIENT_MEM_FRACTION",
    )
    for name in names:
        monkeypatch.delenv(name, raising=False)
    gpu = SimpleNamespace(platform="gpu", device_kind="G", memory_stats=lambda: {"bytes_limit": 7})
    monkeypatch.setattr(jax, "devices", lambda: [gpu])
    monkeypatch.setattr(jax, "local_devices", lambda: [gpu])
    if share is not None:
        monkeypatch.setenv(names[2], "0.3")  # of which JAX would complain
    device.configure("auto", None, preallocate=share)
    assert device.describe().get("preallocated") == said
    assert os.environ.get(names[0]) == {0.5: "true", 0: "false", None: None}[share]
    assert os.environ.get(names[1]) == ("0.5" if share else None)
    assert names[2] not in os.environ
    for name in names:  # those that were set are put back by nobody else
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    ("settings_of_gpus", "words"),
    [({"tf32": True}, "--precision tf32"), ({"preallocate": 0.0}, "--preallocate")],
)
def test_what_means_nothing_on_a_cpu_is_refused(monkeypatch, settings_of_gpus, words):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "true")  # put back afterwards
    with pytest.raises(ConfigError, match=f"{words} is for GPUs, and JAX runs on platform 'cpu'"):
        device.configure("auto", None, **settings_of_gpus)


@pytest.mark.usefixtures("settings")
def test_products_on_a_cpu_are_left_alone():
    device.configure("auto", None)
    assert jax.config.values["jax_default_matmul_precision"] is None
    assert device.describe()["precision"] == "default"


@pytest.mark.usefixtures("settings")
def test_the_folder_of_compiled_programs(tmp_path):
    device.configure("auto", tmp_path / "compiled")
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "compiled")
    device.configure("auto", None)
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "compiled")


@pytest.mark.parametrize(("platform", "expected"), [("cpu", 1), ("gpu", None), ("tpu", None)])
def test_a_cpu_of_one_core_trains_seeds_by_themselves_too(monkeypatch, platform, expected):
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(platform=platform)])
    monkeypatch.setattr(device, "core_numbers", lambda: (0,))
    assert device.threads() == expected


def test_platforms_that_are_not_here():
    with pytest.raises(ConfigError, match=r"unknown platform 'gpus'.*Did you mean 'gpu'"):
        device.configure("gpus", None)
    code = (
        "from common import device\nfrom common.error import ConfigError\n"
        "try: device.configure('tpu', None)\nexcept ConfigError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert "'tpu' isn't available" in done.stdout, done.stderr


def test_what_is_said_of_this_machine():
    found = device.describe()
    assert found["platform"] == "cpu"
    assert (found["count"], found["seen"]) == (1, len(jax.devices()))
    assert found["cores"] >= 1
    assert found["memory_bytes"] > 2**28
    assert found["kind"]
    versions = device.versions()
    assert versions["jax"] == jax.__version__
    assert {"python", "flax", "optax", "numpy"} <= versions.keys()
