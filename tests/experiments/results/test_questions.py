"""Five questions of a reader, answered in a browser: on the first screen, or one link away."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from experiments.cli import main

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


def screens(page: Path) -> dict[str, str]:
    """Return the text in view at first, and by link after a click on it."""
    copy = page.with_name("read.html")
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{READER}</body>"))
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--user-data-dir={page.parent / 'profile'}", f"--window-size={WIDTH},{HEIGHT}",
        "--virtual-time-budget=60000", "--dump-dom", copy.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=550)
    (read,) = re.findall(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    return json.loads(html.unescape(read))


@pytest.fixture(scope="module")
def committed(tmp_path_factory) -> dict[str, str]:
    """Screens of the report of the committed records."""
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    out = tmp_path_factory.mktemp("report")
    assert main(["report", "--out", str(out)]) == 0
    return screens(out / "report.html")


ANSWERS = {
    "the published test perplexity at depth 5, tied, and ours (a number, or – for not run)": (
        r"\b5 1,000 72\.0 / 69\.8 \S.* 69\.7 / 67\.7 (–|\d+\.\d+ / \d+\.\d+)",
        r"– not run\.",
    ),
    "at which scale ours are that were run": (
        r"Scaled down, not comparable .* \d+\.\d+ M of 21\.0 M parameters, \d+ of 500 epochs",
    ),
    "which method keeps closest to the prior": (
        r"(Q|Ψ|G|RL only) keeps closest to its prior, by mean KL\(π ‖ p\), nats: \1 \d",
    ),
    "whether anything was run on a GPU": (r"Runs\. .*(none on GPU|\d+ on GPU \()",),
    "why the row of the tonic is off": (
        r"beginnings that are never trained, tuning does not learn to begin with the tonic",
    ),
    "how to run a row that wasn't run": (
        r"python -m experiments run NAME --preset paper .*depth\{[\d,]*\b5,[\d,]*\}_tied",
    ),
    "how to run a row that was": (
        r"python -m experiments run tutor_melodies_q --preset paper --seeds",
    ),
}
"""Question → what is to be read, each on any one screen."""


@pytest.mark.slow
@pytest.mark.parametrize("question", ANSWERS)
def test_the_report_answers(question, committed):
    for answer in ANSWERS[question]:
        assert any(re.search(answer, text) for text in committed.values()), (answer, committed)


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
