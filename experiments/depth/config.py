"""Settings of the experiments on depth."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

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
    Prefix,
)
from highway.config import (
    DataConfig,
    EvaluationConfig,
    LanguageModelConfig,
    ModelConfig,
    NetworkSearchConfig,
    TrainConfig,
)

Depths = Annotated[tuple[Depth, ...], Field(min_length=1)]
Layers = Annotated[int, Field(ge=2, le=1000)]
Rate = PositiveFloat


@dataclass(frozen=True)
class LookConfig:
    """What is looked at in a trained model."""

    sequences: PositiveInt = 3
    """Pieces of the validation text that are shown, at even distances."""
    tokens: PositiveInt = 60
    """Tokens of each piece."""
    context: PositiveInt = 200
    """Tokens before each piece, which bring the state up to it."""
    spectra: PositiveInt = 24
    """Time steps of the first piece, at even distances, whose Jacobians are computed."""
    pictured: Annotated[PositiveInt, IMMATERIAL] = 3
    """How many of these are drawn."""


@dataclass(frozen=True)
class AnalysisConfig:
    """A trained RHN looked into: gates, lesions, Jacobians."""

    run: str = ""
    """Directory of a finished run of a language model with an RHN, to be looked into as it is.
    Without one, `language` says what is trained first."""
    plain_run: str = ""
    """The same of a plain deep-transition RNN, whose Jacobians are shown beside; only with
    `run`."""
    language: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    """The RHN that is trained, where no run is given."""
    plain: Literal["dt_rnn", "dts_rnn", "none"] = "dt_rnn"
    """The plain core that is trained beside it, of the same depth and about as many parameters."""
    look: LookConfig = field(default_factory=LookConfig)


@dataclass(frozen=True)
class StackConfig:
    """Language models of about the same size, d layers stacked against d steps of transition."""

    data: DataConfig = field(default_factory=DataConfig)
    depths: Depths = (1, 2, 5)
    """Each d; at 1 both ways are the same."""
    parameters: Annotated[PositiveInt, Amount("parameters a model")] = 200_000
    """About how many each model has; its width is chosen for that."""
    unequal: NonNegativeFloat = 0.01
    """Share by which the largest of the models may have more parameters than the smallest."""
    initial_gain: NonNegativeFloat = 0.0
    """Weights start uniform in ± √(initial_gain / units), so that layers of every width pass on
    about √(initial_gain / 3) of their input; 0: in ± `model.initial_range`, whatever the width."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """What all have in common: `core`, `depth`, `layers` and `units` don't count."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """The same for all, but for the learning rate."""
    learning_rates: Annotated[tuple[Rate, ...], Field(min_length=1)] = (0.002, 0.005)
    """Each model is trained at all of these; the one that is best on validation counts."""
    transform_biases: tuple[FiniteFloat, ...] = ()
    """Each highway model is trained at all of these, too; none: at `model.transform_bias`."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    @property
    def unread(self) -> dict[str, str]:
        """Settings that no model has from here, each with the reason."""
        each = "every model has its own, by depths and parameters"
        found = {f"model.{name}": each for name in ("core", "depth", "layers", "units")}
        if self.transform_biases:
            found["model.transform_bias"] = "transform_biases says at which each is trained"
        return found


@dataclass(frozen=True)
class ImageConfig:
    """Which images, and how many of them."""

    name: Annotated[str, DATASET] = "digits"
    """Name of the dataset."""
    train_images: Annotated[NonNegativeInt, Prefix("training images")] = 0
    """How many training images are used, from the first on; 0 for all of them."""
    evaluation_images: Annotated[NonNegativeInt, Prefix("evaluation images")] = 0
    """How many for validation, and how many for testing; 0 for all of them."""


@dataclass(frozen=True)
class FeedForwardDepthConfig:
    """Plain and highway networks of several depths, settings drawn at random."""

    data: ImageConfig = field(default_factory=ImageConfig)
    layers: Annotated[tuple[Layers, ...], Field(min_length=1)] = (10, 20, 50, 100)
    """Hidden layers, for each of which networks of both kinds are trained."""
    units: PositiveInt = 50
    """Width of highway layers; plain ones are as wide as makes the parameters equal."""
    search: NetworkSearchConfig = field(default_factory=NetworkSearchConfig)
    evaluate_every: Annotated[PositiveInt, IMMATERIAL] = 10
    """Epochs between two points of a curve."""
    best: Annotated[PositiveInt, IMMATERIAL] = 10
    """Curves are means over so many networks, those that ended best."""
