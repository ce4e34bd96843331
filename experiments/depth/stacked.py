"""Trains stacked layers and deep transitions of about the same size, and compares them."""

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np

from common.datasets import Corpus
from common.error import ConfigError
from common.plot import Series, learning_curves
from common.table import Table
from experiments import registry
from experiments.depth.catalogue import KINDS, UNIGRAM, arrangements
from experiments.depth.claim import STACKED
from experiments.depth.config import StackConfig
from experiments.depth.table import write_findings
from experiments.run import Context
from experiments.text_model import load_corpus
from experiments.train import DivergedRun, Outcome, Outcomes, Rehearsed, merge
from highway.config import LanguageModelConfig, ModelConfig
from highway.core import trains_by_kernel
from highway.size import parameter_count, units_nearest


def run(context: Context) -> Outcomes:
    """Train every model at all its settings; keep for each those best on validation."""
    config: StackConfig = context.config
    (seed,) = context.seeds
    runner: Callable[..., Outcomes] = registry.runner_of(LanguageModelConfig)
    corpus = load_corpus(config.data, context.options.data_dir)
    models = sized_models(config, len(corpus.vocabulary))
    require_equal_sizes(config, models, len(corpus.vocabulary))
    trials = {name: trials_of(config, name, model) for name, model in models.items()}
    for trial in trials.values():  # what the last lacks is said before the first is trained
        for folder, settings in trial.items():
            with contextlib.suppress(Rehearsed):
                runner(context.part(folder, settings).rehearsal())
    best: dict[str, Outcome] = {}
    chosen: dict[str, LanguageModelConfig] = {}
    outcome: Outcome | DivergedRun | None = None
    for name, trial in trials.items():
        for folder, settings in trial.items():
            outcome = runner(context.part(folder, settings))[seed]
            if isinstance(outcome, DivergedRun):
                continue
            if name not in best or _score(outcome) < _score(best[name]):
                best[name], chosen[name] = outcome, settings
    if not best:
        diverged = cast(DivergedRun, outcome)
        return {seed: DivergedRun("every model diverged", diverged.outcome)}
    merged = merge(best)
    learning = {
        f"{name}/train/loss": min(losses)
        for name, one in best.items()
        if (losses := [row["train/loss"] for row in one.curve if "train/loss" in row])
    }
    metrics = {**merged.metrics, **learning, **unigram_losses(corpus)}
    merged = replace(merged, metrics=metrics)
    context.place.lead(partial(_write, context, models, best, chosen, merged))
    return {seed: merged}


def takes_kernel(config: StackConfig) -> bool:
    """Return whether the CPU kernel computes the highway networks among the models."""
    model = replace(config.model, core="rhn")
    return trains_by_kernel(trial_settings(config, model, config.learning_rates[0]))


def sized_models(config: StackConfig, vocabulary: int) -> dict[str, ModelConfig]:
    """Return the settings of all models, each as wide as comes nearest to the common size."""
    found = {}
    for name, kind, depth, stacked in arrangements(config.depths):
        layers, steps = (depth, 1) if stacked else (1, depth)
        core = replace(config.model, depth=1, core=KINDS[kind])
        model: ModelConfig = replace(core, layers=layers, depth=steps)
        units = units_nearest(model, vocabulary, config.parameters)
        bound = math.sqrt(config.initial_gain / units) or config.model.initial_range
        found[name] = replace(model, units=units, initial_range=bound)
    return found


def require_equal_sizes(
    config: StackConfig, models: Mapping[str, ModelConfig], vocabulary: int
) -> None:
    """Raise ConfigError where the models' sizes differ by over `config.unequal`."""
    counts = [parameter_count(model, vocabulary) for model in models.values()]
    if (spread := max(counts) / min(counts) - 1) > config.unequal:
        raise ConfigError(
            f"parameters={config.parameters}: the largest model would have "
            f"{100 * spread:.1f} % more than the smallest. Raise parameters, or unequal, which is "
            f"{config.unequal:g}."
        )


