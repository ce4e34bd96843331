"""The datasets by name: describing, loading and verifying them.

Importing this package is cheap on purpose (no TFDS, NumPy or JAX), so that `--help` stays fast;
the heavy modules are imported by the first call that needs them.
"""

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.datasets.catalog import DATASETS, DatasetInfo, DatasetStatus, Verification
from common.error import ConfigError

if TYPE_CHECKING:
    from common.datasets.builder import Builder
    from common.datasets.corpus import ChoraleSet, Corpus, Dataset, ImageSet, MelodySet, MoleculeSet

__all__ = [
    "DATASETS",
    "ChoraleSet",
    "Corpus",
    "DatasetInfo",
    "DatasetStatus",
    "ImageSet",
    "MelodySet",
    "MoleculeSet",
    "Verification",
    "default_cache_dir",
    "load",
    "status",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Return what a dataset is once loaded, a class, importing NumPy only when one is asked for."""
    if name in ("Corpus", "ChoraleSet", "ImageSet", "MelodySet", "MoleculeSet"):
        return getattr(importlib.import_module("common.datasets.corpus"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def default_cache_dir() -> Path:
    """Return $HIGHWAY_TUTOR_CACHE, else $XDG_CACHE_HOME/highway-tutor, else ~/.cache/highway-tutor.

    A relative $XDG_CACHE_HOME is ignored, as its specification demands.

    Raises:
      ConfigError: the user has no home directory, as in a container under a foreign user id; or the
        folder's name isn't UTF-8, which the format of prepared data doesn't bear.
    """
    try:
        if own := os.environ.get("HIGHWAY_TUTOR_CACHE"):
            folder = Path(own).expanduser()
        else:
            xdg = os.environ.get("XDG_CACHE_HOME", "")
            root = Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache"
            folder = root / "highway-tutor"
    except RuntimeError as error:  # pathlib's own message is true in all cases
        raise _no_cache(str(error).rstrip(".")) from None
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError:
        raise _no_cache(f"{folder.absolute()} isn't UTF-8") from None
    return folder


def _no_cache(reason: str) -> ConfigError:
    return ConfigError(
        f"no place for datasets and compiled programs: {reason}.\n"
        "Name a folder in the environment variable HIGHWAY_TUTOR_CACHE."
    )


def load(
    name: str,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    download: bool = True,
) -> "Dataset":
    """Load a dataset, preparing it first if this machine hasn't yet.

    Args:
      name: a key of `DATASETS`.
      data_dir: a folder with source files brought by hand; they win over downloads, and are only
        read. When the dataset is already prepared they are checked all the same, if they are there.
      cache_dir: where downloads and prepared data live; `default_cache_dir()` if None.
      download: whether missing source files may be fetched.

    Raises:
      ConfigError: there is no such dataset.
      DataError: a source is missing, damaged or can't be fetched, or the prepared data is damaged.
    """
    builder = _builder(name)
    from common.datasets import store

    return store.load(builder, _path(data_dir), _path(cache_dir) or default_cache_dir(), download)


def status(name: str, data_dir: Path | None = None, cache_dir: Path | None = None) -> DatasetStatus:
    """Tell whether a dataset is ready, and what to do if it isn't. Missing data is no error.

    It is quick: sizes are checked, contents are not; `verify` and `load` check them.

    Args:
      name: a key of `DATASETS`.
      data_dir: as for `load`.
      cache_dir: as for `load`.

    Raises:
      ConfigError: there is no such dataset.
    """
    builder = _builder(name)
    from common.datasets import store

    return store.status(builder, _path(data_dir), _path(cache_dir) or default_cache_dir())


def verify(
    name: str, *, data_dir: Path | None = None, cache_dir: Path | None = None
) -> Verification:
    """Check every file of the prepared dataset against the checksums taken when it was built.

    Args:
      name: a key of `DATASETS`.
      data_dir: the folder that the dataset was made from, if it can be made from any.
      cache_dir: as for `load`.

    Raises:
      ConfigError: there is no such dataset.
      DataError: the dataset can be made from any folder, and none is given.
    """
    builder = _builder(name)
    from common.datasets import store

    return store.verify(builder, _path(cache_dir) or default_cache_dir(), _path(data_dir))


def _path(value: Path | str | None) -> Path | None:
    return None if value is None else Path(os.path.expanduser(value))


def _builder(name: str) -> "type[Builder]":
    """Import the builder class that the catalogue names for a dataset."""
    info = DATASETS.get(name)
    if info is None:
        from common.config import suggestion

        raise ConfigError(f"unknown dataset '{name}'.{suggestion(name, DATASETS)}")
    module, _, attribute = info.builder.partition(":")
    builder: type[Builder] = getattr(importlib.import_module(module), attribute)
    return builder
