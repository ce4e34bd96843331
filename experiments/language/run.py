"""Trains a language model, evaluates the best checkpoint, samples from it, draws its curve."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from common import device
from common.checkpoint import digest
from common.compute import Compute
from common.config import to_dict
from common.datasets import Corpus
from common.mesh import make_mesh, own, own_places
from common.plot import learning_curves
from common.progress import Progress
from common.training import Schedule, Tick
from common.window import make_windows, windows_bytes
from experiments.run import SAMPLE, Context, code_digest
from experiments.text_model import VOCABULARY, load_corpus
from experiments.train import Outcomes, Place, Row, data_used, train
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
        params = own(state.params, trial.learner.mesh)
        metrics = trial.measure(params, seed, place, tick)
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


@dataclass(frozen=True)
class _Protocol:
    """A protocol of the final evaluation."""

    name: str
    """What the names of its metrics begin with."""
    split: str
    """Of which tokens."""
    score: Callable[..., evaluation.StreamScore]
    """(graph, parameters, tokens, **settings, tick) → score."""
    settings: dict[str, int]


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
        self.compute = compute
        self.words = corpus.level == "word"
        size, steps = config.train.batch_size, config.train.steps
        data = windows_bytes(len(corpus.train), size, steps) // (1 if mesh is None else mesh.size)
        fewer = f"data.train_tokens, of which there are {len(corpus.train):,}"
        device.require_memory(data, fewer)
        device.require_memory(
            data + training_bytes(config.model, config.train, len(corpus.vocabulary)),
            "model.units, model.depth, model.layers, train.batch_size, train.steps or " + fewer,
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
        score = evaluation.batched(
            self.learner.graph,
            own(state.params, self.learner.mesh),
            self.corpus.valid,
            **self._windows,
            split="valid",
            tick=tick,
        )
        return score.metrics("valid", word_level=self.words), score.loss

    def measure(self, params: Params, seed: int, place: Place, tick: Tick) -> dict[str, float]:
        """Metrics under all protocols that are asked for, each measured in one session only."""
        progress = Progress(place.label, visible=place.run.process.leads)
        metrics: dict[str, float] = {}
        of = {
            "parameters": digest(params),
            "model": to_dict(self.config.model),
            "level": self.corpus.level,
            "seed": seed,
            "compute": asdict(self.compute),
            "code": code_digest(),
        }

        def work(one: _Protocol) -> dict[str, float]:
            tokens = getattr(self.corpus, one.split)
            score = one.score(self.learner.graph, params, tokens, **one.settings, tick=tick)
            return score.metrics(one.name, word_level=self.words)

        try:
            for one in self._protocols(seed):
                progress.show(f"evaluates {one.name}")
                on = {"tokens": digest(getattr(self.corpus, one.split)), "settings": one.settings}
                metrics |= place.once(one.name, {**of, **on}, partial(work, one))
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

    def _protocols(self, seed: int) -> Iterator[_Protocol]:
        """What is asked for, in order."""
        settings = self.config.evaluation
        chunk = {"softmax_chunk": self.config.train.softmax_chunk}
        for split in ("valid", "test"):
            score = partial(evaluation.batched, split=split)
            yield _Protocol(split, split, score, self._windows)
            if settings.full:
                yield _Protocol(f"{split}_full", split, evaluation.full, chunk)
        if settings.mc_passes:
            passes = {"passes": settings.mc_passes, "batch_size": settings.mc_batch_size}
            score = partial(evaluation.mc_dropout, key=jax.random.key(seed))
            yield _Protocol("test_mc", "test", score, passes | chunk)

    @property
    def _windows(self) -> dict[str, int]:
        """The settings of the batched protocol."""
        train = self.config.train
        return {
            "batch_size": train.batch_size,
            "steps": train.steps,
            "softmax_chunk": train.softmax_chunk,
        }


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
