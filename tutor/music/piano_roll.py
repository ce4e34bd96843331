"""Pictures of compositions: piano rolls, with the rules of music theory that they break."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pretty_midi

from common.melody import BAR, FIRST_NOTE, OCTAVE, PITCH_OFFSET, Events, Note, decode_events
from common.plot import COLOURS, FAINT, INK, plain, save_picture
from tutor.music.key import Key
from tutor.music.theory import DEFAULT, MusicParams, score_composition

BEAT = 4
"""Sixteenths."""
MOST_NAMED_BEATS = 20
"""Beats of a panel whose sixteenths have room on the axis; of longer ones bars are named."""
SHOWN_PRIMER = 16
"""Sixteenths of a primer that are drawn: its last ones."""
ONE_WIDE, TWO_WIDE, PANEL_HEIGHT = 10.0, 13.0, 2.45  # in units of 100 dots, as all lengths below
HEAD, FOOT = 0.72, 0.55
LEFT, RIGHT, TOP, BOTTOM = 0.5, 0.2, 0.36, 0.3  # around the axes in a panel
MARK_STEP = 0.1  # from a note's middle up to its first mark, and from mark to mark
ABOVE, BENEATH = 0.26, 0.17  # the notes, room for marks, as a share of their range
LEAST_SEMITONES = 14  # on the pitch axis
MANY_SEMITONES = 18  # from here on, only tonic and fifth are named
THINNEST = 1 / 26  # of a bar, as a share of the pitch axis
PRIMED, PLAYED, BLACK_KEY = "#B5B5B5", "#8CC7EE", "#EFEFEF"


class Mark(NamedTuple):
    """How a violation is drawn."""

    text: str
    """What the legend calls it; the rule's name if empty."""
    marker: Any
    """Matplotlib's name of the shape."""
    colour: str
    """Of the shape, #RRGGBB."""


MARKS = {
    "key": Mark("outside the key", "X", COLOURS[1]),
    "penalize_repeating": Mark("repeated too often", "s", INK),
    "preferred_intervals": Mark("seventh or past an octave", "^", COLOURS[2]),
    "leap_up_back": Mark("leap upon leap", "D", COLOURS[3]),
    "penalize_autocorrelation": Mark("autocorrelated", "|", COLOURS[4]),
}
"""The released code's rules that can cost something."""
OTHER = Mark("", "P", COLOURS[0])
"""The mark of any other rule; the legend has its name."""
AT_THE_FOOT = "penalize_autocorrelation"
"""This rule is about all events so far, so its marks stand beneath the notes, not at one note."""


