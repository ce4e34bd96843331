"""Piano rolls: which events are marked and where, and pictures that stay small and the same."""

import jax.numpy as jnp
import matplotlib.figure
import music_compositions
import numpy as np
import pytest

from common.melody import NO_EVENT, NOTE_OFF
from common.plot import LARGEST_BYTES
from tutor.music import piano_roll
from tutor.music.piano_roll import MARKS, draw_piano_roll, find_heights, find_violations
from tutor.music.theory import DEFAULT, score_composition


def marked(events, rule: str) -> list[int]:
    found = find_violations(score_composition(np.array([events])))
    return np.flatnonzero(found[rule][0]).tolist()


@pytest.mark.parametrize(
    ("rule", "events", "times"),
    [
        ("key", [14, 15, 16, 17, 0, 1, 24], [1, 3, 6]),
        ("penalize_repeating", [14] * 8, [5, 6, 7]),
        ("penalize_repeating", [14, 0, 0, 0, 0], [3, 4]),
        ("preferred_intervals", [14, 25, 14, 26, 14, 27], [1, 2, 5]),
        ("leap_up_back", [14, 21, 1, 28, 27], [3]),
        ("penalize_autocorrelation", [14] * 6, []),
        ("penalize_autocorrelation", [14, 16], [1]),
        ("motif", [14, 16, 18, 19] * 5, []),
    ],
)
def test_what_breaks_each_rule(rule, events, times):
    assert marked(events, rule) == times


def test_marks_are_the_negative_parts_of_the_score(pieces, scores):
    found = find_violations(scores)
    assert found.keys() == scores.keys() - {"total"}
    for rule, where in found.items():
        np.testing.assert_array_equal(where, scores[rule] < 0)
        assert where.shape == pieces.shape
    # The released code's rules that can cost something are just those with a mark of their own.
    assert {rule for rule, where in found.items() if where.any()} == MARKS.keys()
    assert len({mark.marker for mark in MARKS.values()}) == len(MARKS)


