"""Who may import whom: common neither package, highway and tutor never each other."""

import ast
from pathlib import Path

import pytest

from experiments import registry

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "common": {"common"},
    "highway": {"highway", "common"},
    "tutor": {"tutor", "common"},
    "experiments": {"experiments", "highway", "tutor", "common"},
}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found & ALLOWED.keys()


@pytest.mark.parametrize("package", ALLOWED)
def test_package_imports_only_what_it_may(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        assert imported(path) <= ALLOWED[package], path


FAMILIES = tuple(name.removeprefix("experiments.") for name in registry.FAMILIES)


def modules_named(path: Path) -> set[str]:
    """All modules that a file imports or names in a string."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def test_no_file_of_experiments_knows_a_family_that_is_not_its_own():
    folder = ROOT / "experiments"
    assert {path.parent.name for path in folder.glob("*/catalogue.py")} == set(FAMILIES)
    for path in folder.rglob("*.py"):
        others = [name for name in FAMILIES if path.parent.name != name]
        for name in modules_named(path):
            known = [one for one in others if f"experiments.{one}" in name]
            is_the_line_in_the_registry = path.name == "registry.py" and name.count(".") == 1
            assert not known or is_the_line_in_the_registry, (path, name)


def test_only_the_quickstart_names_experiments_of_other_families():
    """It is made of them; the results' files get theirs from the registry."""
    owners = {
        experiment: family
        for family, made in zip(FAMILIES, registry.families(), strict=True)
        for experiment in (one.name for one in made.experiments)
    }
    for path in (ROOT / "experiments").rglob("*.py"):
        for name in modules_named(path) & owners.keys():
            assert path.parent.name in (owners[name], "quickstart"), (path, name)
