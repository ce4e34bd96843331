"""The tables and claims of this family, of a run and in the report, from records alone."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.record import Record, write_atomically
from common.table import Cell, Table
from experiments.depth.catalogue import FAMILY, PLAIN
from experiments.depth.claim import ANALYSIS, SUBJECTS, Metrics, Subject, layers
from experiments.registry import Report
from experiments.results import claim
from experiments.results.claim import FINDINGS, Claim, Runs, runs_of
from experiments.results.scaled_down import EVERY_RUN
from experiments.results.verdict import scale

if TYPE_CHECKING:
    from experiments.run import Context  # which imports JAX

TITLE = "Depth, gates and lesions: claims and findings"
EXPERIMENTS = {one.name: one for one in FAMILY.experiments if one.kind in SUBJECTS}


def layer_table(metrics: Metrics) -> Table:
    """Tabulate the layers of a trained RHN."""
    titles_of = {
        "transform_activity": "mean transform gate",
        "transform_std": "its std over time",
        "movement": "movement",
        "centres_in_unit": "disc centres in [0, 1]",
        "lesion_cost": "lesion costs, nats",
    }
    columns = {
        title: values for one, title in titles_of.items() if (values := layers(metrics, one))
    }
    loss = metrics["rhn/valid/loss"]
    lines: list[tuple[Cell, ...]] = [
        (layer, *(f"{value:.4f}" for value in values), f"{loss + values[-1]:.4f}")
        for layer, values in enumerate(zip(*columns.values(), strict=True), 1)
    ]
    titles = ("layer", *columns, "loss without it")
    return Table(titles, lines, frozenset(titles))


def spectrum_table(metrics: Metrics) -> Table:
    """Tabulate the mean spectra of the models, beside their losses."""
    measures = {
        "validation loss": "loss",
        "largest |eigenvalue|": "spectral_radius",
        "mean centre": "disc_centre",
        "centres in [0, 1]": "centres_in_unit",
        "mean radius": "disc_radius",
        "of single layers: centres in [0, 1]": "layer_centres_in_unit",
    }
    lines: list[tuple[Any, ...]] = [
        (name, *(_number(metrics.get(f"{name}/valid/{measure}")) for measure in measures.values()))
        for name in ("rhn", PLAIN)
        if f"{name}/valid/disc_centre" in metrics
    ]
    titles = ("model", *measures)
    return Table(titles, lines, frozenset(titles[1:]))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def write_findings(context: "Context", subject: Subject, metrics: Metrics, *tables: Table) -> None:
    """Write claims, rules and tables into a run's directory; tell the claims' verdicts."""
    claims = subject.claims(metrics)
    parts = [claim.table(claims).markdown(), subject.rules, *(one.markdown() for one in tables)]
    write_atomically(context.place.path / FINDINGS, "\n".join(parts))
    claim.tell(claims, context.place.label)


def findings(records: Iterable[Record]) -> list[str]:
    """Return the main claim of each experiment and settings: in how many seeds it holds, at what
    scale."""
    return [
        text
        for runs in runs_of(tuple(EXPERIMENTS.values()), records)
        if runs.preset != "smoke"
        and (text := claim.in_brief(runs, _claims, TITLE, _subject(runs.experiment.name).brief))
    ]


def section(records: Iterable[Record], folder: Path) -> list[str]:
    """Write claims, scales, rules, tables and pictures of all finished runs in Markdown."""
    each = runs_of(tuple(EXPERIMENTS.values()), records)
    lines = [line for runs in each for line in claim.of_runs(runs, _claims)]
    if not lines:
        return []
    scales = [
        f"- {_label(runs, runs.done)}: {words}"
        for runs in each
        if (words := scale(runs.done[0], runs.experiment))
    ]
    names = dict.fromkeys(runs.experiment.name for runs in each)
    parts = [
        f"### {TITLE}\n",
        claim.recalled(f"{name}: {_subject(name).recalled}" for name in names),
        Table(claim.TITLES_OF_RUNS, lines).markdown(),
        "\n".join([*scales, ""]),
        *(f"{name}: {_subject(name).rules}" for name in names),
    ]
    for runs in each:
        shown = [*_tables(runs), *_pictures(runs, folder)]
        parts += [f"#### {_label(runs, runs.done)}\n", *shown] if shown else []
    return parts


def _label(runs: Runs, records: Sequence[Record]) -> str:
    return f"{runs.experiment.name}, {runs.label(*records)}"


def _tables(runs: Runs) -> list[str]:
    """Tables of trained RHNs in Markdown, means over seeds; none of other runs."""
    if _subject(runs.experiment.name) is not ANALYSIS:
        return []
    means, count = claim.means(runs), len(runs.done)
    fewer = any(means.keys() - record.metrics.keys() for record in runs.done)
    some = ", of some numbers over fewer" * fewer
    told = f"Means over {count} seeds{some}; their intervals stand {EVERY_RUN}.\n"
    tables = layer_table(means), spectrum_table(means)
    return [*[told] * (count > 1), *(one.markdown() for one in tables)]


def _pictures(runs: Runs, folder: Path) -> list[str]:
    """Pictures of runs in Markdown: those of the first seed, folded those of the others."""
    shown = {
        record.seed: [
            claim.shown(picture, folder, f"{picture.stem}: {_label(runs, [record])}")
            for picture in found
        ]
        for record in runs.done
        if (found := claim.pictures(record, folder))
    }
    return claim.first_and_folded(shown)


def _subject(experiment: str) -> Subject:
    return SUBJECTS[EXPERIMENTS[experiment].kind]


def _claims(record: Record) -> list[Claim]:
    return _subject(record.experiment).claims(record.metrics)


REPORT = Report(findings=findings, section=section)
