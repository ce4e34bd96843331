"""Jobs whose processes are small: they lock, train, save and record like runs, without JAX."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from experiments.sweep.plan import Job

RUN = """
import signal, sys, time
from pathlib import Path
from common.process import Process
from common.record import Record, write_record
from common.run_directory import RunDirectory, RunInUse

path, what, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
stopped = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: stopped.append(number))
try:
    directory = RunDirectory(path, Process())
except RunInUse as error:
    sys.exit(f"error: {error}")
with directory:
    done = len(directory.read_metrics("metrics.jsonl"))
    directory.claim({}) if not done else None
    if what == "fail":
        sys.exit("error: it fails on purpose")
    for step in range(done + 1, 11):
        directory.append_metrics({"step": step, "seconds": float(step)}, "metrics.jsonl")
        if stopped and what != "stubborn":
            sys.exit(128 + stopped[0])
        time.sleep(seconds / 10)
    status = "diverged" if what == "diverge" else "done"
    record = Record(path.parents[1].name, path.parent.name, int(path.name[4:]), status, "", {}, [],
                    1, {}, [], [], {"training": 1.0}, {}, {}, "", [], False, "")
    write_record(record, path, Process())
    if what == "diverge":
        print("error: the loss is infinite")
        sys.exit(4)
"""


@dataclass(frozen=True)
class Toy(Job):
    """Trains ten steps."""

    what: str = ""
    """`fail`, `diverge`, or `stubborn` for one that no signal stops."""
    seconds: float = 0.0

    def command(self) -> list[str]:
        return [sys.executable, "-c", RUN, str(self.paths[0]), self.what or "-", str(self.seconds)]


def toy(out: Path, seed: int, what: str = "", seconds: float = 0.0, **fields) -> Toy:
    return Toy("toy", "smoke", (seed,), out, what=what, seconds=seconds, **fields)


def steps(job: Job) -> list[int]:
    """All steps that were trained, in order."""
    lines = (job.paths[0] / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def times_run(job: Job) -> int:
    lines = (job.paths[0] / "run.log").read_text().splitlines()
    return sum(line.startswith("$ ") for line in lines)
