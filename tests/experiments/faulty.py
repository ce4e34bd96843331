"""The command line in a process that is made to fail: `python faulty.py PLAN ARGUMENTS...`.

PLAN is JSON. Each update is a call of its own, and a checkpoint is saved after each.

    {"kill_at": k}   SIGKILL right before the k-th rename of this process, as when power is lost
    {"clock": s}     the time of day is s seconds later than it is; it may be negative
    {}               nothing fails
"""

import json
import os
import signal
import sys
import time

from common import training


def kill_at(number: int) -> None:
    """Arranges for the end of this process before it renames a file for the `number`-th time."""
    renames = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal renames
        if event == "os.rename":
            renames += 1
            if renames == number:
                print(f"killed before {arguments[0]} becomes {arguments[1]}", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def shift_clock(seconds: float) -> None:
    """Has Python tell another time of day; what lasts how long stays as it is."""
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() + seconds  # type: ignore[assignment]
    time.time_ns = lambda: now_ns() + int(seconds * 1e9)  # type: ignore[assignment]


def main() -> int:
    plan = json.loads(sys.argv[1])
    training.CALL_SECONDS, training.CHECKPOINT_SECONDS = 0.0, 0.0
    if "clock" in plan:
        shift_clock(plan["clock"])
    from experiments.cli import main

    if "kill_at" in plan:  # from here on: what is imported may rename files of its own
        kill_at(plan["kill_at"])
    return main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