def test_marks_stand_at_the_latest_note():
    assert find_heights(np.array([NO_EVENT, 14, 1, 0, 16])).tolist() == [60, 60, 60, 60, 62]
    assert find_heights(np.array([NOTE_OFF, NO_EVENT])).tolist() == [60, 60]


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, in place of files."""
    drawn = []

    def keep(path, size, draw):
        figure = matplotlib.figure.Figure(figsize=size)
        draw(figure)
        drawn.append(figure)
        return path

    monkeypatch.setattr(piano_roll, "save_picture", keep)
    return drawn


def marks_of(axes) -> set[tuple]:
    """Each mark of a panel: its shape, time, and (pitch, inches above it), or None at the foot."""
    found = set()
    for line in axes.get_lines():
        if line.get_marker() == "None":  # a bar line
            continue
        pixels = line.get_transform().transform(line.get_xydata())
        for time, (_, y), (_, height) in zip(
            line.get_xdata(), pixels, line.get_xydata(), strict=True
        ):
            place = None
            if height >= 1:
                above = y - axes.transData.transform((0, height))[1]
                place = (int(height), round(above / axes.figure.dpi, 3))
            found.add((line.get_marker(), time - 0.5, place))
    return found


def test_each_panel_has_the_marks_of_its_composition(figures, tmp_path):
    events = np.array([[14, 15, 14, 27, 1, 1], [14, 15, 1, 1, 1, 1], [14, 14, 14, 14, 14, 14]])
    draw_piano_roll(events, tmp_path / "p.png", DEFAULT.without("tonic"))
    scores = score_composition(events, DEFAULT.without("tonic"))
    found = find_violations(scores)
    (figure,) = figures
    assert len(figure.axes) == len(events)
    # 15 and 27 are outside the key, and 27 is more than an octave above 14.
    at_notes = [
        {("X", 1, (61, 0.1)), ("X", 3, (73, 0.1)), ("^", 3, (73, 0.2))},
        {("X", 1, (61, 0.1))},
        {("s", 5, (60, 0.1))},
    ]
    for k, axes in enumerate(figure.axes):
        at_foot = {
            ("|", time, None) for time in np.flatnonzero(found["penalize_autocorrelation"][k])
        }
        assert marks_of(axes) == at_notes[k] | at_foot
        total = f"{np.sum(scores['total'][k]):.1f}".replace("-", "−")
        assert axes.get_title(loc="left") == f"{k + 1}: reward {total}"
    assert found["penalize_autocorrelation"].any()
    legend = [
        (text.get_text(), handle.get_marker(), handle.get_color())
        for text, handle in zip(
            figure.legends[0].get_texts(), figure.legends[0].legend_handles, strict=True
        )
    ]
    assert legend == [
        (f"{mark.text} ({found[rule.name].sum()})", mark.marker, mark.colour)
        for rule in DEFAULT.rules
        if (mark := MARKS.get(rule.name))
    ]


@pytest.mark.parametrize(("length", "apart"), [(32, 4), (128, 16), (256, 16)])
def test_times_on_the_axis_have_room(figures, tmp_path, length, apart):
    events = np.full((1, length), NO_EVENT)
    names = ("total", *(rule.name for rule in DEFAULT.rules))
    scores = {name: np.zeros((1, length)) for name in names}
    draw_piano_roll(events, tmp_path / "p.png", DEFAULT, scores=scores)
    assert figures[0].axes[0].get_xticks().tolist() == list(range(0, length + 1, apart))


def test_notes_begin_in_the_primer_and_sound_on():
    notes = piano_roll._notes_from(-4, [2, 0, 14, 1, 1, 1], np.array([1, 16]))
    assert notes == [(-4, 5, 60), (1, 1, 62)]
    long_held = piano_roll._notes_from(-1, [14, 1, 1], np.array([0]))
    assert long_held == [(-3, 3, 60)]


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_pictures_are_small_even_of_noise(tmp_path, count):
    random = np.random.default_rng(count)
    events = music_compositions.uniform(random, count)
    path = draw_piano_roll(
        events, tmp_path / "new" / "p.png", primer=events[0], title="$ and _", caption="a $"
    )
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert path.stat().st_size < LARGEST_BYTES


@pytest.mark.parametrize("event", [NOTE_OFF, NO_EVENT, 2, 37])
@pytest.mark.filterwarnings("error")
def test_monotonous_pieces_are_drawn(tmp_path, event):
    assert draw_piano_roll(np.full((2, 32), event), tmp_path / "p.png").exists()


def test_the_same_compositions_give_the_same_bytes_whatever_the_users_style(tmp_path):
    events = music_compositions.uniform(np.random.default_rng(0), 2)

    def draw(**options) -> bytes:
        return draw_piano_roll(events, tmp_path / "p.png", **options).read_bytes()

    first = draw(title="t")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        assert draw(title="t") == first
    others = [
        draw(title="u"),
        draw(title="t", caption="c"),
        draw(title="t", first=2),
        draw(title="t", primer=events[0]),
        draw(title="t", params=DEFAULT.without("key")),
    ]
    assert len({first, *others}) == 6


def test_a_rule_of_ones_own_is_marked_too(tmp_path):
    def no_rest(move, params):
        return jnp.where(move.action == NOTE_OFF, -1.0, 0.0)

    events = np.array([[14, 0, 16, 0, 17, 1, 0, 19]])
    params = DEFAULT.with_rule("no_rest", no_rest)
    found = find_violations(score_composition(events, params))
    assert np.flatnonzero(found["no_rest"][0]).tolist() == [1, 3, 6]
    with_rule = draw_piano_roll(events, tmp_path / "1.png", params).read_bytes()
    assert draw_piano_roll(events, tmp_path / "2.png").read_bytes() != with_rule


def test_compositions_that_are_too_long_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at most 32"):
        draw_piano_roll(np.ones((1, 33), int), tmp_path / "p.png")
    assert not list(tmp_path.iterdir())
