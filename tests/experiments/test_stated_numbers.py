"""Numbers that guides state of faults and of several processes are those of the code."""

import inspect
import re
import signal
from pathlib import Path

import jax
import pytest
from faults import TIMES

from common import process

DOCS = Path(__file__).parents[2] / "docs"
SECONDS = {"five minutes": 300, "100 seconds": 100}


def text_of(guide: str) -> str:
    return " ".join((DOCS / guide).read_text(encoding="utf-8").split())


@pytest.mark.parametrize(
    ("kind", "number"), [("kill -9", signal.SIGKILL), ("SIGTERM", signal.SIGTERM)]
)
def test_how_often_the_campaign_sends_a_signal(kind, number):
    row = re.search(
        rf"\| {kind} at random moments.*? \| (\d+)\b.*? \| (\d+)\b", text_of("reliability.md")
    )
    assert row
    assert [int(times) for times in row.groups()] == [TIMES[number]] * 2


def test_how_long_processes_wait_and_miss_one_another(monkeypatch):
    """JAX's own watch has its own default, unless it is told another."""
    text, told = text_of("accelerators.md"), {}
    waits = re.search(r"wait (\w+ \w+) for one another at the start", text)
    misses = re.search(r"JAX's own watch has missed it for (.+?)\.", text)
    assert waits
    assert misses
    default = inspect.signature(jax.distributed.initialize).parameters["heartbeat_timeout_seconds"]
    monkeypatch.setattr(jax.distributed, "initialize", lambda **more: told.update(more))
    monkeypatch.setattr(process, "Alarm", lambda *_: None)
    monkeypatch.setattr(process, "_alarm", None)  # and is so again afterwards
    process.join(process.Cluster())
    assert SECONDS[waits[1]] == told["initialization_timeout"]
    assert SECONDS[misses[1]] == told.get("heartbeat_timeout_seconds", default.default)
