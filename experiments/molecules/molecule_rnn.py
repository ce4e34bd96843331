"""Trains the model of molecules, and measures what it generates."""

from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import jax
import numpy as np

from common import device
from common.datasets import MoleculeSet, load
from common.error import ConfigError, DataError
from common.mesh import make_mesh
from common.molecule import MOSES
from common.plot import learning_curves
from common.training import Schedule, Tick
from experiments import trained
from experiments.molecules.domain import (
    LENGTH,
    MOLECULES,
    REWARD,
    benchmark_scorer,
    of_each,
    optima,
    smiles_of,
)
from experiments.run import Context
from experiments.train import Outcomes, Row, data_used, train
from experiments.trained import Trained
from tutor.evaluation import Composer, Compositions, Policy
from tutor.kl_control import SOFTMAX
from tutor.molecules import statistics
from tutor.molecules.chemistry import require_rdkit
from tutor.molecules.config import (
    MoleculeDataConfig,
    MoleculeRNNConfig,
    RewardConfig,
    ScoringConfig,
)
from tutor.molecules.reward import Reward
from tutor.molecules.scorer import Scorer
from tutor.prior import PriorLearner, PriorState, SequenceScore, evaluate
from tutor.sequence_model import Params
from tutor.size import compositions_bytes, training_bytes

SEVERAL_C = (0.5, 0.2, 0.1, 0.05, 0.02)
"""What rewards may be divided by: the less, the further a tuned policy goes from the prior."""
SPLITS = ("train", "valid", "test", "test_scaffolds")


def run(context: Context) -> Outcomes:
    """Train by maximum likelihood on molecules; measure what the model generates."""
    config: MoleculeRNNConfig = context.config
    require_rdkit()
    molecules = load_molecules(config.data, context.options.data_dir)
    encoded = {split: _encode(getattr(molecules, split), config) for split in SPLITS}
    device.require_memory(
        training_bytes(config.model, config.prior, MOLECULES.num_events),
        "model.units, model.depth, prior.batch_size or prior.steps",
    )
    device.require_memory(compositions_bytes(config.final_samples, LENGTH), "final_samples")
    learner = PriorLearner(
        config.prior,
        MOLECULES.num_events,
        trained.core_factory(config.model, context.compute),
        encoded["train"],
        initial_range=config.model.initial_range,
        mesh=make_mesh(context.options.devices),
    )
    (seed,) = context.seeds
    initial, path = learner.initial_state(seed), context.place.path
    tokens = {split: sum(len(one) - 1 for one in encoded[split]) for split in SPLITS}
    data = data_used(molecules, tokens, context.experiment.data)

    def score(params: Params, split: str, tick: Tick) -> SequenceScore:
        params = jax.device_get(params)  # else each device of a mesh would evaluate all of them
        return evaluate(learner.graph, params, encoded[split], masked=0, tick=tick)

    def validate(
        state: PriorState, seed: int, step: int, tick: Tick
    ) -> tuple[dict[str, float], float]:
        found = score(state.params, "valid", tick)
        return found.metrics("valid"), found.loss

    def measure(state: PriorState, seed: int, tick: Tick) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for split in SPLITS[1:]:
            metrics |= score(state.params, split, tick).metrics(split)
        params, notes = jax.device_get(state.params), {REWARD: asdict(RewardConfig())}
        policy = Policy(params, params)
        composer = Composer(learner.graph, SOFTMAX, MOLECULES.environment, LENGTH)
        made = composer.compose(policy, jax.random.key(seed), config.final_samples, tick=tick)
        trained.save(
            path, Trained(MOLECULES, learner.graph, policy, config.model, SOFTMAX, data, notes)
        )
        context.place.lead(partial(MOLECULES.write, made, path, notes))
        return metrics | measured(made, molecules.train, RewardConfig(), config.scoring)

    outcomes = train(
        context.place,
        learner,
        initial,
        Schedule(
            total=config.prior.iterations,
            report_every=config.prior.report_every,
            evaluate_every=config.prior.evaluate_every,
            items_per_update=config.prior.batch_size,
            item="molecules",
            stage="evaluation",
        ),
        context.seeds,
        validate=validate,
        measure=measure,
        describe=_describe,
        curve=lambda rows: [row for row in rows if "valid/log_perplexity" in row],
        parameters=sum(leaf.size for leaf in jax.tree.leaves(initial.params)),
        data=data,
    )
    if not isinstance(outcome := outcomes[seed], Exception):
        file, title = path / "learning_curve.png", context.experiment.title
        context.place.lead(partial(_draw, outcome.curve, file, title))
    return outcomes


def measured(
    made: Compositions, training: tuple[str, ...], reward: RewardConfig, scoring: ScoringConfig
) -> dict[str, float]:
    """Measure generated molecules by the benchmark, with novelty, and each as `of_each` does.

    The best policies that tuning could find, one for each of `SEVERAL_C`, are estimated from them.
    `canonical` SMILES differ between versions of RDKit: the training molecules are written anew.
    """
    with closing(Scorer(("canonical",), workers=device.cores(), remembered=0)) as canonical:
        known = {str(values[0]) for values in canonical.measure(training) if values is not None}
    metrics = statistics.benchmark(smiles_of(made), benchmark_scorer(), "composed", known)
    judge = Reward(reward, scoring, cores=device.cores())
    with closing(judge.scorer):
        each = of_each(made, judge)
        seconds = judge.scorer.throughput.seconds
        speed = judge.scorer.throughput.measured / max(seconds, 1e-9)
    metrics |= statistics.means(each, "composed") | optima(each, SEVERAL_C)
    entropy = float(np.mean(made.entropy[made.counted]))
    return metrics | {"composed/entropy": entropy, "speed/scored": speed}


def load_molecules(config: MoleculeDataConfig, data_dir: Path | None) -> MoleculeSet:
    """Return the configured molecules, cut to the configured numbers.

    Raises:
      ConfigError: the dataset isn't one of molecules.
      DataError: as loading does.
    """
    molecules = load(config.name, data_dir=data_dir)
    if not isinstance(molecules, MoleculeSet):
        raise ConfigError(f"data.name={config.name}: needs a dataset of molecules.")
    counts = dict.fromkeys(SPLITS, config.evaluation_molecules)
    counts["train"] = config.train_molecules
    splits = {split: getattr(molecules, split)[: count or None] for split, count in counts.items()}
    return replace(molecules, **splits)


def _encode(molecules: tuple[str, ...], config: MoleculeRNNConfig) -> list[np.ndarray]:
    """Molecules as numbers, none longer than a window.

    Raises:
      DataError: one is, or has an unknown token.
    """
    encoded = [MOSES.encode(smiles) for smiles in molecules]
    for smiles, numbers in zip(molecules, encoded, strict=True):
        if len(numbers) > config.prior.steps + 1:
            raise DataError(
                f"the molecule {smiles} needs {len(numbers) - 1} predictions; set "
                f"prior.steps={len(numbers) - 1} or more."
            )
    return encoded


def _describe(row: Row) -> str:
    split = "train" if "train/accuracy" in row else "valid"
    return f"{split} log perplexity {row[f'{split}/log_perplexity']:.4f} a token"


def _draw(curve: list[dict[str, float]], path: Path, title: str) -> None:
    learning_curves(
        {"molecule RNN": [(row["step"], row["valid/log_perplexity"]) for row in curve]},
        path,
        x_label="update",
        y_label="validation log perplexity",
        title=title,
    )
