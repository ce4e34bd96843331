"""Composes with a finished run's model, in whichever domain that is."""

from pathlib import Path

import jax
import numpy as np

from common.error import ConfigError
from common.progress import Progress
from common.record import FILE_NAME
from common.stand_aside import BEFORE
from experiments import trained
from experiments.domain import Composed, Domain
from tutor.evaluation import Composer

MOST = 100
"""Compositions of a seed; however many are asked for, they are the first of these."""


def compose(
    run: Path,
    folder: Path,
    *,
    count: int = 8,
    seed: int = 0,
    primer: Path | None = None,
    wav: bool = False,
    bars: int | None = None,
    key: str | None = None,
    temperature: float = 1.0,
) -> Composed:
    """Compose with the model of a run, write and draw what it made.

    Composition k of a seed is the same however many are asked for.

    Args:
      run: a run directory with a model that `experiments.trained.save` wrote, or with a folder of
        such a model for each of its parts, of which the last that was trained composes.
      folder: where to write; made if it isn't there.
      count: how many, 1 to 100.
      seed: 0 to 2³² − 1.
      primer: a file that the compositions go on from.
      wav: whether to write sound.
      bars: length in bars, where the domain has any; as long as in training by default.
      key: in which they are written, where the domain has keys.
      temperature: see `tutor.evaluation.Composer`.

    Raises:
      DataError: the run has no model, or the primer is none.
      ConfigError: the model is of an unknown vocabulary, `count` or `temperature` is out of range,
        or the primer would be overwritten, or the folder is a run's own directory, or the domain
        has no such length or key; or both a key and a primer, which has its own, are given.
    """
    require_count(count)
    if key is not None and primer is not None:
        raise ConfigError(
            f"--key {key} with --primer: compositions go on from the primer as it is, without "
            "another key. Leave one of the two out."
        )
    require_no_run(folder)
    model = trained.load(trained.find(run))
    domain = _of_length(model.domain, bars)
    written = {} if key is None else {"key": _known_key(domain, key)}
    events = None if primer is None else domain.read_primer(primer, folder, model.notes)
    composer = Composer(
        model.graph, model.method, domain.environment, domain.length, temperature=temperature
    )
    made = composer.compose(model.policy, jax.random.key(seed), MOST, primer=events)
    title = f"{Path(*run.resolve().parts[-3:])}, compositions of seed {seed}"
    first = jax.tree.map(lambda values: np.asarray(values)[:count], made)
    before = set(folder.iterdir()) if folder.is_dir() else set()
    composed = domain.render(first, folder, model.notes, events, title, wav=wav, **written)
    if gone := len(before - set(folder.iterdir())):
        files = "file" if gone == 1 else "files"
        Progress("compose").note(f"{folder}: {gone} {files} of earlier compositions deleted")
    return composed


def _of_length(domain: Domain, bars: int | None) -> Domain:
    """The domain with sequences of so many bars, where a length was asked for."""
    if bars is None:
        return domain
    if domain.of_bars is None:
        raise ConfigError(f"--bars {bars}: {domain.name} have no bars.")
    return domain.of_bars(bars)


def _known_key(domain: Domain, key: str) -> str:
    """The key, if the domain can be written in it."""
    if key not in domain.keys:
        known = f"choose from {', '.join(domain.keys)}" if domain.keys else "they have no keys"
        raise ConfigError(f"--key {key}: {domain.name}: {known}.")
    return key


def require_count(count: int) -> None:
    """Raise ConfigError where so many can't be composed at once."""
    if not 1 <= count <= MOST:
        raise ConfigError(f"{count} compositions: choose from 1 to {MOST}.")


def require_no_run(folder: Path) -> None:
    """Raise ConfigError where compositions would be written among, and over, the files of a run."""
    whole = folder.resolve()
    for place in (whole, *whole.parents):
        below = whole.relative_to(place).parts[:1]
        if below not in ((), (trained.FOLDER,), ("checkpoints",), (BEFORE,)):
            continue
        if any((place / name).exists() for name in (FILE_NAME, "metrics.jsonl", trained.FOLDER)):
            raise ConfigError(
                f"{folder}: here lie the files of a run, which compositions might replace.\n"
                "Choose another folder with --out."
            )
