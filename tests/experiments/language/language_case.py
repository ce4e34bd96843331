"""What the tests of language runs share: one small run, how it is started and what it leaves."""

import subprocess
import sys
import time
from pathlib import Path

import run_case

from common.record import Record

ROW = "rhn_penn_treebank_depth2_tied"
SMALL = ["data.train_tokens=6000", "data.evaluation_tokens=600", "train.report_every=5"]


def run(out: Path, *arguments: str) -> int:
    return run_case.run(out, ROW, *arguments)


def start(out: Path, *arguments: str) -> subprocess.Popen:
    """The same as `run`, in a process of its own that can be killed."""
    command = [sys.executable, "-m", "experiments", "run", ROW, "--preset", "smoke"]
    return subprocess.Popen(
        [*command, "--out", str(out), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(path: Path, lines: int, process: subprocess.Popen) -> None:
    """Until a metrics file has so many lines, or the process has ended."""
    while process.poll() is None:
        if path.exists() and len(path.read_text().splitlines()) >= lines:
            return
        time.sleep(0.02)


def folder(out: Path, seed: int = 0) -> Path:
    return run_case.folder(out, ROW, seed)


def record(out: Path, seed: int = 0) -> Record:
    return run_case.record(out, ROW, seed)
