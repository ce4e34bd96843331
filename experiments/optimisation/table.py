"""The tables of the optimisation study, of a run and in the report, from metrics alone."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from common.config import from_dict
from common.record import Record
from common.table import Cell, Table
from experiments.optimisation.catalogue import CORES, FAMILY, FREQUENCY, SWARM, cell_name
from experiments.optimisation.config import OptimisationConfig
from experiments.optimisation.finding import RULES, Metrics, claims, depths_of, in_brief
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
    told = [claim.table(judged).markdown(), RULES] if judged else []
    return "\n".join([*told, *_tables(metrics, parameters, search)])


def _tables(metrics: Metrics, parameters: Mapping[str, int], search: SearchConfig) -> list[str]:
    """Tables of one study in Markdown, with their legends."""
    return [
        cell_table(metrics, OF_ALL, parameters).markdown(),
        OF_ALL_LEGEND.format(settings=search.settings, frequency=metrics[FREQUENCY]),
        cell_table(metrics, OF_BEST, None).markdown(),
        OF_BEST_LEGEND,
        rank_table(metrics).markdown(),
    ]


def findings(records: Iterable[Record]) -> list[str]:
    """Return what is claimed as a whole of studies: in how many seeds it holds, at what scale."""
    return [
        text
        for runs in runs_of([STUDY], records)
        if runs.preset != "smoke"
        and (text := claim.in_brief(runs, _claims, _title(runs), in_brief))
    ]


def section(records: Iterable[Record], folder: Path) -> list[str]:
    """Write scales, claims and tables of all finished studies in Markdown, with their swarms.

    Seeds share the claims; of their tables and swarms all but the first's are folded.
    """
    parts = []
    for runs in runs_of([STUDY], records):
        parts.append(f"### {_title(runs)}\n")
        if words := scale(runs.done[0], STUDY):
            parts.append(f"{words[0].upper()}{words[1:]}.\n")
        parts.append(claim.recalled([RECALLED]))
        if lines := [line[:-1] for line in claim.of_runs(runs, _claims)]:
            parts += [Table(claim.TITLES_OF_RUNS[:-1], lines).markdown(), RULES]
        parts += claim.first_and_folded(
            {record.seed: _shown(record, folder, len(runs.done) > 1) for record in runs.done}
        )
    return parts


def _shown(record: Record, folder: Path, named: bool) -> list[str]:
    """Tables of a run and its swarm in Markdown, below its name where it has one."""
    words = "Best training loss of every run" + f", seed {record.seed}" * named
    assert isinstance(record.parameters, dict)  # of this experiment always by cell
    return [
        *[f"#### Seed {record.seed}\n"] * named,
        *_tables(record.metrics, record.parameters, search_of(record)),
        *(
            claim.shown(picture, folder, words)
            for picture in claim.pictures(record, folder)
            if picture.name == SWARM
        ),
    ]


def _title(runs: Runs) -> str:
    return f"How hard to optimise, by architecture and depth: {runs.label(*runs.done)}"


def _claims(record: Record) -> list[Claim]:
    return claims(record.metrics, search_of(record))


def search_of(record: Record) -> SearchConfig:
    """Return how a record's run searched."""
    return from_dict(OptimisationConfig, record.config).search


REPORT = Report(findings=findings, section=section)
