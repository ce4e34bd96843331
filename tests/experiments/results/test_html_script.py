"""report.html under a reader's hands: curves read, commands copied, melodies played, Tab."""

import itertools
import json
from pathlib import Path

import pytest
from browser_case import NEEDS_CHROMIUM, Browser, browser
from page_case import make_runs
from report_case import words

from experiments import registry
from experiments.results.collect import finished_runs
from experiments.results.html.page import write_page

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]

TOLD = "document.querySelector('.chart output').textContent"
CURSOR = "document.querySelector('.cursor').getBoundingClientRect().left"
BUTTON = "document.querySelector('[data-copy]')"
COMMAND = "python -m experiments run words --preset paper --seed 0"
CLIPBOARD = ("clipboardReadWrite", "clipboardSanitizedWrite")
"""Permissions to read and to write it; what isn't granted is denied."""
STOPS = "a[href], button, summary, input:not([hidden]), audio"
"""What a reader comes to by Tab."""

FOCUSED = f"""
(() => {{
  const one = document.activeElement;
  if (one === document.body) return [-1, "", true, true];
  const box = one.getBoundingClientRect(), style = getComputedStyle(one);
  return [
    [...document.querySelectorAll({json.dumps(STOPS)})].indexOf(one),
    one.outerHTML.slice(0, 100),
    box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.left < innerWidth,
    style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
  ];
}})()
"""
"""Place among all stops, the element, whether it is in view, whether it is outlined."""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        family = registry.Family((words(),), artefacts=("*.mid",))
        patch.setattr(registry, "families", lambda: [family])
        found, _ = finished_runs(make_runs(root / "runs"))
        write_page(found, {"words": words()}, root / "report.html")
    return root / "report.html"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture
def opened(chromium, page) -> Browser:
    chromium.open(page)
    return chromium


def middle(chromium: Browser, element: str) -> tuple[float, float, float, float]:
    """Scroll an element into view and return its left, its width and its middle."""
    return chromium.read(
        f"(() => {{ const one = {element}; one.scrollIntoView({{block: 'center'}}); "
        "const box = one.getBoundingClientRect(); return [box.left, box.width, "
        "box.left + box.width / 2, box.top + box.height / 2]; })()"
    )


def readings(chromium: Browser) -> list[tuple[float, str]]:
    return json.loads(chromium.read("document.querySelector('.chart').dataset.readings"))


def clicked(chromium: Browser) -> list[str]:
    """Click the first button to copy; return its answer, what is said aloud, what is selected."""
    _, _, *place = middle(chromium, BUTTON)
    chromium.click(*place)
    return chromium.read(
        "new Promise((done) => { const said = document.getElementById('said'); "
        f"const answer = () => done([{BUTTON}.firstChild.textContent, said.textContent, "
        "String(getSelection())]); "
        "if (said.textContent) answer(); "
        "new MutationObserver(answer).observe(said, {childList: true}); "
        "setTimeout(answer, 5000); })"
    )


def test_the_pointer_reads_the_nearest_step(opened):
    left, width, _, height = middle(opened, "document.querySelector('.plot')")
    (first, words_first), (second, words_second), (last, words_last) = readings(opened)
    assert opened.read(TOLD) == words_last
    for share, at, told in (
        (0.0, first, words_first),
        (0.4 * first + 0.6 * second, second, words_second),
        (0.6 * first + 0.4 * second, first, words_first),
        (0.99, last, words_last),
    ):
        opened.move(left + share * width, height)
        assert opened.read(TOLD) == told
        assert opened.read(CURSOR) == pytest.approx(left + at * width, abs=1)
        assert opened.read("document.querySelector('.chart input').ariaValueText") == told


def test_the_keyboard_reads_step_by_step(opened):
    told = [one for _, one in readings(opened)]
    opened.read("document.querySelector('.chart input').focus()")
    for key, expected in (("ArrowLeft", told[1]), ("ArrowLeft", told[0]), ("End", told[2])):
        opened.press(key)
        assert opened.read(TOLD) == expected
        assert opened.read("document.querySelector('.chart input').ariaValueText") == expected


def test_a_click_copies_the_command_and_says_so(opened):
    opened.call("Browser.grantPermissions", permissions=list(CLIPBOARD))
    assert clicked(opened)[:2] == ["Copied", "Copied."]
    assert opened.read("navigator.clipboard.readText()") == COMMAND


def test_what_may_not_be_copied_is_selected(opened):
    opened.call("Browser.grantPermissions", permissions=[])
    assert clicked(opened) == ["Selected", "Selected; copy it with the keyboard.", COMMAND]


def test_melodies_play(opened):
    duration, controls, label = opened.read(
        "new Promise((done, fail) => { const one = document.querySelector('audio'); "
        "one.onerror = () => fail(one.error.message); "
        "one.onloadedmetadata = () => done([one.duration, one.controls, one.ariaLabel]); "
        "one.load(); })"
    )
    assert 1 < duration <= 16
    assert controls
    assert label == "composition1 of words, paper"
    _, width, _, _ = middle(opened, "document.querySelector('audio')")
    assert width > 100


def test_tab_reaches_everything_in_order_and_shows_where_it_is(opened):
    everything = opened.read(
        f"[...document.querySelectorAll({json.dumps(STOPS)})]"
        ".flatMap((one, place) => one.checkVisibility() ? [place] : [])"
    )
    seen = []
    for _ in range(20 * len(everything)):
        opened.press("Tab")
        place, element, in_view, outlined = opened.read(FOCUSED)
        if place == -1 and seen:
            break
        seen.append(place)
        assert in_view, element
        assert outlined or element.startswith("<audio"), element  # its controls are outlined
    stops = [place for place, _ in itertools.groupby(seen)]
    assert stops == everything


@pytest.mark.parametrize(("width", "unfolded"), [(390, False), (1280, True)])
def test_contents_are_folded_where_they_would_stand_above(width, unfolded, chromium, page):
    chromium.open(page, width)
    assert chromium.read("document.querySelector('.contents').open") == unfolded
