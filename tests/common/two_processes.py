"""One of two processes that train together, started by test_process.py.

Its clock, its scores and what it reads from the disk differ from the other process's. It writes
down what it did: `python two_processes.py INDEX PORT FOLDER` writes FOLDER/INDEX.json.
"""

import faulthandler
import json
import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from test_record import RECORD

from common import checkpoint, training
from common.error import InterruptedRun
from common.interrupt import Interrupt
from common.mesh import assemble, make_mesh, own_places
from common.process import Process, this_process
from common.record import write_record
from common.run_directory import RunDirectory

INDEX, PORT, FOLDER = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
RUN = FOLDER / "run"
LIMIT_SECONDS = 90
"""After which it says where it stands, and fails; an idle machine takes about 8."""


class State(NamedTuple):
    step: jax.Array
    diverged_at: jax.Array
    weight: jax.Array


def put(value: np.ndarray, *axes: str) -> jax.Array:
    """The value spread over both processes, or in both of them whole."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec(*axes))
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])


def initial() -> State:
    return State(put(np.int32(0)), put(np.int32(-1)), put(np.arange(4.0), "data"))


class Toy:
    """A learner; process 1 gets a signal late in the first training."""

    def __init__(self):
        self.stops: list[int] = []

    def advance(self, state: State, stop: int) -> State:
        self.stops.append(stop)
        if INDEX == 1 and stop >= 44 and not (FOLDER / "stopped").exists():
            (FOLDER / "stopped").touch()
            signal.raise_signal(signal.SIGTERM)
        return state._replace(step=put(np.int32(stop)))

    def collect(self, state: State) -> tuple[State, dict[str, float]]:
        return state, {"train/process": float(INDEX)}


class Clock:
    """By this clock process 1 alone would do one update a call and save before each."""

    now = 0.0

    @classmethod
    def monotonic(cls) -> float:
        cls.now += (0.05, 1000.0)[INDEX]
        return cls.now


def refused(work) -> str:
    """The error that a call raises, as text."""
    try:
        work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def train() -> dict:
    """One session of a training in the run's directory."""
    toy, saved, sunk, end = Toy(), [], [], None
    with RunDirectory(RUN) as run:
        run.claim({"a": 1})
        sessions = run.begin_session({"process": INDEX})
        one = training.Training(
            run,
            toy,
            training.Schedule(
                total=90, report_every=10, evaluate_every=30, items_per_update=1, item="items"
            ),
            evaluate=lambda state, tick: (
                {"valid/process": float(INDEX)},
                abs(int(state.step) - 60) + 1.0 + INDEX,
            ),
            describe=str,
            label="toy",
            sink=lambda row: sunk.append(row["step"]),
        )
        save = one.checkpoints.save

        def noted(state, notes, score=None):
            saved.append([int(state.step), notes, score])
            save(state, notes, score)

        one.checkpoints.save = noted  # type: ignore[method-assign]
        with Interrupt() as interrupt:
            try:
                best, _ = one.fit(initial(), interrupt)
                end = int(best.step)
            except InterruptedRun as stop:
                end = -stop.signal_number
        rows = run.read_metrics("metrics.jsonl")
    return {
        "stops": toy.stops,
        "saved": saved,
        "sunk": sunk,
        "end": end,
        "rows": rows,
        "sessions": sessions,
    }


def use_the_directory(process: Process) -> dict[str, str]:
    """What all processes are told when the directory refuses; process 0's files alone count."""

    def claim():
        with RunDirectory(RUN) as run:
            run.claim({"a": 2})

    def claim_held():
        with RunDirectory(RUN):
            claim()

    told = {"other": refused(claim), "held": refused(claim_held)}
    with RunDirectory(RUN) as run:
        if INDEX == 1:
            run.path = FOLDER / "absent"  # sees none of the files
        data = {"name": "toy", "checksums": {"train": "ab", "test": f"c{INDEX}"}}
        told["data"] = refused(lambda: run.claim_data(data, "other"))
        told["rows"] = str(len(run.read_metrics("metrics.jsonl")))
        told["finished"] = str(run.finished)
        told["missing"] = refused(lambda: run.rewind_metrics(99, "metrics.jsonl"))
        told["unwritten"] = refused(lambda: write_record(RECORD, RUN / "absent", process))
        write_record(RECORD, RUN, process)
        told["finished now"] = str(run.finished)
    return told


def read_where_one_fails(part: str, read) -> tuple[int, list[str]]:
    """What `read` makes of two checkpoints, where process 1 fails in a part of reading one."""
    checkpoints, told = checkpoint.Checkpoints(FOLDER / part / "checkpoints"), []
    for number in range(2):
        state = initial()._replace(step=put(np.int32(number)))
        checkpoints.save(state, {}, score=1.0 + number)
    owner = checkpoint if part == "digest" else checkpoints._checkpointer
    name = "metadata" if part == "score" else part
    real = getattr(owner, name)

    def fail(*arguments):
        if part == "metadata":  # read more than once
            if arguments[0] != 1:
                return real(*arguments)
        else:
            setattr(owner, name, real)
        found = real(*arguments)  # which both processes may have to do together
        if part == "digest":
            return "not " + found
        raise ValueError("damaged")

    if INDEX == 1:
        setattr(owner, name, fail)
    state = read(checkpoints, checkpoint.abstract(initial()), told.append)
    checkpoints.close()
    return int(state.step), told


def newest(checkpoints, abstract, report):
    return checkpoints.restore_latest(abstract, report)[0]


def best(checkpoints, abstract, report):
    return checkpoints.restore_best(abstract, 1.0)


def main() -> None:
    faulthandler.dump_traceback_later(LIMIT_SECONDS, exit=True)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{PORT}", 2, INDEX, initialization_timeout=30)
    process = this_process()
    facts = {"index": process.index, "gathered": process.gather("x" * (INDEX + 1))}
    facts["decided"] = process.decide(0.1 + INDEX)
    facts["led"] = process.lead(lambda: [INDEX])
    settings = {"settings": {"depth": 2, "rate": 0.1 + INDEX}, "code": "a"}
    facts["same"] = refused(lambda: process.require_same({"settings": {"depth": 2}}))
    facts["settings"] = refused(lambda: process.require_same(settings))
    facts["error"] = refused(lambda: process.lead(lambda: 1 / 0 if INDEX == 0 else 1))
    whole = np.arange(8.0)
    facts["digests"] = [checkpoint.digest([put(whole, "data")]), checkpoint.digest([put(whole)])]

    windows = np.arange(24, dtype=np.int32).reshape(2, 6, 2)
    mesh = make_mesh(2)
    mine = own_places(mesh, 6, "rows")
    joined = assemble(windows[:, mine], mesh, 1)
    facts["joined"] = [mine.tolist(), *map(checkpoint.digest, ([joined], [windows]))]
    facts["uneven"] = refused(lambda: own_places(mesh, 5, "rows"))

    opened: list[str] = []
    sys.addaudithook(
        lambda event, args: (
            opened.append(str(args[0]))
            if event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)
            else None
        )
    )
    training.time = Clock  # type: ignore[assignment]
    training.CHECKPOINT_SECONDS = 0.5
    facts["first"], facts["second"] = train(), train()
    facts["told"] = use_the_directory(process)
    facts["newest"] = {
        part: read_where_one_fails(part, newest) for part in ("digest", "load", "metadata")
    }
    facts["best"] = read_where_one_fails("score", best)
    facts["written"] = sorted(
        {
            Path(path).name
            for path in opened
            if path.startswith(str(RUN)) and "checkpoints" not in path
        }
    )
    (FOLDER / f"{INDEX}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
