"""Commands in README.md and docs/*.md are read by the command line as they stand there."""

import re
import shlex
from pathlib import Path

import pytest

from common.config import override
from experiments.arguments import make_parser
from experiments.cli import COMMANDS
from experiments.registry import benchmarks, find
from experiments.sweep.plan import matching

REPOSITORY = Path(__file__).parents[1]
FOLLOWED = "adding.md"
"""Its commands are of what it adds: test_adding.py runs them."""
GUIDES = [
    REPOSITORY / "README.md",
    *(guide for guide in sorted((REPOSITORY / "docs").glob("*.md")) if guide.name != FOLLOWED),
]
STANDS_FOR = {"NAME": "note_rnn", "HOST:PORT": "localhost:1234", "$jobs": "2"}
"""Words that a reader replaces, where any word wouldn't do."""
COMMAND = re.compile(r"^(?:\w+ )*(?:\.venv/bin/)?python -m experiments (.*)")


def code(text: str) -> str:
    """What stands in blocks of code, one command a line."""
    blocks = re.findall(r"^```\w*\n(.*?)^```|((?:^    .*\n)+)", text, re.DOTALL | re.MULTILINE)
    return "".join(map("".join, blocks)).replace("\\\n", " ")


def read(line: str) -> list[str] | None:
    """The arguments of a command; None where the line has none."""
    if (match := COMMAND.match(line.strip())) is None:
        return None
    words = match[1].removesuffix('"') if match[1].count('"') % 2 else match[1]
    return [STANDS_FOR.get(word, word) for word in shlex.split(words, comments=True)]


CODE = {guide.name: code(guide.read_text(encoding="utf-8")) for guide in GUIDES}
FOUND = {name: list(filter(None, map(read, text.splitlines()))) for name, text in CODE.items()}


def test_every_command_is_found():
    assert {"README.md", "accelerators.md", "sweeps.md", "table_1.md"} <= {
        name for name, found in FOUND.items() if found
    }
    for name, found in FOUND.items():
        assert len(found) == CODE[name].count("python -m experiments"), name


@pytest.mark.parametrize("guide", [name for name, found in FOUND.items() if found])
def test_commands_of_a_guide_are_read(guide):
    """What they name is there: experiments, presets, settings, benchmarks."""
    parser = make_parser(COMMANDS)
    for words in {tuple(words): words for words in FOUND[guide]}.values():
        options = parser.parse_args(words)
        if words[0] == "run":
            experiment = find(options.name)
            preset = experiment.preset(options.preset or experiment.default_preset)
            override(preset.config, options.overrides)
        elif words[0] == "sweep":
            for name in matching(options.names):
                find(name).preset_name(options.preset or find(name).default_preset)
        elif words[0] == "bench":
            assert options.name in benchmarks()
