"""Runs the optimisation study: one random search after the other, then what they say together."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from common import datasets, device
from common.compute import Compute
from common.datasets import ChoraleSet
from common.error import ConfigError
from common.mesh import make_mesh
from common.record import DataUsed, write_atomically
from common.training import Schedule, Tick
from experiments.optimisation.catalogue import CORES, FREQUENCY, STUDY, SWARM, cell_name
from experiments.optimisation.cell import Cell, CellMetrics, Run
from experiments.optimisation.config import ChoraleConfig, OptimisationConfig
from experiments.optimisation.finding import claims, drawn_rates, rank_tests
from experiments.optimisation.picture import draw_swarm
from experiments.optimisation.table import findings_text
from experiments.results.claim import FINDINGS, tell
from experiments.run import Context
from experiments.train import Outcome, Outcomes, Row, data_used, merge, train
from highway.config import ModelConfig
from highway.roll_model import Rolls, frequency_nll, pad
from highway.roll_search import Member, RollSearch, SearchState
from highway.size import equal_roll_models, roll_parameter_count, search_bytes

SPLITS = ("train", "valid", "test")


def run(context: Context) -> Outcomes:
    """Search settings for each architecture and depth; compare the architectures."""
    config: OptimisationConfig = context.config
    (seed,) = context.seeds
    chorales = load_chorales(config.data, context)
    splits = {split: pad(getattr(chorales, split)) for split in SPLITS}
    data = data_used(
        chorales,
        {split: int(rolls.lengths.sum()) for split, rolls in splits.items()},
        context.experiment.data,
    )
    frequency = frequency_nll(splits["train"])
    cells: list[Cell] = []
    parts: dict[str, Outcome] = {}
    models = cell_models(config, splits["train"].keys.shape[-1])
    _require_memory(config, models, splits)
    for model in models:
        cell, outcome = _search(context, model, splits, data, seed, frequency)
        cells.append(cell)
        parts[cell.name] = outcome
    merged = merge(parts)
    metrics = {
        **merged.metrics,
        **rank_tests(cells, frequency),
        **drawn_rates(cells),
        FREQUENCY: frequency,
    }
    context.place.lead(partial(_write, context, cells, merged.parameters, metrics))
    return {seed: replace(merged, metrics=metrics)}


def load_chorales(config: ChoraleConfig, context: Context) -> ChoraleSet:
    """Load the chorales, or as many of them as are asked for."""
    found = datasets.load(config.name, data_dir=context.options.data_dir)
    if not isinstance(found, ChoraleSet):
        raise ConfigError(f"data.name={config.name}: not a set of piano rolls, as jsb_chorales is.")
    few = config.evaluation_chorales or None
    return replace(
        found,
        train=found.train[: config.train_chorales or None],
        valid=found.valid[:few],
        test=found.test[:few],
    )


def cell_models(config: OptimisationConfig, keys: int) -> list[ModelConfig]:
    """Return the models of all cells: by depth, at each of which they are equally large."""
    found = []
    for depth in config.depths:
        models = [ModelConfig(core=core, depth=depth, tied=False) for core in CORES]
        found += equal_roll_models(models, keys, config.parameters_per_step * depth)
    return found


def _require_memory(
    config: OptimisationConfig, models: list[ModelConfig], splits: Mapping[str, Rolls]
) -> None:
    """Refuse a search that can't fit before anything trains."""
    _, steps, keys = splits["train"].keys.shape
    sequences = max(len(splits[split].lengths) for split in ("valid", "test"))
    needed = max(search_bytes(one, config.search, keys, steps, sequences) for one in models)
    device.require_memory(needed, "search.settings or parameters_per_step")


