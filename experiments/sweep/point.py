"""A point of a grid: the folder, named by its settings, in which its runs lie."""

import hashlib
import itertools
import json
import urllib.parse
from collections.abc import Iterable
from pathlib import Path

from common.error import ConfigError
from common.record import write_atomically

Point = tuple[str, ...]
"""Settings as `key=value`, one for each key of the grid."""

MARK = "point.json"
"""The file that makes a folder that of a point; holds the settings."""
LONGEST = 120
"""Characters of a folder's name, before it ends in a digest."""


def points(grid: Iterable[str]) -> list[Point]:
    """Return all points of a grid; without a grid, one that changes nothing.

    Args:
      grid: `key=value,value,...` each. Commas within brackets, braces and quotes belong to a value.

    Raises:
      ConfigError: an axis has no values, or a key has two axes.
    """
    axes: dict[str, list[str]] = {}
    for axis in grid:
        key, _, text = axis.partition("=")
        values = [value.strip() for value in _split(text)]
        if not key.strip() or not all(values):
            raise ConfigError(f"--grid {axis}: expected key=value,value, as in model.depth=1,2,3.")
        if key.strip() in axes:
            raise ConfigError(f"--grid: {key.strip()} is there twice; write all its values in one.")
        axes[key.strip()] = list(dict.fromkeys(values))
    each = [[f"{key}={value}" for value in values] for key, values in axes.items()]
    return list(itertools.product(*each))


def point_folder(point: Point) -> str:
    """Return the name of a point's folder; the empty one for a point that changes nothing."""
    name = ",".join(urllib.parse.quote(one, safe="=,.+-_") for one in point)
    if len(name) <= LONGEST:
        return name
    return f"{name[:LONGEST]}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def mark_point(folder: Path, point: Point) -> None:
    """Make a folder that of a point."""
    folder.mkdir(parents=True, exist_ok=True)
    if not is_point(folder):
        write_atomically(folder / MARK, json.dumps({"settings": point}, indent=1) + "\n")


def is_point(folder: Path) -> bool:
    """Return whether a folder is that of a point of a grid."""
    return (folder / MARK).is_file()


def _split(text: str) -> list[str]:
    """A text at its commas, but for those within brackets, braces and double quotes."""
    parts, depth, quoted = [""], 0, False
    for character in text:
        quoted ^= character == '"'
        if not quoted:
            depth += (character in "[{") - (character in "]}")
        if character == "," and not quoted and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
