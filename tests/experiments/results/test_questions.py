"""Five questions of a reader, answered in a browser: on the first screen, or one link away."""

import importlib.resources
import re
from pathlib import Path
from typing import Any

import pytest
from browser_case import NEEDS_CHROMIUM, Browser, browser

from experiments.cli import main

RESULTS = Path(__file__).parents[3] / "results"
FIRST = "first screen"

READER = """
(async () => {
  const settled = () => new Promise((done) => setTimeout(done, 100));
  const seen = (box) => box.width && box.height && box.bottom > 0 && box.top < innerHeight
    && box.right > 0 && box.left < innerWidth;
  const screen = () => {
    const words = [], range = document.createRange();
    const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (nodes.nextNode()) {
      const node = nodes.currentNode;
      range.selectNodeContents(node);
      const boxes = [...range.getClientRects()];
      if (!node.parentElement.checkVisibility() || !boxes.some(seen)) continue;
      for (const word of node.textContent.matchAll(/\\S+/g)) {
        range.setStart(node, word.index);
        range.setEnd(node, word.index + word[0].length);
        if ([...range.getClientRects()].some(seen)) words.push(word[0]);
      }
    }
    return words.join(" ");
  };
  await settled();
  const screens = {[first]: screen()};
  const links = [...document.querySelectorAll("a[href]")];
  for (const link of links.filter((one) => seen(one.getBoundingClientRect()))) {
    link.click();
    await settled();
    screens[link.textContent.trim()] = screen();
  }
  return screens;
})()
"""
"""Reads what is in view at first, and after a click on each link that is in view at first."""

MEASURE = """
[document.documentElement.scrollWidth, [...document.querySelectorAll("body *")].filter((one) => {
  const box = one.getBoundingClientRect();
  return box.width && box.right > innerWidth && one.checkVisibility();
}).map((one) => one.outerHTML.slice(0, 80)).slice(0, 5)]
"""
"""How wide a page is, and what of it is too wide for the window."""

AUDIT = """
axe.run(document, {resultTypes: ["violations"]}).then((found) => [
  found.passes.length,
  found.violations.map((one) => [one.id, one.nodes.slice(0, 3).map((node) => node.html)]),
])
"""
"""Lets axe-core look for what shuts readers out: contrast, names, order, alternative texts."""


def screens(chromium: Browser, page: Path) -> dict[str, str]:
    """Return the text in view at first, and by link after a click on it."""
    chromium.open(page)
    return chromium.read(READER.replace("[first]", f'"{FIRST}"'))


def unfolded(chromium: Browser, page: Path, width: int, *, dark: bool = False) -> None:
    """Open a page with all that it folds."""
    chromium.open(page, width, dark=dark)
    assert chromium.read('matchMedia("(prefers-color-scheme: dark)").matches') == dark
    chromium.read('document.querySelectorAll("details").forEach((one) => { one.open = true; })')


