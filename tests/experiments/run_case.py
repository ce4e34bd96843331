"""What the tests of runs share: smoke runs from the command line, and what they leave."""

from pathlib import Path

from common.record import Record, read_record
from experiments.cli import main


def run(out: Path, name: str, *arguments: str) -> int:
    return main(["run", name, "--preset", "smoke", "--out", str(out), *arguments])


def folder(out: Path, name: str, seed: int | str = 0) -> Path:
    return out / name / "smoke" / f"seed{seed}"


def record(out: Path, name: str, seed: int = 0) -> Record:
    return read_record(folder(out, name, seed) / "record.json")


def result(made: Record) -> tuple:
    """What must not depend on when, where and in how many sessions a run was done."""
    curve = [{key: row[key] for key in row if key != "seconds"} for row in made.curve]
    return made.metrics, curve, made.parameters, made.config, made.data
