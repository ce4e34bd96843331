"""What a toy job does: `toy_run.py DIRECTORY WHAT SECONDS`."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from common.process import Process
from common.record import FILE_NAME, Record, write_record
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
    if (path / FILE_NAME).exists():
        sys.exit("error: finished already")
    with (path / "sessions").open("a") as stream:
        print("begun", file=stream)
    variables = {name: os.environ.get(name) for name in ("NPROC", "CUDA_VISIBLE_DEVICES")}
    given = {"cores": sorted(os.sched_getaffinity(0)), **variables}
    (path / "given.json").write_text(json.dumps(given))
    done = len(directory.read_metrics("metrics.jsonl"))
    if not done:
        directory.claim({})
    if what == "fail":
        sys.exit("error: it fails on purpose")
    directory.note_schedule({"total": 10})
    for step in range(done + 1, 11):
        row = {"step": step, "seconds": float(step), "valid/loss": 1 / step}
        directory.append_metrics(row, "metrics.jsonl")
        if stopped and what != "stubborn":
            sys.exit(128 + stopped[0])
        time.sleep(seconds / 10)
    status = "diverged" if what == "diverge" else "done"
    record = Record(
        path.parents[1].name, path.parent.name, int(path.name[4:]), status, "", {}, [], 1, {}, [],
        [], {"training": 1.0}, {}, {}, "", [], False, "",
    )  # fmt: skip
    write_record(record, path, Process())
    if what == "diverge":
        print("error: the loss is infinite")
        sys.exit(4)
