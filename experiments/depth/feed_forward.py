"""Trains plain and highway networks of several depths, and takes layers out of the best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from common.datasets import ImageSet, load
from common.error import ConfigError, DataError
from common.mesh import make_mesh
from common.plot import Series, learning_curves
from common.population import Population
from common.table import Table
from common.training import Schedule, Tick
from experiments.depth import picture
from experiments.depth.catalogue import HARMLESS, HIGHWAY, LEARNED, PLAIN, SOLVED
from experiments.depth.claim import FEED_FORWARD
from experiments.depth.config import FeedForwardDepthConfig, ImageConfig
from experiments.depth.table import write_findings
from experiments.results.paired import capped, signed_rank
from experiments.run import Context
from experiments.train import DivergedRun, Outcome, Outcomes, Row, data_used, train
from highway.config import FeedForwardConfig
from highway.feed_forward import (
    Examples,
    FeedForwardLearner,
    Score,
    Setting,
    State,
    evaluate,
    lesion,
    parameter_count,
    units_nearest,
)

SPLITS = ("train", "valid", "test")


@dataclass
class Cell:
    """What the networks of one kind and depth came to."""

    config: FeedForwardConfig
    parameters: int
    states: dict[int, State]
    """Of the members that didn't diverge: neither was an update not finite, nor is a loss now."""
    scores: dict[int, dict[str, Score]]
    """Of the same, by split."""
    settings: dict[int, Setting]
    """Of all members."""
    curves: dict[int, list[dict[str, float]]]
    """Of all members."""
    seconds: dict[str, float]

    @property
    def losses(self) -> list[float]:
        """The training loss of each member; infinite where it diverged."""
        return [
            self.scores[member]["train"].loss if member in self.scores else math.inf
            for member in sorted(self.curves)
        ]

    @property
    def learned(self) -> list[int]:
        """Members that learned something, the lowest training loss first."""
        return [member for member in self.ranked if self.scores[member]["train"].loss < LEARNED]

    @property
    def ranked(self) -> list[int]:
        """Members that didn't diverge, the lowest training loss first."""
        return sorted(self.scores, key=lambda member: (self.scores[member]["train"].loss, member))


def run(context: Context) -> Outcomes:
    """Train networks of both kinds at each depth, all members of a cell side by side."""
    config: FeedForwardDepthConfig = context.config
    (seed,) = context.seeds
    images = load_images(config.data, context.options.data_dir)
    splits = {split: _examples(images, split) for split in SPLITS}
    if len(splits["train"].labels) < config.search.batch_size:
        raise ConfigError(
            f"search.batch_size={config.search.batch_size}, but there are only "
            f"{len(splits['train'].labels)} training images: set it lower."
        )
    cells = {
        f"{one.kind}{one.layers}": _train(context, one, images, splits, seed)
        for one in networks(config, splits["train"].pixels.shape[1], images.classes)
    }
    data = data_used(images, {k: len(v.labels) for k, v in splits.items()}, context.experiment.data)
    parameters = {name: cell.parameters for name, cell in cells.items()}
    seconds = {
        phase: round(sum(cell.seconds.get(phase, 0.0) for cell in cells.values()), 3)
        for phase in ("training", "evaluation")
    }
    if not any(cell.scores for cell in cells.values()):
        outcome = Outcome(parameters, {}, [], [data], seconds)
        return {seed: DivergedRun("every network diverged", outcome)}
    taken_out = {name: _lesions(cell, splits["train"]) for name, cell in cells.items()}
    metrics = _metrics(cells, taken_out)
    curves = {name: mean_curve(cell, config.best) for name, cell in cells.items()}
    merged = [
        {"step": row["step"], "epoch": row["epoch"], f"{name}/train/loss": row["train/loss"]}
        for name, rows in curves.items()
        for row in rows
    ]
    context.place.lead(partial(_write, context, cells, curves, taken_out, metrics))
    return {seed: Outcome(parameters, metrics, merged, [data], seconds)}


def networks(config: FeedForwardDepthConfig, pixels: int, classes: int) -> list[FeedForwardConfig]:
    """Return the settings of all cells; plain networks are as large as highways of their depth."""
    found = []
    for layers in config.layers:
        highway = FeedForwardConfig(HIGHWAY, layers, config.units)
        plain = replace(highway, kind=PLAIN)
        count = parameter_count(highway, pixels, classes)
        found += [replace(plain, units=units_nearest(plain, pixels, classes, count)), highway]
    return found


def load_images(config: ImageConfig, data_dir: Path | None) -> ImageSet:
    """Return the configured images, cut to the configured numbers.

    Raises:
      ConfigError: the dataset isn't one of images.
      DataError: as loading does, or a split is empty.
    """
    images = load(config.name, data_dir=data_dir)
    if not isinstance(images, ImageSet):
        raise ConfigError(f"data.name={config.name}: this needs a dataset of images.")
    evaluation = config.evaluation_images
    counts = {"train": config.train_images, "valid": evaluation, "test": evaluation}
    cut: dict[str, Any] = {
        split: type(images.train)(*(array[: count or None] for array in getattr(images, split)))
        for split, count in counts.items()
    }
    for split, one in cut.items():
        if not len(one.labels):
            raise DataError(f"{config.name}: the {split} split is empty.")
    return replace(images, **cut)


