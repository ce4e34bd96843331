"""The folder of compiled programs, which JAX keeps from one process to the next.

It only saves time. So nothing about it stops a run: where it can't be used a line says so, and
entries that can't be read are removed, for JAX would warn of them for ever and never replace them.
"""

import contextlib
import re
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

_TROUBLE = re.compile(r"Error (reading|writing) persistent compilation cache entry for '([^']*)'")


def use(folder: Path) -> None:
    """Have JAX keep compiled programs in a folder, which is made if need be."""
    import jax

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
            file.flush()
    except OSError as error:
        _say(folder, f"can't be written ({error.strerror or error})")
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    _Warnings(folder).install()


class _Warnings:
    """Stands where warnings are shown, and acts on those of JAX about the cache."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._said = False

    def install(self) -> None:
        """Take the place of what shows warnings now, which still gets all others."""
        shown = warnings.showwarning
        if isinstance(owner := getattr(shown, "__self__", None), _Warnings):
            owner.folder = self.folder
            return
        self._show_other = shown
        warnings.showwarning = self.show

    def show(self, message: Any, *place: Any, **more: Any) -> None:
        """Show a warning as `warnings.showwarning` does."""
        if not (found := _TROUBLE.match(str(message))):
            self._show_other(message, *place, **more)
            return
        if found[1] == "reading":  # JAX writes the entry again as soon as it has compiled it
            for entry in self.folder.iterdir():
                if entry.name.startswith(f"{found[2]}-"):
                    _remove(entry)
        if not self._said:
            self._said = True
            damaged = "has entries that can't be read, which are replaced"
            reason = str(message).partition(": ")[2]
            _say(self.folder, damaged if found[1] == "reading" else f"can't be written ({reason})")


def _remove(entry: Path) -> None:
    with contextlib.suppress(OSError):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def _say(folder: Path, what: str) -> None:
    print(
        f"note: the cache of compiled programs {what}; this costs time only. If this line comes "
        f"again, delete {folder}",
        file=sys.stderr,
    )
