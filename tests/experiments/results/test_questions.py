"""Five questions of a reader, answered in a browser: on the first screen, or one link away."""

import html
import importlib.resources
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import main

RESULTS = Path(__file__).parents[3] / "results"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDTH, HEIGHT = 1280, 1000
"""Of the window, whose frame takes about 140 of the height."""
FIRST = "first screen"

READER = """
<script>
addEventListener("load", async () => {
  const settled = () => new Promise((done) => setTimeout(done, 100));
  const seen = (box) => box.width && box.height && box.bottom > 0 && box.top < innerHeight
    && box.right > 0 && box.left < innerWidth;
  const screen = () => {
    const words = [], range = document.createRange();
    const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (nodes.nextNode()) {
      const text = nodes.currentNode.textContent.trim();
      range.selectNodeContents(nodes.currentNode);
      if (text && nodes.currentNode.parentElement.checkVisibility()
          && [...range.getClientRects()].some(seen)) words.push(text);
    }
    return words.join(" ").replace(/\\s+/g, " ");
  };
  await settled();
  const screens = {"first screen": screen()};
  const links = [...document.querySelectorAll("a[href]")];
  for (const link of links.filter((one) => seen(one.getBoundingClientRect()))) {
    link.click();
    await settled();
    screens[link.textContent.trim()] = screen();
  }
  const read = document.createElement("pre");
  read.textContent = JSON.stringify(screens);
  document.body.replaceChildren(read);
});
</script>
"""
"""Reads what is in view at first, and after a click on each link that is in view at first."""


MEASURE = """
<script>
addEventListener("load", () => {
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const wide = [...document.querySelectorAll("body *")].filter((one) => {
    const box = one.getBoundingClientRect();
    return box.width && box.right > innerWidth && one.checkVisibility();
  }).map((one) => one.outerHTML.slice(0, 80));
  const needed = document.documentElement.scrollWidth;
  parent.postMessage({given: innerWidth, needed, dark, wide: wide.slice(0, 5)}, "*");
});
</script>
"""
"""Tells how wide a page is with all that it folds opened, and what of it is too wide."""

AUDIT = """
<script>{axe}</script>
<script>
addEventListener("load", async () => {{
  document.querySelectorAll("details").forEach((one) => {{ one.open = true; }});
  const found = await axe.run(document, {{resultTypes: ["violations"]}});
  const told = found.violations.map((one) => [one.id, one.nodes.slice(0, 3).map((n) => n.html)]);
  const read = document.createElement("pre");
  read.textContent = JSON.stringify({{passed: found.passes.length, told}});
  document.body.replaceChildren(read);
}});
</script>
"""
"""Lets axe-core look for what shuts readers out: contrast, names, order, alternative texts."""

FRAME = """<!DOCTYPE html>
<pre></pre><iframe src="{page}" style="border: 0; width: {width}px; height: 800px"></iframe>
<script>
addEventListener("message", (told) => {{
  document.querySelector("pre").textContent = JSON.stringify(told.data);
}});
</script>
"""
"""A page at any width: the windows of a browser aren't as narrow as a phone."""


def with_script(page: Path, script: str, name: str) -> Path:
    """Return a copy of a page with a script of ours in it."""
    copy = page.with_name(name)
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{script}</body>"))
    return copy


def opened(page: Path, *options: str) -> Any:
    """Open a page in a browser and return the JSON that its script left in a `pre`."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--user-data-dir={page.parent / 'profile'}", f"--window-size={WIDTH},{HEIGHT}",
        "--virtual-time-budget=60000", *options, "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=550)
    (read,) = re.findall(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    return json.loads(html.unescape(read))


def screens(page: Path) -> dict[str, str]:
    """Return the text in view at first, and by link after a click on it."""
    return opened(with_script(page, READER, "read.html"))


def measured(page: Path, width: int, *, dark: bool) -> dict[str, Any]:
    """Return how wide a page is in a frame of some pixels, and whether it was asked to be dark."""
    framed = with_script(page, MEASURE, "measured.html")
    frame = page.with_name("frame.html")
    frame.write_text(FRAME.format(page=framed.name, width=width))
    return opened(frame, *(["--force-dark-mode"] if dark else []))


def audited(page: Path, *, dark: bool) -> list[Any]:
    """Return the violations that axe-core finds on a page: each its rule, and where."""
    source = importlib.resources.files("axe_core_python").joinpath("axe.min.js")
    script = AUDIT.format(axe=source.read_text(encoding="utf-8"))
    found = opened(
        with_script(page, script, "audited.html"), *(["--force-dark-mode"] if dark else [])
    )
    assert found["passed"] > 5
    return found["told"]


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The report of the committed records."""
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    out = tmp_path_factory.mktemp("report")
    assert main(["report", "--out", str(out)]) == 0
    return out / "report.html"