def _examples(images: ImageSet, split: str) -> Examples:
    pixels, labels = getattr(images, split)
    flat = pixels.reshape(len(pixels), -1).astype(np.float32) / images.largest
    return Examples(flat, labels.astype(np.int32))


def _train(
    context: Context,
    network: FeedForwardConfig,
    images: ImageSet,
    splits: Mapping[str, Examples],
    seed: int,
) -> Cell:
    """Train all members of one kind and depth together."""
    config: FeedForwardDepthConfig = context.config
    members = range(config.search.members)
    learner = FeedForwardLearner(network, config.search, splits["train"], images.classes, seed)
    mesh = make_mesh(context.options.devices)
    population = Population(learner, members, learner.data, mesh=mesh)
    epoch = learner.steps_per_epoch
    parameters = parameter_count(network, splits["train"].pixels.shape[1], images.classes)
    cell = Cell(network, parameters, {}, {}, {}, {}, {})

    def draw(member: int) -> State:
        state = learner.initial_state(member)
        cell.settings[member] = jax.device_get(state.setting)
        return state

    def score(state: State, split: str) -> Score:
        return evaluate(state.params, state.setting.rectified, splits[split])

    def validate(
        state: State, seed: int, step: int, tick: Tick
    ) -> tuple[dict[str, float], float | None]:
        tick()
        found = score(state, "valid")
        return {"valid/loss": found.loss, "valid/error": found.error}, None

    def measure(state: State, seed: int, tick: Tick) -> dict[str, float]:
        tick()
        found = {split: score(state, split) for split in SPLITS}
        if all(math.isfinite(one.loss) for one in found.values()):
            cell.states[seed], cell.scores[seed] = state, found
        return {}

    outcomes = train(
        context.place.part(f"{network.kind}{network.layers}"),
        population,
        population.initial_state(draw),
        Schedule(
            total=config.search.epochs * epoch,
            report_every=config.evaluate_every * epoch,
            evaluate_every=config.evaluate_every * epoch,
            items_per_update=config.search.batch_size * config.search.members,
            item="images",
            epoch=epoch,
        ),
        members,
        validate=validate,
        measure=measure,
        describe=_describe,
        curve=lambda rows: [row for row in rows if row.get("train/loss") is not None],
        parameters=parameters,
        data=data_used(
            images, {k: len(v.labels) for k, v in splits.items()}, context.experiment.data
        ),
    )
    for member, outcome in outcomes.items():
        done = outcome.outcome if isinstance(outcome, DivergedRun) else outcome
        cell.curves[member] = [
            {name: row[name] for name in ("step", "epoch", "train/loss")} for row in done.curve
        ]
        for phase, value in done.seconds.items():
            cell.seconds[phase] = cell.seconds.get(phase, 0.0) + value
    return cell


def _describe(row: Row) -> str:
    split = "train" if "train/loss" in row else "valid"
    return f"{split} loss {row.get(f'{split}/loss', math.nan):.4f}, mean of all members"


def _lesions(cell: Cell, examples: Examples) -> list[Score]:
    """How the best highway network trains without each of its highway layers, one at a time."""
    if cell.config.kind != HIGHWAY or not cell.scores:
        return []
    best = cell.states[cell.ranked[0]]
    return [
        evaluate(lesion(best.params, layer), best.setting.rectified, examples)
        for layer in range(cell.config.layers - 1)
    ]


def _metrics(
    cells: Mapping[str, Cell], taken_out: Mapping[str, Sequence[Score]]
) -> dict[str, float]:
    metrics = {"search/members": float(max(len(cell.losses) for cell in cells.values()))}
    for name, cell in cells.items():
        losses = cell.losses
        metrics[f"{name}/train/diverged"] = float(sum(map(math.isinf, losses)))
        metrics[f"{name}/train/learned"] = float(len(cell.learned))
        if not cell.scores:
            continue
        best = cell.scores[cell.ranked[0]]
        metrics[f"{name}/train/best_loss"] = best["train"].loss
        if math.isfinite(median := float(np.median(losses))):
            metrics[f"{name}/train/median_loss"] = median
        for split in ("valid", "test"):
            metrics[f"{name}/{split}/error"] = best[split].error
        if found := taken_out[name]:
            rises = [one.error - best["train"].error for one in found]
            metrics[f"{name}/train/harmless_layers"] = harmless_share(rises)
    return metrics | rank_tests({name: cell.losses for name, cell in cells.items()})


def harmless_share(rises: Sequence[float]) -> float:
    """Return which share of layers is taken out at little cost, from the rises of the error."""
    return float(np.mean([rise < HARMLESS for rise in rises]))


