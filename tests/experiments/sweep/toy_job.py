"""Jobs whose processes are small: they lock, train, save and record like runs, without JAX."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.sweep.plan import Job

RUN = Path(__file__).with_name("toy_run.py")


@dataclass(frozen=True)
class Toy(Job):
    """Trains ten steps."""

    what: str = ""
    """`fail`, `diverge`, or `stubborn` for one that no signal stops."""
    seconds: float = 0.0

    def command(self) -> list[str]:
        return [sys.executable, str(RUN), str(self.paths[0]), self.what or "-", str(self.seconds)]


def toy(out: Path, seed: int, what: str = "", seconds: float = 0.0, **fields) -> Toy:
    return Toy("toy", "smoke", (seed,), out, what=what, seconds=seconds, **fields)


def steps(job: Job) -> list[int]:
    """All steps that were trained, in order."""
    lines = (job.paths[0] / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def sessions(job: Job) -> int:
    """How often it trained, or tried to."""
    return len((job.paths[0] / "sessions").read_text().splitlines())


def given(job: Job) -> dict[str, Any]:
    """What the last process that did it had: `cores`, and variables by their names."""
    return json.loads((job.paths[0] / "given.json").read_text())


def times_run(job: Job) -> int:
    """How many processes were started for it."""
    lines = (job.paths[0] / "run.log").read_text().splitlines()
    return sum(line.startswith("$ ") for line in lines)