@pytest.fixture(scope="module")
def committed(report) -> dict[str, str]:
    """Screens of the report."""
    return screens(report)


ANSWERS = {
    "the published test perplexity at depth 5, tied, and ours (a number, or – for not run)": (
        r"\b5 1,000 .* 72\.0 / 69\.8 \S.* 69\.7 / 67\.7 / 64\.4 (–|\d+\.\d+ / \d+\.\d+)",
        r"– not run\.",
    ),
    "at which scale ours are that were run": (
        r"Scaled down, not comparable .* \d+\.\d+ M of \d+\.\d M parameters, \d+ of 500 epochs",
    ),
    "which method keeps closest to the prior": (
        r"(Q|Ψ|G|RL only) keeps closest to its prior, by mean KL\(π ‖ p\), nats: \1 \d",
    ),
    "whether anything was run on a GPU": (r"Runs\. .*(none on GPU|\d+ on GPU \()",),
    "why the row of the tonic is off": (
        r"The tonic line of Table 1 is off because beginnings are never trained: .* trained, \d",
        r"Why lines of Table 1 differ What runs confirm.*Either cure makes the Note RNN expect",
    ),
    "how to run a row that wasn't run": (
        r"python -m experiments run NAME --preset paper .*depth\{[\d,]*\b5,[\d,]*\}_tied",
    ),
    "how to run a row that was": (
        r"python -m experiments run tutor_melodies_q --preset paper --seeds",
    ),
}
"""Question → what is to be read, each on any one screen."""


def as_read(text: str) -> str:
    """Markdown as a browser shows it, on one line."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"(<br>|[|#*`]|\s)+", " ", text)


@pytest.mark.parametrize("question", ANSWERS)
def test_the_committed_page_answers(question):
    """Wherever it is on the page: what is on which screen, a browser tells."""
    text = as_read((RESULTS / "RESULTS.md").read_text(encoding="utf-8"))
    for answer in ANSWERS[question]:
        assert re.search(answer, text), answer


@pytest.mark.slow
@pytest.mark.parametrize("question", ANSWERS)
def test_the_report_answers(question, committed):
    for answer in ANSWERS[question]:
        assert any(re.search(answer, text) for text in committed.values()), (answer, committed)


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1000])
def test_nothing_runs_off_to_the_right(width, dark, report):
    found = measured(report, width, dark=dark)
    assert (found["given"], found["dark"]) == (width, dark)
    assert found["needed"] <= width, found["wide"]


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nobody_is_shut_out(dark, report):
    assert audited(report, dark=dark) == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_picture_without_words_is_seen(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<!DOCTYPE html><html lang='en'><head><title>A page</title></head><body><main>"
        "<h1>Title</h1><p>Text</p><a href='#a'>go</a><ul><li id='a'>one</li></ul>"
        "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='></main></body></html>"
    )
    assert [rule for rule, _ in audited(page, dark=False)] == ["image-alt"]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_what_is_too_wide_is_seen(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<!DOCTYPE html><body><p style='width: 500px'>wide</p></body>")
    assert measured(page, 390, dark=False)["needed"] > 390


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_what_is_further_away_is_not_read(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<!DOCTYPE html><body>near <a href='#far'>go</a><p hidden>hidden</p>"
        "<details><summary>more</summary><p>folded</p></details>"
        "<div style='height: 3000px'></div><p id='far'>far <a href='#end'>on</a></p>"
        "<div style='height: 3000px'></div><p id='end'>end</p></body>"
    )
    read = screens(page)
    assert read == {FIRST: "near go more", "go": "far on"}
