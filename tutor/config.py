"""Settings of the Note RNN and of its fine-tuning by KL-controlled Q-learning."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from common.config import (
    DATASET,
    IMMATERIAL,
    Amount,
    Depth,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PositiveShare,
    Prefix,
    Seed,
    Share,
    unread_by,
)
from common.error import ConfigError

MethodName = Literal["q", "psi", "g", "rl_only"]
"""Names of `tutor.kl_control.METHODS`, which needs JAX; settings are read without."""
TITLES: dict[MethodName, str] = {
    "q": "Q-learning",
    "psi": "Ψ-learning",
    "g": "G-learning",
    "rl_only": "Q-learning on the reward alone",
}
"""Method → what sentences call it."""
OptimizerName = Literal["adam", "adagrad"]
"""Names of `tutor.prior.OPTIMIZERS`, which needs JAX; settings are read without."""
Reduction = Literal["mean", "sum"]
"""How the losses of predictions become one number."""
WITH_MAXIMUM: tuple[MethodName, ...] = ("q", "rl_only")
"""Methods whose targets have a maximum over actions, which double Q-learning is for."""
COLDEST = 1e-6
"""The lowest temperature: the best event is taken there already, and far below it scores over the
temperature are more than float32 can hold."""


@dataclass(frozen=True)
class MelodyDataConfig:
    """Which melodies, and how many of them."""

    name: Annotated[str, DATASET] = "folk_melodies"
    """Name of the collection."""
    train_melodies: Annotated[NonNegativeInt, Prefix("training melodies")] = 0
    """How many training melodies are used, from the first on; 0 for all of them."""
    evaluation_melodies: Annotated[NonNegativeInt, Prefix("evaluation melodies")] = 0
    """How many validation melodies, and how many test melodies, are used; 0 for all of them."""
    key: Literal["own", "C"] = "own"
    """`C` moves every melody to C major, or A minor, in the octave nearest to the middle of the
    range; `own` leaves each in the key that it is noted in."""
    stretch: tuple[tuple[PositiveInt, PositiveShare], ...] = ()
    """Factors with shares, as in `[[1, 0.4], [2, 0.2], [4, 0.4]]`: so many of the melodies are
    played so many times slower. Empty for none."""

    def __post_init__(self):
        """Raise ConfigError where the shares of the factors aren't all of the melodies."""
        if self.stretch and abs(sum(share for _, share in self.stretch) - 1) > 1e-6:
            raise ConfigError(
                f"data.stretch={[list(pair) for pair in self.stretch]}: the shares must add up "
                "to 1."
            )


@dataclass(frozen=True)
class SequenceModelConfig:
    """The recurrent network; prior and value networks have the same shape."""

    core: Literal["lstm", "rhn"] = "lstm"
    """Kind of recurrent cell."""
    units: Annotated[PositiveInt, Amount("units")] = 100
    """Width of the recurrent state."""
    depth: Depth = 1
    """Highway steps within one time step. RHN only."""
    initial_range: PositiveFloat = 0.1
    """Weights start uniform in ± this."""
    forget_bias: FiniteFloat = 1.0
    """Initial bias of the forget gates. LSTM only."""
    transform_bias: FiniteFloat = -2.0
    """Initial bias of the transform gates. RHN only."""

    def __post_init__(self):
        """Raise ConfigError where two settings exclude each other."""
        if self.core == "lstm" and self.depth != 1:
            raise ConfigError(
                f"model.core=lstm has depth 1, not {self.depth}: set model.depth=1 or "
                "model.core=rhn."
            )

    @property
    def unread(self) -> dict[str, str]:
        """Settings that the core doesn't read, each with the reason."""
        return unread_by(self.core, {"transform_bias": "rhn", "forget_bias": "lstm"})


