"""The experiments on depth: a trained RHN, deep against stacked, plain against highway."""

from dataclasses import replace
from typing import Literal

from common.compute import KERNELS
from common.metric import Metric, Protocol
from experiments.depth.config import (
    AnalysisConfig,
    FeedForwardDepthConfig,
    ImageConfig,
    LookConfig,
    StackConfig,
)
from experiments.registry import ONE_CORE, TWO_CORES, Experiment, Family, Preset
from highway.config import (
    DataConfig,
    EvaluationConfig,
    LanguageModelConfig,
    ModelConfig,
    NetworkSearchConfig,
    TrainConfig,
)
from highway.cost import CORPORA, H100, Machine, Work, training_hours, training_work
from highway.metric import metric
from highway.size import parameter_count

TEXT = "tiny_shakespeare"
PAPER_MODEL = ModelConfig(dropout_x=0.25, dropout_i=0.75, dropout_h=0.25, dropout_o=0.75)
"""The best model of Penn Treebank: depth 10, 830 units, tied."""

GATES = Protocol(
    "gates",
    "mean over units, time steps and all windows of the validation text, without dropout",
)
SPREAD = Protocol(
    "spread of gates",
    "standard deviation, over all time steps of the validation text, of a layer's mean gate",
)
LESION = Protocol(
    "lesion",
    "what the batched loss on validation rises by when one layer carries whatever comes",
)
SPECTRUM = Protocol(
    "spectrum", "mean over time steps, of the Jacobian of one time step in its last state"
)
SEARCH = Protocol(
    "random search", "over networks of one kind and depth, each with settings drawn at random"
)
BEST = Protocol(
    "best of a random search", "of the network with the lowest training loss of its kind and depth"
)

SHOWN_LAYERS = 10
"""Layers of a recurrence that have rows in the results table."""
LAYER_SPECTRUM = Protocol(
    "spectrum of a layer",
    "mean over time steps, of the Jacobian of one layer by what enters it",
)
STEP_MEASURES = {
    "transform_activity": GATES,
    "transform_std": SPREAD,
    "movement": GATES,
    "centres_in_unit": LAYER_SPECTRUM,
    "lesion_cost": LESION,
}
SPECTRUM_MEASURES = {
    "spectral_radius": SPECTRUM,
    "disc_centre": SPECTRUM,
    "disc_radius": SPECTRUM,
    "centres_in_unit": SPECTRUM,
    "layer_centres_in_unit": LAYER_SPECTRUM,
}
PLAIN: Literal["plain"] = "plain"
HIGHWAY: Literal["highway"] = "highway"
CPU_HOURS = {"rhn_analysis": 0.16, "stacked_or_deep": 0.14, "highway_depth": 0.74}
"""Mean hours of each preset `cpu` in its committed records."""
UNIGRAM = "unigram"
"""Stands among models for predicting each token by how often it comes in training."""
SOLVED = 0.01
"""Training loss in nats below which one feed-forward network is as good as another."""
LEARNED = 0.5
"""Training loss in nats from which on a feed-forward network has learned nothing."""
HARMLESS = 0.01
"""Rise of the training error, as a share of the images, up to which a layer is taken out at little
cost."""


def layer_metric(layer: int, measure: str) -> str:
    """Name a measure of one layer of a recurrence, counted from 1."""
    return f"layer{layer}/valid/{measure}"


