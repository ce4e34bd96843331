"""The molecule experiments of the second paper: a model of SMILES, and its tuning."""

from dataclasses import replace
from typing import Any

from common.metric import Better, Metric, Protocol
from experiments.registry import ONE_CORE, TWO_CORES, Experiment, Family, Preset, Published
from tutor.config import (
    TITLES,
    LearnConfig,
    MethodName,
    PolicyGradientConfig,
    PriorConfig,
    SequenceModelConfig,
)
from tutor.molecules.config import (
    MoleculeDataConfig,
    MoleculeRNNConfig,
    MoleculeRNNRun,
    MoleculeTutorConfig,
    ReinventConfig,
    SamplingConfig,
)

ALL, SAMPLE = "moses", "moses_sample"
HOURS = {
    "molecule_rnn": 0.16,
    "tutor_molecules_q": 0.20,
    "tutor_molecules_psi": 0.16,
    "tutor_molecules_g": 0.19,
    "tutor_molecules_rl_only": 0.19,
    "tutor_molecules_reinvent": 0.06,
}
"""Experiment → hours of its preset `cpu`, as recorded, what it starts from not included."""
GPU = "one H100"
ITERATIONS = 8_000_000
"""Environment steps of `paper`."""
C = 0.5
"""What rewards are divided by, as for melodies."""

RATES: dict[MethodName, float] = {"q": 2e-5, "psi": 2e-5, "g": 2e-4, "rl_only": 2e-5}
"""Of Adam. Values that hold log p itself (Q, Ψ) need smaller steps than G-learning's, which start
at 0. RL only has the same rate as Q: it differs in the target alone."""
REINVENT = "tutor_molecules_reinvent"
NAMES = {
    "molecule_rnn": "molecule RNN",
    "tutor_molecules_q": "Q",
    "tutor_molecules_psi": "Ψ",
    "tutor_molecules_g": "G",
    "tutor_molecules_rl_only": "RL only",
    REINVENT: "REINVENT",
}
"""Experiment → its name in the family's tables and pictures, in their order. One without a name
here stands in the tables that all experiments have."""

CHAR_RNN = "MOSES README, CharRNN"
# docs/published.md; the spreads printed beside them, over three models, are there.
PUBLISHED = {
    "valid": "0.9748",
    "unique_1k": "1.0",
    "unique_10k": "0.9994",
    "internal_diversity": "0.8562",
    "filters": "0.9943",
    "novelty": "0.8419",
}
SAMPLES = Protocol(
    "samples",
    "molecules drawn from the policy, token by token at temperature 1; shares and measures as in "
    "the benchmark MOSES, means of properties over the valid ones",
    label="{:,} molecules",
    settings=("evaluation.final_samples", "final_samples"),
)
WHOLE = Protocol("whole molecules", "each token of held-out molecules, their end included")
OF_TUNED: dict[str, Better] = {
    "reward": "higher",
    "qed": "higher",
    "sa": "lower",
    "logp": "higher",
    "ring_penalty": "lower",
    "kl_policy_prior": "lower",
    "entropy": "higher",
    "collapsed": "lower",
    "valid": "higher",
    "unique_1k": "higher",
    "internal_diversity": "higher",
}
"""Measures of a tuned model, with their better sides."""
WORDS = {
    "reward": "mean reward of a molecule",
    "kl_policy_prior": "KL(π ‖ p) of a molecule, nats",
    "valid": "valid",
    "qed": "QED",
    "sa": "SA",
    "logp": "logP",
    "ring_penalty": "ring penalty",
    "atoms": "heavy atoms",
    "length": "tokens, the end included",
    "entropy": "entropy of π, nats a token",
    "unique_1k": "unique@1k",
    "unique_10k": "unique@10k",
    "internal_diversity": "internal diversity",
    "filters": "passes the filters",
    "novelty": "novel",
    "collapsed": "alarm of collapse",
}
"""Measure → its words in tables and pictures."""


def _composed(name: str, better: Better) -> Metric:
    return Metric(f"composed/{name}", SAMPLES, better)


