"""Composes with a finished run's model, in whichever domain that is."""

from pathlib import Path

import jax
import numpy as np

from common.error import ConfigError
from experiments import trained
from experiments.domain import Composed
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
) -> Composed:
    """Compose with the model of a run, write and draw what it made.

    Composition k of a seed is the same however many are asked for.

    Args:
      run: a run directory with a model that `experiments.trained.save` wrote.
      folder: where to write; made if it isn't there.
      count: how many, 1 to 100.
      seed: 0 to 2³² − 1.
      primer: a file that the compositions go on from.
      wav: whether to write sound.

    Raises:
      DataError: the run has no model, or the primer is none.
      ConfigError: the model is of an unknown vocabulary, `count` is out of range, or the primer
        would be overwritten.
    """
    if not 1 <= count <= MOST:
        raise ConfigError(f"{count} compositions: choose from 1 to {MOST}.")
    model = trained.load(run)
    domain = model.domain
    lead = None if primer is None else domain.read_primer(primer, folder, model.notes)
    composer = Composer(model.graph, model.method, domain.environment, domain.length)
    made = composer.compose(model.policy, jax.random.key(seed), MOST, primer=lead)
    title = f"{Path(*run.resolve().parts[-3:])}, compositions of seed {seed}"
    first = jax.tree.map(lambda values: np.asarray(values)[:count], made)
    return domain.render(first, folder, model.notes, lead, title, wav=wav)
