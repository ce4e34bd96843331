"""The language-model experiments of the first paper: Penn Treebank, enwik8 and text8."""

from dataclasses import replace
from typing import Any, NamedTuple

from common.compute import KERNELS
from experiments.registry import ONE_CORE, TWO_CORES, Experiment, Family, Preset, Published
from highway.config import (
    DataConfig,
    EvaluationConfig,
    LanguageModelConfig,
    ModelConfig,
    TrainConfig,
)
from highway.cost import CORPORA, H100, training_hours, training_work
from highway.metric import metric
from highway.size import parameter_count, units_for_budget

RUNNER = "experiments.language.run:run"
README = "authors' README, depth study"
PAPER = "ICML 2017 paper"
COMPARISON = "authors' README, comparison"

# Depth → (units; validation and test perplexity untied; the same tied): docs/published.md.
PENN_TREEBANK_ROWS = {
    1: (1275, "92.4", "89.2", "93.2", "90.6"),
    2: (1180, "79.0", "76.3", "76.9", "75.1"),
    3: (1110, "75.0", "72.6", "72.7", "70.6"),
    4: (1050, "73.3", "70.9", "70.8", "68.6"),
    5: (1000, "72.0", "69.8", "69.7", "67.7"),
    6: (960, "71.9", "69.3", "69.1", "66.6"),
    7: (920, "71.7", "68.7", "68.7", "66.4"),
    8: (890, "71.2", "68.5", "68.2", "66.1"),
    9: (860, "71.3", "68.5", "68.1", "66.0"),
    10: (830, "71.3", "68.3", "68.3", "66.0"),
}


CPU_PARAMETERS = {True: 2_500_000, False: 4_000_000}
"""Tied or not → the one budget of all depths in the `cpu` preset."""


_COMMON: dict[str, Any] = {
    "default_preset": "cpu",
    "runner": RUNNER,
    "programs": "experiments.language.programs:programs",
    "kernels": KERNELS,
    "takes_kernel": "highway.core:trains_by_kernel",
    "cpu_devices": 1,
    "section": "Language model",
}
"""What all experiments of this family have in common."""


class Hours(NamedTuple):
    """Of the `cpu` preset, a seed."""

    mean: float
    device: str = TWO_CORES
    measured: bool = False


CPU_HOURS = {
    (1, True): Hours(0.47, ONE_CORE, measured=True),
    (2, True): Hours(0.59, ONE_CORE, measured=True),
    (3, True): Hours(0.38, ONE_CORE, measured=True),
    (5, True): Hours(0.74, ONE_CORE, measured=True),
    (8, True): Hours(0.46, ONE_CORE, measured=True),
    (10, True): Hours(0.52, ONE_CORE, measured=True),
    (1, False): Hours(0.23, ONE_CORE, measured=True),
    (10, False): Hours(0.28, ONE_CORE, measured=True),
}
"""Depth and whether tied → those of the committed records on Penn Treebank."""


