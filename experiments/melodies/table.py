"""Table 1 and Figure 2 of Sequence Tutor: the methods side by side, from committed records."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from common.metric import MetricName
from common.plot import learning_curves
from common.record import Record
from common.table import LEAST_FOR_INTERVAL, Cell, Summary, Table
from experiments.melodies.catalogue import COLUMNS, FIGURES, TABLE_1, figure_label
from experiments.registry import Report, find
from experiments.results import alike
from experiments.results.alike import as_preset, on_one_data
from experiments.results.cells import number, spread
from experiments.results.paper_table import ABSENT, Asked, Line, PaperTable
from tutor.music.metric import composed

NAMES: Mapping[str, str] = {
    "note_rnn": "Note RNN",
    "tutor_melodies_q": "Q",
    "tutor_melodies_psi": "Ψ",
    "tutor_melodies_g": "G",
    "tutor_melodies_rl_only": "RL only",
}
"""Experiment → the head of its columns."""

KL = "kl_policy_prior"
MEANS = {
    "reward": "mean music-theory reward of an event",
    "log_prior": "mean log p(a&#124;s) of an event",
    KL: "mean KL(π ‖ p), nats",
    "entropy": "mean entropy of π, nats",
}
"""Measures of ours below the paper's statistics."""

MOVES = {
    "log_p_tonic": "mean log p(tonic&#124;primer) of the prior, nats",
    "note_density": "events that begin a note, %",
    "on_beat": "notes on the beat, %",
    "mean_interval": "mean interval, semitones",
    "leaps_over_fifth": "intervals over a fifth, %",
}
"""What the paper hasn't: the prior's chances of a tonic, and how melodies move."""

TUNED = frozenset(NAMES) - {"note_rnn"}
"""Experiments that tune a Note RNN."""

OF_PRIOR = frozenset({"log_p_tonic"})
"""What tuning leaves as it is: told of the Note RNN alone."""

DATA, NOTE_RNN = "melody_data", "note_rnn"
CHECKSUM = NAMES[NOTE_RNN]
"""Among the checksums of what a tuning learned from: its Note RNN's."""
NOTE_RNN_SEED = "note_rnn.seed"


@dataclass(frozen=True)
class Setting:
    """Runs that stand in one table."""

    preset: str
    """Of the tutors."""
    note_rnn: str
    """The preset of the Note RNN that they tune."""
    data: str
    """The preset of `melody_data` that has its data."""
    title: str

    def label(self, name: str) -> str:
        """Say what the picture of Figure 2 of a metric shows."""
        config = find("tutor_melodies_q").preset(self.preset).config
        return figure_label(name, config.original_quirks)


SETTINGS = (
    Setting("paper", "paper", "own_key", "as published"),
    Setting("paper_beginnings", "paper_beginnings", "own_key", "as published, beginnings learned"),
    Setting(
        "adagrad",
        "adagrad",
        "own_key",
        "as published, but the Note RNN learned by Adagrad and from summed losses, as in the only "
        "public trainer with the paper's numbers",
    ),
    Setting(
        "swapped_stretched",
        "swapped_stretched",
        "swapped_stretched",
        "a Note RNN of 4,000 updates, rests and holds swapped, tunes in C and slower in shares "
        "fitted by us",
    ),
    Setting(
        "in_c",
        "cpu",
        "in_c",
        "a Note RNN of 4,000 updates, tunes in C, beginnings learned, learning rate 0.01",
    ),
)
ANYWHERE = "anywhere"
SPLITS = {"start": "data, from the start", ANYWHERE: "data, from anywhere"}


PICTURE = "tutor_melodies_table_1.png"
"""What the report shows first, where it is there."""


def tables() -> list[PaperTable]:
    """Return Table 1 as printed, a column a method."""
    compositions = find(NOTE_RNN).preset("paper").config.final_compositions
    return [
        PaperTable(
            title="Sequence Tutor, Table 1",
            caption="Percentages are of notes (events) or compositions, as the line says; the "
            f"autocorrelations are means. Ours are from {compositions:,} compositions and other "
            "data: the "
            "paper's were never released. Why lines differ, and what moves them: "
            "[docs/table_1.md](../docs/table_1.md).",
            labels=("statistic",),
            groups=tuple(NAMES[name] for name in COLUMNS),
            lines=tuple(
                Line(
                    (words_of(statistic),),
                    tuple((Asked(name, f"composed/{statistic}"),) for name in COLUMNS),
                )
                for statistic in TABLE_1
            ),
            together=True,
        )
    ]


def findings(records: Iterable[Record]) -> list[str]:
    """Return what the results open with about Table 1."""
    from experiments.melodies.headline import headline  # which reads this module

    return headline(records)


