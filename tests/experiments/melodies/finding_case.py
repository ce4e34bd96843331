"""What the tests of claims, comparisons and the page on Table 1 share."""

import shlex
from dataclasses import replace

from common.config import override, to_dict
from experiments import registry
from experiments.arguments import make_parser
from experiments.cli import COMMANDS
from experiments.melodies.explain import PIECES
from experiments.melodies.finding import FINDINGS
from experiments.melodies.tested import CHANGES

GROUPS = tuple(
    dict.fromkeys(
        [
            *(runs for change in CHANGES for runs in (change.before, change.after)),
            *(runs for finding in FINDINGS for runs in finding.runs),
            *PIECES,
        ]
    )
)
"""All runs whose numbers and commands the page has."""


def read_command(command):
    """The options of a command, read as they are when it is given."""
    words = shlex.split(command, comments=True)
    assert words[:3] == ["python", "-m", "experiments"]
    return make_parser(COMMANDS).parse_args(words[3:])


def note_rnns(records):
    return {one.checksums["Note RNN"] for record in records for one in record.data}


def made(committed, runs, seed, **metrics):
    """A record of runs that has these metrics only."""
    like = next(one for one in committed if one.experiment == runs.experiment)
    config = override(registry.find(runs.experiment).preset(runs.preset).config, runs.overrides)
    return replace(
        like,
        preset=runs.preset,
        seed=seed,
        config=to_dict(config),
        overrides=list(runs.overrides),
        metrics=dict(metrics),
    )