@dataclass(frozen=True)
class PriorConfig:
    """Maximum likelihood. The defaults are the paper's, but the learning rate's floor, which is
    ours."""

    iterations: Annotated[PositiveInt, Amount("updates")] = 30_000
    """Updates in all."""
    batch_size: PositiveInt = 128
    """Windows of an update."""
    steps: PositiveInt = 40
    """Events predicted in a window, the masked ones included. The paper doesn't give it; this is 8
    masked ones and the 32 of a composition."""
    masked: NonNegativeInt = 8
    """Predictions that don't count at the start of a window, or of a melody in evaluation: 8 in the
    paper, 32 in the released code."""
    beginnings: Share = 0.0
    """Share of an update's windows that are beginnings of melodies, with nothing masked. What is
    composed begins so too, from a zero state; in the paper no prediction from there counts."""
    optimizer: OptimizerName = "adam"
    """Adam (Kingma & Ba 2015), as the paper says; or Adagrad (Duchi et al. 2011), as in the public
    trainer with the paper's hyper-parameters, magenta/models/basic_rnn/basic_rnn_ops.py in its
    first versions."""
    reduction: Reduction = "mean"
    """Whether the losses of an update's predictions are averaged, or summed as in that trainer.
    Summed, gradients are longer by the number of predictions, so that `clip_norm` nearly always
    binds and `weight_decay` weighs little."""
    learning_rate: PositiveFloat = 0.5
    """Initial learning rate of the optimiser."""
    learning_rate_decay: PositiveShare = 0.85
    """The rate is multiplied by this every `decay_every` updates."""
    decay_every: PositiveInt = 1000
    """Updates between two decays of the rate."""
    learning_rate_floor: NonNegativeFloat = 2e-4
    """The rate doesn't fall below this. The released code lists it (`lr`) but never reads it, and
    within 30,000 updates the default rate stays above."""
    clip_norm: PositiveFloat = 5.0
    """Largest global norm of the gradient."""
    weight_decay: NonNegativeFloat = 2.5e-5
    """The loss includes 0.5 · weight_decay · Σw² over all parameters."""
    normalise: NonNegativeFloat = 0.0
    """The loss of a prediction includes this times the square of log Σ exp of its logits, which
    are then about log p themselves: what the values of Ψ-learning are where there is no reward.
    This is self-normalisation (Devlin et al. 2014), later called z-loss."""
    report_every: Annotated[PositiveInt, IMMATERIAL] = 100
    """Updates between two rows of metrics.jsonl."""
    evaluate_every: PositiveInt = 1000
    """Updates between two evaluations on the validation melodies."""

    def __post_init__(self):
        """Raise ConfigError where nothing would be left to learn from, or the rate be the floor."""
        if self.learning_rate < self.learning_rate_floor:
            raise ConfigError(
                f"prior.learning_rate={self.learning_rate:g} is below "
                f"prior.learning_rate_floor={self.learning_rate_floor:g}: lower that too."
            )
        if self.masked >= self.steps:
            raise ConfigError(
                f"prior.masked={self.masked} masks all of prior.steps={self.steps} predictions."
            )

    @property
    def beginning_windows(self) -> int:
        """How many of an update's windows are beginnings."""
        return round(self.beginnings * self.batch_size)


