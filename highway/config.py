"""Settings of a recurrent language model: data, model, training and evaluation."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from common.config import (
    DATASET,
    IMMATERIAL,
    Amount,
    Depth,
    DropoutRate,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    OnlyFor,
    PositiveFloat,
    PositiveInt,
    Prefix,
    unread_by,
)
from common.error import ConfigError

Momentum = Annotated[float, Field(ge=0, lt=1)]
"""Share of the last change that goes into the next."""


@dataclass(frozen=True)
class DataConfig:
    """Which corpus, and how much of it."""

    name: Annotated[str, DATASET] = "tiny_shakespeare"
    """Name of the corpus."""
    train_tokens: Annotated[NonNegativeInt, Prefix("training tokens")] = 0
    """How many training tokens are used, from the first on; 0 for all of them."""
    evaluation_tokens: Annotated[NonNegativeInt, Prefix("evaluation tokens")] = 0
    """How many validation tokens, and how many test tokens, are used; 0 for all of them."""


@dataclass(frozen=True)
class ModelConfig:
    """A language model: embedding, recurrent core, softmax."""

    core: Literal["rhn", "dt_rnn", "dts_rnn", "lstm"] = "rhn"
    """Kind of recurrent cell."""
    depth: Depth = 10
    """Highway (or transition) steps within one time step, L in the paper."""
    units: PositiveInt = 830
    """Width of the recurrent state."""
    layers: Depth = 1
    """Recurrent cells stacked on one another."""
    tied: bool = True
    """One matrix serves as embedding and as softmax weights (Press & Wolf 2017)."""
    embedding: NonNegativeInt = 0
    """Width of the embedding. 0 as published: `units`, or the vocabulary's size if that is
    smaller and the weights aren't tied."""
    coupled: bool = True
    """Carry gate = 1 − transform gate; otherwise it has weights of its own. RHN only."""
    masks: Literal["shared", "separate"] = "shared"
    """Whether a layer's gates share their dropout masks or each has its own."""
    dropout_x: DropoutRate = 0.0
    """Share of words whose embedding is dropped, wherever they occur in the window."""
    dropout_i: DropoutRate = 0.0
    """Share of the inputs of each recurrent layer that is dropped."""
    dropout_h: DropoutRate = 0.0
    """Share of the state that is dropped as it enters the recurrent matrices."""
    dropout_o: DropoutRate = 0.0
    """Share of the output that is dropped before the softmax."""
    initial_range: PositiveFloat = 0.04
    """Weights and biases start uniform in ± this."""
    transform_bias: FiniteFloat = -2.0
    """Initial bias of the transform gates; separate carry gates start at its negative. RHN only."""
    forget_bias: FiniteFloat = 1.0
    """Initial bias of the forget gates. LSTM only."""

    def __post_init__(self):
        """Raise ConfigError where two settings exclude each other."""
        if self.core == "lstm" and self.depth != 1:
            raise ConfigError(
                f"model.core=lstm has depth 1, not {self.depth}: set model.depth=1, "
                "or stack cells with model.layers."
            )
        if self.tied and self.embedding not in (0, self.units):
            raise ConfigError(
                f"model.tied=true needs an embedding as wide as the units: set model.embedding=0 "
                f"(it is {self.embedding}, the units are {self.units})."
            )

    @property
    def unread(self) -> dict[str, str]:
        """Settings that the core doesn't read, each with the reason."""
        return unread_by(
            self.core, {"coupled": "rhn", "transform_bias": "rhn", "forget_bias": "lstm"}
        )

    def embedding_size(self, vocabulary_size: int) -> int:
        """Return the width of the embedding for a vocabulary of this size."""
        if self.embedding:
            return self.embedding
        return self.units if self.tied else min(self.units, vocabulary_size)


VANISHED = 1e-3
"""Share of the first learning rate below which a schedule goes on for nothing."""


