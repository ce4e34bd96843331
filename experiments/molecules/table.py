"""What the report shows of molecules: each property before and after tuning, and the frontier."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from common.config import from_dict
from common.estimate import estimate_share
from common.plot import Series
from common.record import Record
from common.table import LEAST_FOR_INTERVAL, Cell, Table, summarize
from experiments.molecules.catalogue import NAMES, PUBLISHED, WORDS
from experiments.molecules.headline import headline, rates
from experiments.molecules.picture import Tuned, frontier
from experiments.molecules.selection import (
    BEFORE,
    C_SETTING,
    PRESETS,
    by_experiment,
    left_out,
    prior_seed,
    seed_of_prior,
    tuned_prior,
    tunings,
)
from experiments.registry import Report, find
from experiments.results.paper_table import Asked, Line, PaperTable
from experiments.results.same_seed import LEGEND, seed_by_seed
from tutor.molecules.config import RewardConfig
from tutor.molecules.reward import weights
from tutor.molecules.statistics import SHARES

PAPER = "Jaques et al. 2017"

TABLES: Mapping[str, tuple[str, ...]] = {
    "Reward": ("reward", "kl_policy_prior", "valid", "qed", "sa", "ring_penalty"),
    "Variety": (
        "unique_1k", "unique_10k", "internal_diversity", "novelty", "entropy", "collapsed",
    ),
    "Other properties": ("logp", "filters", "atoms", "length"),
}  # fmt: skip
"""Title → the measures of a table before and after."""
COMPARED = {f"composed/{one}": WORDS[one] for one in ("reward", "kl_policy_prior")}
"""What is told of pairs of runs."""
FRONTIERS = ("reward", "valid", "unique_1k", "internal_diversity")
"""Measures that are drawn against the divergence."""
LEAST_EFFECTIVE = 100
"""Molecules that an estimate of the best policy must be worth, to be drawn."""
PENALTIES = ("ring", "repeated_carbons", "trivial")
"""Terms that are subtracted."""

CAPTION = (
    "Measured on {before} molecules of the prior and {after} of each tuned model (c = {c}), which "
    "started from the molecule RNN of seed {seed}. The reward of a valid molecule is {reward}; "
    "that of any other is {invalid:g}, the least there is. Means over all molecules: reward, KL "
    "(summed over a molecule's tokens) and tokens; *valid* is a share of all. Means over the "
    "valid ones: QED, SA, logP, ring penalty and heavy atoms. Shares of the valid ones: different "
    "ones among the first 1,000 and 10,000 (unique; empty where fewer are valid, in some seeds "
    "or in all), and those that pass the filters; *novel* is the share of the different ones that "
    "the training molecules don't include. It isn't measured of tuned models: a tuning doesn't "
    "read the training molecules. Internal diversity is of all pairs of valid ones, entropy a "
    "mean over all tokens. *Alarm of collapse* is 1 where entropy, the share of different SMILES "
    "or *valid* is below its limit. In brackets is a 95 % interval: of one seed over molecules, "
    "of what is a mean of theirs (Wilson's of *valid* and the filters); from three seeds on over "
    "seeds, beside their mean (percentile bootstrap). Other values that are all the same have "
    "none. Two seeds are two values. The row *{paper}* is empty: the published table couldn't be "
    "had, and nothing is put in its place.\n"
)
PAIRS = (
    LEGEND.format(
        prior=NAMES[BEFORE],
        shared="They draw the molecules that are measured by the same random numbers; all but "
        "REINVENT explore and replay by the same, too.",
    )
    + "\n"
)
PICTURES = (
    "Against the divergence from the prior: {links}. A star is the prior that was tuned, a point "
    "the final policy of a seed, the number beside it its c, and the faint line that leads there "
    "the run's evaluations. The black line is the policies of the best reward less c · KL at "
    "several c, estimated from the prior's molecules: no policy has more reward at the same "
    "divergence, and where the line ends, too few of those molecules are good enough to go on. The "
    "x axis is linear up to 1 nat, logarithmic beyond.\n"
)


def tables() -> list[PaperTable]:
    """Return the benchmark's measures of the prior; the paper's own table can't be had."""
    samples = find(BEFORE).preset("paper").config.final_samples
    return [
        PaperTable(
            title="Molecules: the prior, on the benchmark MOSES",
            caption=f"Of {samples:,} samples. Published: CharRNN of MOSES, which learned from all "
            "of its molecules.",
            labels=("measure",),
            groups=("",),
            whose="CharRNN (MOSES)",
            lines=tuple(
                Line((WORDS[one],), ((Asked(BEFORE, f"composed/{one}"),),)) for one in PUBLISHED
            ),
        )
    ]


