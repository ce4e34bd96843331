"""What the options of the command line make of their values."""

from pathlib import Path

import pytest

from experiments.arguments import make_parser
from experiments.cli import COMMANDS


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("run note_rnn --out=~/x", "out"),
        ("run note_rnn --data-dir=~/x", "data_dir"),
        ("data --data-dir=~/x", "data_dir"),
        ("table --out=~/x", "out"),
        ("table --results=~/x", "results"),
        ("report --results=~/x", "results"),
        ("compose RUN --out=~/x", "out"),
        ("compose RUN --primer=~/x", "primer"),
        ("compose ~/x", "trained"),
    ],
)
def test_a_tilde_is_the_home(home, line, name):
    assert getattr(make_parser(COMMANDS).parse_args(line.split()), name) == home / "x"


def test_a_tilde_in_several_paths_and_in_settings(home):
    parse = make_parser(COMMANDS).parse_args
    assert parse(["report", "--add", "~/x", "y"]).add == [home / "x", Path("y")]
    line = ["run", "note_rnn", "--set", "note_rnn.run=~/x", "note_rnn.run=~", "a=b~/c", "d"]
    expected = [f"note_rnn.run={home}/x", f"note_rnn.run={home}", "a=b~/c", "d"]
    assert parse(line).overrides == expected


def test_a_name_that_only_begins_with_a_tilde_is_a_name(home):
    parse = make_parser(COMMANDS).parse_args
    assert parse(["run", "note_rnn", "--out", "~no-such-user/x"]).out == Path("~no-such-user/x")
    assert parse(["run", "note_rnn", "--out", "./~/x"]).out == Path("./~/x")
