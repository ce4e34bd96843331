"""Runs several processes that belong together on this machine, and ends all where one fails."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

LIMIT_SECONDS = 120
"""More than processes give themselves, who say at their end where they stood."""


def flags(index: int, port: int) -> list[str]:
    """Options that tell a command which of two processes it is."""
    return ["--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process", str(index)]


def slurm(index: int, port: int) -> list[str]:
    """What runs a command as srun does, as one of two; JAX makes its port of the job's number."""
    set_job = ["env", f"SLURM_JOB_ID={port}", "SLURM_STEP_NODELIST=127.0.0.1", "SLURM_NTASKS=2"]
    return [*set_job, "SLURM_STEP_NUM_NODES=1", f"SLURM_PROCID={index}", f"SLURM_LOCALID={index}"]


def open_mpi(index: int, port: int) -> list[str]:
    """What runs it as mpirun does, likewise."""
    set_job = ["env", f"OMPI_MCA_orte_hnp_uri={port * 4096}.0;tcp://127.0.0.1:1"]
    set_job += ["OMPI_COMM_WORLD_SIZE=2", f"OMPI_COMM_WORLD_RANK={index}"]
    return [*set_job, f"OMPI_COMM_WORLD_LOCAL_RANK={index}"]


def run_together(
    command: Callable[[int, int], Sequence[str]],
    folder: Path,
    codes: Sequence[int] = (0, 0),
    meanwhile: Callable[[list[subprocess.Popen]], None] = lambda started: None,
) -> list[str]:
    """Runs processes that meet at a port of this machine; what each printed.

    Where one fails, the others are ended soon: they would wait for it.

    Args:
      command: (index of the process, port) → its command line.
      folder: for what they print.
      codes: with which they must end, in their order: as many as there are processes.
      meanwhile: is called with them while they run, again and again.
    """
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": _one_device(),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    logs = [folder / f"{index}.log" for index in range(len(codes))]
    started: list[subprocess.Popen] = []
    deadline = time.monotonic() + LIMIT_SECONDS
    with socket.socket() as reserved:
        # Held until the end, so that nobody else is given the port; JAX's service shares it.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        try:
            for index, log in enumerate(logs):
                with log.open("w") as output:
                    started.append(
                        subprocess.Popen(
                            command(index, port), env=environment, stdout=output, stderr=output
                        )
                    )
            while time.monotonic() < deadline:
                ended = [process.poll() for process in started]
                if None not in ended or any(
                    code not in (None, wanted) for code, wanted in zip(ended, codes, strict=True)
                ):
                    break
                meanwhile(started)
                time.sleep(0.02)
        finally:
            for process in started:
                process.kill()
                process.wait()
    printed = [log.read_text() for log in logs]
    assert ended == list(codes), "\n".join(
        f"process {index} (None: still running): {code}\n{text}"
        for index, (code, text) in enumerate(zip(ended, printed, strict=True))
    )
    return printed


def _one_device() -> str:
    """XLA's flags but for one that would make several devices of the CPU."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    return " ".join(flag for flag in flags if "device_count" not in flag)
