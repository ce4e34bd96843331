"""The programs of docs/library.md run as they stand there."""

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "docs/library.md").read_text(encoding="utf-8")
SECTIONS = {
    title: "\n".join(re.findall(r"```python\n(.*?)```", body, re.DOTALL))
    for title, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
}


def test_there_are_programs():
    assert sum(map(bool, SECTIONS.values())) == 3


@pytest.mark.parametrize("title", [title for title, program in SECTIONS.items() if program])
def test_a_sections_program(title):
    if "import gymnax" in SECTIONS[title]:
        pytest.importorskip("gymnax")
    exec(compile(SECTIONS[title], title, "exec"), {"__name__": "__main__"})