def _analysis() -> Experiment:
    title = "Analysis of a trained RHN: gate activity, layer lesions, Jacobian spectra"
    train = TrainConfig(
        optimizer="adam",
        epochs=8,
        batch_size=32,
        steps=50,
        learning_rate=0.005,
        learning_rate_decay=1.7,
        constant_epochs=3,
        weight_decay=0.0,
    )
    cpu = AnalysisConfig(
        language=LanguageModelConfig(
            DataConfig(TEXT),
            ModelConfig(depth=6, units=128, tied=False, dropout_i=0.05, dropout_o=0.05),
            train,
            EvaluationConfig(full=False, sample_tokens=0),
        ),
        plain="dts_rnn",
    )
    smoke = AnalysisConfig(
        language=replace(
            cpu.language,
            data=DataConfig(TEXT, train_tokens=12_000, evaluation_tokens=1_500),
            model=replace(cpu.language.model, depth=3, units=16),
            train=replace(train, epochs=2, batch_size=10, steps=20, report_every=10),
        ),
        plain="dts_rnn",
        look=LookConfig(sequences=2, tokens=12, context=20, spectra=4, pictured=2),
    )
    paper = AnalysisConfig(
        language=LanguageModelConfig(DataConfig("penn_treebank"), PAPER_MODEL, TrainConfig()),
        plain="dts_rnn",
    )
    # The plain network waits for as many products as the RHN, and does no more work.
    paper_hours = 2 * training_hours(training_work(paper.language, *CORPORA["penn_treebank"]), H100)
    layers = range(1, SHOWN_LAYERS + 1)
    spectra = tuple(
        Metric(f"{model}/valid/{measure}", protocol, "neither")
        for model in ("rhn", PLAIN)
        for measure, protocol in SPECTRUM_MEASURES.items()
    )
    return Experiment(
        name="rhn_analysis",
        title=title,
        row="Zilly et al. 2017, sections 4 and 6: gate activity, lesions, Geršgorin discs",
        docstring=f"""{title}.

Reproduces: Zilly et al. 2017, section 6 (the transform gates' activity of every layer over time;
            what it costs to make one layer carry) and section 4 (Geršgorin discs and eigenvalues
            of the Jacobian of each layer and of a time step, beside those of a plain deep
            transition).
Command:    python -m experiments run rhn_analysis
            python -m experiments run rhn_analysis --set run=runs/EXPERIMENT/PRESET/seed0
Hours:      {CPU_HOURS["rhn_analysis"]:g} on {ONE_CORE} for `cpu`,
            about {paper_hours:.1f} on {H100.name} for `paper` (arithmetic, never measured),
            seconds for `smoke`.
With `run` a finished language model with an RHN is looked into, whatever text it learned from
(--data-dir says where that is, if it was brought by hand); `plain_run` sets a plain deep-transition
RNN beside it. Without, both are trained first, on Shakespeare (`paper`: Penn Treebank); the plain
one is a DT(S)-RNN, since a DT-RNN so deep learns next to nothing.
Leaves gates.png, movement.png, lesion.png, spectrum.png, and findings.txt: what the paper says,
what was found, and whether they agree.""",
        presets={
            "smoke": Preset(smoke, 0.01, TWO_CORES, (TEXT,)),
            "cpu": Preset(cpu, CPU_HOURS["rhn_analysis"], ONE_CORE, (TEXT,)),
            "paper": Preset(
                paper, round(paper_hours, 1), H100.name, ("penn_treebank",), estimated=True
            ),
        },
        default_preset="cpu",
        data=("penn_treebank",),
        metrics=(
            metric("valid/loss").of_model("rhn"),
            metric("valid/loss").of_model(PLAIN),
            *(
                Metric(layer_metric(layer, measure), protocol, "neither")
                for measure, protocol in STEP_MEASURES.items()
                for layer in layers
            ),
            *spectra,
        ),
        published=(),
        paper_parameters=parameter_count(PAPER_MODEL, CORPORA["penn_treebank"].vocabulary),
        kernels=KERNELS,
        takes_kernel="experiments.depth.analysis:takes_kernel",
        runner="experiments.depth.analysis:run",
        programs="experiments.depth.programs:analysis",
        inputs="experiments.depth.analysis:inputs",
        section="Depth, gates and lesions",
    )


KINDS: dict[str, Literal["dt_rnn", "rhn", "lstm"]] = {"rnn": "dt_rnn", "rhn": "rhn", "lstm": "lstm"}
"""Name → core of highway.config.ModelConfig."""
MOST_DEPTHS = (1, 2, 3, 4, 5, 8, 10)
"""Depths that have rows in the results table."""


def arrangements(depths: tuple[int, ...]) -> list[tuple[str, str, int, bool]]:
    """Return (name, kind, depth, whether stacked) of all models; an LSTM has no transitions."""
    found = []
    for depth in depths:
        for kind in KINDS:
            if depth == 1:
                found.append((f"{kind}1", kind, 1, True))
                continue
            found.append((f"{kind}_stacked{depth}", kind, depth, True))
            if kind != "lstm":
                found.append((f"{kind}_deep{depth}", kind, depth, False))
    return found


