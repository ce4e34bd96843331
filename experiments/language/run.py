"""Trains a language model, evaluates the best checkpoint, samples from it, draws its curve."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np

from common.datasets import Corpus, load
from common.error import ConfigError
from common.plot import learning_curves
from common.progress import Progress
from common.training import Schedule, Tick
from common.window import make_windows
from experiments.run import Context
from experiments.train import Outcomes, Row, data_used, train
from highway import evaluation, sampling
from highway.config import DataConfig, LanguageModelConfig
from highway.language_model import Params
from highway.learner import LanguageModelLearner, TrainState

SAMPLE = "sample.txt"
CURVE = "learning_curve.png"


def run(context: Context) -> Outcomes:
    """One language model of one seed."""
    config: LanguageModelConfig = context.config
    corpus = load_corpus(config.data, context.options.data_dir)
    words, size, steps = corpus.level == "word", config.train.batch_size, config.train.steps
    for split in ("valid", "test"):  # too short a split must not be found out after an epoch
        make_windows(getattr(corpus, split), size, steps, split=split)
    windows = make_windows(corpus.train, size, steps, split="train")
    learner = LanguageModelLearner(config, len(corpus.vocabulary), windows)
    (seed,) = context.seeds
    initial = learner.initial_state(seed)
    path = context.place.path

    def batched(split: str, params: Params, tick: Tick) -> evaluation.StreamScore:
        tokens = getattr(corpus, split)
        return evaluation.batched(
            learner.graph, params, tokens, size, steps, split=split, tick=tick
        )

    def validate(
        state: TrainState, seed: int, step: int, tick: Tick
    ) -> tuple[dict[str, float], float]:
        score = batched("valid", state.params, tick)
        return score.metrics("valid", word_level=words), score.loss

    def measure(state: TrainState, seed: int, tick: Tick) -> dict[str, float]:
        progress = Progress(context.place.label, visible=context.place.run.process.leads)
        metrics: dict[str, float] = {}
        try:
            for name, score in _protocols(config, corpus, learner, state.params, seed, batched):
                progress.show(f"evaluates {name}")
                metrics |= score(tick=tick).metrics(name, word_level=words)
        finally:
            progress.close()
        number = config.evaluation.sample_tokens
        sample = _sample(learner, state.params, seed, corpus, number, tick)
        context.place.lead(partial((path / SAMPLE).write_text, sample, encoding="utf-8"))
        return metrics

    outcomes = train(
        context.place,
        learner,
        initial,
        Schedule(
            total=config.train.epochs * learner.steps_per_epoch,
            report_every=config.train.report_every,
            evaluate_every=learner.steps_per_epoch,
            items_per_update=size * steps,
            item="tokens",
        ),
        context.seeds,
        validate=validate,
        measure=measure,
        describe=partial(_describe, words=words),
        curve=partial(_curve, words=words),
        parameters=sum(leaf.size for leaf in jax.tree.leaves(initial.params)),
        data=data_used(
            corpus,
            {split: len(getattr(corpus, split)) for split in ("train", "valid", "test")},
            context.experiment.data,
        ),
    )
    if not isinstance(outcome := outcomes[seed], Exception):
        title = context.experiment.title
        context.place.lead(partial(_draw, outcome.curve, path / CURVE, title, words=words))
    return outcomes


def load_corpus(config: DataConfig, data_dir: Path | None) -> Corpus:
    """The configured corpus, cut to the configured numbers of tokens.

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


def _protocols(
    config: LanguageModelConfig,
    corpus: Corpus,
    learner: LanguageModelLearner,
    params: Params,
    seed: int,
    batched: Callable[..., evaluation.StreamScore],
) -> Iterator[tuple[str, Callable[..., evaluation.StreamScore]]]:
    """What is measured in the end: the name of each score and the function that gives it."""
    for split in ("valid", "test"):
        yield split, partial(batched, split, params)
        if config.evaluation.full:
            tokens = getattr(corpus, split)
            yield f"{split}_full", partial(evaluation.full, learner.graph, params, tokens)
    if config.evaluation.mc_passes:
        yield (
            "test_mc",
            partial(
                evaluation.mc_dropout,
                learner.graph,
                params,
                corpus.test,
                jax.random.key(seed),
                passes=config.evaluation.mc_passes,
                batch_size=config.evaluation.mc_batch_size,
            ),
        )


def _sample(
    learner: LanguageModelLearner,
    params: Params,
    seed: int,
    corpus: Corpus,
    count: int,
    tick: Tick,
) -> str:
    """Text of `count` tokens, which goes on from the test split's first."""
    if not count:
        return ""
    key, prompt = jax.random.key(seed), corpus.test[:1]
    drawn = sampling.sample(learner.graph, params, key, prompt, count, tick=tick)
    return corpus.decode(np.asarray(drawn))


def _curve(rows: list[Row], *, words: bool) -> list[dict[str, float]]:
    """One row per evaluation, with the mean training loss since the one before."""
    kept, loss, tokens = [], 0.0, 0.0
    for row in rows:
        if "train/loss" in row:
            loss += row["train/loss"] * row["train/tokens"]
            tokens += row["train/tokens"]
        else:
            score = evaluation.StreamScore(loss / tokens, int(tokens))
            kept.append({**row, **score.metrics("train", word_level=words)})
            loss = tokens = 0.0
    return kept


def _describe(row: Row, *, words: bool) -> str:
    """The loss of a row of metrics, also in the unit of its level."""
    split = "train" if "train/loss" in row else "valid"
    loss = row[f"{split}/loss"]
    score = evaluation.StreamScore(loss, 1).metrics(split, word_level=words)
    unit, metric = ("perplexity", "perplexity") if words else ("BPC", "bits_per_character")
    return f"{split} loss {loss:.4f}  {unit} {score.get(f'{split}/{metric}', math.inf):.4g}"


def _draw(curve: list[dict[str, float]], path: Path, title: str, *, words: bool) -> None:
    metric = "perplexity" if words else "bits_per_character"
    name = f"valid/{metric}"
    learning_curves(
        {"validation": [(row["epoch"], row[name]) for row in curve if name in row]},
        path,
        x_label="epoch",
        y_label=f"validation {metric.replace('_', ' ')}",
        title=title,
    )
