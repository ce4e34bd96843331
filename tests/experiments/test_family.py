"""A new family is one folder and one line in the registry: the toy of docs/adding.md, tried."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from common.compute import SCAN
from common.record import read_record
from experiments import registry
from experiments.cli import main
from experiments.language.catalogue import FAMILY as LANGUAGE
from experiments.results.markdown import report_text
from highway.config import LanguageModelConfig

ROOT = Path(__file__).parents[2]


def files() -> dict[str, str]:
    """File name → content, from the code blocks of docs/adding.md that begin with their path."""
    text = (ROOT / "docs/adding.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n# experiments/toy/(\w+\.py)\n(.*?)```", text, re.DOTALL)
    return dict(blocks)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The family in a package of its own, with its line in the registry."""
    package = tmp_path / "code" / "toy_family"
    package.mkdir(parents=True)
    for name, content in files().items():
        (package / name).write_text(content.replace("experiments.toy", "toy_family"))
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, "toy_family"))
    yield tmp_path / "runs"
    for name in [name for name in sys.modules if name.startswith("toy_family")]:
        del sys.modules[name]


def test_the_toy_family_is_three_files():
    assert set(files()) == {"__init__.py", "catalogue.py", "run.py"}


def test_a_family_is_listed_run_resumed_shown_and_reported(toy, capsys, tmp_path):
    assert main(["list"]) == 0
    assert "\ntoy_line " in capsys.readouterr().out
    assert main(["show", "toy_line"]) == 0
    assert "Gradient steps." in capsys.readouterr().out  # the setting's docstring

    command = ["run", "toy_line", "--seeds", "0", "1", "--out", str(toy)]
    assert main(command) == 0
    assert "| test slope |" in capsys.readouterr().out
    made = [read_record(toy / "toy_line" / "cpu" / f"seed{k}" / "record.json") for k in (0, 1)]
    assert all(abs(record.metrics["test/slope"] - 3.0) < 0.03 for record in made)
    assert made[0].metrics != made[1].metrics
    assert [row["step"] for row in made[0].curve] == [100, 200]
    assert main(command) == 0
    assert capsys.readouterr().err.count("done before") == 2

    assert main(["table", "toy_line", "--out", str(toy)]) == 0
    assert "matched" in capsys.readouterr().out
    text = report_text(made, registry.experiments(), tmp_path, registry.families())
    assert "### Toys: made here" in text
    assert "<summary>toy_line, cpu</summary>" in text
    assert "*toy protocol*: a line against a line." in text

    assert main(["report", "--runs", str(toy), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "The slope of a line. Reproduces: none." in page
    mean = sum(one.metrics["test/slope"] for one in made) / 2
    assert f"step 200: test {mean:.4g} (seeds " in page
    assert '"sessions": [' in page
    assert 'data-readings="' in page


def test_settings_of_a_new_family_are_compared_with_its_paper(toy, capsys):
    settings = ["--set", "steps=100", "report_every=7"]
    assert main(["run", "toy_line", "--out", str(toy), *settings]) == 0
    assert "| scaled down |" in capsys.readouterr().out
    assert main(["table", "toy_line", "--full", "--out", str(toy)]) == 0
    out = capsys.readouterr().out
    assert "scaled down: 100 of 200 steps" in out
    assert "settings changed" not in out  # report_every changes no result


def test_a_row_with_a_runner_of_its_own_leaves_other_families_theirs(monkeypatch):
    runner = registry.runner_of(LanguageModelConfig)
    row = replace(LANGUAGE.experiments[0], name="own", runner="os:getcwd", programs="")
    language = replace(LANGUAGE, experiments=(row, *LANGUAGE.experiments))
    monkeypatch.setattr(registry, "families", lambda: [language])
    assert registry.find("own").load_runner() is not runner
    assert registry.runner_of(LanguageModelConfig) is runner
    assert registry.programs_of(LanguageModelConfig, row.preset("smoke").config, SCAN)


def test_a_class_of_settings_is_trained_for_others_by_one_family(monkeypatch):
    monkeypatch.setattr(registry, "families", lambda: [LANGUAGE, replace(LANGUAGE)])
    with pytest.raises(ValueError, match=f"there is {LANGUAGE.trainer}, {LANGUAGE.trainer}"):
        registry.runner_of(LanguageModelConfig)
    monkeypatch.setattr(registry, "families", lambda: [replace(LANGUAGE, trainer="")])
    with pytest.raises(ValueError, match="there is none"):
        registry.runner_of(LanguageModelConfig)


def test_a_family_trains_for_others_by_an_experiment_of_its_own():
    with pytest.raises(ValueError, match="'rhn': no experiment of the family has that name"):
        replace(LANGUAGE, trainer="rhn")


def test_what_names_no_attribute_is_refused():
    with pytest.raises(ValueError, match=r"'experiments\.language\.table' names no attribute"):
        registry.load("experiments.language.table")
