"""Settings of a recurrent language model: data, model, training and evaluation."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from common.config import (
    DATASET,
    IMMATERIAL,
    Amount,
    DropoutRate,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    OnlyFor,
    PositiveFloat,
    PositiveInt,
    Prefix,
)
from common.error import ConfigError


@dataclass(frozen=True)
class DataConfig:
    """Which corpus, and how much of it."""

    name: Annotated[str, DATASET] = "tiny_shakespeare"
    train_tokens: Annotated[NonNegativeInt, Prefix("training tokens")] = 0
    """Only the first so many training tokens; 0 for all of them."""
    evaluation_tokens: Annotated[NonNegativeInt, Prefix("evaluation tokens")] = 0
    """Only the first so many validation and test tokens; 0 for all of them."""


@dataclass(frozen=True)
class ModelConfig:
    """A language model: embedding, recurrent core, softmax. The paper's names for its sizes."""

    core: Literal["rhn", "dt_rnn", "dts_rnn", "lstm"] = "rhn"
    depth: PositiveInt = 10
    """Highway (or transition) steps within one time step, L in the paper."""
    units: PositiveInt = 830
    layers: PositiveInt = 1
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
    """Share of words dropped whole, everywhere in the window."""
    dropout_i: DropoutRate = 0.0
    """Dropout of the input of each recurrent layer."""
    dropout_h: DropoutRate = 0.0
    """Dropout of the state as it enters the recurrent matrices."""
    dropout_o: DropoutRate = 0.0
    """Dropout of the output, before the softmax."""
    initial_range: PositiveFloat = 0.04
    """Weights and biases start uniform in ± this."""
    transform_bias: FiniteFloat = -2.0
    """Initial bias of the transform gates; separate carry gates start at its negative. RHN only."""
    forget_bias: FiniteFloat = 1.0
    """Initial bias of the forget gates. LSTM only."""

    def __post_init__(self):
        """Raises ConfigError where two settings exclude each other."""
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

    def embedding_size(self, vocabulary_size: int) -> int:
        """Width of the embedding for a vocabulary of this size."""
        if self.embedding:
            return self.embedding
        return self.units if self.tied else min(self.units, vocabulary_size)


@dataclass(frozen=True)
class TrainConfig:
    """Gradient descent as in the authors' code."""

    optimizer: Literal["sgd", "adam"] = "sgd"
    """Plain gradient descent, as published, or Adam (Kingma & Ba 2015) with its usual moments."""
    epochs: Annotated[PositiveInt, Amount("epochs")] = 500
    batch_size: PositiveInt = 20
    steps: PositiveInt = 35
    """Time steps in one window of truncated back-propagation."""
    learning_rate: PositiveFloat = 0.2
    learning_rate_decay: PositiveFloat = 1.02
    """The rate is divided by this once per epoch after the first `constant_epochs`."""
    constant_epochs: NonNegativeInt = 20
    weight_decay: NonNegativeFloat = 1e-7
    """Adds 0.5 · weight_decay · Σw² over all parameters to the cost."""
    clip_norm: PositiveFloat = 10.0
    """Largest global norm of the gradient."""
    report_every: Annotated[PositiveInt, IMMATERIAL] = 100
    """Updates between two rows of metrics.jsonl."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured on the best checkpoint, besides the batched protocol."""

    full: Annotated[bool, IMMATERIAL] = True
    """Whole validation and test streams at batch 1: the published protocol."""
    mc_passes: Annotated[NonNegativeInt, OnlyFor("test_mc")] = 0
    """Passes of Monte-Carlo dropout over the test stream; 0 for none."""
    mc_batch_size: Annotated[PositiveInt, IMMATERIAL] = 50
    """Passes that run side by side; a matter of memory only."""
    sample_tokens: Annotated[NonNegativeInt, IMMATERIAL] = 300
    """Tokens of text sampled from the best checkpoint."""


@dataclass(frozen=True)
class LanguageModelConfig:
    """A language-model experiment."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