def violations(
    chromium: Browser, page: Path, width: int = 1280, *, dark: bool = False
) -> list[Any]:
    """Return what axe-core finds on a page: each its rule, and where."""
    unfolded(chromium, page, width, dark=dark)
    source = importlib.resources.files("axe_core_python").joinpath("axe.min.js")
    chromium.read(source.read_text(encoding="utf-8"))
    passed, found = chromium.read(AUDIT)
    assert passed > 5
    return found


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The report of the committed records."""
    out = tmp_path_factory.mktemp("report")
    assert main(["report", "--out", str(out)]) == 0
    return out / "report.html"


@pytest.fixture(scope="module")
def committed(chromium, report) -> dict[str, str]:
    """Screens of the report."""
    return screens(chromium, report)


ANSWERS = {
    "the published test perplexity at depth 5, tied, and ours at which scale": (
        r"Penn Treebank by recurrence depth, tied, preset \w+ \(\d+\.\d+ M parameters, \d+ epochs, "
        r".*test perplexity \(published, at full size\) .* 5: [\d.]+[^;]* \(67\.7\);"
    ),
    "which method keeps closest to the prior": (
        r"(Q|Ψ|G|RL only) keeps closest to its prior, by mean KL\(π ‖ p\), nats "
        r"\(mean reward in parentheses\): \1 \d"
    ),
    "whether anything was run on a GPU": r"Runs\. .*(none on GPU|\d+ on GPU \()",
    "why the row of the tonic is off": (
        r"The tonic line of Table 1 is off \(.* beginnings that are never trained .* "
        r"Training on beginnings gives \d"
    ),
    "how to run a row that wasn't run": (
        r"python -m experiments run NAME --preset paper .*depth\{[\d,]*\b5,[\d,]*\}_tied"
    ),
    "how to run a row that was": r"python -m experiments run \w+ --preset \w+ --seeds? \d",
}
"""Question → what is to be read, all of it on one screen."""


def as_read(text: str) -> str:
    """Markdown as a browser shows it, on one line."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"(<br>|[|#*`]|\s)+", " ", text)


@pytest.mark.parametrize("question", ANSWERS)
def test_the_committed_page_answers(question):
    """Wherever it is on the page: what is on which screen, a browser tells."""
    text = as_read((RESULTS / "RESULTS.md").read_text(encoding="utf-8"))
    assert re.search(ANSWERS[question], text)


@NEEDS_CHROMIUM
@pytest.mark.slow
@pytest.mark.parametrize("question", ANSWERS)
def test_the_report_answers(question, committed):
    assert any(re.search(ANSWERS[question], text) for text in committed.values()), committed


@NEEDS_CHROMIUM
@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_runs_off_to_the_right(dark, chromium, report):
    """Also just before and after the contents and the cards give way."""
    unfolded(chromium, report, 1280, dark=dark)
    for width in (1280, 1200, 1199, 1024, 1000, 881, 880, 800, 768, 390, 320):
        chromium.resize(width)
        needed, wide = chromium.read(MEASURE)
        assert needed <= width, (width, wide)


@NEEDS_CHROMIUM
@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nobody_is_shut_out(width, dark, chromium, report):
    assert violations(chromium, report, width, dark=dark) == []


@NEEDS_CHROMIUM
@pytest.mark.slow
def test_the_report_asks_for_nothing_and_complains_of_nothing(chromium, report):
    chromium.open(report)
    elsewhere = [one for one in chromium.requests() if not one.startswith("data:")]
    assert elsewhere == [report.as_uri()]
    assert chromium.troubles() == []


@NEEDS_CHROMIUM
@pytest.mark.slow
def test_a_picture_without_words_is_seen(chromium, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<!DOCTYPE html><html lang='en'><head><title>A page</title></head><body><main>"
        "<h1>Title</h1><p>Text</p><a href='#a'>go</a><ul><li id='a'>one</li></ul>"
        "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='></main></body></html>"
    )
    assert [rule for rule, _ in violations(chromium, page)] == ["image-alt"]


@NEEDS_CHROMIUM
@pytest.mark.slow
def test_what_is_too_wide_is_seen(chromium, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<!DOCTYPE html><body><p style='width: 500px'>wide</p></body>")
    unfolded(chromium, page, 390)
    needed, (wide,) = chromium.read(MEASURE)
    assert needed > 390
    assert wide.startswith("<p")


@NEEDS_CHROMIUM
@pytest.mark.slow
def test_what_a_page_asks_for_and_complains_of_is_seen(chromium, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<!DOCTYPE html><img src='none.png'><script>nothing();</script>")
    chromium.open(page)
    assert chromium.requests() == [page.as_uri(), page.with_name("none.png").as_uri()]
    assert "nothing is not defined" in str(chromium.troubles())


@NEEDS_CHROMIUM
@pytest.mark.slow
def test_what_is_further_away_is_not_read(chromium, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<!DOCTYPE html><body>near <a href='#far'>go</a><p hidden>hidden</p>"
        "<details><summary>more</summary><p>folded</p></details>"
        "<div style='height: 3000px'></div><p id='far'>far <a href='#end'>on</a></p>"
        "<div style='height: 3000px'></div><p id='end'>end</p></body>"
    )
    read = screens(chromium, page)
    assert read == {FIRST: "near go more", "go": "far on"}


@NEEDS_CHROMIUM
@pytest.mark.slow
def test_of_a_paragraph_only_the_lines_in_view_are_read(chromium, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<!DOCTYPE html><body><p style='width: 1em; line-height: 500px'>first second third</p>"
    )
    assert screens(chromium, page) == {FIRST: "first second"}
