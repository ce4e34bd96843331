"""Checkpoints of a run: whole training states on disk, the latest and the best kept (Orbax v1)."""

import contextlib
import errno
import hashlib
import itertools
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from orbax.checkpoint import v1 as ocp

from common.error import ConfigError, DataError
from common.open_folder import OpenFolder
from common.process import Process, this_process

State = TypeVar("State")

KEPT_LATEST = 2
"""How many of the newest checkpoints stay, so that a damaged one has another behind it."""


class Restored(NamedTuple):
    """What a checkpoint holds."""

    state: Any
    """The pytree that was saved."""
    notes: dict[str, Any]
    """JSON values that belong to the state but don't live on the device."""


class Checkpoints:
    """The checkpoints of one run directory, numbered in the order in which they were saved.

    Each carries a digest of its arrays, checked when it is read: a damaged file is never taken for
    a state. Writing is atomic (Orbax writes aside and renames), so a kill loses the save in flight
    and no other. One that is intact but of other arrays than those asked for is refused, and stays.
    """

    def __init__(self, directory: Path, process: Process | None = None):
        """Opens or creates the directory.

        Args:
          directory: where they lie.
          process: which process this is; all call the same methods. By default JAX is asked.

        Raises:
          ConfigError: nothing can be saved under this name on this system.
        """
        self.process = process or this_process()
        for name in ("absl", "asyncio"):  # errors reach us as exceptions
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._folder = OpenFolder(directory)
        self.directory = self._folder.path
        self._marker = directory.with_name(f".{directory.name}.saved")
        self._failed = False
        # Orbax globs its path, and tensorstore reads it as a URL.
        if self._folder.plain_path() is None:
            raise ConfigError(
                f"{self.directory}: checkpoints can't be written under a path with one of "
                "*?[]\\: or one so long, on this system. Choose another with --out."
            )
        self._opened: ocp.training.Checkpointer | None = None

    @property
    def _checkpointer(self) -> ocp.training.Checkpointer:
        """Orbax's own, which reads what all checkpoints say of themselves as it opens.

        Raises:
          DataError: one of them can't say it. `restore_latest` sets such aside first.
        """
        if self._opened is not None:
            return self._opened
        if damaged := self.process.lead(self._speechless):
            raise DataError(f"{self.directory / str(damaged[-1])}: this checkpoint is damaged.")
        policies = ocp.training.preservation_policies
        plain = self._folder.plain_path()
        assert plain is not None
        self._opened = ocp.training.Checkpointer(
            plain,
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(KEPT_LATEST),
                    policies.BestN(
                        get_metric_fn=lambda metrics: metrics["score"],
                        reverse=True,  # ascending quality: the lowest score last
                        n=1,
                        keep_checkpoints_without_metrics=False,
                    ),
                ]
            ),
            cleanup_tmp_directories=True,
        )
        return self._opened

    def save(self, state: Any, notes: dict[str, Any], score: float | None = None) -> None:
        """Save a pytree of arrays with JSON notes; the lowest score ever given is kept as best.

        Raises DataError when the disk is full or the directory was deleted or moved meanwhile; the
        checkpoints before stay as they are.
        """
        self.process.lead(self._require_in_place)
        number = max(self._numbers(), default=-1) + 1
        try:
            self._checkpointer.save(
                number,
                {"state": state},
                metrics=None if score is None else {"score": score},
                custom_metadata={"notes": notes, "score": score, "digest": digest(state)},
            )
        except Exception as error:
            self._failed = True
            self._require_in_place()
            if _disk_full(error, self.directory):
                raise DataError(
                    f"{self.directory}: the disk is full, this checkpoint could not be saved; the "
                    "ones before are intact.\nFree some space and run the same command again."
                ) from error
            raise
        self.process.lead(self._marker.touch)

    def restore_latest(
        self, abstract_state: State, report: Callable[[str], None]
    ) -> tuple[State, dict[str, Any]] | None:
        """Return the newest undamaged state and its notes, or None where nothing was saved yet.

        Args:
          abstract_state: structure, shapes and dtypes.
          report: is told of a damaged checkpoint, which is set aside; the one before it is taken.

        Raises:
          ConfigError: what was saved are other arrays: a matter of settings. Nothing is moved.
          DataError: all are damaged, or gone.
          OSError: a file can't be opened, which is no damage.
        """
        for number in self.process.lead(self._speechless):
            aside = self.process.lead(partial(self._set_aside, number))
            place = self.directory / str(number)
            report(f"{place}: this checkpoint is damaged. Set aside as {aside}.")
        numbers = self._numbers()
        # Where one fits, another that doesn't is damaged: all are of the same training.
        misfits = self.process.decide([self._misfit(n, abstract_state) for n in numbers])
        if any(misfits) and "" not in misfits:
            raise ConfigError(next(filter(None, reversed(misfits))))
        for number in reversed(numbers):
            try:
                restored = self._read(number, abstract_state)
            except (ConfigError, DataError) as error:
                aside = self.process.lead(partial(self._set_aside, number))
                self._checkpointer.reload()
                report(f"{error} Set aside as {aside}. Going back to the checkpoint before it.")
                continue
            return restored.state, restored.notes
        if numbers:
            raise DataError(
                f"{self.directory}: every checkpoint is damaged; start again with --fresh."
            )
        self.process.lead(self._require_none_saved)
        return None

    def latest_notes(self) -> dict[str, Any]:
        """Return the notes of the newest checkpoint, without its arrays.

        Raises:
          DataError: there is none, or it is damaged.
        """
        return self._metadata(self._latest())["notes"]

    def read_latest(self, abstract_state: State) -> State:
        """Return the newest state, for a finished run: nothing is set aside.

        Raises:
          DataError: there is none, or it is damaged.
          ConfigError: it is of other arrays.
        """
        return self._read(self._latest(), abstract_state).state

    def restore_best(self, abstract_state: State, score: float) -> State:
        """Return the state that was saved with this score, the lowest of the run.

        Raises DataError if it is damaged or gone: no other checkpoint may pass for it.
        """
        for number in self._numbers():
            if self.process.decide(self._score(number)) == score:
                return self._read(number, abstract_state).state
        raise DataError(
            f"{self.directory}: the best checkpoint (score {score:g}) is damaged or gone.\n"
            "Start over with --fresh."
        )

    def close(self) -> None:
        """Wait for what is being written."""
        try:
            if self._opened is not None:
                self._opened.close()
        except Exception:
            if not self._failed:  # the failed save was told already
                raise
        finally:
            self._folder.close()

    def _speechless(self) -> list[int]:
        """The numbers of checkpoints whose words on themselves, or whose score, can't be read."""
        folder = self._folder.plain_path()
        assert folder is not None
        found = []
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if entry.name.isdecimal():
                try:
                    ocp.metadata(entry)
                    if (scores := entry / "metrics" / "metrics").exists():
                        float(json.loads(scores.read_text(encoding="utf-8"))["score"])
                except Exception as error:  # whatever a damaged file makes Orbax raise
                    _refuse_to_blame_the_file(error)
                    found.append(int(entry.name))
        return sorted(found)

    def _latest(self) -> int:
        numbers = self._numbers()
        if not numbers:
            raise DataError(f"{self.directory}: no checkpoint here.")
        return numbers[-1]

    def _numbers(self) -> list[int]:
        return [checkpoint.step for checkpoint in self._checkpointer.checkpoints]

    def _require_in_place(self) -> None:
        if not self._folder.in_place:
            raise DataError(
                f"{self.directory}: deleted, moved or replaced while the training ran; it stops, "
                "for it can't be saved.\nPut the folder back, and the same command continues it; "
                "or start over with --fresh."
            )

    def _require_none_saved(self) -> None:
        """Raise where checkpoints were saved and none is left: that isn't a training's start."""
        aside = self.directory.with_name("damaged")
        if aside.is_dir() and any(aside.iterdir()):
            raise DataError(
                f"{self.directory}: no checkpoint is left, the damaged ones lie in {aside}.\n"
                "Put a good copy of one back, or start again with --fresh."
            )
        if self._marker.exists():
            raise DataError(
                f"{self.directory}: the checkpoints that were saved here are gone.\n"
                "Put them back, or start again with --fresh."
            )

    def _misfit(self, number: int, abstract_state: Any) -> str | None:
        """What a checkpoint holds other than is wanted: '' for nothing, None if unreadable."""
        try:
            held = self._checkpointer.metadata(number).metadata["state"]
        except Exception as error:
            _refuse_to_blame_the_file(error)
            return None
        differing = differences_of_arrays(held, abstract_state)
        if not differing:
            return ""
        more = f"; and {len(differing) - 2} more" if len(differing) > 2 else ""
        return (
            f"{self.directory / str(number)}: this checkpoint is of other settings or another "
            f"precision: {'; '.join(differing[:2])}{more}.\nNothing was moved. Use the settings "
            "and the environment (JAX_ENABLE_X64) it was made with, or start over with --fresh."
        )

    def _score(self, number: int) -> float | None:
        try:
            return self._metadata(number)["score"]
        except DataError:
            return None

    def _metadata(self, number: int) -> dict[str, Any]:
        try:
            metadata = self._checkpointer.metadata(number).custom_metadata
            return {key: metadata[key] for key in ("notes", "score", "digest")}
        except Exception as error:
            _refuse_to_blame_the_file(error)
            raise DataError(
                f"{self.directory / str(number)}: this checkpoint is damaged."
            ) from error

    def _set_aside(self, number: int) -> Path:
        folder = self.directory.with_name("damaged")
        folder.mkdir(exist_ok=True)
        names = (f"{number}.{again}" if again else str(number) for again in itertools.count())
        aside = next(folder / name for name in names if not (folder / name).exists())
        (self.directory / str(number)).rename(aside)
        return aside

    def _read(self, number: int, abstract_state: Any) -> Restored:
        # Loading and taking a digest need all processes: none begins where one has failed.
        with self._failing_together():
            metadata = self._metadata(number)
        if misfit := self.process.decide(self._misfit(number, abstract_state)):
            raise ConfigError(misfit)
        with self._failing_together():
            state = self._load(number, abstract_state)
        found = digest(state)
        with self._failing_together():
            if found != metadata["digest"]:
                raise DataError(f"{self.directory / str(number)}: this checkpoint is damaged.")
        return Restored(state, metadata["notes"])

    def _load(self, number: int, abstract_state: Any) -> Any:
        try:
            return self._checkpointer.load(number, {"state": abstract_state})["state"]
        except Exception as error:  # whatever a damaged file makes Orbax raise
            _refuse_to_blame_the_file(error)
            raise DataError(
                f"{self.directory / str(number)}: this checkpoint can't be read."
            ) from error

    @contextlib.contextmanager
    def _failing_together(self) -> Iterator[None]:
        """Raise in all processes what reading raises in one of them, within the context."""
        failure = None
        try:
            yield
        except (DataError, OSError, MemoryError) as error:
            failure = error
        for first in filter(None, self.process.gather(failure)):
            raise first


