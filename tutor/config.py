"""Settings of the Note RNN and of its tuning by KL-controlled Q-learning."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

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
)
from common.error import ConfigError

Method = Literal["q", "psi", "g", "rl_only"]
"""Names of tutor.kl_control.METHODS."""


@dataclass(frozen=True)
class DataConfig:
    """Which melodies, and how many of them."""

    name: Annotated[str, DATASET] = "folk_melodies"
    train_melodies: Annotated[NonNegativeInt, Prefix("training melodies")] = 0
    """Only the first so many training melodies; 0 for all of them."""
    evaluation_melodies: Annotated[NonNegativeInt, Prefix("evaluation melodies")] = 0
    """Only the first so many validation and test melodies; 0 for all of them."""


@dataclass(frozen=True)
class ModelConfig:
    """The recurrent network; prior and value networks have the same shape."""

    core: Literal["lstm", "rhn"] = "lstm"
    units: PositiveInt = 100
    depth: PositiveInt = 1
    """Highway steps within one time step. RHN only."""
    initial_range: PositiveFloat = 0.1
    """Weights start uniform in ± this."""
    forget_bias: FiniteFloat = 1.0
    """Initial bias of the forget gates. LSTM only."""
    transform_bias: FiniteFloat = -2.0
    """Initial bias of the transform gates. RHN only."""

    def __post_init__(self):
        """Raises ConfigError where two settings exclude each other."""
        if self.core == "lstm" and self.depth != 1:
            raise ConfigError(
                f"model.core=lstm has depth 1, not {self.depth}: set model.depth=1 or "
                "model.core=rhn."
            )


@dataclass(frozen=True)
class PriorConfig:
    """Maximum likelihood; the defaults are the paper's, the floor of the rate the code's."""

    iterations: Annotated[PositiveInt, Amount("updates")] = 30_000
    """Updates."""
    batch_size: PositiveInt = 128
    steps: PositiveInt = 40
    """Events predicted in a window, the masked ones included. The paper doesn't say; these are 8
    masked ones and as many as a composition has."""
    masked: NonNegativeInt = 8
    """First predictions of a window (and of a melody, in evaluation) that don't count: 8 in the
    paper, 32 in the released code."""
    learning_rate: PositiveFloat = 0.5
    """Of Adam (Kingma & Ba 2015)."""
    learning_rate_decay: PositiveFloat = 0.85
    """Factor of the rate every `decay_every` updates."""
    decay_every: PositiveInt = 1000
    learning_rate_floor: NonNegativeFloat = 2e-4
    clip_norm: PositiveFloat = 5.0
    """Largest global norm of the gradient."""
    weight_decay: NonNegativeFloat = 2.5e-5
    """Adds 0.5 · weight_decay · Σw² over all parameters to the loss."""
    report_every: Annotated[PositiveInt, IMMATERIAL] = 100
    evaluate_every: PositiveInt = 1000
    """Updates between two evaluations on the validation melodies."""

    def __post_init__(self):
        """Raises ConfigError where nothing would be left to learn from."""
        if self.masked >= self.steps:
            raise ConfigError(
                f"prior.masked={self.masked} masks all of prior.steps={self.steps} predictions."
            )


@dataclass(frozen=True)
class LearnConfig:
    """KL-controlled Q-learning; the defaults are the paper's and the released code's."""

    method: Method = "q"
    iterations: Annotated[PositiveInt, Amount("environment steps")] = 1_000_000
    """Environment steps in all."""
    environments: PositiveInt = 1
    """Compositions that grow side by side."""
    update_every: PositiveInt = 5
    """Environment steps to one gradient step."""
    replay_capacity: PositiveInt = 100_000
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 1e-3
    """Of Adam (Kingma & Ba 2015)."""
    clip_norm: PositiveFloat = 5.0
    """Largest norm of the gradient of each parameter array, clipped by itself."""
    discount: NonNegativeFloat = 0.5
    """γ."""
    target_rate: PositiveFloat = 0.01
    """η: the target network's share of the new weights after a gradient step. It moves after each
    block, so with one environment after each step; after k steps at once by 1 − (1 − η)^k."""
    c: PositiveFloat = 0.5
    """The reward is divided by this; the larger, the nearer the policy stays to the prior."""
    exploration: Literal["epsilon_greedy", "boltzmann"] = "epsilon_greedy"
    """A uniform event with probability ε, otherwise the best; or a draw from the policy itself."""
    epsilon_start: NonNegativeFloat = 1.0
    epsilon_end: NonNegativeFloat = 0.1
    epsilon_iterations: PositiveInt = 500_000
    """Environment steps over which ε falls linearly."""
    double: bool = False
    """Double Q-learning (van Hasselt et al. 2016), for the methods with a maximum."""
    bootstrap_at_end: bool = True
    """Whether the value after a composition's last event counts in its target, as if the piece went
    on; the released code has no notion of an end."""
    report_every: Annotated[PositiveInt, IMMATERIAL] = 10_000
    """Environment steps between two rows of metrics.jsonl."""

    def __post_init__(self):
        """Raises ConfigError where two settings exclude each other."""
        if self.double and self.method in ("psi", "g"):
            raise ConfigError(
                f"learn.double=true is for methods with a maximum (q, rl_only), not {self.method}."
            )
        if self.replay_capacity % self.environments:
            raise ConfigError(
                f"learn.replay_capacity={self.replay_capacity} is no multiple of "
                f"learn.environments={self.environments}."
            )
        if self.replay_capacity < self.batch_size:
            raise ConfigError(
                f"learn.replay_capacity={self.replay_capacity} holds no batch of {self.batch_size}."
            )


@dataclass(frozen=True)
class EvaluationConfig:
    """What is composed and counted."""

    every: Annotated[PositiveInt, IMMATERIAL] = 100_000
    """Environment steps between two evaluations of the policy."""
    compositions: Annotated[PositiveInt, IMMATERIAL] = 100
    """Compositions at each evaluation."""
    final_compositions: Annotated[PositiveInt, Amount("compositions")] = 100_000
    """Compositions behind the statistics of Table 1."""


@dataclass(frozen=True)
class NoteRNNConfig:
    """The Note RNN: a model of melodies, learned from data alone."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    final_compositions: Annotated[PositiveInt, Amount("compositions")] = 100_000
    """Compositions behind the statistics of Table 1."""
    original_quirks: bool = False
    """Rests and holds swap their events in the data, as in the released code: what was a hold then
    counts as a rest for the reward."""


@dataclass(frozen=True)
class NoteRNNRun:
    """Which Note RNN is tuned."""

    preset: str = "paper"
    """Preset of the experiment note_rnn; it is run first if it hasn't been."""
    seed: NonNegativeInt = 0
    run: str = ""
    """Directory of a finished run of note_rnn to take instead, whatever its settings."""


@dataclass(frozen=True)
class TutorConfig:
    """A Note RNN tuned by KL-controlled Q-learning on the music-theory reward."""

    note_rnn: NoteRNNRun = field(default_factory=NoteRNNRun)
    learn: LearnConfig = field(default_factory=LearnConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    original_quirks: bool = False
    """Departures of the released code from the paper: the best action is stored in Boltzmann
    exploration, G trains its prior, an evaluation counts only each piece's last event; and the Note
    RNN has to be one with `original_quirks`."""

    def __post_init__(self):
        """Raises ConfigError where an evaluation would fall between two rounds."""
        if self.learn.iterations % self.evaluation.every:
            raise ConfigError(
                f"learn.iterations={self.learn.iterations} is no multiple of "
                f"evaluation.every={self.evaluation.every}."
            )
