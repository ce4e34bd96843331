"""Looks into a trained RHN; where none is given, trains it and a plain transition beside it."""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from common.error import ConfigError
from common.progress import Progress
from common.record import DataUsed
from common.table import Table
from experiments import registry
from experiments.depth import picture
from experiments.depth.catalogue import PLAIN, layer_metric
from experiments.depth.claim import ANALYSIS
from experiments.depth.config import AnalysisConfig
from experiments.depth.look import (
    Layers,
    Lesions,
    Spectrum,
    over_text,
    over_time,
    pieces,
    spectra,
    valid_loss,
)
from experiments.depth.look import lesions as measure_lesions
from experiments.depth.table import layer_table, spectrum_table, write_findings
from experiments.run import Context, Options
from experiments.text_model import TrainedModel, load_best, load_corpus, load_run
from experiments.train import DivergedRun, Outcome, Outcomes, Rehearsed, data_used, merge
from highway.config import LanguageModelConfig, ModelConfig
from highway.core import trains_by_kernel
from highway.size import parameter_count, units_nearest

RHN = "rhn"
TRANSITIONS = ("dt_rnn", "dts_rnn")


def run(context: Context) -> Outcomes:
    """Look into an RHN of one run; measure its gates, lesions and Jacobians, and draw them."""
    config: AnalysisConfig = context.config
    (seed,) = context.seeds
    outcomes: dict[str, Outcome | DivergedRun] = {}
    trained: dict[str, Outcome] = {}
    if config.run:
        models = _given(config, context)
    else:
        outcomes = _train(config, context, seed)
        if isinstance(failed := outcomes[RHN], DivergedRun):
            return {seed: DivergedRun(str(failed), merge({RHN: failed.outcome}))}
        trained = {k: one for k, one in outcomes.items() if not isinstance(one, DivergedRun)}
        models = {
            name: load_best(
                context.place.part(name).path, setting, context.options.data_dir, context.compute
            )
            for name, setting in _settings(config, context).items()
            if name in trained
        }
    diverged = {f"{name}/train/diverged": 1.0 for name in outcomes.keys() - trained.keys()}
    data = _data(models, context, given=bool(config.run))
    context.place.run.claim_data(_fields(data), context.place.folder)
    begin = time.monotonic()
    metrics = _look(models, context, diverged)
    outcome = merge(trained)
    return {
        seed: Outcome(
            parameters={name: _size(model) for name, model in models.items()},
            metrics={**outcome.metrics, **metrics},
            curve=outcome.curve,
            data=outcome.data or [data],
            seconds={**outcome.seconds, "analysis": round(time.monotonic() - begin, 3)},
        )
    }


def takes_kernel(config: AnalysisConfig) -> bool:
    """Return whether the CPU kernel computes the RHN; of a given run it does so in long windows."""
    return bool(config.run) or trains_by_kernel(config.language)


def inputs(config: AnalysisConfig, options: Options) -> dict[str, str]:
    """Return the checksums of the models that a run would look into now, where they are given."""
    given = {RHN: config.run, PLAIN: config.plain_run} if config.run else {}
    return {
        _checksum_name(name): load_run(Path(path), options.data_dir).checksum
        for name, path in given.items()
        if path
    }


def _given(config: AnalysisConfig, context: Context) -> dict[str, TrainedModel]:
    """The models of the runs that are named; each with the core that it must have."""
    paths = {RHN: config.run, PLAIN: config.plain_run}
    wanted: dict[str, tuple[str, ...]] = {RHN: (RHN,), PLAIN: TRANSITIONS}
    models = {}
    for name, path in paths.items():
        if not path:
            continue
        models[name] = load_run(Path(path), context.options.data_dir, context.compute)
        core = models[name].config.model.core
        if core not in wanted[name]:
            raise ConfigError(
                f"{path}: its model.core is {core}; here {' or '.join(wanted[name])} is needed."
            )
    return models


def _settings(config: AnalysisConfig, context: Context) -> dict[str, LanguageModelConfig]:
    """What is trained: the RHN and, if it's wanted, the plain transition of its size."""
    if config.plain_run:
        raise ConfigError("plain_run is for a run beside `run`: set that too.")
    if config.language.model.core != RHN:
        raise ConfigError(
            f"language.model.core={config.language.model.core}: only an RHN can be looked into."
        )
    found: dict[str, LanguageModelConfig] = {RHN: config.language}
    if config.plain != "none":
        model = config.language.model
        corpus = load_corpus(config.language.data, context.options.data_dir)
        vocabulary = len(corpus.vocabulary)
        plain: ModelConfig = replace(model, core=config.plain)
        units = units_nearest(plain, vocabulary, parameter_count(model, vocabulary))
        found[PLAIN] = replace(config.language, model=replace(plain, units=units))
    return found


def _train(config: AnalysisConfig, context: Context, seed: int) -> dict[str, Any]:
    """Train what isn't given, or go on with it."""
    runner: Callable[..., Outcomes] = registry.runner_of(LanguageModelConfig)
    settings = _settings(config, context)
    for name, one in settings.items():  # what the second lacks is said before the first is trained
        with contextlib.suppress(Rehearsed):
            runner(context.part(name, one).rehearsal())
    return {name: runner(context.part(name, one))[seed] for name, one in settings.items()}


def _data(models: Mapping[str, TrainedModel], context: Context, *, given: bool) -> DataUsed:
    """The text that is looked at; models that are given count among what a run depends on."""
    corpus = models[RHN].corpus
    data = data_used(corpus, {"valid": len(corpus.valid)}, context.experiment.data)
    if not given:
        return data
    sums = {_checksum_name(name): model.checksum for name, model in models.items()}
    return replace(data, checksums={**data.checksums, **sums})


