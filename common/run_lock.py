"""The lock of a run's directory, and whether somebody holds it."""

import errno
import fcntl
import os
from pathlib import Path

LOCK = ".lock"
"""The file that the program which runs in a directory holds locked."""
IN_USE = "another process is running here"
"""What whoever finds it locked says of it."""
GLANCE_SECONDS = 0.3
"""How long somebody who only looks may hold it."""


def in_use(path: Path) -> bool:
    """Return whether a program that is still running has locked a run's directory.

    Looking takes the lock for an instant, shared with others who look; who opens the directory
    waits for longer than that.
    """
    try:
        descriptor = os.open(path / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    finally:
        os.close(descriptor)
    return False
