"""The part of RESULTS.md that has every run: a folded block for each preset of an experiment."""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from common.table import Cell, Table
from experiments.registry import Experiment, artefacts
from experiments.results.cells import (
    CHECKSUMS,
    MIDDLE,
    OURS,
    RIGHT,
    brief,
    checksums,
    command,
    device_and_hours,
    kind,
    metric_name,
    middle,
    other_seeds,
    ours,
    result_cells,
    which_seeds,
)
from experiments.results.row import Row

INTRODUCTION = """\
A block for each preset of an experiment: first what its runs share, then their numbers, then a \
line for every run with settings changed, with its first measures. Everything about each: \
`python -m experiments table NAME --full`. Of pictures and samples the first seed's are linked; \
those of other seeds lie beside them.
"""
MOST_MEASURES = 3
"""Measures in a line of a run with settings changed."""


def every_run(
    rows: Iterable[Row], experiments: Mapping[str, Experiment], folder: Path
) -> list[str]:
    """Write all rows in Markdown, by section and preset; what was not run stands below them.

    Args:
      rows: of runs, and published ones that were not run.
      experiments: all experiments by name.
      folder: where the page and what the runs left lie.
    """
    sections: dict[str, dict[tuple[str, str], list[Row]]] = {}
    missing = []
    for row in rows:
        if row.verdict.kind == "not run":
            missing.append(row)
            continue
        experiment = experiments[row.experiment]
        title = f"{experiment.section}: {' + '.join(experiment.data)}"
        blocks = sections.setdefault(title, {})
        blocks.setdefault((row.experiment, row.preset), []).append(row)
    parts = [INTRODUCTION] if sections else []
    for title, blocks in sections.items():
        parts.append(f"### {title}\n")
        parts += [_block(block, folder) for block in blocks.values()]
    if missing:
        table = not_run_table(missing).markdown()
        parts += ["## Not run\n", folded("Commands and hours", [table])]
    return parts


def folded(title: str, parts: Sequence[str]) -> str:
    """Return paragraphs that open at a click."""
    text = "\n".join(parts)
    return f"<details>\n<summary>{html.escape(title)}</summary>\n\n{text}\n</details>\n"


def not_run_table(rows: Sequence[Row]) -> Table:
    """Say what would run the rows, and how long that takes: a line an experiment."""
    lines = dict.fromkeys(
        (f"`{command(row)}`", device_and_hours(row), row.experiment) for row in rows
    )
    cells = []
    for text, hours, name in lines:
        published = [
            f"{row.split} {row.metric.measure} {' or '.join(p.printed for p in row.published)}"
            for row in rows
            if row.experiment == name
        ]
        cells.append((text, "; ".join(published), hours))
    return Table(("command", "published", "device and hours"), cells)


def _block(rows: Sequence[Row], folder: Path) -> str:
    """The runs of one preset of an experiment."""
    own = _grouped([row for row in rows if not row.changes], lambda row: row.dataset)
    changed = changed_runs(rows)
    parts = [part for group in own for part in (_facts(group), _numbers(group))]
    if changed:
        parts += ["Settings changed:\n", changed_table(changed).markdown()]
        told = {row.data for group in own for row in group}
        others = (group[0] for group in changed if group[0].data not in told)
        if texts := _told(f"{row.dataset}: {checksums(row)}" for row in others):
            parts.append(f"- {CHECKSUMS} of those: {texts}\n")
    experiment, preset = rows[0].experiment, rows[0].preset
    if links := _links(experiment, preset, folder):
        parts.append(f"Pictures and samples:\n\n{links}")
    title = f"{experiment}, {preset}"
    return folded(f"{title}; settings changed: {len(changed)}" if changed else title, parts)


def changed_runs(rows: Iterable[Row]) -> list[list[Row]]:
    """Return the rows with settings changed, a list for each change and data."""
    return _grouped([row for row in rows if row.changes], lambda row: (row.changes, row.dataset))