def cautions(records: Iterable[Record]) -> list[str]:
    """Return what the intervals of tuned models over seeds leave out."""
    records, told = list(records), []
    for preset in PRESETS:
        found = by_experiment(records, preset)
        if any(len(made) >= LEAST_FOR_INTERVAL for made in tunings(found).values()):
            told.append(
                f"All tunings of molecules with preset {preset} tune one molecule RNN (seed "
                f"{prior_seed(found)}): how molecule RNNs differ is not in their intervals."
            )
    return told


def section(records: Iterable[Record], folder: Path) -> list[str]:
    """Write the tables of each preset with tuned models, and links to its pictures."""
    records, parts = list(records), []
    for preset in PRESETS:
        found = by_experiment(records, preset)
        absent = left_out(records, preset)
        tuned = [one for made in tunings(found).values() for one in made]
        if not (tuned or absent):
            continue
        parts += [f"### Molecules before and after tuning: preset {preset}\n"]
        if tuned:
            for title, measures in TABLES.items():
                parts += [f"**{title}**\n", properties(found, measures).markdown()]
            parts.append(caption(found.get(BEFORE, []), tuned))
            methods = {NAMES[name]: made for name, made in tunings(found).items()}
            parts += filter(None, [rates(methods)])
            pairs = seed_by_seed(methods, BEFORE, COMPARED)
            parts += [*pairs, PAIRS] if pairs else []
        if absent:
            parts.append(f"Not in tables and pictures: {'; '.join(absent)}.\n")
        links = [
            f"[{WORDS[measure]}]({path.name})"
            for measure in FRONTIERS
            if (path := _picture(folder, preset, measure)).exists()
        ]
        parts += [PICTURES.format(links=", ".join(links))] if links else []
    return parts


def caption(before: Sequence[Record], tuned: Sequence[Record]) -> str:
    """Say what stands in the tables, by the settings of the records."""

    def told(values: Iterable[float]) -> str:
        return " or ".join(f"{value:,}" for value in sorted(set(values)))

    reward = from_dict(RewardConfig, tuned[0].config["reward"])
    return CAPTION.format(
        before=told(one.config["final_samples"] for one in before) or "no",
        after=told(one.config["evaluation"]["final_samples"] for one in tuned),
        c=told(one.config["learn"]["c"] for one in tuned),
        seed=told(seed_of_prior(one) for one in tuned),
        reward=reward_in_words(reward),
        invalid=reward.invalid,
        paper=PAPER,
    )


def reward_in_words(config: RewardConfig) -> str:
    """Write the sum of a reward's terms, but those of weight 0."""
    words = {
        "qed": WORDS["qed"],
        "sa": "(10 − SA)/9",
        "logp": WORDS["logp"],
        "ring": WORDS["ring_penalty"],
        "repeated_carbons": f"carbons beyond {config.carbons} in a row",
        "trivial": f"atoms missing to {config.atoms}",
    }
    text = ""
    for name, weight in weights(config).items():
        added = (weight > 0) != (name in PENALTIES)
        sign = (" + " if added else " − ") if text else ("" if added else "−")
        times = "" if name == "valid" else f" × {words.get(name, name)}"
        text += f"{sign}{abs(weight):g}{times}"
    return text


def draw_figures(records: Iterable[Record], folder: Path) -> list[Path]:
    """Draw the frontiers of each preset: what methods reach at which divergence from the prior."""
    records, drawn = list(records), []
    for preset in PRESETS:
        for measure, shown in frontiers(records, preset).items():
            drawn.append(
                frontier(
                    *shown,
                    _picture(folder, preset, measure),
                    x_label="KL(π ‖ p) of a molecule, nats",
                    y_label=WORDS[measure],
                    title=f"Tuning the molecule RNN, preset {preset}: each seed's final policy",
                )
            )
    return drawn


def frontiers(
    records: Iterable[Record], preset: str
) -> dict[str, tuple[dict[str, list[Tuned]], Series, Series]]:
    """Return of each measure what its picture shows: methods, the prior and the optimum; nothing
    where no model was tuned."""
    found = by_experiment(records, preset, (C_SETTING,))
    tuned, before = tunings(found), tuned_prior(found)
    return {
        measure: (
            {NAMES[one]: by_c(made, measure) for one, made in tuned.items()},
            [(0.0, one) for one in _values(before, f"composed/{measure}")],
            optimum(before, measure),
        )
        for measure in (FRONTIERS if tuned else ())
    }


