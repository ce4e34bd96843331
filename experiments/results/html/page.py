"""report.html: the results as one file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from common.error import DataError
from common.record import write_atomically
from common.table import Table
from experiments.registry import Experiment, Family
from experiments.results.collect import Run
from experiments.results.every_run import changed_runs, changed_table, not_run_table
from experiments.results.html.group import Group, groups
from experiments.results.html.prose import Prose
from experiments.results.html.shown import Room, show
from experiments.results.markdown import how_to_read, report_parts
from experiments.results.paper_table import anchor
from experiments.results.row import Row

MOST_BYTES = 5_000_000
"""Of the page."""
MEDIA_BYTES = 3_600_000
"""Of it for charts, pictures and sounds, at most; see `Room`."""
SPARE = 300_000
"""Bytes for the elements around them, as legends of charts are."""


@dataclass(frozen=True)
class Section:
    """An experiment with runs."""

    experiment: Experiment
    groups: list[Group]
    """Those that are shown in full."""
    changed: list[tuple[str, Table]]
    """Preset → a line for each of its groups with settings changed, where it also ran as it is."""


def write_page(
    runs: Sequence[Run],
    experiments: Mapping[str, Experiment],
    out: Path,
    families: Sequence[Family] = (),
) -> None:
    """Write the page: the same bytes for the same runs.

    Args:
      runs: what it shows; their directories are read for pictures, sounds, samples and manifests.
      experiments: all experiments by name.
      out: the file, beside the pictures that families drew (`experiments.results.markdown`).
      families: those that add parts of their own.

    Raises:
      DataError: it would be too large, or where `result_rows` does.
    """
    text = page_text(runs, experiments, out.parent, families)
    if (size := len(text.encode())) > MOST_BYTES:
        raise DataError(
            f"{out}: the page of {len(runs)} runs would have {size / 1e6:.1f} MB, more than "
            f"{MOST_BYTES / 1e6:.0f}. Report on fewer of them: give --runs one of their folders."
        )
    write_atomically(out, text)


def page_text(
    runs: Sequence[Run],
    experiments: Mapping[str, Experiment],
    folder: Path,
    families: Sequence[Family] = (),
) -> str:
    """Return the page's HTML; see `write_page`."""
    parts = report_parts([run.record for run in runs], experiments, folder, families)
    sections = _sections(runs, experiments)
    missing = [row for row in parts.rows if row.verdict.kind == "not run"]
    texts = (parts.glance, parts.papers, parts.own)
    template = _template()

    def render(media: int) -> str:
        room = Room(media)
        prose = Prose(folder, room.rest)
        told = [prose.write("\n".join(several)) for several in texts]
        return template.render(
            runs=len(runs),
            counts=_counts(runs, len(sections)),
            contents=_headings([one for several in texts for one in several]),
            told=told,
            sections=sections,
            shown=show([section.groups for section in sections], room, prose.shown),
            write=prose.table,
            missing=prose.table(not_run_table(missing)) if missing else Markup(),
            how_to_read=prose.write(how_to_read(experiments.values())),
        )

    room = MOST_BYTES - SPARE - len(render(0).encode())
    media = max(0, min(MEDIA_BYTES, room))
    text = render(media)
    over = len(text.encode()) - MOST_BYTES
    return text if over <= 0 else render(max(0, media - over - SPARE))


def _counts(runs: Sequence[Run], experiments: int) -> str:
    """How many runs there are, and of how many experiments."""

    def several(count: int, noun: str) -> str:
        return f"{count} {noun}{'' if count == 1 else 's'}"

    lost = sum(run.record.status == "diverged" for run in runs)
    text = f"{several(len(runs) - lost, 'finished run')} of {several(experiments, 'experiment')}"
    return f"{text} and {lost} that diverged" if lost else text


def _sections(runs: Sequence[Run], experiments: Mapping[str, Experiment]) -> list[Section]:
    found: list[Section] = []
    for name, experiment in experiments.items():
        if own := [run for run in runs if run.record.experiment == name]:
            found.append(_section(experiment, groups(own, experiment)))
    return found


def _section(experiment: Experiment, found: Sequence[Group]) -> Section:
    plain = {group.preset for group in found if not group.changes}
    lines: dict[str, list[Row]] = {}
    full = []
    for group in found:
        if group.changes and group.rows and group.preset in plain:
            lines.setdefault(group.preset, []).extend(group.rows)
        else:
            full.append(group)
    tables = [(preset, changed_table(changed_runs(rows))) for preset, rows in lines.items()]
    return Section(experiment, full, tables)


def _headings(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Anchor and title of the parts that begin with a heading."""
    titles = [text[3:].strip() for text in texts if text.startswith("## ")]
    return [(anchor(title), title) for title in titles]


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("experiments.results.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja")
