"""What a sweep shows while it runs, of entries that are as they are: no process is started."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from toy_job import toy

from experiments.sweep import live
from experiments.sweep.live import AROUND, ORDER, Lines, Live, told
from experiments.sweep.local import Entry, Stage
from experiments.sweep.machine import Places
from experiments.sweep.state import Kind, State

PLACES = Places(2, cores=2, accelerators=0)
KINDS: dict[Stage, Kind] = {
    "running": "running",
    "failed": "stopped",
    "stopped": "stopped",
    "elsewhere": "running",
    "waiting": "waiting",
    "done": "finished",
}
"""What a run's directory says of it in each stage."""


def entry(seed: int, stage: Stage, **fields) -> Entry:
    step = 0 if stage == "waiting" else 5
    state = State(Path(f"seed{seed}"), KINDS[stage], step=step, total=10)
    return Entry(toy(Path(), seed, hours=2.0), state, stage, **fields)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch):
    """(entries, rows) → the lines of the table in a terminal with room for so many rows."""

    def show(entries, rows, *, stopping=False):
        monkeypatch.setenv("TERM", "dumb")  # which rich writes to once
        monkeypatch.setenv("LINES", str(rows + AROUND))
        monkeypatch.setenv("COLUMNS", "150")
        terminal = Terminal()
        table = live.make_watcher(PLACES, terminal)
        assert isinstance(table, Live)
        with table:
            table.look(entries, stopping=stopping)
        return [line.rstrip() for line in terminal.getvalue().splitlines()]

    return show


def test_plain_lines_say_how_far_all_is_at_the_first_look_and_at_the_end():
    stream = io.StringIO()
    entries = [entry(0, "running"), entry(1, "waiting")]
    lines = live.make_watcher(PLACES, stream)
    assert isinstance(lines, Lines)
    with lines:
        lines.look(entries, stopping=False)
        (first, _) = stream.getvalue().splitlines()
        assert first.startswith("2 runs: 1 running, 1 waiting; 2 h on 2 CPU cores expected")
        lines.look(entries, stopping=False)
        entries[:] = [entry(0, "done"), entry(1, "failed")]
        lines.look(entries, stopping=False)
        assert stream.getvalue().count("\n") == 2  # PLAIN_SECONDS haven't passed
    assert stream.getvalue().splitlines()[2:] == ["2 runs: 1 finished, 1 failed"]


def test_what_was_said_last_is_not_said_again_at_the_end():
    stream = io.StringIO()
    with Lines(PLACES, stream) as lines:
        lines.look([entry(0, "done")], stopping=False)
    assert stream.getvalue() == "1 run: 1 finished\n"
    with Lines(PLACES, stream):
        pass
    assert stream.getvalue() == "1 run: 1 finished\n"


def test_runs_that_failed_are_counted_once_and_their_hours_are_not_expected():
    entries = [entry(0, "failed"), entry(1, "failed"), entry(2, "waiting")]
    assert told(entries, replace(PLACES, count=1), stopping=False).startswith(
        "3 runs: 1 waiting, 2 failed; 2 h on 2 CPU cores expected, "
    )
    assert told(entries[:2], PLACES, stopping=False) == "2 runs: 2 failed"


def test_while_runs_save_it_says_what_another_signal_does(shown):
    entries = [entry(0, "running"), entry(1, "running"), entry(2, "waiting")]
    text = "stopping: 2 runs save; another signal kills"
    assert told(entries, PLACES, stopping=True) == text
    assert shown(entries, 3, stopping=True)[-1] == text
    assert told(entries[1:], PLACES, stopping=True).startswith("stopping: 1 run saves;")
    assert told(entries[2:], PLACES, stopping=True).startswith("1 run: 1 waiting; ")


def test_a_table_shows_the_runs_in_their_order_while_there_is_room(shown):
    entries = [entry(seed, stage) for seed, stage in enumerate(reversed(ORDER))]
    head, *rows, last = shown(entries, len(entries))
    assert head.split() == ["run", "state", "progress", "score", "left"]
    assert [row.split()[3] for row in rows] == [str(seed) for seed in range(len(entries))]
    assert last.startswith("6 runs: ")


@pytest.mark.parametrize("room", range(1, len(ORDER)))
def test_without_room_it_shows_what_matters_most(shown, room):
    entries = [entry(seed, stage) for seed, stage in enumerate(reversed(ORDER))]
    _, *rows, hidden, last = shown(entries, room)
    kept = sorted(len(ORDER) - 1 - ORDER.index(stage) for stage in ORDER[:room])
    assert [row.split()[3] for row in rows] == list(map(str, kept))
    assert hidden == f"… and {len(ORDER) - room} more"
    assert last.startswith("6 runs: ")


def test_a_row_says_why_a_run_failed_or_how_far_it_is(shown):
    entries = [entry(0, "failed", why="exit code 1."), entry(1, "running")]
    _, failed, running, _ = shown(entries, 2)
    assert failed.split() == ["toy", "smoke", "seed", "0", "failed", "exit", "code", "1."]
    assert "running  5 of 10 (50 %)" in running
