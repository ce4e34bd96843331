"""Language models of finished runs, loaded again: parameters, vocabulary and, on demand, text."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np

from common.checkpoint import Checkpoints, abstract, digest
from common.compute import SCAN, Compute
from common.config import fill, from_dict
from common.datasets import Corpus, load
from common.datasets.corpus import Level, Tokenizer
from common.error import ConfigError, DataError
from common.record import FILE_NAME, DataUsed, read_record, write_atomically
from common.run_directory import refuse_other_data
from common.window import Windows
from highway.config import DataConfig, LanguageModelConfig
from highway.language_model import Graph, Params
from highway.learner import LanguageModelLearner

FOLDER = "parameters"
"""Where a run that came out of a file keeps its model, in the place of checkpoints."""


VOCABULARY = "vocabulary.json"
"""The file beside a model's checkpoints that says what its ids stand for. It may hold words of a
text that mustn't be passed on, so it is none of the artefacts that are committed."""


@dataclass(frozen=True)
class TrainedModel:
    """A language model of a run: its best state on validation."""

    config: LanguageModelConfig
    tokenizer: Tokenizer
    """What its ids stand for."""
    graph: Graph
    params: Params
    data: DataUsed | None
    """What it learned from, by its record; None where that isn't known."""
    data_dir: Path | None
    """Where its text is, if it was brought by hand."""
    path: Path
    """Its run's directory."""

    @property
    def checksum(self) -> str:
        """A hash of all parameters."""
        return digest(self.params)

    @cached_property
    def corpus(self) -> Corpus:
        """The text as the run used it, cut to its numbers of tokens; loaded when first asked for.

        Raises:
          DataError: as loading does.
          ConfigError: it isn't the text that the model learned from.
        """
        return _same_corpus(self.path, self.config.data, self.data_dir, self.data)


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


def load_run(
    path: str | Path, data_dir: Path | None = None, compute: Compute = SCAN
) -> TrainedModel:
    """Load the language model of a finished run.

    Args:
      path: the run's directory, RUNS/EXPERIMENT/PRESET/seed<k>.
      data_dir: where its text is, if it was brought by hand. The text is read where
        `TrainedModel.corpus` is asked for, and for runs without VOCABULARY.
      compute: how its recurrence is to be computed.

    Raises:
      DataError: it isn't a finished run, or its best checkpoint is damaged.
      ConfigError: it isn't a run of one language model.
    """
    path = Path(path)
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
    used = {one.name: one for one in record.data}
    return load_best(path, config, data_dir, compute, used.get(config.data.name))


def load_best(
    path: Path,
    config: LanguageModelConfig,
    data_dir: Path | None,
    compute: Compute = SCAN,
    data: DataUsed | None = None,
) -> TrainedModel:
    """Load the best state of a finished training from its checkpoints, or what `save` wrote.

    Args:
      path: of the training, which has a folder `checkpoints`, or FOLDER.
      config: its settings.
      data_dir: as for `load_run`.
      compute: as for `load_run`.
      data: what it learned from, which its text must be where that is read.

    Raises:
      DataError: there are no checkpoints, or the best or VOCABULARY is damaged.
      ConfigError: the text isn't what it learned from.
    """
    alone = (path / FOLDER).is_dir()
    if not (folder := path / (FOLDER if alone else "checkpoints")).is_dir():
        raise DataError(f"{path}: no checkpoints here: the model is gone.")
    tokenizer = read_vocabulary(path)
    if tokenizer is None:  # of a run from before there was such a file
        tokenizer = _same_corpus(path, config.data, data_dir, data).tokenizer
    # Windows of no text: a state's shapes depend on their size only.
    nothing = np.zeros((1, config.train.batch_size, config.train.steps), np.int32)
    size = len(tokenizer.vocabulary)
    learner = LanguageModelLearner(config, size, Windows(nothing, nothing), compute)
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
    return TrainedModel(config, tokenizer, learner.graph, params, data, data_dir, path)


def save(path: Path, params: Params, tokenizer: Tokenizer | None) -> None:
    """Save the parameters of a language model alone in a run's directory, and its vocabulary."""
    checkpoints = Checkpoints(path / FOLDER)
    checkpoints.save(params, {})
    checkpoints.close()
    if tokenizer is not None:
        write_atomically(path / VOCABULARY, json.dumps(asdict(tokenizer)) + "\n")


def read_vocabulary(path: Path) -> Tokenizer | None:
    """Return what the ids of the model in a folder stand for, or None where that isn't written.

    Raises:
      DataError: the file is damaged.
    """
    file = path / VOCABULARY
    try:
        return parse_vocabulary(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(
            f"{file}: damaged ({error}). Delete it, and the model is read with its text."
        ) from None


def parse_vocabulary(fields: Mapping[str, Any]) -> Tokenizer:
    """Return what fields of a Tokenizer, read from JSON, say.

    Raises:
      ValueError: they aren't such fields.
    """
    if not isinstance(fields, Mapping) or set(fields) != {"name", "level", "vocabulary"}:
        raise ValueError("no name, level and vocabulary")
    symbols = fields["vocabulary"]
    if not isinstance(symbols, list) or not all(isinstance(one, str) for one in symbols):
        raise ValueError("its vocabulary is no list of symbols")
    if fields["level"] not in get_args(Level):
        raise ValueError(f"the level {fields['level']!r} is unknown")
    return Tokenizer(str(fields["name"]), fields["level"], tuple(symbols))


def _same_corpus(
    path: Path, config: DataConfig, data_dir: Path | None, data: DataUsed | None
) -> Corpus:
    """Load the corpus of a run in `path`; raise ConfigError if it isn't `data`, where given."""
    corpus = load_corpus(config, data_dir)
    if data is not None:
        now = {"name": corpus.name, "checksums": corpus.checksums}
        advice = "Give the text that it learned from, with --data-dir where it was brought by hand."
        refuse_other_data(path, data.name, data.checksums, now, advice)
    return corpus
