"""Processes of one training that were given different things are refused before anything trains."""

from dataclasses import dataclass, replace

import pytest

from common import run_directory
from common.compute import SCAN
from common.error import ConfigError
from common.process import Process
from experiments import run as running
from experiments.registry import find
from experiments.run import Options

NAME = "rhn_penn_treebank_depth2_tied"


@dataclass(frozen=True)
class Pair(Process):
    """Process 0, with a process 1 that has the same but for one fact."""

    count: int = 2
    fact: str = ""
    other: object = None

    def gather(self, value):
        if isinstance(value, dict) and self.fact in value:
            return [value, {**value, self.fact: self.other}]
        return [value, value]


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """What a run says of a process that has another fact, a dictionary."""

    def refuse(fact: str, other: object, **options) -> str:
        pair = Pair(fact=fact, other=other)
        monkeypatch.setattr(running, "this_process", lambda: pair)
        monkeypatch.setattr(run_directory, "this_process", lambda: pair)
        with pytest.raises(ConfigError, match=r"process 1 differs from process 0") as caught:
            running.run(find(NAME), Options("smoke", out=tmp_path, **options), report=print)
        return str(caught.value)

    return refuse


@pytest.mark.parametrize(
    ("fact", "changed", "words"),
    [
        (
            "experiment",
            lambda value: "rhn_text8_depth10",
            f"experiment: {NAME} → rhn_text8_depth10",
        ),
        (
            "settings",
            lambda value: {**value, "model": {**value["model"], "depth": 99}},
            "settings.model.depth: 2 → 99",
        ),
        ("options", lambda value: {**value, "seeds": (0, 1)}, "options.seeds: (0,) → (0, 1)"),
        ("options", lambda value: {**value, "fresh": True}, "options.fresh: False → True"),
        ("code", lambda value: "abc", f"code: {running.code_digest()} → abc"),
        ("versions", lambda value: {**value, "jax": "9.9"}, "→ 9.9"),
    ],
)
def test_what_must_be_the_same_is_compared_first(tmp_path, refused, fact, changed, words):
    one = find(NAME)
    given = running._given(one, one.preset("smoke").config, Options("smoke"))
    assert words in refused(fact, changed(given[fact]))
    assert not list(tmp_path.iterdir())


def test_so_is_the_way_of_computing(refused):
    other = vars(replace(SCAN, kernel="jax"))
    assert "computed.kernel: scan → jax" in refused("computed", other, kernel="scan")


def test_code_is_known_by_its_files(tmp_path, monkeypatch):
    before = running.code_digest()
    assert before == running.code_digest()
    for name in running._PACKAGES:
        (tmp_path / name).mkdir()
    file = tmp_path / "highway" / "layer.py"
    monkeypatch.setattr(running, "__file__", str(tmp_path / "experiments" / "run.py"))
    found = []
    for text in ("a = 1\n", "a = 2\n"):
        file.write_text(text)
        found.append(running.code_digest())
    file.rename(file.with_name("core.py"))
    assert len({before, *found, running.code_digest()}) == 4
