"""Examples in docstrings do what they say, and the reference that is made of them is whole."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("common", "highway", "tutor", "experiments")
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_there_are_examples():
    assert "highway.cells" in WITH_EXAMPLES


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name):
    if name.endswith("gymnax_env"):
        pytest.importorskip("gymnax")
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed


LIBRARIES = [path for name in PACKAGES[:3] for path in (ROOT / name).rglob("*.py")]


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_fields_of_named_tuples_are_documented():
    """Their signature isn't in the reference, which leaves out what has no docstring."""
    fields = [
        (f"{path.relative_to(ROOT)}: {kind.name}.{field.target.id}", is_text(after))
        for path in LIBRARIES
        for kind in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(kind, ast.ClassDef) and not kind.name.startswith("_")
        if "NamedTuple" in map(ast.unparse, kind.bases)
        for field, after in zip(kind.body, [*kind.body[1:], ast.Pass()], strict=True)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    ]
    assert len(fields) > 100
    assert [name for name, documented in fields if not documented] == []