@dataclass(frozen=True)
class LearnConfig:
    """KL-controlled Q-learning. The defaults are those of the paper and the released code."""

    method: MethodName = "q"
    """How values are learned: Q-learning, Ψ-learning, G-learning, or Q-learning without a prior."""
    iterations: Annotated[PositiveInt, Amount("environment steps")] = 1_000_000
    """Environment steps in all."""
    environments: PositiveInt = 1
    """Compositions that grow side by side."""
    update_every: PositiveInt = 5
    """Environment steps between two gradient steps."""
    replay_capacity: PositiveInt = 100_000
    """Most transitions that the memory holds; the newest stay."""
    batch_size: PositiveInt = 32
    """Transitions of a gradient step."""
    unroll: PositiveInt = 1
    """Consecutive transitions through which a gradient step goes back in time, so that the value
    network learns what to remember (truncated back-propagation as in Kapturowski et al. 2019); a
    batch is `batch_size` / `unroll` such sequences. 1 as published: the recurrent states are those
    that were stored."""
    learning_rate: PositiveFloat = 1e-3
    """Learning rate of Adam (Kingma & Ba 2015)."""
    learning_rate_end: NonNegativeFloat = 0.0
    """The learning rate's value at the end, to which it falls linearly; 0 for one that stays."""
    clip_norm: PositiveFloat = 5.0
    """Largest norm of the gradient of each parameter array; each is clipped by itself."""
    discount: Share = 0.5
    """Discount factor γ of the values that follow."""
    target_rate: PositiveShare = 0.01
    """Share η of the new weights in the target network after a gradient step. After k steps done in
    a row, as with several environments, the share is 1 − (1 − η)^k."""
    c: PositiveFloat = 0.5
    """The reward is divided by this. A larger c keeps the policy nearer to the prior."""
    exploration: Literal["epsilon_greedy", "boltzmann"] = "epsilon_greedy"
    """Either a uniform event with probability ε and otherwise the best one, or an event drawn from
    the policy."""
    epsilon_start: Share = 1.0
    """ε at the beginning."""
    epsilon_end: Share = 0.1
    """ε after `epsilon_iterations` steps."""
    epsilon_iterations: PositiveInt = 500_000
    """Environment steps over which ε falls linearly."""
    double: bool = False
    """Whether to use double Q-learning (van Hasselt et al. 2016); for the methods with a
    maximum."""
    bootstrap_at_end: bool = True
    """Whether the target of a composition's last event includes the value of what would follow, as
    in the released code, which knows no end of a composition."""
    report_every: Annotated[PositiveInt, IMMATERIAL] = 10_000
    """Environment steps between two rows of metrics.jsonl."""

    def notes(self, usual: "LearnConfig") -> list[str]:
        """Say where ε doesn't reach its end, as it does in the `usual` tuning."""
        share = self.iterations / self.epsilon_iterations
        reached = share >= 1 or share >= usual.iterations / usual.epsilon_iterations
        if self.exploration != "epsilon_greedy" or reached:
            return []
        last = self.epsilon_start + share * (self.epsilon_end - self.epsilon_start)
        return [
            f"learn.iterations={self.iterations} with learn.epsilon_iterations="
            f"{self.epsilon_iterations}: ε is {last:.2g} at the end and never reaches "
            f"learn.epsilon_end={self.epsilon_end:g}. Set learn.epsilon_iterations, too."
        ]

    def __post_init__(self):
        """Raise ConfigError where two settings exclude each other."""
        if self.learning_rate_end > self.learning_rate:
            raise ConfigError(
                f"learn.learning_rate_end={self.learning_rate_end:g} is above "
                f"learn.learning_rate={self.learning_rate:g}, from which the rate falls: lower it."
            )
        if self.double and self.method not in WITH_MAXIMUM:
            raise ConfigError(
                f"learn.double=true is for methods with a maximum ({', '.join(WITH_MAXIMUM)}), "
                f"not {self.method}."
            )
        if self.replay_capacity % self.environments:
            raise ConfigError(
                f"learn.replay_capacity={self.replay_capacity} is no multiple of "
                f"learn.environments={self.environments}."
            )
        if self.replay_capacity < self.least_stored:
            raise ConfigError(
                f"learn.replay_capacity={self.replay_capacity} holds no batch of {self.batch_size}."
            )
        if self.iterations < self.least_stored:
            raise ConfigError(
                f"learn.iterations={self.iterations} ends before a batch can be drawn: that takes "
                f"{self.least_stored} steps."
            )
        if self.batch_size % self.unroll:
            raise ConfigError(
                f"learn.batch_size={self.batch_size} is no multiple of learn.unroll={self.unroll}."
            )
        if self.unroll > 1 and not self.discount:
            raise ConfigError(
                f"learn.unroll={self.unroll} goes back through transitions to one after which no "
                "value follows, and with learn.discount=0 that is each of them: set learn.unroll=1 "
                "or a learn.discount above 0."
            )
        if self.unroll > 1 and self.bootstrap_at_end:
            raise ConfigError(
                "learn.unroll goes through transitions whose ends are known: set "
                "learn.bootstrap_at_end=false."
            )

    @property
    def least_stored(self) -> int:
        """How many transitions the memory must hold before a batch can be drawn."""
        return self.batch_size // self.unroll + (self.unroll - 1) * self.environments

    @property
    def block(self) -> int:
        """The fewest environment steps that are whole numbers of steps and of gradient steps."""
        return math.lcm(self.environments, self.update_every)

    def require_whole_blocks(self) -> None:
        """Raise ConfigError where the iterations are no whole number of blocks."""
        if self.iterations % self.block:
            raise ConfigError(
                f"learn.iterations={self.iterations} is no multiple of {self.block}, which "
                f"{self.environments} environments with an update every {self.update_every} steps "
                "need."
            )