def cautions(records: Iterable[Record]) -> list[str]:
    """Return what the intervals of Table 1 leave out."""
    preset = SETTINGS[0].preset
    tuned = as_preset(one for one in records if one.experiment in TUNED and one.preset == preset)
    if len(tuned) < LEAST_FOR_INTERVAL:
        return []
    several = len(note_rnns(tuned))
    if several > 1:
        return [
            f"The tunings in Table 1 tune {several} Note RNNs: methods may differ because these do."
        ]
    return [
        "All tunings in Table 1 tune one Note RNN: how Note RNNs differ is not in their intervals."
    ]


def note_rnns(records: Iterable[Record]) -> frozenset[str]:
    """Return the checksums of the Note RNNs that runs tuned."""
    return frozenset(checksum for one in records if (checksum := _note_rnn(one)))


def _note_rnn(record: Record) -> str:
    """The checksum of the Note RNN that a record's run tuned; "" where it tuned none."""
    return next((one.checksums[CHECKSUM] for one in record.data if CHECKSUM in one.checksums), "")


def section(records: Iterable[Record], folder: Path) -> list[str]:
    """Write in Markdown why lines of Table 1 differ, then the table for each setting with tuned
    models, with links to its pictures, then that of both cores."""
    from experiments.melodies import cores, headline, pairs  # which read this module

    records = list(records)
    parts, why = [], headline.reasons(records)
    legend: list[str] = []
    for setting in SETTINGS:
        found = by_experiment(records, setting)
        if not any(name in TUNED for name in found):
            continue
        parts.append(f"### Table 1 and Figure 2, all that was measured: preset {setting.preset}\n")
        parts += [f"Here: {setting.title}.\n", table_1(found).markdown()]
        compared = pairs.between_methods(found)
        parts += compared
        legend = [pairs.READING] if compared else legend
        links = [
            f"[{setting.label(name)}]({path.name})"
            for name in FIGURES
            if (path := _figure(folder, name, setting.preset)).exists()
        ]
        parts += [f"Figure 2 of the paper, ours: {', '.join(links)}\n"] if links else []
    return [*why, *parts, CAPTION, *legend, *cores.section(records)] if parts else []


CAPTION = (
    "In the tables of Table 1, percentages are of notes (events) or compositions, as the row says. "
    "*data*: windows of 32 events of held-out melodies, with the interval over the windows of one "
    "drawing; no model trains on them, but checkpoints are chosen by some. Of models: the paper's "
    "number, where it has one, above ours, which are one value a seed, or from "
    "three seeds on their mean with its 95 % interval (percentile bootstrap over seeds). Where "
    "several Note RNNs were tuned, each counts once, by the mean of its tunings. Intervals over "
    "compositions are in the records (`composed_low`, `composed_high`). Records from before a row "
    "was measured leave it empty. The paper prints 17 for G's autocorrelation of lag 3; 0.17 is "
    "meant, we think.\n"
)


def draw_figures(records: Iterable[Record], folder: Path) -> list[Path]:
    """Draw Table 1, and the paper's Figure 2 for each preset: the course of reward and log p(a|s),
    each method's mean over seeds; return the files."""
    from experiments.melodies.picture import dots, draw  # which reads this module

    records = list(records)
    shown = dots(records)
    drawn = [draw(shown, folder / PICTURE)] if shown else []
    for setting in SETTINGS:
        for name, curves in figure_2(records, setting).items():
            label = setting.label(name)
            drawn.append(
                learning_curves(
                    curves,
                    _figure(folder, name, setting.preset),
                    x_label="environment steps",
                    y_label=label,
                    title=f"Tuning the Note RNN, preset {setting.preset}",
                    description=described(label, curves),
                )
            )
    return drawn


Curves = Mapping[str, Sequence[tuple[float, float]]]
"""Label → points."""


def figure_2(records: Iterable[Record], setting: Setting) -> dict[str, Curves]:
    """Return by metric what each method's mean over seeds was on the way; empty where none was
    tuned."""
    tuned = {
        one: group
        for one, group in by_experiment(records, setting).items()
        if one.startswith("tutor_melodies_")
    }
    return {
        name: {NAMES[one]: _mean_curve(group, f"eval/{name}") for one, group in tuned.items()}
        for name in FIGURES
        if tuned
    }


def described(label: str, curves: Curves) -> str:
    """Say what curves show, and write them out, a line each."""
    written_out = (
        f"{name}: {', '.join(f'{y:.4g} at {x:g}' for x, y in points)}"
        for name, points in curves.items()
    )
    return "\n".join([label, *written_out])


def _figure(folder: Path, name: str, preset: str) -> Path:
    return folder / f"tutor_melodies_{preset}_{name}.png"