def _hours(config: StackConfig, machine: Machine) -> float:
    """The hours of all trainings: work by the number of parameters, latency by depth."""
    words = config.train.batch_size * config.train.steps
    updates = config.train.epochs * (CORPORA[config.data.name].tokens // words)
    return len(config.learning_rates) * sum(
        training_hours(
            Work(6.0 * words * config.parameters, 2 * config.train.steps * depth, updates), machine
        )
        for _, _, depth, _ in arrangements(config.depths)
    )


def _stacked() -> Experiment:
    title = "Layers stacked on one another against deep transitions, at the same size"
    train = TrainConfig(
        optimizer="adam",
        epochs=5,
        batch_size=32,
        steps=50,
        learning_rate_decay=2.0,
        constant_epochs=3,
        weight_decay=0.0,
        clip_norm=5.0,
    )
    cpu = StackConfig(
        data=DataConfig(TEXT),
        parameters=112_000,
        initial_gain=3.0,
        transform_biases=(-2.0, 1.0),
        model=ModelConfig(tied=False, dropout_i=0.05, dropout_o=0.05),
        train=train,
        evaluation=EvaluationConfig(full=False, sample_tokens=0),
    )
    smoke = replace(
        cpu,
        data=DataConfig(TEXT, train_tokens=12_000, evaluation_tokens=1_500),
        depths=(1, 2),
        parameters=8_000,
        unequal=0.05,
        train=replace(train, epochs=1, batch_size=10, steps=20, report_every=10),
        learning_rates=(0.01,),
        transform_biases=(),
    )
    paper = StackConfig(
        data=DataConfig("penn_treebank"),
        depths=(1, 2, 5, 10),
        parameters=23_482_400,
        model=PAPER_MODEL,
        train=TrainConfig(),
        learning_rates=(0.2, 0.05),
        evaluation=EvaluationConfig(sample_tokens=0),
    )
    paper_hours = _hours(paper, H100)
    return Experiment(
        name="stacked_or_deep",
        title=title,
        row="Zilly et al. 2017, figure 1: stacked layers against recurrence depth",
        docstring=f"""{title}.

Reproduces: the comparison behind figure 1 of Zilly et al. 2017: between states T steps apart the
            longest path has d·T layers in a transition of depth d, and d + T − 1 in d stacked ones.
Command:    python -m experiments run stacked_or_deep
Hours:      {CPU_HOURS["stacked_or_deep"]:g} on {TWO_CORES} for `cpu`,
            about {paper_hours:.0f} on {H100.name} for `paper` (arithmetic, never measured),
            seconds for `smoke`.
Plain RNNs, RHNs and LSTMs, each as d stacked layers of depth 1 and (but LSTMs) as one layer of
depth d, all with about the same number of parameters and the same training; each at several
learning rates, of which the best on validation counts. In `cpu` initial weights are as wide as lets
a stack's layers pass on what they read, and highway gates also begin open, so that a fifth layer
sees what the first reads. It compares the batched test losses and leaves out those of batch 1,
which take minutes.
Figure 1 makes no claim of losses; that deep does better than stacked is asked here.
Leaves curves.png, and findings.txt: the claims, what was found, and whether they agree.""",
        presets={
            "smoke": Preset(smoke, 0.01, TWO_CORES, (TEXT,)),
            "cpu": Preset(cpu, CPU_HOURS["stacked_or_deep"], TWO_CORES, (TEXT,)),
            "paper": Preset(
                paper, round(paper_hours), H100.name, ("penn_treebank",), estimated=True
            ),
        },
        default_preset="cpu",
        data=("penn_treebank",),
        metrics=tuple(
            metric(f"{split}/loss").of_model(name)
            for split in ("valid", "test", "test_full")
            for name in (*(name for name, *_ in arrangements(MOST_DEPTHS)), UNIGRAM)
            if (name, split) != (UNIGRAM, "test_full")
        ),
        published=(),
        paper_parameters=None,
        kernels=KERNELS,
        takes_kernel="experiments.depth.stacked:takes_kernel",
        cpu_devices=1,
        runner="experiments.depth.stacked:run",
        programs="experiments.depth.programs:stacked",
        section="Depth, stacked or in the transition",
    )


FEED_FORWARD_MEASURES = {
    "train/best_loss": (SEARCH, "lower"),
    "train/median_loss": (SEARCH, "lower"),
    "train/learned": (SEARCH, "higher"),
    "train/diverged": (SEARCH, "lower"),
    "valid/error": (BEST, "lower"),
    "test/error": (BEST, "lower"),
}
"""What is measured of each kind and depth → its protocol and better side."""
HARMLESS_LAYERS = Metric("highway/train/harmless_layers", BEST, "higher")
"""Share of a highway network's layers without which its training error rises by under `HARMLESS`.
"""
SHOWN_DEPTHS = (10, 20, 50, 100)


def _feed_forward() -> Experiment:
    title = "Plain and highway feed-forward networks of 10 to 100 layers, settings drawn at random"
    paper = FeedForwardDepthConfig(data=ImageConfig("mnist"))
    cpu = FeedForwardDepthConfig(
        search=NetworkSearchConfig(members=16, epochs=200, batch_size=60),
        evaluate_every=10,
        best=2,
    )
    smoke = FeedForwardDepthConfig(
        data=ImageConfig(train_images=120, evaluation_images=40),
        layers=(10, 20),
        units=8,
        search=NetworkSearchConfig(members=3, epochs=2, batch_size=20),
        evaluate_every=1,
        best=2,
    )
    cells = [f"{kind}{depth}" for depth in SHOWN_DEPTHS for kind in (PLAIN, HIGHWAY)]
    return Experiment(
        name="highway_depth",
        title=title,
        row="Srivastava et al. 2015 (Highway Networks), depth study on MNIST, layers taken out",
        docstring=f"""{title}.

Reproduces: Srivastava, Greff, Schmidhuber 2015: plain networks get harder to train with depth,
            highway networks don't; and most layers of a trained highway network can be taken out
            at little cost where the data are easy. Details are recalled, not read again.
Command:    python -m experiments run highway_depth
            python -m experiments run highway_depth --preset paper --data-dir DIR   (MNIST)
Hours:      {CPU_HOURS["highway_depth"]:g} on {ONE_CORE} for `cpu`,
            about 30 on {H100.name} for `paper` (a guess), seconds for `smoke`.
Networks of 50 units a layer (plain ones wider, for equal parameters), trained by gradient descent
with momentum; learning rate, transform bias and nonlinearity (tanh or rectified) are drawn for each
network, the same for both kinds. `cpu` learns the 1,797 digits that scikit-learn bundles.
Leaves curves.png, swarm.png, lesion.png, members.txt (the settings and losses of every network,
those that diverged too), and findings.txt: the claims, what was found, and whether they agree.""",
        presets={
            "smoke": Preset(smoke, 0.01, TWO_CORES, ("digits",)),
            "cpu": Preset(cpu, CPU_HOURS["highway_depth"], ONE_CORE, ("digits",)),
            "paper": Preset(paper, 30.0, H100.name, ("mnist",), estimated=True),
        },
        default_preset="cpu",
        data=("mnist",),
        metrics=(
            *(
                Metric(f"{cell}/{name}", protocol, better)  # type: ignore[arg-type]
                for name, (protocol, better) in FEED_FORWARD_MEASURES.items()
                for cell in cells
            ),
            *(
                replace(HARMLESS_LAYERS, name=f"{HIGHWAY}{depth}/train/harmless_layers")
                for depth in SHOWN_DEPTHS
            ),
        ),
        published=(),
        paper_parameters=None,
        cpu_devices=1,
        runner="experiments.depth.feed_forward:run",
        programs="experiments.depth.programs:feed_forward",
        section="Depth, feed-forward networks",
    )


FAMILY = Family(
    (_analysis(), _stacked(), _feed_forward()),
    report="experiments.depth.table:REPORT",
)