@dataclass(frozen=True)
class PolicyGradientConfig:
    """REINVENT's augmented likelihood, see `tutor.policy_gradient`."""

    iterations: Annotated[PositiveInt, Amount("environment steps")] = 1_000_000
    """Environment steps in all."""
    environments: PositiveInt = 64
    """Sequences of an update."""
    sequence_steps: PositiveInt = 37
    """Environment steps that a sequence counts for: about the mean length of the data, the
    end included, so that as many steps are as many sequences to every method."""
    learning_rate: PositiveFloat = 1e-4
    """Learning rate of Adam (Kingma & Ba 2015)."""
    clip_norm: PositiveFloat = 5.0
    """Largest norm of the gradient of each parameter array; each is clipped by itself."""
    c: PositiveFloat = 0.5
    """The reward is divided by this: 1/c is REINVENT's σ."""
    report_every: Annotated[PositiveInt, IMMATERIAL] = 10_000
    """Environment steps between two rows of metrics.jsonl."""


@dataclass(frozen=True)
class CompositionConfig:
    """What is composed and counted."""

    every: Annotated[PositiveInt, IMMATERIAL] = 100_000
    """Environment steps between two evaluations of the policy."""
    compositions: Annotated[PositiveInt, IMMATERIAL] = 100
    """Compositions at each evaluation."""
    final_compositions: Annotated[PositiveInt, Amount("compositions", trains=False)] = 100_000
    """Compositions from which the statistics of Table 1 are computed."""
    temperature: Annotated[float, Field(ge=COLDEST, allow_inf_nan=False)] = 1.0
    """The policy's scores are divided by it before events are drawn, see
    `tutor.evaluation.Composer`; near 0 the best event is taken. Pieces of eight bars are drawn
    at 1."""


@dataclass(frozen=True)
class NoteRNNConfig:
    """The Note RNN: a model of melodies, learned from data alone."""

    data: MelodyDataConfig = field(default_factory=MelodyDataConfig)
    model: SequenceModelConfig = field(default_factory=SequenceModelConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    final_compositions: Annotated[PositiveInt, Amount("compositions", trains=False)] = 100_000
    """Compositions from which the statistics of Table 1 are computed."""
    original_quirks: bool = False
    """Whether rests and holds swap their events in the data, as in the released code; the reward
    then takes a hold for a rest, and a rest for a hold."""


@dataclass(frozen=True)
class NoteRNNRun:
    """Which Note RNN is tuned."""

    preset: str = "paper"
    """Preset of the experiment note_rnn, which is run first if it hasn't been."""
    seed: Seed = 0
    """Seed of that run."""
    run: str = ""
    """Directory of a finished run of note_rnn that is taken instead, whatever its settings."""


@dataclass(frozen=True)
class TutorConfig:
    """A Note RNN tuned by KL-controlled Q-learning on the music-theory reward."""

    note_rnn: NoteRNNRun = field(default_factory=NoteRNNRun)
    learn: LearnConfig = field(default_factory=LearnConfig)
    evaluation: CompositionConfig = field(default_factory=CompositionConfig)
    eight_bar_pieces: Annotated[NonNegativeInt, Amount("pieces of eight bars", trains=False)] = 0
    """Pieces of eight bars, composed in the end to count how often their bars come again."""
    original_quirks: bool = False
    """Whether to depart from the paper as the released code does: Boltzmann exploration stores the
    best action, G trains its prior, Adam adds its ε early, and evaluations count each piece's last
    event only. The Note RNN must then have `original_quirks` too."""
    trains_prior: bool = False
    """Whether G trains its prior, as with `original_quirks`, without the other quirks."""

    def __post_init__(self):
        """Raise ConfigError for settings that don't go together.

        Evaluations and blocks must divide the training evenly; only G trains its prior.
        """
        self.learn.require_whole_blocks()
        if self.trains_prior and self.learn.method != "g":
            raise ConfigError(
                f"trains_prior=true is a quirk of G-learning, and learn.method={self.learn.method}."
            )
        if self.learn.iterations % self.evaluation.every:
            raise ConfigError(
                f"learn.iterations={self.learn.iterations} is no multiple of "
                f"evaluation.every={self.evaluation.every}."
            )


class Quirks(NamedTuple):
    """Ways in which the released code departs from the paper; off by default."""

    stores_best_action: bool = False
    """Whether Boltzmann exploration stores the best action, with the reward (log p in it) and the
    next state of the action that was drawn. ε-greedy exploration always stores what it took."""
    trains_prior: bool = False
    """Whether G's target passes its gradient into the prior, which then drifts from the data."""
    early_epsilon: bool = False
    """Whether ε is added to √v before the bias of v is corrected, as in TensorFlow's Adam, and not
    to the corrected √v̂ (Kingma & Ba 2015, algorithm 1)."""
