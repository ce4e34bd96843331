"""Trains and evaluates language models in a run directory."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from common.datasets import Corpus, load
from common.error import ConfigError, DivergedError, InterruptedRun
from common.interrupt import Interrupt
from common.plot import learning_curves
from common.progress import Progress
from common.record import DataUsed
from common.training import Schedule, Tick, Training
from common.window import make_windows
from experiments.run import Context, DivergedRun, Outcome
from highway import evaluation, sampling
from highway.config import DataConfig, LanguageModelConfig
from highway.language_model import Params
from highway.learner import LanguageModelLearner, TrainState


@dataclass(frozen=True)
class Trained:
    """A trained and evaluated model; the fields are those of an Outcome, for one model."""

    parameters: int
    metrics: dict[str, float]
    curve: list[dict[str, float]]
    seconds: dict[str, float]
    sample: str


def run(context: Context) -> Outcome:
    """One language model: trains, evaluates, samples, and draws its learning curve."""
    config: LanguageModelConfig = context.config
    corpus = load_corpus(context, config.data)
    try:
        trained = train(context, config, corpus, label=context.experiment.name)
    except DivergedModel as error:
        raise DivergedRun(str(error), outcome(context, corpus, {"model": error.so_far})) from None
    draw_curves(context, corpus, {"validation": trained})
    (context.run.path / "sample.txt").write_text(trained.sample, encoding="utf-8")
    return outcome(context, corpus, {"model": trained})


class DivergedModel(DivergedError):
    """A training that diverged, with its curve so far."""

    def __init__(self, message: str, so_far: Trained):
        super().__init__(message)
        self.so_far = so_far


def load_corpus(context: Context, config: DataConfig) -> Corpus:
    """The configured corpus, cut to the configured numbers of tokens.

    Raises ConfigError where the dataset is no stream of tokens, and DataError as loading does.
    """
    corpus = load(config.name, data_dir=context.options.data_dir)
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


def train(
    context: Context,
    config: LanguageModelConfig,
    corpus: Corpus,
    *,
    label: str,
    folder: str = "",
) -> Trained:
    """Trains one model to the end of its schedule and evaluates the best checkpoint.

    Its metrics and checkpoints lie in `folder` of the run's directory. Raises DivergedModel, and
    InterruptedRun if a signal came, after saving.
    """
    size, steps = config.train.batch_size, config.train.steps
    windows = make_windows(corpus.train, size, steps, split="train")
    for split in ("valid", "test"):  # too short a split must not be found out after an epoch
        make_windows(getattr(corpus, split), size, steps, split=split)
    learner = LanguageModelLearner(config, len(corpus.vocabulary), windows)
    initial = learner.initial_state(context.seed)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(initial.params))
    words = corpus.level == "word"

    def evaluate(state: TrainState, tick: Tick) -> tuple[dict[str, float], float]:
        score = batched("valid", corpus.valid, state.params, tick)
        return score.metrics("valid", word_level=words), score.loss

    def batched(
        split: str, tokens: np.ndarray, params: Params, tick: Tick
    ) -> evaluation.StreamScore:
        return evaluation.batched(
            learner.graph, params, tokens, size, steps, split=split, tick=tick
        )

    training = Training(
        context.run,
        learner,
        Schedule(
            total=config.train.epochs * learner.steps_per_epoch,
            report_every=config.train.report_every,
            evaluate_every=learner.steps_per_epoch,
            items_per_update=config.train.batch_size * config.train.steps,
            item="tokens",
        ),
        evaluate=evaluate,
        describe=lambda row: describe(row, words=words),
        label=label,
        folder=folder,
        sink=context.sink(folder),
    )
    with Interrupt() as interrupt:
        try:
            best, seconds = training.fit(initial, interrupt)
        except DivergedError as error:
            so_far = Trained(parameters, {}, curve(training, words=words), {}, "")
            raise DivergedModel(str(error), so_far) from None
        begin = time.monotonic()
        try:
            metrics = _final_metrics(
                config, corpus, learner, best.params, batched, label, context.seed, interrupt.check
            )
            sample = _sample(context, config, corpus, learner, best.params)
            interrupt.check()
        except InterruptedRun as stop:
            raise InterruptedRun(
                f"{stop} in the final evaluation; the training is saved in {context.run.path}.\n"
                "The same command evaluates it.",
                stop.signal_number,
            ) from None
    return Trained(
        parameters=parameters,
        metrics=metrics,
        curve=curve(training, words=words),
        seconds={"training": seconds, "evaluation": time.monotonic() - begin},
        sample=sample,
    )


def _final_metrics(
    config: LanguageModelConfig,
    corpus: Corpus,
    learner: LanguageModelLearner,
    params: Params,
    batched: Callable[..., evaluation.StreamScore],
    label: str,
    seed: int,
    check: Tick,
) -> dict[str, float]:
    progress = Progress(label)
    metrics: dict[str, float] = {}
    splits = {"valid": corpus.valid, "test": corpus.test}
    graph = learner.graph

    def add(name: str, score: Callable[[], evaluation.StreamScore]) -> None:
        progress.show(f"evaluates {name}")
        metrics.update(score().metrics(name, word_level=corpus.level == "word"))

    try:
        for split, tokens in splits.items():
            add(split, partial(batched, split, tokens, params, check))
            if config.evaluation.full:
                add(f"{split}_full", partial(evaluation.full, graph, params, tokens, tick=check))
        if config.evaluation.mc_passes:
            passes = partial(
                evaluation.mc_dropout,
                graph,
                params,
                corpus.test,
                jax.random.key(seed),
                passes=config.evaluation.mc_passes,
                batch_size=config.evaluation.mc_batch_size,
                tick=check,
            )
            add("test_mc", passes)
    finally:
        progress.close()
    return metrics


def _sample(
    context: Context,
    config: LanguageModelConfig,
    corpus: Corpus,
    learner: LanguageModelLearner,
    params: Params,
) -> str:
    count = config.evaluation.sample_tokens
    if not count:
        return ""
    prompt = corpus.test[:1]
    tokens = sampling.sample(learner.graph, params, jax.random.key(context.seed), prompt, count)
    return corpus.decode(np.asarray(tokens))


def curve(training: Training, *, words: bool) -> list[dict[str, float]]:
    """One row per evaluation, with the mean training loss since the one before."""
    rows, loss, tokens = [], 0.0, 0.0
    for row in training.run.read_metrics(training.metrics_file):
        if "train/loss" in row:
            loss += row["train/loss"] * row["train/tokens"]
            tokens += row["train/tokens"]
        else:
            trained = evaluation.StreamScore(loss / tokens, int(tokens)).metrics(
                "train", word_level=words
            )
            rows.append({**row, **trained})
            loss = tokens = 0.0
    return rows


def describe(row: dict[str, float], *, words: bool) -> str:
    """The loss of a row of metrics in the unit of its level, for the progress line."""
    split = "train" if "train/loss" in row else "valid"
    loss = row[f"{split}/loss"]
    score = evaluation.StreamScore(loss, 1).metrics(split, word_level=words)
    unit, metric = ("perplexity", "perplexity") if words else ("BPC", "bits_per_character")
    return f"{split} loss {loss:.4f}  {unit} {score.get(f'{split}/{metric}', math.inf):.4g}"


def outcome(context: Context, corpus: Corpus, models: dict[str, Trained]) -> Outcome:
    """One outcome from models by name; with several, their metrics are prefixed by the name."""
    single = list(models) == ["model"]

    def prefixed(name: str, values: dict[str, Any]) -> dict[str, Any]:
        if single:
            return values
        return {f"{name}/{key}" if "/" in key else key: value for key, value in values.items()}

    seconds: dict[str, float] = {}
    for model in models.values():
        for phase, value in model.seconds.items():
            seconds[phase] = round(seconds.get(phase, 0.0) + value, 3)
    return Outcome(
        parameters=models["model"].parameters
        if single
        else {name: model.parameters for name, model in models.items()},
        metrics={
            key: value
            for name, model in models.items()
            for key, value in prefixed(name, model.metrics).items()
        },
        curve=[prefixed(name, row) for name, model in models.items() for row in model.curve],
        data=[_data_used(context, corpus)],
        seconds=seconds,
    )


def draw_curves(context: Context, corpus: Corpus, models: dict[str, Trained]) -> None:
    """Writes learning_curve.png: validation by epoch, one line per model."""
    metric = "perplexity" if corpus.level == "word" else "bits_per_character"
    title = context.experiment.title
    learning_curves(
        {
            name: [
                (row["epoch"], row[f"valid/{metric}"])
                for row in model.curve
                if f"valid/{metric}" in row
            ]
            for name, model in models.items()
        },
        context.run.path / "learning_curve.png",
        x_label="epoch",
        y_label=f"validation {metric.replace('_', ' ')}",
        title=title,
    )


def _data_used(context: Context, corpus: Corpus) -> DataUsed:
    paper_data = context.experiment.data
    return DataUsed(
        name=corpus.name,
        version=corpus.version,
        stand_in_for=None if corpus.name in paper_data else paper_data[0],
        tokens={split: len(getattr(corpus, split)) for split in ("train", "valid", "test")},
        checksums=corpus.checksums,
    )
