"""Options of devices and processes on the command line: what they reach, and what is refused."""

from types import SimpleNamespace

import pytest
from run_case import run

from common import device
from common.compute import SCAN
from common.error import ConfigError
from common.process import Cluster
from experiments.registry import find
from experiments.run import Options, choose_compute, command

NAME = "rhn_penn_treebank_depth2_tied"
SEVERAL = ["--coordinator", "127.0.0.1:1", "--processes", "4"]


@pytest.fixture
def asked(monkeypatch):
    """With what JAX would be set up."""
    settings = {}

    def configure(platform, cache, cpu_devices, **more):
        settings.update(more, platform=platform, cpu_devices=cpu_devices)
        raise ConfigError("that is all")

    monkeypatch.setattr(device, "configure", configure)
    return settings


def test_options_reach_jax(tmp_path, asked):
    options = ["--platform", "gpu", "--precision", "tf32", "--preallocate", "0.4"]
    assert run(tmp_path, NAME, *options, *SEVERAL, "--process", "3", "--mesh", "data=8") == 2
    assert asked == {
        "platform": "gpu",
        "cpu_devices": 8,  # in all processes together
        "tf32": True,
        "preallocate": 0.4,
        "cluster": Cluster("127.0.0.1:1", 4, 3),
    }
    assert run(tmp_path, NAME, "--distributed") == 2
    assert asked["cluster"] == Cluster()
    assert asked["tf32"] is False
    asked.clear()
    assert run(tmp_path, NAME) == 2
    assert "cluster" not in asked


def exit_code(*arguments) -> int:
    """Of a run, be its arguments refused by the parser or later."""
    try:
        return run(*arguments)
    except SystemExit as stop:
        return stop.code


@pytest.mark.parametrize("address", ["a.b:1", "127.0.0.1:65535", "[::1]:8000"])
def test_a_coordinator_is_a_host_and_a_port(tmp_path, asked, address):
    assert run(tmp_path, NAME, "--coordinator", address, *SEVERAL[2:], "--process", "0") == 2
    assert asked["cluster"] == Cluster(address, 4, 0)


def test_a_command_has_them():
    options = Options("cpu", precision="tf32", preallocate=0.0, devices=4)
    words = "--precision tf32 --preallocate 0 --mesh data=4"
    assert words in command(find(NAME), options, (0,))


@pytest.mark.parametrize("precision", ["tf32", "float32"])
def test_tf32_is_no_way_to_compute_a_recurrence(precision):
    """It is a setting of JAX's; all that is computed by float32 products goes as before."""
    new = SimpleNamespace(computed_before=lambda: None, require_compute=lambda wanted: None)
    options = Options("cpu", precision=precision, kernel="scan")
    config = find(NAME).preset("cpu").config
    assert choose_compute(find(NAME), config, options, new, print) == SCAN


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (SEVERAL, "give --coordinator, --processes and --process together"),
        (["--process", "0"], "give --coordinator, --processes and --process together"),
        ([*SEVERAL, "--process", "0", "--distributed"], "or --distributed alone"),
        ([*SEVERAL, "--process", "4"], "numbered from 0 to 3"),
        ([*SEVERAL, "--process", "-1"], "'-1': processes are numbered from 0"),
        (["--processes", "0"], "'0': choose a number from 1"),
        *(
            (["--coordinator", wrong], f"'{wrong}': write HOST:PORT, PORT from 1 to 65535")
            for wrong in (
                "",
                "host",
                "host:",
                ":1",
                "host:0",
                "host:65536",
                "host:a",
                "::1",
                "[]:1",
            )
        ),
    ],
)
def test_processes_that_are_not_all_told(tmp_path, capsys, options, words):
    assert exit_code(tmp_path, NAME, *options) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_divided_needs_no_other_process(tmp_path, capsys):
    assert run(tmp_path, "quickstart", *SEVERAL, "--process", "0") == 2
    assert "quickstart trains on one device" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--precision", "tf32"), ("--preallocate", "0.5")])
def test_settings_of_gpus_are_refused_on_a_cpu(tmp_path, capsys, monkeypatch, option, value):
    for name in ("XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_CLIENT_MEM_FRACTION"):
        monkeypatch.setenv(name, "1")  # put back afterwards
    assert run(tmp_path, NAME, option, value) == 2
    assert f"{option}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