def make_search(
    config: OptimisationConfig,
    model: ModelConfig,
    splits: Mapping[str, Rolls],
    seed: int,
    compute: Compute,
    mesh: Mesh | None = None,
) -> tuple[RollSearch, SearchState]:
    """Make a cell's search and its initial state.

    All cells of a seed try the same settings and read the rolls in the same order: they can be
    compared setting by setting.
    """
    shuffle, settings, weights = jax.random.split(jax.random.key(seed), 3)
    search = RollSearch(
        model, config.search, splits["train"], splits["valid"], shuffle, compute, mesh
    )
    place = list(CORES).index(model.core)  # type: ignore[arg-type]
    own = jax.random.fold_in(jax.random.fold_in(weights, place), model.depth)
    return search, search.initial_state(settings, own)


def _search(
    context: Context,
    model: ModelConfig,
    splits: Mapping[str, Rolls],
    data: DataUsed,
    seed: int,
    frequency: float,
) -> tuple[Cell, Outcome]:
    """Train all settings of a cell, from where an earlier call stopped; measure the best."""
    config: OptimisationConfig = context.config
    mesh = make_mesh(context.options.devices)
    search, initial = make_search(config, model, splits, seed, context.compute, mesh)
    name = cell_name(model.core, model.depth)
    cells: list[Cell] = []

    def measure(state: SearchState, seed: int, tick: Tick) -> CellMetrics:
        tests = search.losses(state, splits["test"])
        found = runs(search.without_weights(state.members), tests)
        cells.append(Cell(name, model.core, model.depth, model.units, found))
        return cells[0].metrics(frequency)

    outcomes = train(
        context.place.part(name),
        search,
        initial,
        Schedule(
            total=config.search.epochs,
            report_every=config.search.report_every,
            evaluate_every=config.search.epochs,
            items_per_update=search.rolls * config.search.settings,
            item="chorales",
            epoch=1,
        ),
        (seed,),
        validate=lambda *_: ({}, None),
        measure=measure,
        describe=_describe,
        curve=lambda rows: [row for row in rows if "search/training" in row],
        parameters=roll_parameter_count(model, search.keys),
        data=data,
    )
    outcome = outcomes[seed]
    if isinstance(outcome, Exception):  # a search doesn't diverge, its members do
        raise outcome
    return cells[0], outcome


def runs(members: Member, tests: np.ndarray) -> list[Run]:
    """Return what each setting of a search came to; `tests` are the members' test losses."""
    kept: Any = jax.device_get(members._replace(params={}, momentum=None, best_params={}))
    return [
        Run(
            learning_rate=float(kept.setting.learning_rate[k]),
            std=float(kept.setting.std[k]),
            transform_bias=float(kept.setting.transform_bias[k]),
            best_train=_finite(kept.best_train[k]),
            best_valid=_finite(kept.best_valid[k]),
            test=_finite(tests[k]) if np.isfinite(kept.best_valid[k]) else None,
            best_epoch=int(kept.best_epoch[k]),
            epochs=int(kept.epochs[k]),
            diverged_at=int(kept.diverged_at[k]),
        )
        for k in range(len(kept.epochs))
    ]


def _finite(value: np.ndarray) -> float | None:
    return float(value) if np.isfinite(value) else None


def _write(
    context: Context,
    cells: list[Cell],
    parameters: int | dict[str, int],
    metrics: dict[str, float],
) -> None:
    """Write every run, the swarm, and the tables; tell whether the claims hold."""
    path = context.place.path
    study = json.dumps([asdict(cell) for cell in cells], indent=1, allow_nan=False)
    write_atomically(path / STUDY, study + "\n")
    draw_swarm(cells, path / SWARM, context.experiment.title, metrics[FREQUENCY])
    assert isinstance(parameters, dict)  # it was merged from parts
    search = context.config.search
    write_atomically(path / FINDINGS, findings_text(metrics, parameters, search))
    tell(claims(metrics, search), context.place.label)


def _describe(row: Row) -> str:
    """Where a search stands."""
    names = {"train/best_nll": "best", "train/median_nll": "median"}
    told = [f"{words} {row[name]:.3f}" for name, words in names.items() if name in row]
    if "search/training" in row:
        told.append(f"{row['search/training']:.0f} train, {row['search/diverged']:.0f} diverged")
    return "  ".join(told)
