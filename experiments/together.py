"""Which of the seeds that are asked for train together, given what was begun before."""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from common.error import ConfigError
from common.record import FILE_NAME
from common.stand_aside import BEFORE

Seeds = tuple[int, ...]
"""Seeds in the order in which they train together."""

_JOINT = re.compile(r"seeds(\d+(?:-\d+)+)")


def seed_folder(seed: int) -> str:
    """Return the name of the directory of one seed."""
    return f"seed{seed}"


def joint_folder(seeds: Seeds) -> str:
    """Return the name of the directory in which several seeds train together."""
    return "seeds" + "-".join(map(str, seeds))


def group(root: Path, seeds: Sequence[int]) -> list[Seeds]:
    """Divide unfinished seeds into those that train together: begun trainings go on as they began.

    Args:
      root: the directory of all seeds' directories.
      seeds: the unfinished ones that are asked for.

    Returns:
      Groups of seeds, first those of trainings that were begun. Such a group may have seeds that
      aren't asked for, because they have their records, or one that is in a group before.

    Raises:
      ConfigError: some of the seeds train together with one that is neither asked for nor finished.
    """
    alone = [(seed,) for seed in seeds if _has_rows(root / seed_folder(seed))]
    left = set(seeds) - {seed for (seed,) in alone}
    groups = []
    for begun in sorted(_begun(root), key=lambda one: (set(one) != left, -len(one))):
        if not left & set(begun):
            continue
        unasked = [seed for seed in begun if seed not in seeds and not _is_finished(root, seed)]
        if unasked:
            raise ConfigError(_refusal(root, begun, sorted({*seeds, *begun})))
        groups.append(begun)
        left -= set(begun)
    rest = tuple(seed for seed in seeds if seed in left)
    return [*alone, *groups, *([rest] if rest else [])]


def same_set(root: Path, seeds: Seeds) -> Seeds:
    """Return the seeds in the order of the training that was made of them before, if one was."""
    for begun in _found(root):
        if set(begun) == set(seeds):
            return begun
    return seeds


def joint_trainings(root: Path, seed: int) -> list[Path]:
    """Return the directories in which a seed trains, or trained, together with others."""
    return [root / joint_folder(seeds) for seeds in _found(root) if seed in seeds]


def _found(root: Path) -> list[Seeds]:
    """The seeds of each directory of a joint training."""
    names = (_JOINT.fullmatch(path.name) for path in sorted(root.glob("seeds*")))
    return [tuple(map(int, match[1].split("-"))) for match in names if match]


def _begun(root: Path) -> list[Seeds]:
    """The seeds of each joint training that was begun and isn't finished for all of them."""
    return [
        seeds
        for seeds in _found(root)
        if _has_rows(root / joint_folder(seeds))
        and not all(_is_finished(root, seed) for seed in seeds)
    ]


def _has_rows(path: Path) -> bool:
    rows = (path / "metrics.jsonl", path / BEFORE / "metrics.jsonl")
    return any(file.exists() and file.stat().st_size > 0 for file in rows)


def _is_finished(root: Path, seed: int) -> bool:
    return (root / seed_folder(seed) / FILE_NAME).exists()


def _refusal(root: Path, begun: Iterable[int], all_seeds: Collection[int]) -> str:
    return (
        f"{root / joint_folder(tuple(begun))}: seeds {', '.join(map(str, begun))} train together "
        "here, and stopped.\nGo on with all of them, --seeds "
        f"{' '.join(map(str, all_seeds))}; or start over with --fresh."
    )
