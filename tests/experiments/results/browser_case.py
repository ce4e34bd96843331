"""What tests of pages share: a browser that is driven as its user would, by keys and pointer."""

import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
PATIENCE = 300
"""Seconds for an answer, on a machine that has other things to do."""
KEYS = {"Tab": 9, "End": 35, "ArrowLeft": 37}
"""Name of a key → its code."""


class Browser:
    """One page in a headless Chromium, driven by the DevTools protocol over a pipe."""

    def __init__(self, profile: Path):
        (theirs_in, ours_out), (ours_in, theirs_out) = _pipe(), _pipe()
        self.process = subprocess.Popen(
            # The protocol's pipes are file descriptors 3 and 4.
            [
                "bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash",
                str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--remote-debugging-pipe", f"--user-data-dir={profile}",
            ],
            pass_fds=(theirs_in, theirs_out),
            stderr=subprocess.DEVNULL,
            process_group=0,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._in, self._out, self._rest = ours_in, ours_out, b""
        self._numbers, self._session = itertools.count(1), {}
        self.events: list[dict[str, Any]] = []
        """What the browser told unasked, since the last page was opened."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the answer to a method of the protocol."""
        number = next(self._numbers)
        asked = {"id": number, "method": method, "params": parameters} | self._session
        os.write(self._out, json.dumps(asked).encode() + b"\0")
        while (told := self._next()).get("id") != number:
            self.events.append(told)
        assert "error" not in told, (method, told["error"])
        return told["result"]

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no answer from the browser in {PATIENCE} s"
            got = os.read(self._in, 1 << 20)
            assert got, "the browser ended"
            self._rest += got
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, page: Path, width: int = 1280, height: int = 860, *, dark: bool = False) -> None:
        """Open a page in a window of some pixels."""
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while not any(told.get("method") == "Page.loadEventFired" for told in self.events):
            self.events.append(self._next())

    def resize(self, width: int, height: int = 860) -> None:
        """Give the window another size."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def read(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript, or of its promise."""
        told = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key and release it."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key],
            )  # fmt: skip

    def move(self, x: float, y: float) -> None:
        """Move the pointer there."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x: float, y: float) -> None:
        """Click there."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def troubles(self) -> list[Any]:
        """Return what the page complained of: exceptions, and what its policy forbids."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
        return [told["params"] for told in self.events if told.get("method") in kinds]

    def requests(self) -> list[str]:
        """Return the beginnings of all addresses that were asked for."""
        sent = [one for one in self.events if one.get("method") == "Network.requestWillBeSent"]
        return [one["params"]["request"]["url"][:200] for one in sent]

    def close(self) -> None:
        """End the browser with all of its processes."""
        os.close(self._in)
        os.close(self._out)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _pipe() -> list[int]:
    """A pipe with numbers above those that the protocol takes."""
    ends = []
    for end in os.pipe():
        ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(end)
    return ends


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Give a browser for a while."""
    one = Browser(profile)
    try:
        yield one
    finally:
        one.close()