def by_experiment(records: Iterable[Record], setting: Setting) -> dict[str, list[Record]]:
    """Return the finished records of a setting, in the order of NAMES, the data first.

    Their settings are the preset's as it is now, but for the seed of the Note RNN, and the data
    the same for all. Of the data there is one: another seed draws other windows of the same tunes.
    """
    presets = dict.fromkeys(NAMES, setting.preset)
    presets |= {DATA: setting.data, NOTE_RNN: setting.note_rnn}
    asked = [one for one in records if presets.get(one.experiment) == one.preset]
    done = on_one_data(as_preset(asked, free=(NOTE_RNN_SEED,)), models=(CHECKSUM,))
    found = {}
    for name in (DATA, *NAMES):
        group = [one for one in done if one.experiment == name]
        if group:
            ranked = sorted(group, key=lambda record: record.seed)
            found[name] = ranked[:1] if name == DATA else ranked
    return found


def table_1(found: Mapping[str, Sequence[Record]]) -> Table:
    """Make Table 1 of the records of a setting, of what any of them measured."""
    titles = ["statistic"]
    for name in found:
        if name == DATA:
            titles.append("<br>".join(SPLITS.values()))
            continue
        titles.append(NAMES[name])
    lines: list[list[Cell]] = []
    for statistic in (*TABLE_1, *MEANS, *MOVES):
        line: list[Cell] = [words_of(statistic)]
        for name, group in found.items():
            if name == DATA:
                each = [value_of(group, f"{split}/{statistic}") for split in SPLITS]
                line.append("<br>".join(one or ABSENT for one in each) if any(each) else "")
                continue
            told = name == NOTE_RNN or statistic not in OF_PRIOR
            value = value_of(group, f"composed/{statistic}") if told else ""
            printed = printed_of(name, statistic)
            line.append(f"{printed}<br>{value or ABSENT}" if printed else value)
        if any(line[1:]):
            lines.append(line)
    return Table(tuple(titles), lines, frozenset(titles[1:]))


def words_of(statistic: str) -> str:
    """Name what is measured of compositions, windows of the data or models as all tables do."""
    if statistic in TABLE_1:
        return composed(statistic).measure
    return {**MEANS, **MOVES}.get(statistic, statistic.replace("_", " "))


def printed_of(name: str, statistic: str) -> str:
    """Write what the paper prints of an experiment's column; "" where it prints nothing."""
    if name not in COLUMNS or statistic not in TABLE_1:
        return ""
    return TABLE_1[statistic][COLUMNS[name]]


def value_of(group: Sequence[Record], metric: str) -> str:
    """Write a metric's mean over records with its interval, as `summary_of` gives it."""
    found = summary_of(group, metric)
    if found is None:
        return ""
    tuned = note_rnns(record for record in group if metric in record.metrics)
    pooled = f" ({len(tuned)} Note RNNs)" if len(tuned) > 1 else ""
    return written(found, metric) + pooled


def summary_of(group: Sequence[Record], metric: str) -> Summary | None:
    """Return a metric's mean over tunings or, where several Note RNNs were tuned, over those."""
    return alike.summary_of(group, metric, means(group, metric))


def written(found: Summary, metric: str) -> str:
    """Write a mean with its interval, single values where there is none; of a statistic of Table 1
    with its decimals."""
    statistic = MetricName.parse(metric).measure
    if statistic in TABLE_1:
        return spread(found, composed(statistic))
    if found.low is None or found.high is None:
        return ", ".join(f"{value:.3g}" for value in found.values)
    return f"{found.mean:.3g} [{found.low:.3g}, {found.high:.3g}]"


def number_of(value: float, statistic: str, sign: str = "") -> str:
    """Write a single value of a statistic as `written` does; `sign` is "+" to show it always."""
    if statistic in TABLE_1:
        return number(value, composed(statistic), sign)
    return f"{value:{sign}.3g}"


def means(group: Sequence[Record], metric: str) -> list[float]:
    """Return a metric of each record; of each Note RNN that was tuned the mean, where there are
    several, or where the metric is the Note RNN's own (`OF_PRIOR`)."""
    by_note_rnn: dict[str, list[float]] = {}
    for record in group:
        if metric in record.metrics:
            by_note_rnn.setdefault(_note_rnn(record), []).append(record.metrics[metric])
    one_each = MetricName.parse(metric).measure in OF_PRIOR and any(by_note_rnn)
    if len(by_note_rnn) > 1 or one_each:
        return [fmean(values) for values in by_note_rnn.values()]
    return [value for values in by_note_rnn.values() for value in values]


def _mean_curve(group: Sequence[Record], metric: str) -> list[tuple[float, float]]:
    """The mean over seeds at each step that all of them have."""
    each = [{row["step"]: row[metric] for row in record.curve if metric in row} for record in group]
    common = sorted(set.intersection(*(set(one) for one in each)))
    return [(step, sum(one[step] for one in each) / len(each)) for step in common]


REPORT = Report(
    tables=tables,
    findings=findings,
    cautions=cautions,
    section=section,
    draw_figures=draw_figures,
    picture=PICTURE,
)