def penn_treebank(depth: int, *, tied: bool) -> Experiment:
    """Return one row of the depth study: the same parameter budget at every recurrence depth."""
    units, valid, test, valid_tied, test_tied = PENN_TREEBANK_ROWS[depth]
    if tied:
        valid, test = valid_tied, test_tied
    published = [
        Published("valid/perplexity", valid, README),
        Published("test_full/perplexity", test, README),
    ]
    passes = 0
    if tied and depth == 10:
        published += [
            Published("valid/perplexity", "67.9", PAPER),
            Published("test_full/perplexity", "65.4", PAPER),
        ]
    if tied and depth == 5:
        passes = 1000
        published.append(Published("test_mc/perplexity", "64.4", COMPARISON))

    model = ModelConfig(
        depth=depth,
        units=units,
        tied=tied,
        dropout_x=0.25,
        dropout_i=0.75,
        dropout_h=0.25,
        dropout_o=0.75,
        transform_bias=-2.0,
    )
    paper = LanguageModelConfig(
        data=DataConfig(name="penn_treebank"),
        model=model,
        train=TrainConfig(),
        evaluation=EvaluationConfig(mc_passes=passes),
    )
    name = f"rhn_penn_treebank_depth{depth}_{'tied' if tied else 'untied'}"
    weights = "tied" if tied else "separate"
    title = f"RHN on Penn Treebank words, recurrence depth {depth}, {weights} embedding and softmax"
    return _experiment(
        name=name,
        title=title,
        goal=f"validation / test perplexity {valid} / {test}",
        row=f"Zilly et al. 2017, depth study on Penn Treebank, depth {depth}, {weights} weights",
        paper=paper,
        cpu=_penn_treebank_cpu(paper),
        published=tuple(published),
        metrics=(
            "valid/perplexity",
            "test_full/perplexity",
            *(["test_mc/perplexity"] if passes else []),
        ),
        cpu_hours=CPU_HOURS.get((depth, tied), Hours(0.3 if tied else 0.5, ONE_CORE)),
        cpu_scale="smaller model, Adam, 6 epochs, all of the corpus",
        overnight=_overnight(paper) if tied and depth == 10 else None,
    )


OVERNIGHT_HOURS = 7.2
"""Arithmetic: docs/performance.md, and evaluations."""


def _overnight(paper: LanguageModelConfig) -> LanguageModelConfig:
    """The published model, batch and dropout in a sixth of the epochs.

    Two thirds of them at a constant rate, as was best of three schedules in trials at 100 units
    (docs/performance.md); the rate then falls by as much as there.
    """
    train = replace(paper.train, epochs=80, constant_epochs=53, learning_rate_decay=1.12)
    return replace(paper, train=train)


def _penn_treebank_cpu(paper: LanguageModelConfig) -> LanguageModelConfig:
    """The real corpus at a size that one core trains in half an hour."""
    model = replace(paper.model, dropout_x=0.0, dropout_i=0.2, dropout_h=0.1, dropout_o=0.2)
    budget = CPU_PARAMETERS[model.tied]
    vocabulary = CORPORA[paper.data.name].vocabulary
    units = units_for_budget(model, vocabulary, budget, multiple=2)
    return replace(
        paper,
        model=replace(model, units=units),
        # Plain descent at a rate that learns in few epochs explodes at depth 1.
        train=replace(
            paper.train,
            optimizer="adam",
            epochs=6,
            learning_rate=2e-3,
            learning_rate_decay=3.0,
            constant_epochs=4,
        ),
        evaluation=replace(paper.evaluation, mc_passes=min(paper.evaluation.mc_passes, 10)),
    )


def _characters(
    dataset: str,
    *,
    depth: int,
    units: int,
    large: bool,
    bpc: str,
    size: str,
    model: ModelConfig,
    train: TrainConfig,
) -> Experiment:
    """One row of the table on the Wikipedia corpora."""
    paper = LanguageModelConfig(
        data=DataConfig(name=dataset),
        model=replace(model, depth=depth, units=units, tied=False, transform_bias=-4.0),
        train=train,
    )
    cpu = replace(
        paper,
        data=replace(paper.data, train_tokens=5_000_000, evaluation_tokens=250_000),
        model=replace(
            paper.model,
            units=192 if large else 128,
            dropout_x=0.0,
            dropout_i=0.05,
            dropout_h=0.0,
            dropout_o=0.05,
        ),
        train=replace(
            train,
            optimizer="adam",
            learning_rate=0.003,
            learning_rate_decay=1.5,
            constant_epochs=2,
            epochs=6,
            batch_size=64,
            steps=50,
        ),
    )
    return _experiment(
        name=f"rhn_{dataset}_depth{depth}" + ("_large" if large else ""),
        title=f"RHN on {dataset} characters, recurrence depth {depth}, {size} parameters",
        goal=f"test bits per character {bpc}",
        row=f"Zilly et al. 2017, results on {dataset}, depth {depth}, {size} parameters",
        paper=paper,
        cpu=cpu,
        published=(Published("test_full/bits_per_character", bpc, PAPER if large else COMPARISON),),
        metrics=("valid/bits_per_character", "test_full/bits_per_character"),
        cpu_hours=Hours(1.0 if large else 0.5),
        cpu_scale="smaller model, Adam, 6 epochs of the first 5 M characters",
    )