def _checksum_name(name: str) -> str:
    return f"model {name}"


def _fields(data: DataUsed) -> dict[str, Any]:
    return dict(vars(data))


def _size(model: TrainedModel) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(model.params))


def _look(
    models: Mapping[str, TrainedModel], context: Context, diverged: Mapping[str, float]
) -> dict[str, float]:
    """Measure, draw and write; return the metrics, among them which models diverged."""
    config: AnalysisConfig = context.config
    place, look, model = context.place, config.look, models[RHN]
    progress = Progress(place.label, visible=place.run.process.leads)
    try:
        progress.show("follows the gates")
        texts = pieces(model, look)
        shown = over_time(model, texts, look.context)
        mean, spread = over_text(model, lambda: None)
        progress.show("takes layers out")
        found = measure_lesions(model, lambda: None)
        progress.show("computes spectra")
        losses = {
            f"{name}/valid/loss": valid_loss(one, one.params, lambda: None)
            for name, one in models.items()
        }
        spectrum = {name: spectra(one, pieces(one, look)[0], look) for name, one in models.items()}
    finally:
        progress.close()
    metrics = {**losses, **diverged, **measures(mean, spread, found, spectrum)}
    place.lead(partial(_write, context, model, texts, shown, found, spectrum, metrics))
    return metrics


def measures(
    mean: Layers, spread: np.ndarray, lesions: Lesions, spectrum: Mapping[str, list[Spectrum]]
) -> dict[str, float]:
    """Return what was measured under its metrics' names; of spectra the means over time steps."""
    metrics = {}
    each: dict[str, Any] = {
        "transform_activity": mean.transform,
        "transform_std": spread,
        "movement": mean.movement,
        "lesion_cost": lesions.costs,
    }
    for measure, values in each.items():
        for layer, value in enumerate(values, 1):
            metrics[layer_metric(layer, measure)] = float(value)
    by_layer = {
        name: np.mean([inside(step.layers.centres) for step in steps], axis=(0, 2))
        for name, steps in spectrum.items()
    }
    for layer, share in enumerate(by_layer[RHN], 1):
        metrics[layer_metric(layer, "centres_in_unit")] = float(share)
    for name, steps in spectrum.items():
        means = {
            "spectral_radius": [np.abs(step.eigenvalues[0]) for step in steps],
            "disc_centre": [np.mean(step.discs.centres) for step in steps],
            "disc_radius": [np.mean(step.discs.radii) for step in steps],
            "centres_in_unit": [np.mean(inside(step.discs.centres)) for step in steps],
            "layer_centres_in_unit": by_layer[name],
        }
        metrics |= {f"{name}/valid/{k}": float(np.mean(values)) for k, values in means.items()}
    return metrics


def inside(centres: np.ndarray) -> np.ndarray:
    """Return which centres of discs lie between 0 and 1, as carry gates would have it."""
    return (centres >= 0) & (centres <= 1)


def _write(
    context: Context,
    model: TrainedModel,
    texts: np.ndarray,
    shown: Layers,
    lesions: Lesions,
    spectrum: Mapping[str, list[Spectrum]],
    metrics: Mapping[str, float],
) -> None:
    """All pictures, and the findings."""
    look, path = context.config.look, context.place.path
    vocabulary = model.tokenizer.vocabulary
    tokens = [[vocabulary[token] for token in text[look.context :]] for text in texts]
    picture.heat_maps(
        list(shown.transform),
        tokens,
        path / "gates.png",
        title="Mean activity of the transform gates of each layer, over time",
        label="mean transform gate",
    )
    picture.heat_maps(
        list(shown.movement),
        tokens,
        path / "movement.png",
        title="How far each layer moves the state, over time",
        label="‖s_l − s_(l−1)‖",
    )
    picture.bars(
        {"": lesions.costs},
        path / "lesion.png",
        title=f"What it costs to make one layer carry (loss {lesions.whole:.3f} nats with all)",
        x_label="layer",
        y_label="nats a token",
    )
    some = np.unique(np.linspace(0, len(spectrum[RHN]) - 1, look.pictured).astype(int))
    picture.spectra(
        {
            name: [
                (f"step {steps[k].time + 1}", steps[k].discs, steps[k].eigenvalues)
                for k in some
                if k < len(steps)
            ]
            for name, steps in spectrum.items()
        },
        path / "spectrum.png",
        title="Jacobian of a step: Geršgorin discs (large ones lie outside), eigenvalues (dots), "
        "unit circle (dotted)",
    )
    tables = layer_table(metrics), spectrum_table(metrics), _step_table(spectrum)
    write_findings(context, ANALYSIS, metrics, *tables)


def _step_table(spectrum: Mapping[str, list[Spectrum]]) -> Table:
    centres = ("mean centre", "lowest", "highest")
    titles = ("model", "step", "largest |eigenvalue|", *centres, "mean radius")
    lines: list[tuple[Any, ...]] = [
        (
            name,
            step.time + 1,
            f"{np.abs(step.eigenvalues[0]):.4f}",
            *(f"{function(step.discs.centres):.4f}" for function in (np.mean, np.min, np.max)),
            f"{np.mean(step.discs.radii):.4f}",
        )
        for name, steps in spectrum.items()
        for step in steps
    ]
    return Table(titles, lines, frozenset(titles[1:]))
