"""What the tests of report.html share: a folder of runs, and a page taken to pieces."""

import json
from html.parser import HTMLParser
from pathlib import Path

from report_case import TEST, VALID, place, record, words

from common.midi import write_melody
from common.plot import learning_curves

VOID = {"meta", "img", "input", "br", "link", "line", "rect", "path", "use", "wbr"}


class Page(HTMLParser):
    """Elements of a page in order, each with its attributes and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        element = (tag, {name: value or "" for name, value in attributes}, [])
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, {name: value or "" for name, value in attributes}, []))

    def handle_endtag(self, tag):
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        for _, _, texts in self._open:
            texts.append(data)

    def all(self, *tags: str) -> list[dict[str, str]]:
        """Attributes of all elements of some kinds."""
        return [attributes for tag, attributes, _ in self.elements if tag in tags]

    def texts(self, *tags: str) -> list[str]:
        """Texts of all elements of some kinds."""
        return ["".join(texts).strip() for tag, _, texts in self.elements if tag in tags]

    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes, _ in self.elements if "id" in attributes]

    def text_of(self, identifier: str) -> str:
        (found,) = [t for _, a, t in self.elements if a.get("id") == identifier]
        return "".join(found)


SAMPLE = "--- words ---\n<script>alert('sample')</script>\n"
MELODY = [14, 1, 1, 0, 18, 1, 21, 1] * 4


def make_runs(root: Path) -> Path:
    """Three seeds of the paper's size and one smaller run, with all that runs leave."""
    for seed, value in enumerate((66.0, 66.5, 68.0)):
        curve = [
            {"step": 100 * k, "epoch": k, "valid/perplexity": 900 / k + seed} for k in (1, 2, 3)
        ]
        metrics = {TEST: value, VALID: 70.0 + seed, "train/loss": 4.25}
        leave(root, record(words(), seed=seed, metrics=metrics, curve=curve))
    leave(root, record(words(), "cpu", overrides=["model.depth=2"]))
    return root


def leave(root: Path, one) -> None:
    folder = place(root, one).parent
    (folder / "sample.txt").write_text(SAMPLE)
    (folder / "manifest.json").write_text(json.dumps({"sessions": [{"started": "at noon"}]}))
    write_melody(MELODY, folder / "composition1.mid")
    learning_curves(
        {"valid": [(0, 1), (1, 2)]}, folder / "curve.png", x_label="x", y_label="y", title="t"
    )
