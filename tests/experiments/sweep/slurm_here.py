"""A real Slurm of one node on this machine: munged, slurmctld and slurmd, started and stopped.

Needs Debian's `munge` and `slurm-wlm`, and root:

    apt-get install -y --no-install-recommends munge slurm-wlm
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
CONFIG = """\
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=30
SchedulerParameters=batch_sched_delay=0,sched_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=here Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """What keeps Slurm from running here; empty for nothing."""
    without = [name for name in PROGRAMS if _program(name) is None]
    if without:
        return f"not installed: {', '.join(without)}"
    return "" if os.geteuid() == 0 else "Slurm is started by root only"


@contextlib.contextmanager
def slurm(folder: Path, cpus: int = 2) -> Iterator[dict[str, str]]:
    """A Slurm with its files in a folder; yields the environment in which its commands work."""
    host = socket.gethostname().partition(".")[0]
    (folder / "state").mkdir(parents=True)
    (folder / "spool").mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    config = folder / "slurm.conf"
    controller, node = _free_ports()
    text = CONFIG.format(host=host, controller=controller, node=node, folder=folder, cpus=cpus)
    config.write_text(text)
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    environment = {**os.environ, "SLURM_CONF": str(config)}
    munged = ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket"]
    munged += [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    processes = []
    try:
        for words in (munged, ["slurmctld", "-D"], ["slurmd", "-D", "-N", host]):
            words[0] = _program(words[0]) or words[0]
            with (folder / f"{Path(words[0]).name}.out").open("wb") as out:
                processes.append(subprocess.Popen(words, stdout=out, stderr=out, env=environment))
            time.sleep(1.0)
        _wait_until_idle(environment, folder)
        yield environment
    finally:
        with contextlib.suppress(subprocess.SubprocessError):  # it may not have come up
            _end_jobs(environment)
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()


def _end_jobs(environment: dict[str, str]) -> None:
    """End what a test that failed left: it would outlive Slurm."""
    for words in (["--signal=KILL", "--full"], []):
        subprocess.run(["scancel", "--me", *words], env=environment, check=False, timeout=60)
    end = time.monotonic() + 60
    queue = ["squeue", "--noheader"]
    while time.monotonic() < end and subprocess.check_output(queue, env=environment, timeout=60):
        time.sleep(0.5)


class NotReady(Exception):
    """Slurm is installed, but doesn't start on this machine."""


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _wait_until_idle(environment: dict[str, str], folder: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    logs = "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.log")))
    raise NotReady(f"Slurm isn't ready: {done.stdout}{done.stderr}\n{logs}")
