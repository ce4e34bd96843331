"""Sequence models: made from their settings, saved where they were trained, loaded again."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from common.checkpoint import Checkpoints, abstract
from common.compute import SCAN, Compute
from common.config import from_dict
from common.error import ConfigError, DataError
from common.record import FILE_NAME, DataUsed, read_record
from common.recurrent import Core
from experiments import registry
from experiments.domain import Domain
from highway.config import ModelConfig
from highway.core import make_core
from tutor.config import SequenceModelConfig
from tutor.evaluation import Policy
from tutor.sequence_model import CoreFactory, Graph, Params, make_model

FOLDER = "policy"
"""Where a run keeps its model."""


class Trained(NamedTuple):
    """A model that sequences can be drawn from."""

    domain: Domain
    graph: Graph
    policy: Policy
    model: SequenceModelConfig
    method: str
    """Which of tutor.kl_control.METHODS the policy is of; SOFTMAX for a prior alone."""
    data: DataUsed
    """What the prior learned from."""
    notes: Mapping[str, Any]
    """The domain's own; of a loaded model, beside them what `load` reads."""


def core_factory(config: SequenceModelConfig, compute: Compute = SCAN) -> CoreFactory:
    """Return a function that makes the configured core, by the settings of a language model's."""
    highway = ModelConfig(
        core=config.core,
        units=config.units,
        depth=config.depth,
        initial_range=config.initial_range,
        transform_bias=config.transform_bias,
        forget_bias=config.forget_bias,
    )

    def make(input_size: int, rngs: nnx.Rngs) -> Core:
        return make_core(input_size, highway, rngs=rngs, compute=compute)

    return make


def make_graph(
    config: SequenceModelConfig, num_events: int, compute: Compute = SCAN
) -> tuple[Graph, Params]:
    """Make structure and initial parameters of a model of sequences."""
    return make_model(
        num_events,
        core_factory(config, compute),
        jax.random.key(0),
        initial_range=config.initial_range,
    )


def save(path: Path, trained: Trained) -> None:
    """Save a model in a run's directory, or in the folder of one of its trainings."""
    notes = {
        **trained.notes,
        "domain": trained.domain.name,
        "model": dataclasses.asdict(trained.model),
        "method": trained.method,
        "num_events": trained.domain.num_events,
        "data": dataclasses.asdict(trained.data),
    }
    save_policy(path, trained.policy, notes)


def save_policy(path: Path, policy: Policy, notes: Mapping[str, Any]) -> None:
    """Save the networks of a model with all notes that `load` reads, as it gave them."""
    checkpoints = Checkpoints(path / FOLDER)
    checkpoints.save(policy._asdict(), dict(notes))
    checkpoints.close()


def find(run: Path) -> Path:
    """Return the folder in a run that has its model: its own, or that of the last of its parts.

    It is the run's own where there is none at all, so that `load` says so.
    """
    parts = sorted(folder.parent for folder in run.glob(f"*/{FOLDER}"))
    if (run / FOLDER).is_dir() or not parts:
        return run
    if (run / FILE_NAME).exists():  # a record names the parts in the order of their training
        named = read_record(run / FILE_NAME).parameters
        order = list(named) if isinstance(named, dict) else []
        parts.sort(key=lambda part: order.index(part.name) if part.name in order else -1)
    return parts[-1]


def load(path: str | Path) -> Trained:
    """Load the model that was saved there.

    Args:
      path: folder of a run.

    Raises:
      DataError: there is none, or it is damaged.
      ConfigError: no domain has its vocabulary.
    """
    path = Path(path)
    if not (path / FOLDER).is_dir():
        raise DataError(
            f"{path}: no trained sequence model here: not a run of an experiment that makes one, "
            "or not finished yet."
        )
    checkpoints = Checkpoints(path / FOLDER)
    try:
        notes = checkpoints.latest_notes()
        domain = _domain(path, notes)
        model = from_dict(SequenceModelConfig, notes["model"])
        graph, params = make_graph(model, domain.num_events)
        restored = checkpoints.read_latest(abstract(Policy(params, params)._asdict()))
    finally:
        checkpoints.close()
    # JAX compiles anew for arrays committed to a device, as restored ones are; copies are not.
    policy = Policy(**jax.tree.map(jnp.asarray, jax.device_get(restored)))
    return Trained(domain, graph, policy, model, notes["method"], _data(path, notes), notes)


def _domain(path: Path, notes: Mapping[str, Any]) -> Domain:
    """The domain that a model is of; one saved without its name is known by its vocabulary."""
    known = registry.domains()
    for domain in known:
        if notes["num_events"] == domain.num_events and notes.get("domain") in (None, domain.name):
            return domain
    if (name := notes.get("domain")) not in (None, *(domain.name for domain in known)):
        raise ConfigError(f"{path}: its model is one of {name}, a domain that isn't known here.")
    sizes = ", ".join(f"{domain.name} have {domain.num_events}" for domain in known)
    raise ConfigError(f"{path}: its model knows {notes['num_events']} events; {sizes}.")


def _data(path: Path, notes: Mapping[str, Any]) -> DataUsed:
    """The data of a model; where they weren't saved with it, the record beside it has them."""
    if "data" in notes:
        return DataUsed(**notes["data"])
    if not (path / FILE_NAME).exists():  # a part of a run: enough to compose with
        return DataUsed("unknown", "", None, {}, {})
    (data,) = read_record(path / FILE_NAME).data
    return data