def find_violations(scores: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Find which events break which rule.

    Args:
      scores: rule → rewards [..., T], as from `score_composition`; "total" is no rule.

    Returns:
      Rule → bool [..., T], true where its reward is negative.
    """
    return {name: np.asarray(rewards) < 0 for name, rewards in scores.items() if name != "total"}


def find_heights(events: Events, params: MusicParams = DEFAULT) -> np.ndarray:
    """Find where on the pitch axis the mark of each event belongs.

    Args:
      events: int [T].
      params: whose tonic stands in where there is no note at all.

    Returns:
      MIDI pitches, int [T]: that of the latest note, this event included; before any note, that
      of the first.
    """
    notes = np.asarray(events)[np.asarray(events) >= FIRST_NOTE]
    latest = notes[0] if len(notes) else params.key.tonic
    heights = []
    for event in events:
        latest = event if event >= FIRST_NOTE else latest
        heights.append(latest + PITCH_OFFSET)
    return np.array(heights)


def draw_piano_roll(
    events: Events,
    path: Path,
    params: MusicParams = DEFAULT,
    *,
    primer: Events | None = None,
    title: str = "",
    caption: str = "",
    first: int = 1,
    scores: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Draw compositions into a PNG file, a panel each.

    Args:
      events: int [N, T], N at least 1, T at most `params.length`.
      path: the file, overwritten; its folder is created.
      params: the reward whose negative parts are marked, and whose total each panel's title says.
      primer: int [P], what came before all of them; its end is drawn in grey before 0.
      title: a line above the picture.
      caption: a line beneath it.
      first: the first composition's number.
      scores: parts of the reward [N, T] and "total", where the compositions are longer than
        `params.length` and were scored in some other way.

    Returns:
      The file's path.

    Raises:
      DataError: the picture would exceed common.plot.LARGEST_BYTES.
      TypeError: the events aren't integers.
      ValueError: there are too many, or one is outside 0..37.
    """
    if scores is None:
        scores = jax.device_get(score_composition(events, params))
    violations = find_violations({rule.name: scores[rule.name] for rule in params.rules})
    lead = [] if primer is None else list(primer)
    shown = min(len(lead), SHOWN_PRIMER)
    notes = [_notes_from(-shown, lead, composition) for composition in events]
    columns = 1 if len(events) == 1 else 2
    rows = -(-len(events) // columns)
    width, height = TWO_WIDE if columns == 2 else ONE_WIDE, HEAD + rows * PANEL_HEIGHT + FOOT
    low, high = _pitch_range(notes, params)

    def draw(figure: Any) -> None:
        _head(figure, title, violations)
        figure.text(LEFT / width, 0.12 / height, plain(caption), fontsize=9, color="#555555")
        for k, composition in enumerate(events):
            axes = figure.add_axes(_place(k, columns, width, height))
            total = f"{np.sum(scores['total'][k]):.1f}".replace("-", "−")
            axes.set_title(f"{first + k}: reward {total}", loc="left", fontsize=10.5, color=INK)
            axes.set_xlim(-shown, len(composition))
            if k + columns >= len(events):
                axes.set_xlabel("sixteenths", fontsize=9.5, color=INK, labelpad=2)
            _draw_grid(axes, low, high, params.key)
            _draw_notes(axes, notes[k])
            broken = {name: where[k] for name, where in violations.items()}
            _draw_marks(axes, broken, find_heights(composition, params))

    return save_picture(path, (width, height), draw)


def _place(k: int, columns: int, width: float, height: float) -> tuple[float, float, float, float]:
    """Return left, bottom, width and height of the k-th panel's axes, as shares of the picture."""
    row, column = divmod(k, columns)
    return (
        (column / columns) + LEFT / width,
        1 - (HEAD + (row + 1) * PANEL_HEIGHT - BOTTOM) / height,
        1 / columns - (LEFT + RIGHT) / width,
        (PANEL_HEIGHT - TOP - BOTTOM) / height,
    )


def _notes_from(start: int, primer: list[int], composition: Events) -> list[Note]:
    """Return the notes that sound at `start` or later, where the composition begins at 0."""
    notes = decode_events([*primer, *composition])
    moved = [note._replace(start=note.start - len(primer)) for note in notes]
    return [note for note in moved if note.end > start]


def _head(figure: Any, title: str, violations: Mapping[str, np.ndarray]) -> None:
    """Write the title, and beneath it the mark of each rule and how often it is broken."""
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    left = LEFT / width
    figure.text(left, 1 - 0.3 / height, plain(title), fontsize=13.5, color=INK)
    handles = []
    for name, where in violations.items():
        if name in MARKS or where.any():
            mark = MARKS.get(name, OTHER)
            label = f"{plain(mark.text or name)} ({np.sum(where)})"
            handles.append(Line2D([], [], label=label, **_marker_style(mark)))
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(left, 1 - 0.44 / height),
        borderpad=0,
        borderaxespad=0,
        ncols=5,
        frameon=False,
        fontsize=9.5,
        handlelength=1,
        handletextpad=0.4,
        columnspacing=1.4,
        labelcolor=INK,
    )


def _marker_style(mark: Mark) -> dict[str, Any]:
    """Return Matplotlib's settings of a mark."""
    edge = mark.colour if mark.marker == "|" else "white"
    return {
        "linestyle": "none",
        "marker": mark.marker,
        "color": mark.colour,
        "markersize": 7,
        "markeredgecolor": edge,
        "markeredgewidth": 1.6 if mark.marker == "|" else 0.6,
    }


def _pitch_range(notes: list[list[Note]], params: MusicParams) -> tuple[int, int]:
    """Return lowest and highest pitch of the picture, the same for all panels."""
    pitches = [note.pitch for line in notes for note in line]
    pitches = pitches or [params.key.tonic + PITCH_OFFSET]
    low, high = min(pitches), max(pitches)
    spare = max(LEAST_SEMITONES - (high - low), 0)
    return low - spare // 2, high + spare - spare // 2


def _named_degrees(key: Key, semitones: int) -> set[int]:
    """Choose the degrees that can be named on an axis of so many semitones without crowding."""
    if semitones >= MANY_SEMITONES:
        return {0, key.fifth}
    named = [0]
    for degree in sorted(key.scale):
        if degree >= named[-1] + 2 and degree <= OCTAVE - 2:
            named.append(degree)
    return set(named)


def _draw_grid(axes: Any, low: int, high: int, key: Key) -> None:
    """Shade the pitches outside the key, name pitches, draw bars and beats."""
    degrees = {pitch: key.degree(pitch - PITCH_OFFSET) for pitch in range(low, high + 1)}
    for pitch, degree in degrees.items():
        if degree not in key.scale:
            axes.axhspan(pitch - 0.5, pitch + 0.5, color=BLACK_KEY, linewidth=0, zorder=0)
    named = _named_degrees(key, high - low)
    ticks = [pitch for pitch, degree in degrees.items() if degree in named]
    axes.set_yticks(ticks, [pretty_midi.note_number_to_name(pitch) for pitch in ticks])
    axes.set_ylim(low - 0.5 - BENEATH * (high - low), high + 0.5 + ABOVE * (high - low))
    start, end = map(round, axes.get_xlim())
    beats = [t for t in range(start, end + 1) if t % BEAT == 0]
    axes.set_xticks(beats if len(beats) <= MOST_NAMED_BEATS else [t for t in beats if t % BAR == 0])
    for t in beats:
        colour, width = ("#888888", 1.1) if t % BAR == 0 else (FAINT, 0.8)
        axes.axvline(t, color=colour, linewidth=width, zorder=1)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
    axes.tick_params(colors="#555555", labelsize=8, length=0)


def _draw_notes(axes: Any, notes: list[Note]) -> None:
    """Draw notes as bars, grey before 0."""
    low, high = axes.get_ylim()
    thick = max(1, THINNEST * (high - low))
    before = [(note.start, min(note.end, 0), note.pitch) for note in notes if note.start < 0]
    after = [(max(note.start, 0), note.end, note.pitch) for note in notes if note.end > 0]
    for bars, colour in ((before, PRIMED), (after, PLAYED)):
        left, right, pitch = np.array(bars).reshape(-1, 3).T
        axes.barh(
            pitch,
            right - left,
            left=left,
            height=thick,
            color=colour,
            edgecolor="white",
            linewidth=0.6,
            zorder=2,
        )
    # A stroke where a note begins tells a struck note from a held one.
    axes.vlines(
        [note.start + 0.08 for note in notes],
        [note.pitch - thick / 2 for note in notes],
        [note.pitch + thick / 2 for note in notes],
        color=["#777777" if note.start < 0 else COLOURS[0] for note in notes],
        linewidth=2,
        zorder=3,
    )


def _draw_marks(axes: Any, broken: Mapping[str, np.ndarray], heights: np.ndarray) -> None:
    """Put the marks of each event above its note, or beneath all notes: see AT_THE_FOOT."""
    from matplotlib.transforms import ScaledTranslation

    inches = axes.figure.dpi_scale_trans
    before = np.zeros(len(heights), int)
    for name, where in broken.items():
        style = _marker_style(MARKS.get(name, OTHER))
        if name == AT_THE_FOOT:
            times = np.flatnonzero(where)
            foot = np.full(len(times), 0.05)
            axes.plot(times + 0.5, foot, transform=axes.get_xaxis_transform(), zorder=4, **style)
            continue
        for level in np.unique(before[where]):
            times = np.flatnonzero(where & (before == level))
            up = axes.transData + ScaledTranslation(0, (level + 1) * MARK_STEP, inches)
            axes.plot(times + 0.5, heights[times], transform=up, zorder=4, **style)
        before += where