def _molecule_rnn() -> Experiment:
    # Each window is a whole molecule; a longer one than `steps` is refused by name.
    prior = PriorConfig(
        iterations=60_000,
        batch_size=512,
        steps=55,
        masked=0,
        beginnings=1.0,
        learning_rate=1e-3,
        decay_every=4_000,
        learning_rate_floor=5e-5,
        weight_decay=0.0,
        normalise=0.1,
        evaluate_every=3_000,
    )
    paper = MoleculeRNNConfig(model=SequenceModelConfig(units=768), prior=prior)
    cpu = replace(
        paper,
        data=MoleculeDataConfig(SAMPLE),
        model=SequenceModelConfig(units=256),
        prior=replace(
            prior,
            iterations=6_000,
            batch_size=128,
            learning_rate=1e-2,
            learning_rate_decay=0.65,
            decay_every=500,
            evaluate_every=500,
        ),
    )
    smoke = replace(
        cpu,
        data=MoleculeDataConfig(SAMPLE, train_molecules=400, evaluation_molecules=20),
        model=SequenceModelConfig(units=32),
        prior=replace(
            cpu.prior,
            iterations=60,
            batch_size=16,
            learning_rate=2e-3,
            report_every=20,
            evaluate_every=30,
        ),
        final_samples=200,
    )
    title = "Molecule RNN: an LSTM of SMILES, the prior of molecules"
    return Experiment(
        name="molecule_rnn",
        title=title,
        row="Jaques et al. 2017, molecules, the prior; MOSES, CharRNN",
        docstring=f"""{title}.

Reproduces: CharRNN of the benchmark MOSES (30,000 samples): valid 0.9748 ± 0.0264, unique@1k 1.0,
            unique@10k 0.9994 ± 0.0003, internal diversity 0.8562 ± 0.0005, filters 0.9943 ± 0.0034,
            novelty 0.8419 ± 0.0509. It has three layers of 768; ours has one.
Command:    python -m experiments run molecule_rnn --preset cpu
Hours:      {HOURS["molecule_rnn"]:g} on {TWO_CORES} for `cpu`, seconds for `smoke`; `paper` is for
            an accelerator.
`cpu` learns from a sample of MOSES that ships: novelty then is against that sample, and so is
nearer to 1 than for a model of all molecules. `paper` learns from all of MOSES, which the package
molsets or --data-dir has. RDKit is needed: pip install "highway-tutor[molecules]".""",
        presets={
            "smoke": Preset(smoke, 0.01, TWO_CORES, (SAMPLE,)),
            "cpu": Preset(cpu, HOURS["molecule_rnn"], TWO_CORES, (SAMPLE,)),
            "paper": Preset(paper, 1.0, GPU, (ALL,), estimated=True),
        },
        default_preset="cpu",
        data=(ALL,),
        stand_in=SAMPLE,
        metrics=(
            Metric("valid/log_perplexity", WHOLE),
            *(_composed(name, "higher") for name in PUBLISHED),
        ),
        published=tuple(
            Published(f"composed/{name}", value, CHAR_RNN) for name, value in PUBLISHED.items()
        ),
        paper_parameters=None,
        runner="experiments.molecules.molecule_rnn:run",
        programs="experiments.molecules.programs:molecule_rnn",
        kernels=("jax", "scan"),
        cpu_devices=2,
        section="Molecules",
        model="molecule RNN",
    )


def _tutor_config(method: MethodName) -> MoleculeTutorConfig:
    """The settings of `paper`; they are ours, the paper's aren't known."""
    learn = LearnConfig(
        method=method,
        iterations=ITERATIONS,
        environments=64,
        update_every=64,
        replay_capacity=12_800,  # 200 updates: recurrent states in it are as old as that
        batch_size=512,
        unroll=32,
        c=C,
        learning_rate=RATES[method],
        discount=1.0,
        target_rate=0.01,
        exploration="boltzmann",
        bootstrap_at_end=False,
        report_every=50_000,
    )
    return MoleculeTutorConfig(learn=learn, evaluation=SamplingConfig(every=200_000))


SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {
        "learn": {"iterations": 2_560, "environments": 16, "report_every": 640},
        "evaluation": {"every": 1_280, "samples": 50, "final_samples": 50},
        "reward": {"baseline": 300},
    },
    "cpu": {
        "learn": {"iterations": 1_024_000, "report_every": 20_000},
        "evaluation": {"every": 64_000, "samples": 500, "final_samples": 12_000},
        "reward": {},
    },
    "paper": {"learn": {}, "evaluation": {}, "reward": {}},
}
"""Preset → what differs from `paper`."""
SMALL_REPLAY = {"replay_capacity": 1_024, "batch_size": 64}


