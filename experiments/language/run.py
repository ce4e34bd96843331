"""Trains a language model, evaluates the best checkpoint, samples from it, draws its curve."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from common import device
from common.compute import Compute
from common.datasets import Corpus
from common.mesh import make_mesh, own, own_places
from common.plot import learning_curves
from common.progress import Progress
from common.training import Schedule, Tick
from common.window import make_windows
from experiments.run import SAMPLE, Context
from experiments.text_model import VOCABULARY, load_corpus
from experiments.train import Outcomes, Row, data_used, train
from highway import evaluation, sampling
from highway.config import LanguageModelConfig
from highway.language_model import Params
from highway.learner import LanguageModelLearner, TrainState
from highway.size import training_bytes

CURVE = "learning_curve.png"


def run(context: Context) -> Outcomes:
    """Train one language model of one seed; measure and sample from its best checkpoint."""
    config: LanguageModelConfig = context.config
    trial = _Trial(
        config,
        load_corpus(config.data, context.options.data_dir),
        context.compute,
        make_mesh(context.options.devices),
    )
    (seed,) = context.seeds
    initial = trial.learner.initial_state(seed)
    place, path = context.place, context.place.path

    def measure(state: TrainState, seed: int, tick: Tick) -> dict[str, float]:
        progress = Progress(place.label, visible=place.run.process.leads)
        params = own(state.params, trial.learner.mesh)
        metrics = trial.measure(params, seed, progress, tick)
        sample = trial.sample(params, seed, tick)
        place.lead(partial((path / SAMPLE).write_text, sample, encoding="utf-8"))
        return metrics

    outcomes = train(
        place,
        trial.learner,
        initial,
        trial.schedule(),
        context.seeds,
        validate=trial.validate,
        measure=measure,
        describe=partial(_describe, words=trial.words),
        curve=partial(_curve, words=trial.words),
        parameters=sum(leaf.size for leaf in jax.tree.leaves(initial.params)),
        data=data_used(trial.corpus, trial.tokens, context.experiment.data),
        files={VOCABULARY: asdict(trial.corpus.tokenizer)},
    )
    if not isinstance(outcome := outcomes[seed], Exception):
        title = context.experiment.title
        place.lead(partial(_draw, outcome.curve, path / CURVE, title, words=trial.words))
    return outcomes


class _Trial:
    """A language model on a corpus: its learner, and what is measured of its states.

    Raises:
      DataError: a split is too short for one window; before an epoch is spent.
      ConfigError: the device's memory is too small, or devices can't divide a batch.
    """

    def __init__(
        self,
        config: LanguageModelConfig,
        corpus: Corpus,
        compute: Compute,
        mesh: Mesh | None = None,
    ):
        self.config = config
        self.words = corpus.level == "word"
        size, steps = config.train.batch_size, config.train.steps
        device.require_memory(
            training_bytes(config.model, config.train, len(corpus.vocabulary)),
            "model.units, model.depth, model.layers, train.batch_size or train.steps",
        )
        for split in ("valid", "test"):
            make_windows(getattr(corpus, split), size, steps, split=split)
        rows = own_places(mesh, size, "train.batch_size")
        windows = make_windows(corpus.train, size, steps, split="train", rows=rows)
        self.learner = LanguageModelLearner(
            config, len(corpus.vocabulary), windows, compute, mesh=mesh
        )
        self.tokens = {name: len(getattr(corpus, name)) for name in ("train", "valid", "test")}
        # From here on the devices have what is trained on, and this process nothing else of it.
        self.corpus = replace(corpus, train=np.empty(0, np.int32))

    def schedule(self) -> Schedule:
        """When to report and evaluate, in updates."""
        settings, epoch = self.config.train, self.learner.steps_per_epoch
        return Schedule(
            total=settings.epochs * epoch,
            report_every=settings.report_every,
            evaluate_every=epoch,
            items_per_update=settings.batch_size * settings.steps,
            item="tokens",
        )

    def validate(
        self, state: TrainState, seed: int, step: int, tick: Tick
    ) -> tuple[dict[str, float], float]:
        """Metrics of the validation split, and the loss by which the best state is chosen."""
        score = self._batched("valid", own(state.params, self.learner.mesh), tick=tick)
        return score.metrics("valid", word_level=self.words), score.loss

    def measure(
        self, params: Params, seed: int, progress: Progress, tick: Tick
    ) -> dict[str, float]:
        """Metrics under all protocols that are asked for."""
        metrics: dict[str, float] = {}
        try:
            for name, score in self._protocols(params, seed):
                progress.show(f"evaluates {name}")
                metrics |= score(tick=tick).metrics(name, word_level=self.words)
        finally:
            progress.close()
        return metrics

    def sample(self, params: Params, seed: int, tick: Tick) -> str:
        """Text that goes on from the test split's first token; "" where none is asked for."""
        if not (count := self.config.evaluation.sample_tokens):
            return ""
        graph, key, prompt = self.learner.graph, jax.random.key(seed), self.corpus.test[:1]
        drawn = sampling.sample(graph, params, key, prompt, count, tick=tick)
        return self.corpus.decode(np.asarray(drawn))

    def _protocols(
        self, params: Params, seed: int
    ) -> Iterator[tuple[str, Callable[..., evaluation.StreamScore]]]:
        """The name of each score, and the function that gives it."""
        settings, graph = self.config.evaluation, self.learner.graph
        chunk = self.config.train.softmax_chunk
        for split in ("valid", "test"):
            yield split, partial(self._batched, split, params)
            if settings.full:
                tokens = getattr(self.corpus, split)
                yield (
                    f"{split}_full",
                    partial(evaluation.full, graph, params, tokens, softmax_chunk=chunk),
                )
        if settings.mc_passes:
            yield (
                "test_mc",
                partial(
                    evaluation.mc_dropout,
                    graph,
                    params,
                    self.corpus.test,
                    jax.random.key(seed),
                    passes=settings.mc_passes,
                    batch_size=settings.mc_batch_size,
                    softmax_chunk=chunk,
                ),
            )

    def _batched(self, split: str, params: Params, *, tick: Tick) -> evaluation.StreamScore:
        tokens, settings = getattr(self.corpus, split), self.config.train
        return evaluation.batched(
            self.learner.graph,
            params,
            tokens,
            settings.batch_size,
            settings.steps,
            split=split,
            softmax_chunk=settings.softmax_chunk,
            tick=tick,
        )


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