def by_c(records: Sequence[Record], measure: str) -> list[Tuned]:
    """Return divergence and measure of the final policies and of all evaluations, for each c."""
    names = [f"{{}}/{one}" for one in ("kl_policy_prior", measure)]

    def points(rows: Iterable[Mapping[str, float]], split: str) -> list[tuple[float, float]]:
        x, y = (one.format(split) for one in names)
        return [(row[x], row[y]) for row in rows if x in row and y in row]

    grouped: dict[float, list[Record]] = {}
    for one in records:
        grouped.setdefault(one.config["learn"]["c"], []).append(one)
    tuned = [
        Tuned(
            c,
            points((one.metrics for one in made), "composed"),
            [way for one in made if (way := points(one.curve, "eval"))],
        )
        for c, made in sorted(grouped.items())
    ]
    return [one for one in tuned if one.ends]


def optimum(before: Sequence[Record], measure: str) -> list[tuple[float, float]]:
    """Return divergence and measure of the best policies, as records of the prior estimate them.

    Estimates that are worth fewer than `LEAST_EFFECTIVE` molecules are left out: they are too low.
    """
    points = []
    for one in before:
        for name, value in one.metrics.items():
            if name.startswith("optimum/") and name.endswith(f"/{measure}"):
                policy = name.removesuffix(measure)
                if one.metrics[f"{policy}effective_samples"] >= LEAST_EFFECTIVE:
                    points.append((one.metrics[f"{policy}kl_policy_prior"], value))
    return points


def _values(records: Sequence[Record], name: str) -> list[float]:
    return [one.metrics[name] for one in records if name in one.metrics]


def properties(found: Mapping[str, Sequence[Record]], measures: Sequence[str]) -> Table:
    """Make a table of measures before and after tuning, a row for each model.

    Where the molecule RNN has other seeds than the one that was tuned, that has a row of its own
    above the one of all seeds.
    """
    titles = ("model", *(WORDS[measure] for measure in measures))
    rows: list[list[Cell]] = [[PAPER, *("" for _ in measures)]]
    for name, made in found.items():
        shown = {NAMES[name]: made}
        if name == BEFORE and (alone := tuned_prior(found)) != made:
            shown = {_with_seeds(one): one for one in (alone, made) if one}
        rows += [
            [label, *(_cell(one, measure) for measure in measures)] for label, one in shown.items()
        ]
    return Table(titles, rows, frozenset(titles[1:]))


def _with_seeds(records: Sequence[Record]) -> str:
    """The molecule RNN's name, and of which seeds it is."""
    seeds = ", ".join(str(one.seed) for one in records)
    return f"{NAMES[BEFORE]}, seed{'s' if len(records) > 1 else ''} {seeds}"


def _cell(records: Sequence[Record], measure: str) -> str:
    """A measure's mean, with the interval that there is."""
    having = [one for one in records if f"composed/{measure}" in one.metrics]
    if not having:
        return ""
    of_all = f" ({len(having)} of {len(records)} seeds)" if len(having) < len(records) else ""
    summary = summarize(_values(having, f"composed/{measure}"))
    if summary.low is not None and summary.high is not None:
        if summary.low == summary.high:  # all are the same
            return f"{summary.mean:.4g}{of_all}"
        return f"{summary.mean:.4g} [{summary.low:.4g}, {summary.high:.4g}]{of_all}"
    return ", ".join(_of_one(one, measure) for one in having) + of_all


def _of_one(record: Record, measure: str) -> str:
    """A run's measure with its interval over molecules, where it is a mean or a share of theirs.

    Of a share that follows from how many molecules there are: records from before Wilson's
    intervals have others, or none.
    """
    value = record.metrics[f"composed/{measure}"]
    low, high = (record.metrics.get(f"composed_{end}/{measure}") for end in ("low", "high"))
    if measure in SHARES and (molecules := _molecules(record, measure)):
        passing = np.arange(molecules) < round(value * molecules)
        _, low, high = estimate_share(passing, np.ones(molecules))
    if low is None or high is None or low == high:
        return f"{value:.4g}"
    return f"{value:.4g} [{low:.4g}, {high:.4g}]"


def _molecules(record: Record, measure: str) -> int:
    """Of how many molecules a share is: *valid* of all, others of the valid ones."""
    settings = record.config if record.experiment == BEFORE else record.config["evaluation"]
    drawn: int = settings["final_samples"]
    return drawn if measure == "valid" else round(drawn * record.metrics.get("composed/valid", 0.0))


def _picture(folder: Path, preset: str, measure: str) -> Path:
    return folder / f"tutor_molecules_{preset}_{measure}.png"


REPORT = Report(
    tables=tables,
    findings=headline,
    cautions=cautions,
    section=section,
    draw_figures=draw_figures,
)