def _experiment(
    *,
    name: str,
    title: str,
    goal: str,
    row: str,
    paper: LanguageModelConfig,
    cpu: LanguageModelConfig,
    published: tuple[Published, ...],
    metrics: tuple[str, ...],
    cpu_hours: Hours,
    cpu_scale: str,
    overnight: LanguageModelConfig | None = None,
) -> Experiment:
    dataset = paper.data.name
    vocabulary = CORPORA[dataset].vocabulary
    work = training_work(paper, *CORPORA[dataset])
    paper_hours = round(training_hours(work, H100), 1)
    docstring = f"""{title}.

Reproduces: {row}: published {goal}.
Command:    python -m experiments run {name} --preset paper
Hours:      about {paper_hours:g} on {H100.name} for `paper` (arithmetic, never measured);
            about {cpu_hours.mean:g} on {cpu_hours.device} for `cpu` ({cpu_scale});
            seconds for `smoke` (tiny Shakespeare stands in for {dataset}).
Settings that the paper doesn't give for this row are those of the authors' best configuration."""
    presets = {
        "smoke": Preset(_smoke(paper), 0.01, TWO_CORES, ("tiny_shakespeare",)),
        "cpu": Preset(
            cpu, cpu_hours.mean, cpu_hours.device, (dataset,), estimated=not cpu_hours.measured
        ),
        "paper": Preset(paper, paper_hours, H100.name, (dataset,), estimated=True),
    }
    if overnight is not None:
        docstring += f"""
`overnight` is `paper` in {overnight.train.epochs} epochs, for {TWO_CORES} with bfloat16 products:
about {OVERNIGHT_HOURS:g} hours (an estimate). Its command: python -m experiments run {name}
--preset overnight --precision bfloat16"""
        extra = Preset(overnight, OVERNIGHT_HOURS, TWO_CORES, (dataset,), estimated=True)
        presets = {"smoke": presets["smoke"], "cpu": presets["cpu"], "overnight": extra} | presets
    return Experiment(
        name=name,
        title=title,
        row=row,
        docstring=docstring,
        presets=presets,
        data=(dataset,),
        metrics=tuple(metric(name) for name in metrics),
        published=published,
        paper_parameters=parameter_count(paper.model, vocabulary),
        **_COMMON,
    )


def _smoke(paper: LanguageModelConfig) -> LanguageModelConfig:
    """Every part of the experiment in a few seconds, on what ships with the package."""
    return replace(
        paper,
        data=DataConfig("tiny_shakespeare", train_tokens=12_000, evaluation_tokens=1_500),
        model=replace(paper.model, units=24),
        train=replace(
            paper.train, epochs=2, batch_size=10, steps=20, constant_epochs=1, report_every=10
        ),
        evaluation=replace(
            paper.evaluation, mc_passes=min(paper.evaluation.mc_passes, 3), sample_tokens=80
        ),
    )


TEXT_HOURS = 0.4
"""Of the `cpu` preset of `rhn_text` on a megabyte of characters: arithmetic, by those of enwik8."""


