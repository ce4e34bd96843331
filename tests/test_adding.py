"""docs/adding.md, followed to the letter in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.record import read_record

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs/adding.md").read_text(encoding="utf-8")
CODE = ("common", "experiments", "highway", "tutor")


def blocks() -> list[tuple[str, str]]:
    """The guide's blocks in their order: language, text."""
    return re.findall(r"^```(python|diff|sh)\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def copy(tmp_path):
    """The packages in a folder of their own."""
    for name in CODE:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    return tmp_path


def follow(language: str, text: str, folder: Path) -> str:
    """Do what a block says; returns what its commands print."""
    if language == "python":
        path, _, content = text.removeprefix("# ").partition("\n")
        file = folder / path
        file.parent.mkdir(exist_ok=True)
        assert not file.exists(), f"{path} is there already"
        file.write_text(content, encoding="utf-8")
        return ""
    command = ["git", "apply", "-"] if language == "diff" else ["bash", "-e", "-c", text]
    done = subprocess.run(
        command,
        cwd=folder,
        input=text if language == "diff" else None,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(folder),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_lines_to_add_fit_the_code(copy):
    changed = [follow(*block, copy) for block in blocks() if block[0] != "sh"]
    assert len(changed) > 8
    for file in copy.rglob("*.py"):
        compile(file.read_text(encoding="utf-8"), str(file), "exec")


@pytest.mark.slow
def test_each_way_to_add_works_to_the_letter(copy):
    shown = "".join(follow(*block, copy) for block in blocks())
    made = [read_record(path) for path in copy.glob("runs*/*/*/*/record.json")]
    assert sorted(one.experiment for one in made) == [
        "lstm_penn_treebank_tied",
        *["note_rnn"] * 2,
        *["rhn_penn_treebank_depth3_tied"] * 2,
        *["toy_line"] * 3,
        "tutor_melodies_q",
        "tutor_melodies_sarsa",
    ]
    named = {one.experiment: one for one in made}
    assert named["lstm_penn_treebank_tied"].config["model"]["core"] == "lstm"
    assert "letters" in {used.name for one in made for used in one.data}
    assert any(one.config.get("model", {}).get("core") == "leaky" for one in made)
    assert named["tutor_melodies_sarsa"].config["learn"]["method"] == "sarsa"
    assert not (copy / "runs/tutor_melodies_q").exists(), "runs of other rules would lie there"
    assert "| test slope |" in shown
