"""What a good molecule is, how molecules are scored, and the settings of experiments with them."""

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

from common.config import (
    DATASET,
    IMMATERIAL,
    Amount,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Prefix,
    Seed,
    Share,
)
from common.error import ConfigError
from tutor.config import LearnConfig, PolicyGradientConfig, PriorConfig, SequenceModelConfig


@dataclass(frozen=True)
class RewardConfig:
    """The reward at the end of a molecule, a sum of weighted terms; a weight of 0 turns one off.

    All terms are those of a valid molecule.
    """

    invalid: FiniteFloat = 0.0
    """The reward of what is no molecule. No molecule gets less, so that none is worse than garbage:
    set it below all rewards that are to be told apart."""

    valid: FiniteFloat = 1.0
    """For being a molecule."""
    qed: FiniteFloat = 2.0
    """Times drug-likeness, 0..1."""
    sa: FiniteFloat = 1.0
    """Times ease of synthesis: (10 − SA) / 9, 0..1."""
    logp: FiniteFloat = 0.0
    """Times the partition coefficient logP."""
    ring: FiniteFloat = 1.0
    """Times minus the number of atoms by which the largest ring exceeds six."""
    functions: tuple[tuple[str, FiniteFloat], ...] = ()
    """The user's own terms with their weights, as in `[["my_module:my_function", 0.5]]`; each is a
    function of RDKit's molecule that returns a number. Where it may be negative, see `invalid`."""
    repeated_carbons: NonNegativeFloat = 0.2
    """Against long carbon chains, which raise logP: times minus the carbons beyond `carbons` in the
    longest run of the token C."""
    carbons: NonNegativeInt = 5
    """How long a run of carbons may be."""
    trivial: NonNegativeFloat = 0.3
    """Against molecules of a few atoms, which are easily valid and easily made: times minus the
    atoms that are missing to `atoms`."""
    atoms: NonNegativeInt = 15
    """How many atoms other than hydrogen a molecule must have."""
    baseline: NonNegativeInt = 4_000
    """Molecules of the prior from which a baseline is estimated, which learners subtract from each
    reward: the best policy stays the same, and what is reported of molecules is r itself. For
    values it is the mean reward: they first learn means, and where these are below what values
    start at, a policy leaves what it has tried for what it hasn't. For REINVENT it is the constant
    of its optimum, c · log mean exp(r/c). 0 for no baseline."""

    def __post_init__(self):
        """Raise ConfigError where a function's name can't be one, or stands there twice."""
        names = [name for name, _ in self.functions]
        for name, _ in self.functions:
            module, _, attribute = name.partition(":")
            if not (module and attribute.isidentifier()):
                raise ConfigError(f"reward.functions: '{name}': write MODULE:FUNCTION.")
            if names.count(name) > 1:
                raise ConfigError(
                    f"reward.functions: '{name}' stands there twice: add its weights up."
                )


@dataclass(frozen=True)
class ScoringConfig:
    """The processes that score molecules."""

    workers: Annotated[NonNegativeInt, IMMATERIAL] = 0
    """How many; 0 for one a CPU core."""
    timeout: PositiveFloat = 10.0
    """Seconds after which a process that is still at a molecule is replaced; a molecule over which
    that happens twice counts as invalid."""
    remembered: Annotated[NonNegativeInt, IMMATERIAL] = 200_000
    """Molecules whose properties are kept, so that they needn't be computed again."""


@dataclass(frozen=True)
class MoleculeDataConfig:
    """Which molecules, and how many of them."""

    name: Annotated[str, DATASET] = "moses"
    """Name of the dataset."""
    train_molecules: Annotated[NonNegativeInt, Prefix("training molecules")] = 0
    """How many training molecules are used, from the first on; 0 for all of them."""
    evaluation_molecules: Annotated[NonNegativeInt, Prefix("evaluation molecules")] = 0
    """How many molecules of each other split are used; 0 for all of them."""


@dataclass(frozen=True)
class MoleculeRNNConfig:
    """A model of molecules, learned from data alone."""

    data: MoleculeDataConfig = field(default_factory=MoleculeDataConfig)
    model: SequenceModelConfig = field(default_factory=SequenceModelConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    final_samples: Annotated[PositiveInt, Amount("molecules", trains=False)] = 30_000
    """Molecules on which the benchmark's measures are computed."""


@dataclass(frozen=True)
class MoleculeRNNRun:
    """Which model of molecules is fine-tuned."""

    preset: str = "paper"
    """Preset of the experiment molecule_rnn, which is run first if it hasn't been."""
    seed: Seed = 0
    """Seed of that run."""
    run: str = ""
    """Directory of a finished run of molecule_rnn that is taken instead, whatever its settings."""


@dataclass(frozen=True)
class SamplingConfig:
    """What is sampled and measured."""

    every: Annotated[PositiveInt, IMMATERIAL] = 100_000
    """Environment steps between two evaluations of the policy."""
    samples: Annotated[PositiveInt, IMMATERIAL] = 1_000
    """Molecules at each evaluation."""
    final_samples: Annotated[PositiveInt, Amount("molecules", trains=False)] = 30_000
    """Molecules on which the benchmark's measures are computed."""


@dataclass(frozen=True)
class AlarmConfig:
    """When a policy counts as collapsed. The run warns, and its record says so."""

    entropy: NonNegativeFloat = 0.1
    """Least mean entropy of the policy, in nats a token."""
    unique: Share = 0.5
    """Least share of different SMILES among the valid ones of an evaluation."""
    valid: Share = 0.5
    """Least share of valid molecules."""
    stop: bool = False
    """Whether a run stops there; it then counts as diverged."""


@dataclass(frozen=True)
class MoleculeTutorConfig:
    """A model of molecules tuned by KL-controlled Q-learning."""

    molecule_rnn: MoleculeRNNRun = field(default_factory=MoleculeRNNRun)
    learn: LearnConfig = field(
        default_factory=partial(LearnConfig, discount=1.0, bootstrap_at_end=False)
    )
    reward: RewardConfig = field(default_factory=RewardConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    evaluation: SamplingConfig = field(default_factory=SamplingConfig)
    alarm: AlarmConfig = field(default_factory=AlarmConfig)

    def __post_init__(self):
        """Raise ConfigError where blocks don't divide the training evenly, or a baseline counts."""
        self.learn.require_whole_blocks()
        if self.reward.baseline and (self.learn.discount < 1 or self.learn.bootstrap_at_end):
            raise ConfigError(
                "with learn.discount below 1, or learn.bootstrap_at_end=true, a baseline would "
                "change which policy is best: set reward.baseline=0."
            )


@dataclass(frozen=True)
class ReinventConfig:
    """A model of molecules tuned by a policy gradient; all but `learn` as in the tutor's."""

    molecule_rnn: MoleculeRNNRun = field(default_factory=MoleculeRNNRun)
    learn: PolicyGradientConfig = field(default_factory=PolicyGradientConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    evaluation: SamplingConfig = field(default_factory=SamplingConfig)
    alarm: AlarmConfig = field(default_factory=AlarmConfig)
