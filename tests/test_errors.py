"""Every error for people can be sent to another process."""

import importlib
import pickle
import re
from pathlib import Path

from common.error import InterruptedRun, UserError
from common.melody import NoMelody
from experiments.train import DivergedRun, Outcome

ARGUMENTS = {
    InterruptedRun: ("what is wrong", 15),
    DivergedRun: ("what is wrong", Outcome(3, {"test/loss": 1.0}, [], [], {"training": 2.0})),
    NoMelody: ("polyphonic", "x.mid", "what is wrong"),
}
"""What errors are made of that need more than a message."""
ROOT = Path(__file__).parents[1]


def kinds() -> set[type[UserError]]:
    """All of them: those of common.error, and what modules make of these."""
    for package in ("common", "highway", "tutor", "experiments"):
        for path in (ROOT / package).rglob("*.py"):
            if re.search(r"^class \w+\(.*(Error|Run)\)", path.read_text(), re.MULTILINE):
                importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    found: set[type[UserError]] = {UserError}
    new = [UserError]
    while new:
        below = new.pop().__subclasses__()
        found.update(below)
        new += below
    return found


def test_every_error_comes_out_of_a_pickle_as_it_was():
    found = kinds()
    assert ARGUMENTS.keys() < found
    for kind in found:
        error = kind(*ARGUMENTS.get(kind, ("what is wrong",)))
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is kind
        assert "what is wrong" in str(copy)
        assert (str(copy), vars(copy)) == (str(error), vars(error))
        assert copy.exit_code == error.exit_code
