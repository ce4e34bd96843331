"""Examples do what their first lines say, in a short form."""

import importlib.util
import os
import re
import runpy
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_digits_are_classified():
    assert example("classify_digits").main(epochs=4) > 0.7


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["classify_digits", "tag_words", "ppo_melodies", "transformer_tutor"]
)
def test_the_score_in_the_first_lines_is_reached(name, monkeypatch, capsys):
    """As a user runs it; the score is the last number that it prints."""
    if name == "ppo_melodies":
        pytest.importorskip("gymnax")
    monkeypatch.setattr("sys.argv", [name])
    shown = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    (stated,) = re.findall(r"at least ([\d.]+)", shown["__doc__"])
    *_, score = re.findall(r"-?\d+\.\d+", capsys.readouterr().out)
    assert float(score) >= float(stated)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
    monkeypatch.setenv("NOTEBOOK_PRESET", "smoke")
    monkeypatch.setenv("NOTEBOOK_OUT", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(EXAMPLES.parent), *os.sys.path]))
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    shown = [
        kind for cell in notebook.cells for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    ]  # fmt: skip
    assert sum(kind == "text/html" for kind in shown) >= 4  # what can be heard
    assert sum(kind == "image/png" for kind in shown) >= 4
