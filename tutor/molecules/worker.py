"""A process that measures molecules: a line of JSON in, a line of JSON out.

It is begun as `python -m tutor.molecules.worker NAMES FUNCTIONS` by `tutor.molecules.scorer`, and
ends with its standard input. It imports RDKit, but no JAX.
"""

import importlib
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tutor.molecules import chemistry

READY = "ready"


def main() -> None:
    """Say READY, then answer each molecule with a list of values, null, or what went wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks decides when to stop
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else prints doesn't disturb the answers
    names, own = (json.loads(text) for text in sys.argv[1:3])

    def say(answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        chemistry.silence()
        functions = built_in(names)
        functions += [_guarded(name, load(name)) for name in own]
    except Exception as error:
        say({"error": f"{type(error).__name__}: {error}"})
        return
    say(READY)
    for line in sys.stdin:
        smiles = json.loads(line)
        try:
            say(chemistry.measure(smiles, functions))
        except OwnError as error:
            say({"error": f"{error}, of the molecule {smiles}"})
        except Exception:  # RDKit's functions know molecules that they can't handle
            say(None)


def built_in(names: Sequence[str]) -> list[Callable[[Any], chemistry.Value]]:
    """Return the functions of properties, ready for use.

    Some read large tables at first: in a busy machine's time for that, no molecule should count as
    one that hangs.
    """
    functions = [chemistry.PROPERTIES[name] for name in names]
    chemistry.measure("C", functions)
    return functions


class OwnError(Exception):
    """A function of the user's failed."""


def load(name: str) -> Callable[[Any], float]:
    """Import the user's function `module:function`."""
    module, _, attribute = name.partition(":")
    function: Callable[[Any], float] = getattr(importlib.import_module(module), attribute)
    return function


def _guarded(name: str, function: Callable[[Any], float]) -> Callable[[Any], float]:
    def call(molecule: Any) -> float:
        try:
            value = float(function(molecule))
        except Exception as error:
            raise OwnError(f"{name} failed with {type(error).__name__}: {error}") from error
        if not math.isfinite(value):
            raise OwnError(f"{name} returned {value}, which is no finite number")
        return value

    return call


if __name__ == "__main__":
    main()
