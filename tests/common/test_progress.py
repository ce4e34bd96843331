import io

import pytest

from common.progress import PLAIN_SECONDS, Progress, about, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_line_is_rewritten_and_never_wraps(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    progress = Progress("a_very_long_name_of_an_experiment", stream)
    progress.show("step 1/10  loss 1.234")
    progress.show("x" * 100)
    progress.close()
    *_, first, second = stream.getvalue().rstrip("\n").split("\r\x1b[2K")
    assert first.endswith("…  step 1/10  loss 1.234")
    assert len(first) < 40
    assert second == "x" * 39
    assert stream.getvalue().endswith("\n")


def test_elsewhere_lines_are_few(monkeypatch):
    now = 0.0
    monkeypatch.setattr("common.progress.time.monotonic", lambda: now)
    stream = io.StringIO()
    progress = Progress("run", stream)
    for step in range(100):
        now = step * PLAIN_SECONDS / 10
        progress.show(f"step {step}")
    progress.note("epoch 1")
    progress.close()
    lines = stream.getvalue().splitlines()
    assert lines == [*(f"run  step {step}" for step in range(0, 100, 10)), "run  epoch 1"]


def test_a_line_that_stays_begins_below_the_live_one():
    stream = Terminal()
    progress = Progress("run", stream)
    progress.show("step 1")
    progress.note("epoch 1")
    assert stream.getvalue().endswith("step 1\nrun  epoch 1\n")
    progress.close()
    assert stream.getvalue().endswith("epoch 1\n")


def test_what_is_not_visible_writes_nothing():
    stream = Terminal()
    progress = Progress("run", stream, visible=False)
    progress.show("step 1")
    progress.note("epoch 1")
    progress.close()
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (187, "3 min 07 s"), (7500, "2 h 05 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "1 s"), (35.6, "36 s"), (60, "1 min"), (1080, "18 min"), (3960, "1.1 h")],
)
def test_about(seconds, text):
    assert about(seconds) == text