def unigram_losses(corpus: Corpus) -> dict[str, float]:
    """Return what predicting each token by how often it comes in training loses, by split.

    In nats a token. Every count is one more, as a token may come in other splits alone.
    """
    counts = np.bincount(corpus.train, minlength=len(corpus.vocabulary)) + 1
    costs = -np.log(counts / counts.sum())
    splits = {"train": corpus.train, "valid": corpus.valid, "test": corpus.test}
    return {f"{UNIGRAM}/{name}/loss": float(costs[split].mean()) for name, split in splits.items()}


def longest_path(model: ModelConfig, steps: int) -> int:
    """Return how many layers the longest path crosses between states `steps` time steps apart.

    d·T in a transition of depth d, d + T − 1 in d stacked layers (Zilly et al. 2017, figure 1).
    """
    return model.depth * steps + model.layers - 1


def trial_settings(config: StackConfig, model: ModelConfig, rate: float) -> LanguageModelConfig:
    """Return the settings of a training of one model at one rate."""
    train = replace(config.train, learning_rate=rate)
    return LanguageModelConfig(config.data, model, train, config.evaluation)


def trials_of(config: StackConfig, name: str, model: ModelConfig) -> dict[str, LanguageModelConfig]:
    """Return all settings at which a model is trained, by the folder that each has."""
    if model.core != "rhn" or not config.transform_biases:
        return {
            f"{name}/rate{rate:g}": trial_settings(config, model, rate)
            for rate in config.learning_rates
        }
    return {
        f"{name}/rate{rate:g}_bias{bias:g}": trial_settings(
            config, replace(model, transform_bias=bias), rate
        )
        for rate in config.learning_rates
        for bias in config.transform_biases
    }


LOSSES = {
    "training loss": "train/loss",
    "validation loss": "valid/loss",
    "test loss": "test/loss",
    "test loss, batch 1": "test_full/loss",
}
"""Column of the findings → the metric of each model; those that none has are left out."""


def _told(merged: Outcome, model: str, metrics: Iterable[str]) -> list[str]:
    values = [merged.metrics.get(f"{model}/{metric}") for metric in metrics]
    return ["" if value is None else f"{value:.4f}" for value in values]


def _chosen(settings: LanguageModelConfig | None) -> tuple[str, str]:
    """The learning rate and, of a highway model, the transform bias."""
    if settings is None:
        return "diverged", ""
    bias = f"{settings.model.transform_bias:g}" if settings.model.core == "rhn" else ""
    return f"{settings.train.learning_rate:g}", bias


def _score(outcome: Outcome) -> float:
    return outcome.metrics["valid/loss"]


def _write(
    context: Context,
    models: Mapping[str, ModelConfig],
    best: Mapping[str, Outcome],
    chosen: Mapping[str, LanguageModelConfig],
    merged: Outcome,
) -> None:
    """The curves of all models at their best settings, and the findings."""
    curves: dict[str, Series] = {
        name: [(row["epoch"], row["valid/loss"]) for row in one.curve if "valid/loss" in row]
        for name, one in best.items()
    }
    learning_curves(
        curves,
        context.place.path / "curves.png",
        x_label="epoch",
        y_label="validation loss, nats a token",
        title="Stacked layers and deep transitions of the same size",
    )
    steps = context.config.train.steps
    sizes = ("model", "units", "parameters", f"longest path over {steps} steps")
    settings = ("learning rate", "transform bias")
    losses = {
        title: metric
        for title, metric in LOSSES.items()
        if any(f"{name}/{metric}" in merged.metrics for name in models)
    }
    lines: list[tuple[Any, ...]] = [
        (
            name,
            model.units,
            best[name].parameters if name in best else "",
            longest_path(model, steps),
            *_chosen(chosen.get(name)),
            *_told(merged, name, losses.values()),
        )
        for name, model in models.items()
    ]
    lines.append((UNIGRAM, *[""] * 5, *_told(merged, UNIGRAM, losses.values())))
    titles = (*sizes, *settings, *losses)
    table = Table(titles, lines, frozenset(titles[1:]))
    write_findings(context, STACKED, merged.metrics, table)