def _own_text() -> Experiment:
    """A text of the user's own, which no row of a paper is about."""
    title = "RHN on a text of your own, recurrence depth 5"
    cpu = LanguageModelConfig(
        data=DataConfig("text_files"),
        model=ModelConfig(
            depth=5, units=192, tied=False, transform_bias=-4.0, dropout_i=0.1, dropout_o=0.1
        ),
        train=TrainConfig(
            optimizer="adam",
            learning_rate=0.003,
            learning_rate_decay=1.3,
            constant_epochs=10,
            epochs=20,
            batch_size=32,
            steps=50,
        ),
        evaluation=EvaluationConfig(sample_tokens=400),
    )
    smoke = _smoke(cpu)
    smoke = replace(smoke, data=replace(smoke.data, name="text_files"))
    return Experiment(
        name="rhn_text",
        title=title,
        row="no row of a paper",
        docstring=f"""{title}.

Reproduces: no row of a paper; the model of depth 5 on Wikipedia's characters, made smaller.
Command:    python -m experiments run rhn_text --data-dir FOLDER
Hours:      about {TEXT_HOURS:g} on {TWO_CORES} for a megabyte of characters (an estimate, and as
            many times more as the text is longer); seconds for `smoke`, which takes the first
            {smoke.data.train_tokens:,} of them.
FOLDER has one .txt file in UTF-8, which is divided (90 % train, 5 % validate, 5 % test), or
train.txt, valid.txt and test.txt. `--set data.name=text_files_words` learns words at white space
in the place of characters: those of the training text, others are <unk>; results are perplexities.
With more `train.epochs` lower `train.learning_rate_decay`, by which the rate is divided in each
after the first {cpu.train.constant_epochs}.""",
        presets={
            "smoke": Preset(smoke, 0.01, TWO_CORES, ("text_files",)),
            "cpu": Preset(cpu, TEXT_HOURS, TWO_CORES, ("text_files",), estimated=True),
        },
        data=("text_files", "text_files_words"),
        metrics=tuple(
            metric(f"{split}/{measure}")
            for measure in ("bits_per_character", "perplexity")
            for split in ("valid", "test_full")
        ),
        published=(),
        paper_parameters=None,
        **_COMMON,
    )


_DROPOUT = ModelConfig(dropout_x=0.10, dropout_i=0.40, dropout_h=0.10, dropout_o=0.40)
_DROPOUT_DEPTH5 = ModelConfig(dropout_x=0.10, dropout_i=0.30, dropout_h=0.05, dropout_o=0.30)
_TRAIN = TrainConfig(batch_size=128, steps=50, learning_rate_decay=1.03, constant_epochs=5)

ENWIK8 = (
    _characters(
        "enwik8",
        depth=5,
        units=1500,
        large=False,
        bpc="1.31",
        size="23 M",
        model=_DROPOUT_DEPTH5,
        train=replace(_TRAIN, batch_size=100, learning_rate_decay=1.04),
    ),
    _characters(
        "enwik8",
        depth=10,
        units=1000,
        large=False,
        bpc="1.30",
        size="21 M",
        model=_DROPOUT,
        train=_TRAIN,
    ),
    _characters(
        "enwik8",
        depth=10,
        units=1500,
        large=True,
        bpc="1.27",
        size="46 M",
        model=_DROPOUT,
        train=_TRAIN,
    ),
)
TEXT8 = (
    _characters(
        "text8",
        depth=10,
        units=1000,
        large=False,
        bpc="1.29",
        size="20 M",
        model=_DROPOUT,
        train=replace(_TRAIN, steps=100),
    ),
    _characters(
        "text8",
        depth=10,
        units=1500,
        large=True,
        bpc="1.27",
        size="45 M",
        model=_DROPOUT,
        train=_TRAIN,
    ),
)

FAMILY = Family(
    (
        *(
            penn_treebank(depth, tied=tied)
            for tied in (True, False)
            for depth in PENN_TREEBANK_ROWS
        ),
        *ENWIK8,
        *TEXT8,
        _own_text(),
    ),
    report="experiments.language.table:REPORT",
    pages={"docs/model_card.md": "experiments.language.model_card:page"},
    benchmarks={"rhn": "experiments.language.bench:rhn"},
    trainer="rhn_penn_treebank_depth10_tied",
)
