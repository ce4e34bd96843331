"""Examples do what their first lines say, in a short form."""

import importlib.util
import os
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
def test_words_are_tagged():
    assert example("tag_words").main(updates=60) > 0.85


@pytest.mark.slow
def test_ppo_learns_through_gymnaxs_interface():
    pytest.importorskip("gymnax")
    ppo = example("ppo_melodies")
    rewards = ppo.train(*ppo.make_environment(None, 0.5), iterations=12, steps=64)
    assert rewards[-1] > rewards[0] + 0.3


@pytest.mark.slow
def test_a_transformer_is_tuned():
    before, after = example("transformer_tutor").main(iterations=4_000)
    assert after > before + 0.3


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