@dataclass(frozen=True)
class TrainConfig:
    """Gradient descent as in the authors' code."""

    optimizer: Literal["sgd", "adam"] = "sgd"
    """Plain gradient descent, as published, or Adam (Kingma & Ba 2015) with its usual moments."""
    epochs: Annotated[PositiveInt, Amount("epochs")] = 500
    """Passes over the training tokens."""
    batch_size: PositiveInt = 20
    """Slices of the training tokens that are read side by side."""
    steps: PositiveInt = 35
    """Time steps in one window of truncated back-propagation."""
    learning_rate: PositiveFloat = 0.2
    """Learning rate of the first epochs."""
    learning_rate_decay: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.02
    """The rate is divided by this once per epoch after the first `constant_epochs`."""
    constant_epochs: NonNegativeInt = 20
    """Epochs before the learning rate decays."""
    weight_decay: NonNegativeFloat = 1e-7
    """The cost includes 0.5 · weight_decay · Σw² over all parameters."""
    clip_norm: PositiveFloat = 10.0
    """Largest global norm of the gradient."""
    recurrence_chunk: Annotated[NonNegativeInt, IMMATERIAL] = 0
    """Gradient checkpointing (rematerialisation): time steps whose intermediate results the
    backward pass has in memory at a time, computing them again; 0 for all of a window. It saves
    memory, costs time, and changes the order of sums only."""
    softmax_chunk: Annotated[NonNegativeInt, IMMATERIAL] = 0
    """Predictions whose logits are in memory at a time, 0 for all of a window. It saves memory,
    costs time, and changes the order of sums only."""
    report_every: Annotated[PositiveInt, IMMATERIAL] = 100
    """Updates between two rows of metrics.jsonl."""

    @property
    def last_share(self) -> float:
        """The last epoch's learning rate as a share of the first one's."""
        return self.learning_rate_decay ** -max(self.epochs - self.constant_epochs, 0)

    def notes(self, usual: "TrainConfig") -> list[str]:
        """Say where the learning rate vanishes, other than in the `usual` training."""
        if self.last_share >= min(VANISHED, usual.last_share / 10):
            return []
        return [
            f"train.epochs={self.epochs} with train.constant_epochs={self.constant_epochs} and "
            f"train.learning_rate_decay={self.learning_rate_decay:g}: in the last epoch the "
            f"learning rate is {self.last_share:.1g} of the first one's (the preset's: "
            f"{usual.last_share:.1g}), at which nothing is learned. Set those, too."
        ]


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured on the best checkpoint, besides the batched protocol."""

    full: Annotated[bool, IMMATERIAL] = True
    """Whether whole validation and test streams are evaluated at batch 1, the published
    protocol."""
    mc_passes: Annotated[NonNegativeInt, OnlyFor("test_mc")] = 0
    """Passes of Monte-Carlo dropout over the test stream; 0 for none."""
    mc_batch_size: Annotated[PositiveInt, IMMATERIAL] = 50
    """Passes of Monte-Carlo dropout that run side by side. It affects memory only."""
    sample_tokens: Annotated[NonNegativeInt, IMMATERIAL] = 300
    """Tokens of text that are sampled from the best checkpoint."""


@dataclass(frozen=True)
class SearchConfig:
    """A random search over hyper-parameters of gradient descent with momentum.

    The defaults are the optimisation study's (Zilly et al. 2017, section 5.1).
    """

    settings: Annotated[PositiveInt, Amount("settings")] = 60
    """Settings that are drawn for each architecture and depth."""
    epochs: Annotated[PositiveInt, Amount("epochs")] = 1000
    """The most passes over the training data."""
    patience: PositiveInt = 100
    """Epochs without a better validation loss after which a training stops."""
    batch_size: PositiveInt = 32
    """Sequences of one update."""
    momentum: Momentum = 0.9
    """Share of the last step's direction that is kept."""
    lowest_rate: PositiveFloat = 1e-4
    """Learning rates are log-uniform from here ..."""
    highest_rate: PositiveFloat = 1.0
    """... to here."""
    lowest_std: PositiveFloat = 1e-8
    """Standard deviations of the initial weights are log-uniform from here ..."""
    highest_std: PositiveFloat = 1e-2
    """... to here."""
    transform_biases: Annotated[tuple[FiniteFloat, ...], Field(min_length=1)] = (
        0.0,
        -1.0,
        -2.0,
        -3.0,
    )
    """Initial biases of the transform gates, of which one is drawn. RHN only."""
    report_every: Annotated[PositiveInt, IMMATERIAL] = 50
    """Epochs between two rows of metrics.jsonl."""

    def __post_init__(self):
        """Raise ConfigError where a range has its ends the wrong way round."""
        for name in ("rate", "std"):
            low, high = getattr(self, f"lowest_{name}"), getattr(self, f"highest_{name}")
            if low > high:
                raise ConfigError(
                    f"search.lowest_{name}={low:g} is above search.highest_{name}={high:g}: "
                    "swap them."
                )


@dataclass(frozen=True)
class LanguageModelConfig:
    """The settings of a language-model experiment."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


@dataclass(frozen=True)
class FeedForwardConfig:
    """A deep and narrow feed-forward network that classifies images (Srivastava et al. 2015)."""

    kind: Literal["highway", "plain"] = "highway"
    """Whether its layers have gates."""
    layers: Annotated[Depth, Field(ge=2)] = 10
    """Hidden layers; the first, which the image enters, is plain in both kinds."""
    units: PositiveInt = 50
    """Width of all of them."""


@dataclass(frozen=True)
class NetworkSearchConfig:
    """Training of feed-forward networks by gradient descent, their settings drawn at random."""

    members: Annotated[PositiveInt, Amount("random settings")] = 100
    """Networks of each kind and depth, each with settings drawn for it."""
    epochs: Annotated[PositiveInt, Amount("epochs")] = 400
    """Passes over the training images."""
    batch_size: PositiveInt = 100
    """Images of one update."""
    momentum: Momentum = 0.9
    """Share of the last change that goes into the next."""
    smallest_rate: PositiveFloat = 1e-3
    """Initial learning rates are drawn log-uniformly from here ..."""
    largest_rate: PositiveFloat = 0.3
    """... to here."""
    learning_rate_decay: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.01
    """The rate is divided by this after each epoch."""
    lowest_bias: FiniteFloat = -10.0
    """Initial biases of transform gates are drawn uniformly from here ..."""
    highest_bias: FiniteFloat = -1.0
    """... to here."""

    def __post_init__(self):
        """Raise ConfigError where a range is empty."""
        if self.smallest_rate > self.largest_rate or self.lowest_bias > self.highest_bias:
            raise ConfigError(
                "search: the smallest rate or bias is above the largest: set "
                "search.smallest_rate ≤ search.largest_rate, lowest_bias ≤ highest_bias."
            )
