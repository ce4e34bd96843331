"""What others install: its version, what is in the wheel, and that it runs away from here."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from experiments.run import git_state

ROOT = Path(__file__).parents[1]
PACKAGES = ("common", "highway", "tutor", "experiments")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_version_has_its_part_of_the_change_log():
    release, _, development = VERSION.partition(".dev")
    heading = f"## {release}, not released\n" if development else f"## {release}\n"
    assert heading in (ROOT / "CHANGELOG.md").read_text()


def test_code_that_a_repository_around_it_does_not_know_has_no_commit(tmp_path, monkeypatch):
    """As in a wheel, installed into an environment that lies in somebody's checkout."""
    here = tmp_path / "environment" / "run.py"
    here.parent.mkdir()
    here.touch()
    (tmp_path / ".gitignore").write_text("environment/\n")
    for words in ("init", "add .", "-c user.name=n -c user.email=e commit -m theirs"):
        subprocess.run(["git", *words.split()], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setattr("experiments.run.__file__", str(here))
    assert git_state() == {"commit": "", "dirty": True}
    subprocess.run(["git", "add", "--force", str(here)], cwd=tmp_path, check=True)
    assert len(git_state()["commit"]) == 40


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    theirs = shutil.ignore_patterns(".*", "runs", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, folder / "source", ignore=theirs)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    subprocess.run([*pip, str(folder / "source")], check=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.mark.slow
def test_a_wheel_has_all_files_of_the_packages_and_nothing_else(wheel):
    assert wheel.name.startswith(f"highway_tutor-{VERSION}-py3-none-any")
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert shipped == expected
    assert {f"{package}/py.typed" for package in PACKAGES} <= shipped


@pytest.mark.slow
def test_what_a_wheel_brings_runs_in_an_empty_folder(wheel, tmp_path):
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    command = [sys.executable, "-m", "experiments", "quickstart", "--preset", "smoke"]
    done = subprocess.run(
        command,
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "quickstart" in done.stdout
    assert (empty / "runs/quickstart/smoke/seed0/record.json").exists()
