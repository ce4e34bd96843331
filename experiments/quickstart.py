"""The quickstart: a small RHN and an equal-sized LSTM on Shakespeare, in about two minutes."""

from dataclasses import dataclass, replace

from experiments.language_modeling import TWO_CORES
from experiments.registry import Experiment, Preset
from highway.config import (
    DataConfig,
    EvaluationConfig,
    LanguageModelConfig,
    ModelConfig,
    TrainConfig,
)
from highway.size import parameter_count, units_for_budget

VOCABULARY = 65
"""Characters of tiny Shakespeare."""


@dataclass(frozen=True)
class QuickstartConfig:
    """Two language models, trained alike on the same text."""

    data: DataConfig
    rhn: ModelConfig
    lstm: ModelConfig
    train: TrainConfig
    evaluation: EvaluationConfig

    def model(self, name: str) -> LanguageModelConfig:
        """The settings of the model of that name."""
        return LanguageModelConfig(self.data, getattr(self, name), self.train, self.evaluation)


def _models(depth: int, units: int) -> dict[str, ModelConfig]:
    """An RHN of this depth and width, and the LSTM with the most units that is no larger."""
    rhn = ModelConfig(
        core="rhn", depth=depth, units=units, tied=False, dropout_i=0.05, dropout_o=0.05
    )
    lstm = replace(rhn, core="lstm", depth=1)
    size = parameter_count(rhn, VOCABULARY)
    units = units_for_budget(lstm, VOCABULARY, size, multiple=1)
    return {"rhn": rhn, "lstm": replace(lstm, units=units)}


_TRAIN = TrainConfig(
    optimizer="adam",
    epochs=3,
    batch_size=32,
    steps=50,
    learning_rate=0.005,
    learning_rate_decay=2.0,
    constant_epochs=1,
    weight_decay=0.0,
    report_every=50,
)
_CPU = QuickstartConfig(
    data=DataConfig("tiny_shakespeare"),
    **_models(depth=4, units=128),
    train=_TRAIN,
    evaluation=EvaluationConfig(sample_tokens=400),
)
_SMOKE = QuickstartConfig(
    data=DataConfig("tiny_shakespeare", train_tokens=12_000, evaluation_tokens=1_500),
    **_models(depth=3, units=24),
    train=replace(_TRAIN, epochs=2, batch_size=10, steps=20, report_every=10),
    evaluation=EvaluationConfig(sample_tokens=80),
)

_TITLE = "RHN against an LSTM of the same size on Shakespeare's characters"

EXPERIMENTS = (
    Experiment(
        name="quickstart",
        title=_TITLE,
        row="no row of a paper",
        docstring=f"""{_TITLE}.

Reproduces: no row of a paper; shows the first paper's subject at a size that anyone can watch.
Command:    python -m experiments run quickstart
Hours:      0.04 (about two minutes) on {TWO_CORES}.
Trains both on the Shakespeare corpus that ships with the package, evaluates both under the batched
and the full protocol, samples a few lines from each, and draws their learning curves.""",
        presets={
            "smoke": Preset(_SMOKE, 0.01, TWO_CORES, ("tiny_shakespeare",)),
            "cpu": Preset(_CPU, 0.04, TWO_CORES, ("tiny_shakespeare",)),
        },
        default_preset="cpu",
        data=("tiny_shakespeare",),
        metrics=tuple(
            f"{model}/{split}/bits_per_character"
            for model in ("rhn", "lstm")
            for split in ("valid", "test_full")
        ),
        published=(),
        paper_parameters=None,
        runner="experiments.quickstart_run:run",
    ),
)
