"""What a process of its own does around a command: signals that stop it, output that can't.

A process may be started with its standard streams closed, on a full disk, into a pipe that nobody
reads to the end, or in a terminal that isn't UTF-8. None of that is a reason to lose a training.
Imports nothing slow, as it runs before everything else.
"""

import codecs
import errno
import io
import os
import select
import signal
import sys
import unicodedata
from typing import Any, TextIO

from common.error import DataError

PLAIN = "plain"
"""The name of the error handler `as_plain_text`."""
_LOOKS_LIKE = {"−": "-", "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "×": "x"} | {
    "·": "*", "→": ">", "←": "<", "≥": ">", "≤": "<", "≈": "~", "…": "~", "±": "~",
}  # fmt: skip


def prepare() -> None:
    """Set the signals and the standard streams of this process.

    Until a training takes the signals over they end the process at once, wherever it is: Python's
    own way, an exception in the middle of an import, gets lost in libraries that catch it.
    """
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_DFL)
    # A file that is opened later would get the number of a closed stream, and all that is printed.
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error(PLAIN, as_plain_text)
    sys.stdout, sys.stderr = _stream(sys.stdout, 1), _stream(sys.stderr, 2)


def finish(code: int) -> int:
    """Write what is left to standard output; return the exit code, given the command's."""
    sys.stdout.flush()
    error = sys.stdout.buffer.raw.error  # type: ignore[union-attr]
    if error is None or error.errno == errno.EPIPE:  # `... | head`: nobody reads on
        return code
    print(f"error: standard output can't be written: {error.strerror}.", file=sys.stderr)
    return code or DataError.exit_code


class Output(io.RawIOBase):
    """A standard stream that takes whatever is written to it, even if it can't be kept.

    Attributes:
      error: the first failure, or None.
    """

    def __init__(self, descriptor: int):
        """Write to an open file."""
        self.error: OSError | None = None
        self._descriptor = descriptor

    def write(self, data: Any) -> int:
        """Write some of the bytes; return how many."""
        while self.error is None:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # somebody who shares this pipe made it so
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.error = error
        return len(data)

    def writable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """Return the number of the file."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._descriptor)


def as_plain_text(error: UnicodeError) -> tuple[str, int]:
    """Stand in for characters that a stream can't encode: what resembles them, or `?`.

    A byte of a file name that isn't UTF-8 becomes `\\xff`, so that the name can still be told.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python holds a byte it couldn't decode
        return f"\\x{ord(character) - 0xDC00:02x}"
    base, *marks = list(unicodedata.normalize("NFKD", character))
    if base.isascii() and all(map(unicodedata.combining, marks)):
        return base
    if (name := unicodedata.name(character, "")).startswith("GREEK "):
        return name.split(" WITH ")[0].split()[-1].lower()  # as in psi-learning
    return _LOOKS_LIKE.get(character, "?")


def _stream(stream: TextIO | None, descriptor: int) -> TextIO:
    """A standard stream made anew; `stream` is None where it was closed."""
    raw = Output(descriptor)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding if stream else "utf-8",
        errors=PLAIN,
        line_buffering=descriptor == 2 or raw.isatty(),
        write_through=getattr(stream, "write_through", False),
    )
