"""Language models of finished runs, loaded again with the text that they learned from."""

from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp

from common.checkpoint import Checkpoints, abstract, digest
from common.compute import SCAN, Compute
from common.config import fill, from_dict
from common.datasets import Corpus, load
from common.error import ConfigError, DataError
from common.record import FILE_NAME, read_record
from common.window import make_windows
from highway.config import DataConfig, LanguageModelConfig
from highway.language_model import Graph, Params
from highway.learner import LanguageModelLearner

FOLDER = "parameters"
"""Where a run that came out of a file keeps its model, in the place of checkpoints."""


@dataclass(frozen=True)
class TrainedModel:
    """A language model of a run: its best state on validation."""

    config: LanguageModelConfig
    corpus: Corpus
    """As the run used it, cut to its numbers of tokens."""
    graph: Graph
    params: Params

    @property
    def checksum(self) -> str:
        """A hash of all parameters."""
        return digest(self.params)


def load_corpus(config: DataConfig, data_dir: Path | None) -> Corpus:
    """Return the configured corpus, cut to the configured numbers of tokens.

    Raises:
      ConfigError: the dataset is no stream of tokens.
      DataError: as loading does.
    """
    corpus = load(config.name, data_dir=data_dir)
    if not isinstance(corpus, Corpus):
        raise ConfigError(f"data.name={config.name}: a language model needs a text corpus.")
    train_tokens = config.train_tokens or None
    evaluation_tokens = config.evaluation_tokens or None
    return replace(
        corpus,
        train=corpus.train[:train_tokens],
        valid=corpus.valid[:evaluation_tokens],
        test=corpus.test[:evaluation_tokens],
    )


def load_run(path: Path, data_dir: Path | None, compute: Compute = SCAN) -> TrainedModel:
    """Load the language model of a finished run.

    Args:
      path: the run's directory, RUNS/EXPERIMENT/PRESET/seed<k>.
      data_dir: where its text is, if it was brought by hand.
      compute: how its recurrence is to be computed.

    Raises:
      DataError: it isn't a finished run, or its best checkpoint is damaged.
      ConfigError: it isn't a run of one language model.
    """
    if not (path / FILE_NAME).exists():
        raise DataError(f"{path}: no {FILE_NAME}: not a run, or not finished yet.")
    record = read_record(path / FILE_NAME)
    if record.status != "done":
        raise DataError(f"{path}: this run diverged; it has no model.")
    try:
        config = from_dict(LanguageModelConfig, fill(LanguageModelConfig, record.config))
    except ConfigError as error:
        raise ConfigError(
            f"{path}: not a run of one language model ({error})\nName the directory of a run that "
            "trains one, RUNS/EXPERIMENT/PRESET/seed0."
        ) from None
    return load_best(path, config, data_dir, compute)


def load_best(
    path: Path, config: LanguageModelConfig, data_dir: Path | None, compute: Compute = SCAN
) -> TrainedModel:
    """Load the best state of a finished training from its checkpoints, or what `save` wrote.

    Args:
      path: of the training, which has a folder `checkpoints`, or FOLDER.
      config: its settings.
      data_dir: as for `load_run`.
      compute: as for `load_run`.

    Raises:
      DataError: there are no checkpoints, or the best is damaged.
    """
    alone = (path / FOLDER).is_dir()
    if not (folder := path / (FOLDER if alone else "checkpoints")).is_dir():
        raise DataError(f"{path}: no checkpoints here: the model is gone.")
    corpus = load_corpus(config.data, data_dir)
    settings = config.train
    windows = make_windows(corpus.train, settings.batch_size, settings.steps, split="train")
    learner = LanguageModelLearner(config, len(corpus.vocabulary), windows, compute)
    initial = abstract(learner.initial_state(0))
    checkpoints = Checkpoints(folder)
    try:
        if alone:
            restored = checkpoints.read_latest(initial.params)
        else:
            best = checkpoints.latest_notes()["best"]
            restored = checkpoints.restore_best(initial, best).params
    finally:
        checkpoints.close()
    # JAX compiles anew for arrays committed to a device, as restored ones are; copies are not.
    params = jax.tree.map(jnp.asarray, jax.device_get(restored))
    return TrainedModel(config, corpus, learner.graph, params)


def save(path: Path, params: Params) -> None:
    """Save the parameters of a language model alone in a run's directory."""
    checkpoints = Checkpoints(path / FOLDER)
    checkpoints.save(params, {})
    checkpoints.close()
