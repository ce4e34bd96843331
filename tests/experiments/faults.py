"""A campaign of faults against real processes of one training; families' tests say which.

After every fault the same command is given again, until the run is finished. What it ends with is
what a run ends with that nothing happened to, to the bit.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from run_case import folder, record, result


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    if content:
        content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut": lambda file: os.truncate(file, file.stat().st_size // 2),
    "a bit": _flip,
    "empty": lambda file: os.truncate(file, 0),
    "gone": Path.unlink,
}
"""What may happen to a file."""

SCRIPT = Path(__file__).with_name("faulty.py")
PATIENCE_SECONDS = 600
"""For one process: about ten seconds of a core, which a busy machine gives in minutes."""
FEWEST = 4
"""Kills, or files damaged, without which a campaign has tried nothing."""
MOST_SESSIONS = 20
"""After so many a training that loses its newest checkpoint again and again is finished."""


@dataclass
class Campaign:
    """Faults against one command."""

    out: Path
    """Where its runs lie."""
    name: str
    arguments: Sequence[str]
    wanted: Path
    """Where the runs lie to which nothing happened."""
    seeds: Sequence[int] = (0,)
    told: list[str] = field(default_factory=list)
    """What each process said."""

    @property
    def path(self) -> Path:
        """The directory in which it trains."""
        return self._path_below(self.out)

    def _path_below(self, out: Path) -> Path:
        together = "-".join(map(str, self.seeds))
        return folder(out, self.name, f"s{together}" if len(self.seeds) > 1 else 0)

    def start(self, **plan: float) -> subprocess.Popen:
        """Starts the command, or goes on with it; see faulty.py for the plan."""
        self.out.mkdir(exist_ok=True, parents=True)
        command = [sys.executable, str(SCRIPT), json.dumps(plan), "run", self.name]
        command += ["--preset", "smoke", "--out", str(self.out)]
        command += ["--seeds", *map(str, self.seeds), "--set", *self.arguments]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with self.log.open("w") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    @property
    def log(self) -> Path:
        """What the process says; beside the runs, whose disk may be full."""
        return self.out.with_name(f"{self.out.name}.log")

    def end(self, process: subprocess.Popen) -> int:
        """Waits for the end of a process; its exit code."""
        try:
            process.wait(PATIENCE_SECONDS)
        finally:
            process.kill()
            process.wait()
        self.told.append(self.log.read_text(errors="replace"))
        # Orbax's event loop prints some of its own about a file that it can't read.
        assert 'experiments/cli.py", line' not in self.told[-1], self.told[-1]
        return process.returncode

    def finish(self, code: int = 0) -> None:
        """Gives the command without any fault."""
        assert self.end(self.start()) == code, self.told[-1]

    def require_same(self) -> None:
        """The runs have ended as they do if nothing happens."""
        for seed in self.seeds:
            found, wanted = (
                result(record(out, self.name, seed)) for out in (self.out, self.wanted)
            )
            assert found == wanted, self.told[-1]

    def stop_at_random(self, number: int, times: int, seed: int) -> list[float]:
        """Sends a signal at random moments of training, each to a process that goes on.

        A moment is some checkpoints after the start, from none to four, and up to half a second.
        What saves at a signal must say so, and the next process must go on from that update.

        Returns:
          How many seconds each took to end.
        """
        moments, seconds = random.Random(seed), []
        saved: list[int] = []
        promised = ""
        while len(seconds) < times:
            if self.finished:
                self.require_same()
                self.out = self.out.with_name(f"{self.out.name}+")
            process = self.start()
            self.wait_for_training(process)
            wanted = self.saved() + moments.randrange(5)
            while process.poll() is None and self.saved() < wanted:
                time.sleep(0.002)
            time.sleep(moments.random() / 2)
            saved.append(self.saved())
            ends = process.poll() is not None
            process.send_signal(number)
            begin = time.monotonic()
            code = self.end(process)
            assert promised in self.told[-1], self.told[-1]
            promised = ""
            if ends or code == 0:
                assert code == 0, self.told[-1]
                continue  # it was done before
            if number == signal.SIGKILL:
                assert code == -number, self.told[-1]
            elif code == -number:  # while the record was written: there is nothing left to save
                assert self.trained, self.told[-1]
                continue
            else:
                assert code == 128 + number, self.told[-1]
                promised = self._promise(self.told[-1])
            seconds.append(time.monotonic() - begin)
        self.finish()
        assert promised in self.told[-1], self.told[-1]
        self.require_same()
        print(f"{times} signals, at these numbers of checkpoints: {saved}")
        return seconds

    def wait_for_training(self, process: subprocess.Popen) -> None:
        """Until it trains, or the process has ended."""
        while process.poll() is None and "compiling" not in self.log.read_text():
            time.sleep(0.02)

    @staticmethod
    def _promise(text: str) -> str:
        """What the next process will say, after one that said this when a signal stopped it."""
        found = re.search(
            r"stopped by SIG\w+ (?:at update (\d+) of \d+; saved|in the final evaluation; the "
            r"training is saved) in ",
            text,
        )
        assert found, text
        return f"continues at update {found[1]}\n" if found[1] else ""

    @property
    def trained(self) -> bool:
        """Whether the last row of metrics is there; the record may not be."""
        here, wanted = (
            (path / "metrics.jsonl").read_text().splitlines()[-1]
            for path in (self.path, self._path_below(self.wanted))
        )
        return json.loads(here)["step"] == json.loads(wanted)["step"]

    def saved(self) -> int:
        """How many checkpoints were ever begun to be saved."""
        names = (path.name.partition(".")[0] for path in (self.path / "checkpoints").glob("*"))
        return 1 + max((int(name) for name in names if name.isdecimal()), default=-1)

    @property
    def finished(self) -> bool:
        """Whether all seeds have their records."""
        paths = (folder(self.out, self.name, seed) / "record.json" for seed in self.seeds)
        return all(path.exists() for path in paths)

    def kill_at_renames(self, numbers: Sequence[int], *, damage: bool) -> int:
        """Kills a process right before a rename, the next one before a later rename, and so on.

        Args:
          numbers: which rename each process doesn't come to; in rising order.
          damage: whether what was written beside its place is cut in half, as when a disk's cache
            is lost; those files were to be renamed.

        Returns:
          How many were killed so.
        """
        killed = 0
        for number in numbers:
            code = self.end(self.start(kill_at=number))
            if code == 0:
                break
            assert code == -signal.SIGKILL, self.told[-1]
            killed += 1
            if damage:
                for file in self.unfinished():
                    os.truncate(file, file.stat().st_size // 2)
        self.finish()
        self.require_same()
        return killed

    def damage_each_file(self, damage: Callable[[Path], None], *, before_rename: int) -> int:
        """Damages a file of the newest checkpoint, another one after the next session, and so on.

        Args:
          damage: what is done to a file.
          before_rename: where each session is killed.

        Returns:
          How many files were damaged.
        """
        count = 0
        for _ in range(MOST_SESSIONS):
            code = self.end(self.start(kill_at=before_rename))
            if code == 0:
                break
            assert code == -signal.SIGKILL, self.told[-1]
            files = sorted(file for file in self.newest().rglob("*") if file.is_file())
            if count < len(files):
                damage(files[count])
                count += 1
        assert code == 0, f"not finished after {MOST_SESSIONS} sessions\n{self.told[-1]}"
        self.require_same()
        return count

    def turn_clock(self, seconds: float) -> None:
        """Has sessions at other times of day, the second as much earlier as the first was later."""
        for number, clock in ((20, seconds), (12, -seconds)):
            assert self.end(self.start(kill_at=number, clock=clock)) == -signal.SIGKILL
        self.finish()
        self.require_same()

    def start_twice(self) -> None:
        """Gives the command again while it trains: that one says so, and the first goes on."""
        first = self.start()
        self.wait_for_training(first)
        first.send_signal(signal.SIGSTOP)  # or it might be done before the second looks
        log = self.log.rename(self.out.with_name("first.log"))
        try:
            assert self.end(self.start()) == 2, self.told[-1]
        finally:
            first.send_signal(signal.SIGCONT)
        assert "another process is running here" in self.told[-1]
        log.replace(self.log)
        assert self.end(first) == 0, self.told[-1]
        self.require_same()

    def fill_disk(self, free: Sequence[int]) -> int:
        """Leaves little space on the disk of the runs, starts, frees it; how often that stopped it.

        Args:
          free: bytes, for each start.
        """
        stopped, filler = 0, self.out / "filler"
        for space in free:
            disk = os.statvfs(self.out)
            filler.write_bytes(b"x" * max(0, disk.f_bavail * disk.f_frsize - space))
            code = self.end(self.start())
            filler.unlink()
            if code == 0:
                break
            assert code == 3, self.told[-1]
            stopped += 1
        self.finish()
        self.require_same()
        return stopped

    def unfinished(self) -> list[Path]:
        """The files that were being written when a process was killed."""
        found = []
        for file in self.path.rglob("*"):
            parts = file.relative_to(self.path).parts
            temporary = any("orbax-checkpoint-tmp" in part for part in parts)
            temporary |= file.name.startswith(".") and file.suffix.removeprefix(".").isdecimal()
            if file.is_file() and temporary:
                found.append(file)
        return found

    def newest(self) -> Path:
        """The newest checkpoint."""
        return max(
            (one for one in (self.path / "checkpoints").iterdir() if one.name.isdecimal()),
            key=lambda one: int(one.name),
        )


TIMES = {signal.SIGKILL: 24, signal.SIGTERM: 8}
"""How often the campaign sends each signal."""


@pytest.mark.slow
class Faults:
    """Faults against the training of a fixture `campaign`; tests of families inherit them."""

    @pytest.mark.parametrize("number", TIMES)
    def test_signals_at_random_moments(self, campaign, number):
        seconds = campaign.stop_at_random(number, TIMES[number], seed=int(number))
        print(f"the slowest ended after {max(seconds):.1f} s")
        assert max(seconds) < 10

    @pytest.mark.parametrize("damage", [False, True])
    def test_power_lost_before_every_rename(self, campaign, damage):
        killed = campaign.kill_at_renames(range(2, 200, 6), damage=damage)
        print(killed, "kills")
        assert killed >= FEWEST

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_any_file_of_the_newest_checkpoint_damaged(self, campaign, damage):
        """Each time the run goes on from the checkpoint before, or from this one all the same."""
        damaged = campaign.damage_each_file(DAMAGES[damage], before_rename=24)
        print(damaged, "files damaged")
        assert damaged >= FEWEST

    @pytest.mark.parametrize("clock", [-86400.0, 86400.0])
    def test_a_clock_that_goes_back(self, campaign, clock):
        """The first session is a day later, or earlier, than those after it."""
        campaign.turn_clock(clock)

    def test_two_starts_at_once(self, campaign):
        campaign.start_twice()