def abstract(state: Any) -> Any:
    """Return shapes, dtypes and shardings of a pytree of arrays: what restoring needs to know."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state
    )


def differences_of_arrays(held: Any, wanted: Any) -> list[str]:
    """Lines that say which arrays of a checkpoint's metadata differ from an abstract state's."""
    has, wants = _arrays(held), _arrays(wanted)
    return [
        f"{name} is {has.get(name, 'missing')}, wanted is {wants.get(name, 'none of this name')}"
        for name in sorted(has.keys() | wants.keys())
        if has.get(name) != wants.get(name)
    ]


def _arrays(tree: Any) -> dict[str, str]:
    """Name → type and shape, of all arrays of a tree as they are stored."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        found[name] = f"{leaf.dtype}{list(leaf.shape)}"
    return found


def digest(state: Any) -> str:
    """Return a hash of all arrays of a pytree: types, shapes and bits, however they are sharded."""
    hashed = hashlib.blake2b(digest_size=16)
    for leaf in jax.tree.leaves(state):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.ascontiguousarray(_whole(leaf))
        hashed.update(f"{array.dtype}{array.shape}".encode())
        hashed.update(array.data)
    return hashed.hexdigest()


def _whole(leaf: Any) -> Any:
    """An array that this process can read, of which other processes may hold parts."""
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        return process_allgather(leaf, tiled=True)
    return leaf


def _refuse_to_blame_the_file(error: Exception) -> None:
    """Raise again what speaks of the machine (memory, open files, permission), not of the file."""
    if isinstance(error, MemoryError) or (
        isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
    ):
        raise error


def _disk_full(error: BaseException | None, directory: Path) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left" in str(error) or "RESOURCE_EXHAUSTED" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return shutil.disk_usage(directory).free < 1_000_000