def rank_tests(losses: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Compare the training losses of networks of the same settings.

    Args:
      losses: by kind and depth, as `highway10`; member k of each has the same setting, and an
        infinite loss where it diverged.

    Returns:
      The metrics of `signed_rank`: `KIND/train/..._harder`, whether the greatest depth ends higher
      than the least, and `highwayDEPTH/train/..._below_plain`.
    """
    ends = {name: capped(each, LEARNED, SOLVED) for name, each in losses.items()}
    depths = sorted(int(name.removeprefix(PLAIN)) for name in ends if name.startswith(PLAIN))
    found: dict[str, float] = {}
    for kind in (PLAIN, HIGHWAY) if len(depths) > 1 else ():
        shallow, deep = (ends[f"{kind}{depth}"] for depth in (depths[0], depths[-1]))
        found |= signed_rank(f"{kind}/train", "harder", shallow, deep)
    for depth in depths:
        name = f"{HIGHWAY}{depth}"
        found |= signed_rank(f"{name}/train", "below_plain", ends[name], ends[f"{PLAIN}{depth}"])
    return found


def mean_curve(cell: Cell, best: int) -> list[dict[str, float]]:
    """Return the mean training loss of the members that ended best, at each evaluation."""
    losses: dict[float, list[float]] = {}
    for member in cell.ranked[:best]:
        for row in cell.curves[member]:
            losses.setdefault(row["step"], []).append(row["train/loss"])
    epochs = {row["step"]: row["epoch"] for rows in cell.curves.values() for row in rows}
    return [
        {"step": step, "epoch": epochs[step], "train/loss": float(np.mean(values))}
        for step, values in sorted(losses.items())
    ]


def _write(
    context: Context,
    cells: Mapping[str, Cell],
    curves: Mapping[str, list[dict[str, float]]],
    taken_out: Mapping[str, Sequence[Score]],
    metrics: Mapping[str, float],
) -> None:
    """Pictures, every member's settings, and the findings."""
    config: FeedForwardDepthConfig = context.config
    path = context.place.path
    logarithms: dict[str, Series] = {
        _title(name): [(row["epoch"], math.log10(max(row["train/loss"], 1e-6))) for row in rows]
        for name, rows in curves.items()
    }
    learning_curves(
        logarithms,
        path / "curves.png",
        x_label="epoch",
        y_label="log₁₀ of the training loss in nats",
        title=f"Mean of the {config.best} best of {config.search.members} networks of each kind",
    )
    picture.swarm(
        {_title(name): cell.losses for name, cell in cells.items()},
        path / "swarm.png",
        title="Every network's training loss (× diverged; bar: median)",
        y_label="training loss, nats",
    )
    costs = {
        f"{_title(name)} layers": [
            100 * (score.error - cell.scores[cell.ranked[0]]["train"].error)
            for score in taken_out[name]
        ]
        for name, cell in cells.items()
        if taken_out[name]
    }
    if costs:
        picture.bars(
            costs,
            path / "lesion.png",
            title="Best highways with one layer taken out: what the training error rises by",
            x_label=f"highway layer (dashed: under {100 * HARMLESS:g} % is little)",
            y_label="% of images",
            mark=100 * HARMLESS,
        )
    (path / "members.txt").write_text(_members(cells).markdown(), encoding="utf-8")
    write_findings(context, FEED_FORWARD, metrics, _summary(cells, metrics))


def _title(name: str) -> str:
    kind = HIGHWAY if name.startswith(HIGHWAY) else PLAIN
    return f"{kind} {name.removeprefix(kind)}"


def _summary(cells: Mapping[str, Cell], metrics: Mapping[str, float]) -> Table:
    measures = {
        "best training loss": "train/best_loss",
        "median": "train/median_loss",
        "valid error": "valid/error",
        "test error": "test/error",
        "learned": "train/learned",
        "diverged": "train/diverged",
    }
    lines: list[tuple[Any, ...]] = [
        (
            _title(name),
            cell.config.units,
            cell.parameters,
            *(
                f"{value:.4g}" if (value := metrics.get(f"{name}/{one}")) is not None else ""
                for one in measures.values()
            ),
        )
        for name, cell in cells.items()
    ]
    titles = ("networks", "units", "parameters", *measures)
    return Table(titles, lines, frozenset(titles[1:]))


def _members(cells: Mapping[str, Cell]) -> Table:
    """Every network, its settings and how it ended; those that diverged come last."""
    settings = ("learning rate", "transform bias", "nonlinearity")
    lines: list[tuple[Any, ...]] = []
    for name, cell in cells.items():
        diverged = cell.settings.keys() - cell.scores.keys()
        for member in (*cell.ranked, *sorted(diverged)):
            setting, scores = cell.settings[member], cell.scores.get(member)
            measured: tuple[str, ...] = ("diverged", "", "")
            if scores is not None:
                losses = (f"{scores[split].loss:.4g}" for split in ("train", "valid"))
                measured = (*losses, f"{100 * scores['valid'].error:.1f}")
            lines.append(
                (
                    _title(name),
                    member,
                    f"{float(setting.learning_rate):.4g}",
                    f"{float(setting.transform_bias):.2f}" if cell.config.kind == HIGHWAY else "",
                    "rectified" if bool(setting.rectified) else "tanh",
                    *measured,
                )
            )
    measures = ("training loss", "validation loss", "validation error, %")
    titles = ("networks", "member", *settings, *measures)
    return Table(titles, lines, frozenset(titles[1:]))
