"""Sequence models of finished runs: which core they have, and how they are kept and found again."""

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from common.checkpoint import Checkpoints, abstract
from common.config import from_dict
from common.error import ConfigError, DataError
from common.lstm import LSTM
from common.melody import NUM_EVENTS
from common.recurrent import Core
from highway.config import ModelConfig as HighwayConfig
from highway.core import RHN
from tutor.config import ModelConfig
from tutor.evaluation import Policy
from tutor.sequence_model import CoreFactory, Graph, Params, make_model

FOLDER = "policy"
"""Where a run keeps what composes."""


class Kept(NamedTuple):
    """What a run keeps to compose with."""

    graph: Graph
    policy: Policy
    model: ModelConfig
    method: str
    """Which of tutor.kl_control.METHODS the policy is of; "q" for a prior alone."""
    swapped_specials: bool
    """Whether it learned from data in which rests and holds were swapped."""


def core_factory(config: ModelConfig) -> CoreFactory:
    """Makes the configured core; here the highway cores of the first paper meet the second."""

    def make(input_size: int, rngs: nnx.Rngs) -> Core:
        if config.core == "rhn":
            highway = HighwayConfig(
                core="rhn",
                units=config.units,
                depth=config.depth,
                initial_range=config.initial_range,
                transform_bias=config.transform_bias,
            )
            return RHN(input_size, highway, rngs=rngs)
        return LSTM(
            input_size,
            config.units,
            initial_range=config.initial_range,
            forget_bias=config.forget_bias,
            rngs=rngs,
        )

    return make


def make_graph(config: ModelConfig) -> tuple[Graph, Params]:
    """Structure and initial parameters of a model of melodies."""
    return make_model(
        NUM_EVENTS, core_factory(config), jax.random.key(0), initial_range=config.initial_range
    )


def keep(
    run: Path, policy: Policy, model: ModelConfig, *, method: str, swapped_specials: bool
) -> None:
    """Writes what a finished run composes with."""
    notes = {
        "model": asdict(model),
        "method": method,
        "num_events": NUM_EVENTS,
        "swapped_specials": swapped_specials,
    }
    checkpoints = Checkpoints(run / FOLDER)
    checkpoints.save(policy._asdict(), notes)
    checkpoints.close()


def find(run: Path) -> Kept:
    """Reads what a run composes with.

    Raises DataError where there is none or it is damaged, ConfigError where it is of another
    vocabulary.
    """
    if not (run / FOLDER).is_dir():
        raise DataError(
            f"{run}: no trained model of melodies here: not a run of note_rnn or tutor_melodies, "
            "or not finished yet."
        )
    checkpoints = Checkpoints(run / FOLDER)
    try:
        notes = checkpoints.latest_notes()
        if notes["num_events"] != NUM_EVENTS:
            raise ConfigError(
                f"{run}: its model knows {notes['num_events']} events; melodies have {NUM_EVENTS}."
            )
        model = from_dict(ModelConfig, notes["model"])
        graph, params = make_graph(model)
        state = abstract(Policy(params, params)._asdict())
        restored = checkpoints.read_latest(state)
    finally:
        checkpoints.close()
    # Restored arrays are bound to their device, which would have what mixes them with new ones
    # compiled twice; copies are not.
    policy = Policy(**jax.tree.map(jnp.asarray, jax.device_get(restored)))
    return Kept(graph, policy, model, notes["method"], notes["swapped_specials"])