def _sized(config: Any, preset: str) -> Any:
    size = SIZES[preset]
    learn = {**size["learn"]}
    if preset == "smoke" and isinstance(config.learn, LearnConfig):
        learn |= SMALL_REPLAY
    if isinstance(config.learn, PolicyGradientConfig):
        update = config.learn.environments * config.learn.sequence_steps
        wanted = learn.get("iterations", config.learn.iterations)
        learn["iterations"] = wanted - wanted % update  # about as many as the others'
    return replace(
        config,
        molecule_rnn=MoleculeRNNRun(preset=preset),
        learn=replace(config.learn, **learn),
        evaluation=replace(config.evaluation, **size["evaluation"]),
        reward=replace(config.reward, **size["reward"]),
    )


def _tuned(name: str, how: str, goal: str, paper: Any) -> Experiment:
    title = f"Molecule RNN tuned by {how} on drug-likeness and ease of synthesis"
    return Experiment(
        name=name,
        title=title,
        row=f"after Jaques et al. 2017, molecules, {goal}; settings are ours",
        docstring=f"""{title}.

Reproduces: nothing number by number: after Jaques et al. 2017, molecules, {goal}. The paper's
            figures and settings aren't known here: the published column stays empty, and the
            settings are ours.
Command:    python -m experiments run {name} --preset cpu
Hours:      {HOURS[name]:g} on {ONE_CORE} for `cpu` (after the molecule RNN's own
            {HOURS["molecule_rnn"]:g}), seconds for `smoke`; `paper` is for an accelerator.
The reward comes with the end of a molecule: weights of validity, QED, SA, logP and ring penalty,
the user's own functions (`--set 'reward.functions=[["my_module:my_function", 1.0]]'`), and two
patches against reward hacking, each turned off by a weight of 0 (`reward.repeated_carbons`,
`reward.trivial`). A policy that loses its entropy, its variety or its validity raises an alarm;
with `--set alarm.stop=true` it stops.
The reward is divided by `learn.c`: the less that is, the further the best policy is from the prior.
The report's frontier has a point for each c that was run. A record says what the best policy
reaches (`optimum/c…`), estimated from the prior's own molecules.""",
        presets={
            "smoke": Preset(_sized(paper, "smoke"), 0.01, TWO_CORES, (SAMPLE,)),
            "cpu": Preset(_sized(paper, "cpu"), HOURS[name], ONE_CORE, (SAMPLE,)),
            "paper": Preset(_sized(paper, "paper"), 1.0, GPU, (ALL,), estimated=True),
        },
        default_preset="cpu",
        data=(ALL,),
        stand_in=SAMPLE,
        metrics=tuple(_composed(*one) for one in OF_TUNED.items()),
        published=(),
        paper_parameters=None,
        runner="experiments.molecules.tutor:run",
        programs="experiments.molecules.programs:tuning",
        kernels=("jax", "scan"),
        cpu_devices=1,
        section="Tutor molecules",
        seeds_together=True,
        inputs="experiments.molecules.tutor:inputs",
        upstream="molecule_rnn",
    )


def _experiments() -> tuple[Experiment, ...]:
    tuned = [
        _tuned(f"tutor_molecules_{method}", TITLES[method], TITLES[method], _tutor_config(method))
        for method in RATES
    ]
    reinvent = ReinventConfig(
        learn=PolicyGradientConfig(iterations=ITERATIONS, c=C, report_every=50_000),
        evaluation=SamplingConfig(every=200_000),
    )
    goal = "no row; the peer REINVENT (Olivecrona et al. 2017)"
    peer = _tuned(REINVENT, "REINVENT's augmented likelihood", goal, reinvent)
    return (_molecule_rnn(), *tuned, peer)


FAMILY = Family(
    _experiments(),
    report="experiments.molecules.table:REPORT",
    benchmarks={"molecules": "experiments.molecules.bench:molecules"},
    domain="experiments.molecules.domain:MOLECULES",
)
