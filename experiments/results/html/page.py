"""report.html: the results as one file."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from common.error import DataError
from common.record import Record, write_atomically
from experiments.registry import Experiment, Family
from experiments.results.collect import Run
from experiments.results.html.curve import draw
from experiments.results.html.group import Group, groups
from experiments.results.html.media import Allowance, embed
from experiments.results.html.midi import MOST_SOUNDS, read_roll
from experiments.results.html.prose import Prose
from experiments.results.markdown import how_to_read, not_run_table, report_parts
from experiments.results.paper_table import anchor

MOST_BYTES = 5_000_000
"""Of the page."""
MEDIA_BYTES = 3_900_000
"""Of it for charts, pictures and sounds."""
MOST_PICTURES = 6
"""Of a run."""
MOST_ROLLS = 3
"""Of a run."""


@dataclass(frozen=True)
class Section:
    """An experiment with runs."""

    experiment: Experiment
    groups: list[Group]


def write_page(
    runs: Sequence[Run],
    experiments: Mapping[str, Experiment],
    out: Path,
    families: Iterable[Family] = (),
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
    families: Iterable[Family] = (),
) -> str:
    """Return the page's HTML; see `write_page`."""
    records: list[Record] = [run.record for run in runs]
    parts = report_parts(records, experiments, folder, families)
    sections = _sections(runs, experiments)
    allowance = Allowance(MEDIA_BYTES)
    every = [group for section in sections for group in section.groups]
    for group in every:
        _add_charts(group, allowance)
    prose = Prose(folder, allowance)
    glance, papers, own = (
        prose.write("\n".join(texts)) for texts in (parts.glance, parts.papers, parts.own)
    )
    _add_sounds(every, allowance)
    _add_pictures(every, allowance)
    missing = [row for row in parts.rows if row.verdict.kind == "not run"]
    environment = Environment(
        loader=PackageLoader("experiments.results.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        runs=len(runs),
        glance=glance,
        papers=papers,
        own=own,
        contents=_headings([*parts.glance, *parts.papers, *parts.own]),
        sections=sections,
        missing=prose.table(not_run_table(missing)) if missing else Markup(),
        how_to_read=prose.write(how_to_read(experiments.values())),
    )


def _sections(runs: Sequence[Run], experiments: Mapping[str, Experiment]) -> list[Section]:
    found: list[Section] = []
    for name, experiment in experiments.items():
        if own := [run for run in runs if run.record.experiment == name]:
            found.append(Section(experiment, groups(own, experiment)))
    return found


def _headings(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Anchor and title of the parts that begin with a heading."""
    titles = [text[3:].strip() for text in texts if text.startswith("## ")]
    return [(anchor(title), title) for title in titles]


def _add_charts(group: Group, allowance: Allowance) -> None:
    for number, chart in enumerate(group.charts):
        picture, readings = draw(chart, f"{group.name}-chart{number}")
        if allowance.take(len(picture.encode()) + len(readings)):
            group.drawn.append((chart, picture, readings))
        else:
            group.left_out.append(f"{chart.measure} over training")


def _add_pictures(every: Sequence[Group], allowance: Allowance) -> None:
    def add(group: Group, path: Path, rank: int) -> None:
        record = group.first.record
        words = path.stem.replace("_", " ")
        alt = f"{words}: {record.experiment}, preset {record.preset}, seed {record.seed}"
        picture = embed(path, alt, allowance) if rank < MOST_PICTURES else None
        if picture:
            group.pictures.append(picture.figure())
        else:
            group.left_out.append(path.name)

    _in_turns(every, lambda group: group.picture_files, add)


def _add_sounds(every: Sequence[Group], allowance: Allowance) -> None:
    heard = itertools.count()

    def add(group: Group, path: Path, rank: int) -> None:
        if rank >= MOST_ROLLS:
            group.left_out.append(path.name)
            return
        with_sound = next(heard) < MOST_SOUNDS
        if roll := read_roll(path, path.stem, allowance, with_sound=with_sound):
            group.rolls.append(roll)
        else:
            group.left_out.append(path.name)

    _in_turns(every, lambda group: group.midi_files, add)


def _in_turns(
    every: Sequence[Group],
    files: Callable[[Group], list[Path]],
    add: Callable[[Group, Path, int], Any],
) -> None:
    """Add the first file of every group, then the second of each, so that room is shared."""
    each = [[(group, path) for path in files(group)] for group in every]
    for rank, together in enumerate(itertools.zip_longest(*each)):
        for one in together:
            if one is not None:
                add(*one, rank)
