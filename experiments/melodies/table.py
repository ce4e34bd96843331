"""Table 1 and Figure 2 of Sequence Tutor: the methods side by side, from committed records."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from common.plot import learning_curves
from common.record import Record
from common.table import Cell, Table, summarize
from experiments.melodies.catalogue import COLUMNS, FIGURES, TABLE_1

NAMES: Mapping[str, str] = {
    "note_rnn": "Note RNN",
    "tutor_melodies_q": "Q",
    "tutor_melodies_psi": "Ψ",
    "tutor_melodies_g": "G",
    "tutor_melodies_rl_only": "RL only",
}
"""Experiment → the head of its columns."""

MEANS = {
    "reward": "mean music-theory reward of an event",
    "log_prior": "mean log p(a&#124;s) of an event",
    "kl_policy_prior": "mean KL(π ‖ p), nats",
    "entropy": "mean entropy of π, nats",
}
"""Measures of ours below the paper's statistics."""

PRESETS = ("paper", "vectorised")


def section(records: Iterable[Record], folder: Path) -> list[str]:
    """Write Table 1 in Markdown for each preset with tuned models, and links to its pictures."""
    parts = []
    for preset in PRESETS:
        found = _by_experiment(records, preset)
        if not any(name.startswith("tutor_melodies_") for name in found):
            continue
        parts += [f"## Sequence Tutor, Table 1: preset {preset}\n", _table(found).markdown()]
        parts.append(
            "Percentages are of notes (events) or compositions, as the row says. *paper*: as "
            "printed, from models of data never released. *ours*: one value a seed, or from three "
            "seeds on their mean with its 95 % interval (percentile bootstrap over seeds). "
            "Intervals over compositions are in the records (`composed_low`, `composed_high`). "
            "The paper prints 17 for G's autocorrelation of lag 3; 0.17 is meant, we think.\n"
        )
        links = [
            f"[{label}]({path.name})"
            for name, label in FIGURES.items()
            if (path := _figure(folder, name, preset)).exists()
        ]
        parts += [f"Figure 2 of the paper, ours: {', '.join(links)}\n"] if links else []
    return parts


def draw_figures(records: Iterable[Record], folder: Path) -> list[Path]:
    """Draw the paper's Figure 2 for each preset: the course of reward and log p(a|s), each
    method's mean over seeds; return the files."""
    drawn = []
    for preset in PRESETS:
        found = _by_experiment(records, preset)
        tuned = {name: group for name, group in found.items() if name != "note_rnn"}
        if not tuned:
            continue
        for name, label in FIGURES.items():
            drawn.append(
                learning_curves(
                    {
                        NAMES[one]: _mean_curve(group, f"eval/{name}")
                        for one, group in tuned.items()
                    },
                    _figure(folder, name, preset),
                    x_label="environment steps",
                    y_label=f"{label}, mean over events",
                    title=f"Tuning the Note RNN, preset {preset}",
                )
            )
    return drawn


def _figure(folder: Path, name: str, preset: str) -> Path:
    return folder / f"tutor_melodies_{preset}_{name}.png"


def _by_experiment(records: Iterable[Record], preset: str) -> dict[str, list[Record]]:
    """The finished records of a preset without overrides, in the order of NAMES; the Note RNN is
    that of its preset `paper`, from which both are tuned."""
    done = [one for one in records if one.status == "done" and not one.overrides]
    found = {}
    for name in NAMES:
        wanted = preset if name != "note_rnn" else "paper"
        group = [one for one in done if one.experiment == name and one.preset == wanted]
        if group:
            found[name] = sorted(group, key=lambda record: record.seed)
    return found


def _table(found: Mapping[str, Sequence[Record]]) -> Table:
    titles = ["statistic"]
    for name in found:
        titles += [f"{NAMES[name]}, paper"] if name in COLUMNS else []
        titles += [f"{NAMES[name]}, ours"]
    lines: list[list[Cell]] = []
    for statistic in (*TABLE_1, *MEANS):
        line: list[Cell] = [MEANS.get(statistic, statistic.replace("_", " "))]
        for name, group in found.items():
            if name in COLUMNS:
                printed = TABLE_1.get(statistic)
                line.append("" if printed is None else f"{printed[COLUMNS[name]]:g}")
            line.append(_ours(group, f"composed/{statistic}"))
        lines.append(line)
    return Table(tuple(titles), lines, frozenset(titles[1:]))


def _ours(group: Sequence[Record], metric: str) -> str:
    values = [record.metrics[metric] for record in group if metric in record.metrics]
    if not values:
        return ""
    summary = summarize(values)
    if summary.low is None or summary.high is None:
        return ", ".join(f"{value:.3g}" for value in summary.values)
    return f"{summary.mean:.3g} [{summary.low:.3g}, {summary.high:.3g}]"


def _mean_curve(group: Sequence[Record], metric: str) -> list[tuple[float, float]]:
    """The mean over seeds at each step that all of them have."""
    each = [{row["step"]: row[metric] for row in record.curve if metric in row} for record in group]
    common = sorted(set.intersection(*(set(one) for one in each)))
    return [(step, sum(one[step] for one in each) / len(each)) for step in common]
