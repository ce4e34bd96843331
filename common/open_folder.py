"""A folder held open: known again after it was moved, and reached by a name that nobody globs."""

import os
import weakref
from pathlib import Path

LONGEST = 2000
"""Characters of a path to which libraries may safely add their own names."""


class OpenFolder:
    """A folder that stays the same one, whatever happens to its name.

    Attributes:
      path: its absolute name.
    """

    def __init__(self, path: Path):
        """Make the folder if need be, and open it."""
        self.path = path.absolute()
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDONLY)
        self._descriptor = descriptor
        self._close = weakref.finalize(self, os.close, descriptor)

    @property
    def in_place(self) -> bool:
        """Whether its name still leads to it: it was neither deleted, moved nor replaced."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self.path))
        except OSError:
            return False

    def plain_path(self) -> Path | None:
        """Return a path to the folder that libraries take literally; None where there is none.

        Some read patterns (`*`, `?`, `[x]`), escapes (a backslash) or schemes (`gs:`) into a path,
        or want it in UTF-8. The system's own name for an open folder has nothing of all this; it
        is valid in this process until `close`.
        """
        if _is_plain(self.path):
            return self.path
        name = Path(f"/proc/self/fd/{self._descriptor}")
        try:
            same = os.path.samestat(os.stat(name), os.fstat(self._descriptor))
        except OSError:
            return None
        return name if same else None

    def close(self) -> None:
        """Let go of it; more than once does no harm."""
        self._close()


def _is_plain(path: Path) -> bool:
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return len(text) <= LONGEST and not any(character in text for character in "*?[]\\:")
