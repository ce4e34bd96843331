"""A model in one file: arrays under readable names, and what is known of it in the header.

The format is safetensors: any of its readers, in any language, gets at both without this package.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from common.config import flatten
from common.error import DataError
from common.record import write_atomically

SUFFIX = ".safetensors"
FORMAT = "highway-tutor model 1"


class ModelFile(NamedTuple):
    """What a file holds."""

    params: dict[str, Any]
    """Nested dictionaries of arrays; names that are numbers are integers."""
    about: dict[str, Any]
    """JSON values by name."""


def write_model(path: Path, params: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write a model into a file, whole or not at all.

    Args:
      path: the file, replaced if it is there.
      params: nested dictionaries of arrays, which keep their types and bits. Their keys are joined
        by dots: `core.layers.0.kernel`.
      about: JSON values, each of which becomes a string of JSON in the header's `__metadata__`.

    Raises:
      DataError: the file can't be written.
    """
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in flatten(params).items()}
    told = {name: json.dumps(value) for name, value in about.items()}
    told["digest"] = _digest(arrays, told)
    write_atomically(path, to_bytes(arrays, metadata={"format": FORMAT, **told}))


def read_model(path: str | Path) -> ModelFile:
    """Read a file that `write_model` wrote.

    Args:
      path: the file.

    Raises:
      DataError: it can't be read, is damaged, or something else.
    """
    path = Path(path)
    try:
        with path.open("rb"):
            pass  # the library's own errors don't say which file
        with safe_open(str(path), framework="numpy") as file:
            told = dict(file.metadata() or {})
            _require_format(path, told.pop("format", ""))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or error}.") from None
    except SafetensorError as error:
        raise DataError(f"{path}: damaged, or no safetensors file ({error}).") from None
    if told.pop("digest", "") != _digest(arrays, told):
        raise DataError(f"{path}: damaged: its content isn't what was exported.")
    return ModelFile(_nest(arrays), {name: json.loads(value) for name, value in told.items()})


def _require_format(path: Path, found: str) -> None:
    """Raise DataError where a file is of another format than this module's."""
    if found != FORMAT:
        what = f"of the format '{found}'" if found else "not written by `export`"
        raise DataError(f"{path}: {what}; only files of the format '{FORMAT}' can be read here.")


def _digest(arrays: Mapping[str, np.ndarray], told: Mapping[str, str]) -> str:
    """A hash of names, types, shapes and bits of arrays, and of what is told of them."""
    hashed = hashlib.blake2b(digest_size=16)
    for name, array in sorted(arrays.items()):
        hashed.update(f"{name} {array.dtype}{array.shape}\n".encode())
        hashed.update(array.tobytes())
    for name, text in sorted(told.items()):
        hashed.update(f"{name} {text}\n".encode())
    return hashed.hexdigest()


def _nest(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Dictionaries nested as the dots in names say."""
    nested: dict[Any, Any] = {}
    for name, array in arrays.items():
        *parents, last = (int(key) if key.isdecimal() else key for key in name.split("."))
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = array
    return nested
