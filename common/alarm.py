"""A process that fails alone tells the others of its training, which would wait for it.

What they wait in, a sum over devices or a save, ends late or never where one has gone, and by which
error depends on the platform. JAX itself keeps every process that ends waiting for the others, up
to five minutes. So each looks round for an alarm, in a thread, and the one that fails raises it.
"""

import contextlib
import os
import sys
import threading
import time
from typing import Any, NoReturn

from common.error import LostProcessError

LOOK_SECONDS = 1.0
"""Between two looks for an alarm."""
MEET_SECONDS = 10.0
"""How long a process that failed waits for the others to come to their end as well: most errors are
raised in all processes, and then each ends with its own."""
END_SECONDS = 300.0
"""How long one that is done waits for the others."""
_KEY, _END = "highway_tutor/alarm", "highway_tutor/end"


class Alarm:
    """Looks for the alarm of another process until this one's end, and then ends this one.

    Args:
      client: JAX's own, of its coordination service, which lives in process 0.
      index: which process this is.
    """

    def __init__(self, client: Any, index: int):
        self._client, self._index = client, index
        self._ending = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def end(self, code: int) -> None:
        """Come to this process's end together with the others; without them, end it at once.

        Args:
          code: the exit code; 0 where it is done.
        """
        if code:
            self._ending.set()
        try:
            self._client.wait_at_barrier(_END, int(1000 * (MEET_SECONDS if code else END_SECONDS)))
        except RuntimeError:
            if code:
                self.leave(code)
        self._ending.set()

    def leave(self, code: int) -> NoReturn:
        """Raise the alarm and end at once: JAX's own end would wait for the others."""
        self._ending.set()
        with contextlib.suppress(RuntimeError):  # another raised it before
            self._client.key_value_set(_KEY, str(self._index))
        if self._index == 0:  # its end ends JAX's service, which aborts whoever hasn't looked
            time.sleep(3 * LOOK_SECONDS)
        _exit(code)

    def _look(self) -> None:
        while not self._ending.wait(LOOK_SECONDS):
            with contextlib.suppress(RuntimeError):  # there is none
                index = self._client.key_value_try_get(_KEY)
                if not self._ending.is_set():
                    tell_lost(f"process {index} failed, and says why")
                    self.leave(LostProcessError.exit_code)


def tell_lost(reason: str) -> None:
    """Print that another process is lost, and what to do."""
    print(
        f"error: another process of this training has ended, or can't be reached ({reason}).\n"
        "Give all of them the same command again: they go on from the last checkpoint.",
        file=sys.stderr,
        flush=True,
    )


def _exit(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
