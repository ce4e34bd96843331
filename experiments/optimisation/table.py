"""The tables of the optimisation study, of a run and in the report, from metrics alone."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from common.config import from_dict
from common.record import Record
from common.table import Cell, Table
from experiments.optimisation.catalogue import CORES, FAMILY, FREQUENCY, SWARM, cell_name
from experiments.optimisation.config import OptimisationConfig
from experiments.optimisation.finding import RULES, Metrics, claims, depths_of
from experiments.registry import Report
from experiments.results import claim
from experiments.results.claim import Claim, Runs, runs_of
from experiments.results.verdict import scale
from highway.config import SearchConfig

(STUDY,) = FAMILY.experiments

RECALLED = "the claim, and the settings and sizes that ours are compared with (section 5.1)"
"""What was not checked against the paper."""
OF_ALL = {
    "learned": ("search/learned", ".0f"),
    "diverged": ("search/diverged", ".0f"),
    "best train": ("train/best_nll", ".3f"),
    "median train": ("train/median_nll", ".3f"),
}
"""Of all settings of a cell: title → metric and its format."""
OF_BEST = {
    "valid": ("valid/nll", ".3f"),
    "test": ("test/nll", ".3f"),
    "rate": ("search/best_learning_rate", ".2g"),
    "std": ("search/best_std", ".1g"),
    "T bias": ("search/best_transform_bias", "g"),
    "epoch": ("search/best_epoch", ".0f"),
}
"""Of the setting that is best on validation, likewise."""
OF_ALL_LEGEND = """\
NLL in nats a time step, {settings} settings each. *learned*: settings whose lowest training loss \
is below that of predicting each key by how often it sounds, {frequency:.3f}. *best*, *median \
train*: lowest training loss of each setting, over the settings; in the median none counts as \
higher than that.
"""
OF_BEST_LEGEND = """\
Of the setting that is best on validation: NLL in nats a time step, its learning rate, standard \
deviation of initial weights, initial bias of the transform gate, and best epoch.
"""


def cell_table(
    metrics: Metrics, columns: Mapping[str, tuple[str, str]], parameters: Mapping[str, int] | None
) -> Table:
    """Tabulate measures of the cells of a study, `OF_ALL` or `OF_BEST`, and their parameters."""
    lines: list[list[Cell]] = []
    for core, label in CORES.items():
        for depth in depths_of(metrics):
            name = cell_name(core, depth)
            line: list[Cell] = [f"{label}, depth {depth}"]
            if parameters is not None:
                line.append(f"{parameters[name]:,}")
            for metric, form in columns.values():
                value = metrics.get(f"{name}/{metric}")
                line.append("" if value is None else f"{value:{form}}")
            lines.append(line)
    titles = ("architecture", *(() if parameters is None else ("parameters",)), *columns)
    return Table(titles, lines, frozenset(titles[1:]))


def rank_table(metrics: Metrics) -> Table:
    """Tabulate the rank tests between the architectures of each depth."""
    first, *others = CORES
    tests: dict[str, str] = {}
    for other in others:
        title = f"{CORES[first]} below {CORES[other]}"
        tests[f"{title}: Wilcoxon"] = f"{first}_below_{other}"
        tests[f"{title}: Mann-Whitney"] = f"{first}_below_{other}_unpaired"
    tests["all three: Kruskal-Wallis"] = "kruskal"
    lines: list[list[Cell]] = []
    for depth in depths_of(metrics):
        lines.append([depth, *(_p(metrics, f"depth{depth}/train", one) for one in tests.values())])
    titles = ("p at depth", *tests)
    return Table(titles, lines, frozenset(titles))


def _p(metrics: Metrics, split: str, test: str) -> str:
    """A p-value, and of how many pairs it is where it is of pairs."""
    p, pairs = metrics.get(f"{split}/p_{test}"), metrics.get(f"{split}/n_{test}")
    number = "" if pairs is None else f" (n = {pairs:.0f})"
    return ("–" if p is None else f"{p:.2g}") + number


def findings_text(metrics: Metrics, parameters: Mapping[str, int], search: SearchConfig) -> str:
    """Return claims and tables of one study in Markdown."""
    judged = claims(metrics, search)
    parts = [
        cell_table(metrics, OF_ALL, parameters).markdown(),
        OF_ALL_LEGEND.format(settings=search.settings, frequency=metrics[FREQUENCY]),
        cell_table(metrics, OF_BEST, None).markdown(),
        OF_BEST_LEGEND,
        rank_table(metrics).markdown(),
    ]
    if judged:
        parts = [claim.table(judged).markdown(), RULES, *parts]
    return "\n".join(parts)


def findings(records: Iterable[Record]) -> list[str]:
    """Return what is claimed as a whole of studies: in how many seeds it holds, at what scale."""
    return [
        text
        for runs in runs_of([STUDY], records)
        if runs.preset != "smoke"
        and (text := claim.in_brief(runs, _claims, _title(runs, runs.done[0])))
    ]


def section(records: Iterable[Record], folder: Path) -> list[str]:
    """Write scales and findings of all finished studies in Markdown, with their swarms."""
    parts = []
    each = [(runs, record) for runs in runs_of([STUDY], records) for record in runs.done]
    for runs, record in each:
        parts.append(f"### {_title(runs, record)}\n")
        if words := scale(record, STUDY):
            parts.append(f"{words[0].upper()}{words[1:]}.\n")
        parts += [claim.recalled([RECALLED]), findings_of(record)]
        parts += [
            claim.shown(picture, folder, "Best training loss of every run")
            for picture in claim.pictures(record, folder)
            if picture.name == SWARM
        ]
    return parts


def _title(runs: Runs, record: Record) -> str:
    return f"How hard to optimise, by architecture and depth: {runs.label(record)}"


def _claims(record: Record) -> list[Claim]:
    return claims(record.metrics, search_of(record))


def findings_of(record: Record) -> str:
    """Return what a record's run left as its findings."""
    assert isinstance(record.parameters, dict)  # of this experiment always by cell
    return findings_text(record.metrics, record.parameters, search_of(record))


def search_of(record: Record) -> SearchConfig:
    """Return how a record's run searched."""
    return from_dict(OptimisationConfig, record.config).search


REPORT = Report(findings=findings, section=section)
