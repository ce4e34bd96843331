"""The optimisation study of the first paper."""

from dataclasses import replace
from typing import Literal

from common.metric import Metric, Protocol
from experiments.optimisation.config import ChoraleConfig, OptimisationConfig
from experiments.registry import ONE_CORE, TWO_CORES, Experiment, Family, Preset
from highway.config import SearchConfig

CHORALES = "jsb_chorales"
CoreName = Literal["rhn", "dt_rnn", "dts_rnn"]
CORES: dict[CoreName, str] = {"rhn": "RHN", "dt_rnn": "DT-RNN", "dts_rnn": "DT(S)-RNN"}
"""Architecture → its name in the paper; the first is what the others are compared with."""

STUDY = "study.json"
"""A file of a run: every setting that was tried, and what came of it."""
SWARM = "swarm.png"

NLL = Protocol(
    "NLL a time step",
    "the sum of 88 binary cross entropies in nats, its mean over all time steps of all chorales of "
    "the split, the first step of each predicted from silence; of the setting that is best on "
    "validation, at its best epoch",
)
LEARNING = Protocol(
    "NLL while learning",
    "NLL a time step of the training chorales, its mean over an epoch as measured while the "
    "weights change, the lowest of all epochs and settings",
)
FREQUENCY = "train/frequency_nll"
"""Metric of a study: NLL a time step of the training chorales where each key is predicted by how
often it sounds; who doesn't come below it has learned nothing of time."""
MEASURES = {"train/best_nll": LEARNING, "valid/nll": NLL, "test/nll": NLL}
"""Metric of a cell → its protocol."""


def cell_name(core: str, depth: int) -> str:
    """Name the models of one architecture and depth in metrics and folders."""
    return f"{core}_depth{depth}"


def _study() -> Experiment:
    paper = OptimisationConfig()
    cpu = replace(
        paper,
        parameters_per_step=30_000,
        search=SearchConfig(settings=10, epochs=100, report_every=5),
    )
    smoke = OptimisationConfig(
        data=ChoraleConfig(train_chorales=12, evaluation_chorales=4),
        depths=(1, 2),
        parameters_per_step=12_000,
        search=SearchConfig(settings=3, epochs=3, batch_size=5, report_every=1),
    )
    less = (
        f"{cpu.parameters_per_step:,} of them, {cpu.search.settings} settings a cell instead of "
        f"{paper.search.settings},\nand {cpu.search.epochs} epochs instead of "
        f"{paper.search.epochs:,}; early stopping waits for {cpu.search.patience}, so never acts"
    )
    title = "RHN, DT-RNN and DT(S)-RNN by depth, each at settings drawn at random, on chorales"
    return Experiment(
        name="rhn_optimization",
        title=title,
        row="Zilly et al. 2017, section 5.1, the optimisation study",
        docstring=f"""{title}.

Reproduces: Zilly et al. 2017, section 5.1 and its swarm plots: deep transitions of plain layers get
            much harder to optimise with depth, recurrent highway networks don't.
Command:    python -m experiments run rhn_optimization --preset paper
Hours:      days on {TWO_CORES} for `paper` (an estimate; it is meant for an accelerator), 1.1 on
            {ONE_CORE} for `cpu`, seconds for `smoke`.
Score:      the paper shows pictures, no numbers; whether its claim holds is judged by the runs'
            best training losses and rank tests between architectures.
At each depth the architectures have equally many parameters (to 1 %), and more the deeper:
{paper.parameters_per_step:,} times the depth in `paper`. `cpu` has {less}.
Grids, sizes and stopping are recalled from the paper's appendix and weren't read again; its sizes
are remembered as recurrent weights, here all parameters are counted. All cells try the same
settings, so that none is better for luck in drawing them. At depth 1, DT(S)-RNN is DT-RNN. One seed
is the whole study.""",
        presets={
            "smoke": Preset(smoke, 0.01, TWO_CORES, (CHORALES,)),
            "cpu": Preset(cpu, 1.1, ONE_CORE, (CHORALES,)),
            "paper": Preset(paper, 3.0, "1 accelerator", (CHORALES,), estimated=True),
        },
        default_preset="cpu",
        data=(CHORALES,),
        metrics=tuple(
            Metric(f"{cell_name(core, depth)}/{measure}", protocol, decimals=3)
            for core in CORES
            for depth in paper.depths
            for measure, protocol in MEASURES.items()
        ),
        published=(),
        paper_parameters=None,
        runner="experiments.optimisation.run:run",
        programs="experiments.optimisation.programs:programs",
        section="Optimisation study",
        kernels=("jax", "scan"),
        cpu_devices=1,
    )


FAMILY = Family((_study(),), report="experiments.optimisation.table:REPORT", artefacts=(STUDY,))
