"""What the report shows of molecules: each property before and after tuning, and the frontier."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from common.record import Record
from common.table import Cell, Table, summarize
from experiments.molecules.catalogue import NAMES, PUBLISHED
from experiments.molecules.picture import Tuned, frontier
from experiments.results.paper_table import Asked, Line, PaperTable

PRESETS = ("cpu", "paper")
"""Of which there are tables."""
BEFORE = "molecule_rnn"

PROPERTIES = {
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
"""Measure → its words in the table."""
C_SETTING = "learn.c"
FRONTIERS = {
    "reward": "mean reward of a molecule",
    "valid": "valid",
    "unique_1k": "unique@1k",
    "internal_diversity": "internal diversity",
}
"""Measure → its label, drawn against the divergence."""

CAPTION = (
    "Of one seed the mean, with its 95 % interval over molecules in brackets where it is a mean of "
    "molecules; from three seeds on the mean over seeds with its 95 % interval (percentile "
    "bootstrap). Shares are of all molecules for *valid*, of the valid ones otherwise. KL and "
    "reward are sums over a molecule's tokens. The column *paper* is empty: the published table of "
    "Jaques et al. 2017 couldn't be had, and nothing is put in its place.\n"
)


def tables() -> list[PaperTable]:
    """Return the benchmark's measures of the prior; the paper's own table can't be had."""
    return [
        PaperTable(
            title="Molecules: the prior, on the benchmark MOSES",
            caption="Of 30,000 samples. Published: CharRNN of MOSES, which learned from all of its "
            "molecules.",
            labels=("measure",),
            groups=("",),
            lines=tuple(
                Line((PROPERTIES[one],), ((Asked(BEFORE, f"composed/{one}"),),))
                for one in PUBLISHED
            ),
        )
    ]


def section(records: Iterable[Record], folder: Path) -> list[str]:
    """Write the table of each preset with tuned models, and links to its pictures."""
    records, parts = list(records), []
    for preset in PRESETS:
        found = by_experiment(records, preset)
        if not set(found) - {BEFORE}:
            continue
        parts += [f"### Molecules before and after tuning: preset {preset}\n"]
        parts += [properties(found).markdown(), CAPTION]
        links = [
            f"[{label}]({path.name})"
            for measure, label in FRONTIERS.items()
            if (path := _picture(folder, preset, measure)).exists()
        ]
        parts += [f"Against the divergence from the prior: {', '.join(links)}\n"] if links else []
    return parts


def draw_figures(records: Iterable[Record], folder: Path) -> list[Path]:
    """Draw the frontiers of each preset: what methods reach at which divergence from the prior."""
    records, drawn = list(records), []
    for preset in PRESETS:
        found = by_experiment(records, preset, (C_SETTING,))
        before, tuned = found.pop(BEFORE, []), found
        if not tuned:
            continue
        for measure, label in FRONTIERS.items():
            drawn.append(
                frontier(
                    {NAMES[one]: by_c(made, measure) for one, made in tuned.items()},
                    [(0.0, one) for one in _values(before[:1], f"composed/{measure}")],
                    optimum(before[:1], measure),
                    _picture(folder, preset, measure),
                    x_label="KL(π ‖ p) of a molecule, nats",
                    y_label=label,
                    title=f"Tuning the molecule RNN, preset {preset}: each seed's final policy",
                )
            )
    return drawn


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
    """Return divergence and measure of the best policies, as records of the prior estimate them."""
    points = []
    for one in before:
        for name, value in one.metrics.items():
            if name.startswith("optimum/") and name.endswith(f"/{measure}"):
                kl = one.metrics[name.removesuffix(measure) + "kl_policy_prior"]
                points.append((kl, value))
    return points


def _values(records: Sequence[Record], name: str) -> list[float]:
    return [one.metrics[name] for one in records if name in one.metrics]


def by_experiment(
    records: Iterable[Record], preset: str, overridden: Sequence[str] = ()
) -> dict[str, list[Record]]:
    """Return the finished records of a preset in the order of NAMES.

    They are those without overrides, but for those of the settings in `overridden`.
    """
    done = [
        one
        for one in records
        if one.status == "done"
        and one.preset == preset
        and {text.partition("=")[0] for text in one.overrides} <= {*overridden}
    ]
    grouped = {name: [one for one in done if one.experiment == name] for name in NAMES}
    return {name: sorted(made, key=lambda one: one.seed) for name, made in grouped.items() if made}


def properties(found: Mapping[str, Sequence[Record]]) -> Table:
    """Make the table of each property before and after tuning."""
    titles = ("property", "paper", *(NAMES[name] for name in found))
    lines: list[list[Cell]] = [
        [words, "", *(_cell(made, measure) for made in found.values())]
        for measure, words in PROPERTIES.items()
    ]
    return Table(titles, lines, frozenset(titles[1:]))


def _cell(records: Sequence[Record], measure: str) -> str:
    """A measure's mean, with the interval that there is."""
    having = [one.metrics for one in records if f"composed/{measure}" in one.metrics]
    if not having:
        return ""
    summary = summarize([one[f"composed/{measure}"] for one in having])
    if summary.low is not None and summary.high is not None:
        return f"{summary.mean:.4g} [{summary.low:.4g}, {summary.high:.4g}]"
    cells = []
    for one in having:
        ends = [one.get(f"composed_{end}/{measure}") for end in ("low", "high")]
        interval = f" [{ends[0]:.4g}, {ends[1]:.4g}]" if None not in ends else ""
        cells.append(f"{one[f'composed/{measure}']:.4g}{interval}")
    return ", ".join(cells)


def _picture(folder: Path, preset: str, measure: str) -> Path:
    return folder / f"tutor_molecules_{preset}_{measure}.png"
