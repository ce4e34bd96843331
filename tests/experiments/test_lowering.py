"""What experiments compute is lowered for CUDA and TPU from here."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from apart import run_apart

from common import device
from experiments import lowering
from experiments.cli import main
from experiments.registry import experiments, find

TRAINS_NOTHING = {"melody_data"}
MADE_OF_OTHERS = {"quickstart", "stacked_or_deep"}
_OF_A_KIND: dict[str, str] = {}
for _one in experiments().values():
    if _one.name not in MADE_OF_OTHERS:
        _OF_A_KIND.setdefault(_one.programs, _one.name)
"""Programs → the first experiment that has such."""
DIVIDED = {"rhn_penn_treebank_depth1_tied", "tutor_molecules_q", "highway_depth"}
"""A batch; environments and memory; a population."""
_DIVIDED_TOO = set(
    {one.programs: one.name for one in experiments().values() if one.divisible}.values()
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in _OF_A_KIND.values() else pytest.mark.slow)
        for name in experiments()
        if name not in TRAINS_NOTHING
    ],
)
def test_every_experiment_lowers_for_accelerators(name):
    found = lowering.lower(lowering.trace(find(name), "smoke"))
    assert {one.platform for one in found} == {"cuda", "tpu"}
    assert [one for one in found if one.error] == []


@pytest.mark.parametrize(
    "changes", [["model.core=dts_rnn", "model.depth=2"], ["model.core=lstm", "model.depth=1"], []]
)
def test_bfloat16_lowers_too(changes):
    """With a window's recurrence in chunks of time."""
    name = "rhn_penn_treebank_depth2_tied"
    overrides = [*changes, "train.recurrence_chunk=3"]
    traced = lowering.trace(find(name), "smoke", overrides, "bfloat16")
    found = lowering.lower(traced)
    assert [one for one in found if one.error] == []
    texts = [one.lower(lowering_platforms=("tpu",)).as_text() for one in traced.values()]
    assert any("xbf16>" in text for text in texts)


@pytest.mark.parametrize(
    "names",
    [DIVIDED, pytest.param(_DIVIDED_TOO - DIVIDED, marks=pytest.mark.slow)],
    ids=["fast", "slow"],
)
def test_what_devices_divide_lowers_for_accelerators(names):
    """Every update; what is evaluated is for one device, but for a search's populations."""
    found = run_apart(Path(__file__).with_name("two_devices.py"), *sorted(names))
    assert found.keys() == names
    for name, programs in found.items():
        for program, lowered in programs.items():
            trains = any(word in program for word in ("update", "rounds", "epoch"))
            alone = not trains and name != "rhn_optimization"
            assert lowered == ([1, False] if alone else [2, True]), (name, program)
        assert [2, True] in programs.values()


def test_no_experiment_keeps_its_programs_to_itself():
    assert {name for name, one in experiments().items() if not one.programs} == TRAINS_NOTHING


def test_it_is_lowered_as_an_accelerator_is_given_it(monkeypatch):
    seen = []
    experiment = find("rhn_penn_treebank_depth1_tied")

    def programs(config, compute):
        seen.append((config.train.steps, compute.kernel))
        x = jnp.ones((2, 2))
        return {"product": jax.jit(jnp.matmul).trace(x, x)}

    monkeypatch.setattr(type(experiment), "load_programs", lambda self: programs)
    for precision, written in (("float32", "HIGHEST"), ("tf32", "HIGH")):
        found = lowering.trace(experiment, "smoke", ["train.steps=7"], precision)
        text = found["product"].lower(lowering_platforms=("tpu",)).as_text()
        assert f"[{written}, {written}]" in text
    assert seen == [(7, "jax")] * 2  # the CPU's kernel is the fastest here


def a_call_of_python(x):
    return jax.pure_callback(np.sin, x, x)


def test_what_does_not_lower_is_named(monkeypatch, capsys):
    x = jnp.float32(1)
    programs = {"sine": jax.jit(jnp.sin).trace(x), "call": jax.jit(a_call_of_python).trace(x)}
    asked, configured = [], []

    def trace(_, *arguments):
        asked.append(arguments)
        return programs

    monkeypatch.setattr(lowering, "trace", trace)
    check = ["devices", "--check", "note_rnn", "--precision", "tf32", "--set", "data.key=C"]
    assert main(check) == 2
    assert asked == [("cpu", ["data.key=C"], "tf32", 1)]
    told = capsys.readouterr()
    lines = [line.split(maxsplit=2) for line in told.out.splitlines()]
    assert [line[:2] for line in lines] == [
        ["sine", "cuda"], ["sine", "tpu"], ["call", "cuda"], ["call", "tpu"]
    ]  # fmt: skip
    assert [line[2] == "lowers" for line in lines] == [True, True, False, False]
    assert "error: 2 of 4 can't be lowered." in told.err
    del programs["call"]
    monkeypatch.setattr(device, "configure", lambda *settings: configured.append(settings[2]))
    monkeypatch.setattr(device, "seen", lambda: 8)
    assert main(["devices", "--check", "note_rnn", "--mesh", "data=8"]) == 0
    assert (asked[-1][-1], configured[-1]) == (8, 8)
    capsys.readouterr()
    assert main(["devices", "--check", "note_rnn", "--json"]) == 0
    assert {one["error"] for one in json.loads(capsys.readouterr().out)} == {""}


def test_what_is_not_checked_is_said(capsys):
    assert main(["devices", "--check", "melody_data"]) == 0
    assert "computes nothing on a device" in capsys.readouterr().out
    assert main(["devices", "--check", "nope"]) == 2
    assert "unknown experiment 'nope'" in capsys.readouterr().err
    for option in (["--preset", "smoke"], ["--mesh", "data=2"]):
        assert main(["devices", *option]) == 2
        assert "are for --check NAME" in capsys.readouterr().err
    assert main(["devices", "--check", "quickstart", "--mesh", "data=2"]) == 2
    assert "quickstart trains on one device" in capsys.readouterr().err
    assert main(["devices", "--check", "note_rnn", "--mesh", "data=4096"]) == 2
    assert "--mesh data=4096: JAX sees" in capsys.readouterr().err