def _grouped(rows: Iterable[Row], key: Callable[[Row], object]) -> list[list[Row]]:
    found: dict[object, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return list(found.values())


def _facts(rows: Sequence[Row]) -> str:
    """What runs of the same settings share, a line each."""
    shared, _ = _divided(rows)
    diverged = {seed for row in rows for seed in row.diverged}
    facts = {
        "seeds": which_seeds(_seeds(rows), diverged),
        "data": _told(row.dataset for row in rows),
        CHECKSUMS: _told(map(checksums, rows)),
        **shared,
        "ran on": _told(map(device_and_hours, rows)),
        "commit": _told(f"`{commit}`" for row in rows for commit in row.commits),
        "command": _told(f"`{row.commands[0]}`{other_seeds(row)}" for row in rows),
        "settings, paper → ours": _told(one for row in rows for one in row.settings),
    }
    return "".join(f"- {name}: {text}\n" for name, text in facts.items() if text)


def _told(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def _numbers(rows: Sequence[Row]) -> str:
    """What runs of the same settings measured, a line a metric."""
    _, columns = _divided(rows)
    lines = [list(line) for line in zip(*columns.values(), strict=True)]
    return Table(tuple(columns), lines, RIGHT).markdown()


def _divided(rows: Sequence[Row]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """What all rows share, and the columns that tell the rest; empty ones are left out."""
    cells = {title: [result_cells(row)[title] for row in rows] for title in result_cells(rows[0])}
    shared = {"split": rows[0].split} if len({row.split for row in rows}) == 1 else {}
    if len(sources := {one.source for row in rows for one in row.published}) == 1:
        (shared["published in"],) = sources
        cells["published"] = [_told(one.printed for one in row.published) for row in rows]
    verdict, cells["verdict"] = _verdicts(rows)
    columns = {
        "metric": cells["metric"] if "split" in shared else [metric_name(row) for row in rows]
    }
    for title in ("protocol", "parameters", "published", OURS, "difference", "verdict"):
        if title in ("protocol", "parameters") and len(set(cells[title])) == 1:
            shared[title] = cells[title][0]
        elif title == OURS or any(cells[title]):
            columns[title] = cells[title]
    seeds = _seeds(rows)
    columns[OURS] = [
        _ours(row) + ("" if row.seeds == seeds else f" (seeds {', '.join(map(str, row.seeds))})")
        for row in rows
    ]
    return shared | {"verdict": verdict}, columns


def _ours(row: Row) -> str:
    """Our number and, of enough seeds, the interquartile mean below it."""
    return ours(row) + (f"<br>{MIDDLE} {text}" if (text := middle(row)) else "")


def _verdicts(rows: Sequence[Row]) -> tuple[str, list[str]]:
    """What the verdicts share or rest on, and of each what it alone has."""
    heads, _, tails = zip(*(row.verdict.text.partition("; ") for row in rows), strict=True)
    if len(set(heads)) > 1:
        return _told(brief(row)[1] for row in rows), [brief(row)[0] for row in rows]
    if len(set(tails)) > 1:
        return heads[0], list(tails)
    return rows[0].verdict.text, [""] * len(rows)


def _seeds(rows: Iterable[Row]) -> tuple[int, ...]:
    """The seeds that finished."""
    return tuple(sorted({seed for row in rows for seed in row.seeds}))


def changed_table(groups: Sequence[Sequence[Row]]) -> Table:
    """Return `changed_runs`, a line each: what was changed, first measures, command."""
    known = {row.metric.name: metric_name(row) for group in groups for row in group}
    measures = list(known)[:MOST_MEASURES]
    lines: list[list[Cell]] = []
    for group in groups:
        first, values = group[0], {row.metric.name: _ours(row) for row in group}
        changes = "<br>".join(f"`{change}`" for change in first.changes)
        if first.apart:
            changes += f"<br>on {first.dataset}"
        numbers = [values.get(name, "") for name in measures]
        lines.append(
            [
                changes,
                *numbers,
                _told(map(kind, group)),
                device_and_hours(first),
                f"`{first.commands[0]}`{other_seeds(first)}",
            ]
        )
    heads = [known[name] for name in measures]
    titles = ("changed", *heads, "verdict", "device and hours", "command")
    return Table(titles, lines, frozenset(heads))


def _links(experiment: str, preset: str, folder: Path) -> str:
    """Links to what the first seed left; of each point of a sweep, where runs lie by points."""
    lines = []
    for point in (folder, *sorted({path.parents[1] for path in folder.glob("*=*/*/*")})):
        seeds = sorted((point / experiment / preset).glob("seed*"), key=lambda p: (len(p.name), p))
        for seed in seeds:
            paths = [path for glob in artefacts() for path in sorted(seed.glob(glob))]
            links = [
                f"[{path.stem}]({quote(path.relative_to(folder).as_posix())})" for path in paths
            ]
            if links:
                name = seed.name if point == folder else f"{point.name}, {seed.name}"
                lines.append(f"- {name}: {', '.join(links)}\n")
                break
    return "".join(lines)
