"""`toy_sweep.py FOLDER` in a terminal: a sweep of two toys, to which that belongs from then on."""

import fcntl
import sys
import termios
from pathlib import Path

from toy_job import toy

from experiments.cli import main
from experiments.sweep import command, local

out = Path(sys.argv[1])
fcntl.ioctl(sys.stdin, termios.TIOCSCTTY, 0)
command.expand = lambda _: [toy(out, seed, seconds=60.0) for seed in range(2)]
local.POLL_SECONDS, local.LOOK_SECONDS = 0.01, 0.05
sys.exit(main(["sweep", "toy", "--jobs", "2", "--out", str(out)]))
