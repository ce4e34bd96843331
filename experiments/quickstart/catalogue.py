"""The quickstart: a small model of each paper, on data that ship with the package."""

from dataclasses import dataclass, replace

from common.compute import KERNELS
from experiments.registry import TWO_CORES, Experiment, Family, Preset
from highway.config import (
    DataConfig,
    EvaluationConfig,
    LanguageModelConfig,
    ModelConfig,
    TrainConfig,
)
from highway.metric import metric
from highway.size import parameter_count, units_for_budget
from tutor.config import (
    CompositionConfig,
    LearnConfig,
    MelodyDataConfig,
    NoteRNNConfig,
    PriorConfig,
    SequenceModelConfig,
    TutorConfig,
)
from tutor.music.metric import composed

VOCABULARY = 65
"""Characters of tiny Shakespeare."""
DATA = ("tiny_shakespeare", "chorale_melodies")
CPU_HOURS = 0.03
"""Mean of the committed records of `cpu`."""
PARTS = {
    "rhn": "rhn_penn_treebank_depth10_tied",
    "lstm": "rhn_penn_treebank_depth10_tied",
    "note_rnn": "note_rnn",
    "tutor": "tutor_melodies_psi",
}
"""Part → the experiment that it is a run of, with settings of the quickstart's own."""


@dataclass(frozen=True)
class QuickstartConfig:
    """Two language models, trained alike on the same text; a Note RNN, and its tuning."""

    data: DataConfig
    rhn: ModelConfig
    lstm: ModelConfig
    train: TrainConfig
    evaluation: EvaluationConfig
    note_rnn: NoteRNNConfig
    tutor: TutorConfig

    def model(self, name: str) -> LanguageModelConfig:
        """Return the settings of the model of that name."""
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
_NOTE_RNN = NoteRNNConfig(
    data=MelodyDataConfig("chorale_melodies"),
    model=SequenceModelConfig(units=64),
    prior=PriorConfig(
        iterations=600,
        batch_size=64,
        learning_rate=0.01,
        decay_every=50,
        report_every=50,
        evaluate_every=200,
    ),
    final_compositions=5_000,
)
_TUTOR = TutorConfig(
    learn=LearnConfig(
        method="psi",
        iterations=120_000,
        environments=40,
        replay_capacity=20_000,
        epsilon_iterations=60_000,
    ),
    evaluation=CompositionConfig(every=20_000, final_compositions=5_000),
)
_CPU = QuickstartConfig(
    data=DataConfig("tiny_shakespeare"),
    **_models(depth=4, units=128),
    train=_TRAIN,
    evaluation=EvaluationConfig(sample_tokens=400),
    note_rnn=_NOTE_RNN,
    tutor=_TUTOR,
)
_SMOKE = QuickstartConfig(
    data=DataConfig("tiny_shakespeare", train_tokens=12_000, evaluation_tokens=1_500),
    **_models(depth=3, units=24),
    train=replace(_TRAIN, epochs=2, batch_size=10, steps=20, report_every=10),
    evaluation=EvaluationConfig(sample_tokens=80),
    note_rnn=replace(
        _NOTE_RNN,
        data=MelodyDataConfig("chorale_melodies", train_melodies=40, evaluation_melodies=10),
        model=SequenceModelConfig(units=16),
        prior=replace(_NOTE_RNN.prior, iterations=40, batch_size=16, evaluate_every=20),
        final_compositions=200,
    ),
    tutor=replace(
        _TUTOR,
        learn=replace(_TUTOR.learn, iterations=2_000, replay_capacity=1_000, report_every=1_000),
        evaluation=CompositionConfig(every=1_000, final_compositions=200),
    ),
)

_TITLE = "RHN against an LSTM on Shakespeare; a Note RNN on chorales, before and after tuning"

FAMILY = Family(
    (
        Experiment(
            name="quickstart",
            title=_TITLE,
            row="no row of a paper",
            docstring=f"""{_TITLE}.

Reproduces: no row of a paper; shows both papers' subjects at a size that anyone can watch.
Command:    python -m experiments quickstart
Hours:      {CPU_HOURS:g} (one to three minutes) on {TWO_CORES}.
Trains an RHN and an LSTM of the same size on the Shakespeare corpus that ships with the package,
evaluates both under the batched and the full protocol, samples a few lines from each, and draws
their learning curves. Then a small Note RNN learns the melodies of Bach's chorales, and Ψ-learning
tunes it to the rules of music theory: one table of what it composes before and after, and
before.mid and after.mid to hear.""",
            presets={
                "smoke": Preset(_SMOKE, 0.01, TWO_CORES, DATA),
                "cpu": Preset(_CPU, CPU_HOURS, TWO_CORES, DATA),
            },
            default_preset="cpu",
            data=DATA,
            metrics=tuple(
                metric(f"{split}/bits_per_character").of_model(model)
                for model in ("rhn", "lstm")
                for split in ("valid", "test_full")
            )
            + tuple(
                composed(measure).of_model(model)
                for measure in ("reward", "notes_in_motif")
                for model in ("note_rnn", "tutor")
            ),
            published=(),
            paper_parameters=None,
            kernels=KERNELS,
            takes_kernel="experiments.quickstart.run:takes_kernel",
            is_command=True,
            runner="experiments.quickstart.run:run",
            programs="experiments.quickstart.programs:programs",
            section="Quickstart",
        ),
    )
)
