"""WORKSPACE.md's map says of every module what its docstring begins with.

Run as a program, this writes the map anew.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "WORKSPACE.md"
PACKAGES = ("common", "highway", "tutor", "experiments")
BEGIN, END = "<!-- map -->\n", "<!-- end of map -->\n"


def told(path: Path) -> str:
    """The first sentence or line of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text, path
    return text.partition("\n\n")[0].replace("\n", " ")


def made() -> str:
    """A list for each folder, a line a module."""
    parts = []
    for package in PACKAGES:
        for folder in sorted({path.parent for path in (ROOT / package).rglob("*.py")}):
            title = f"**`{folder.relative_to(ROOT)}/`** {told(folder / '__init__.py')}"
            names = sorted(path.name for path in folder.glob("[!_]*.py"))
            lines = "\n".join(f"- `{name}` {told(folder / name)}" for name in names)
            parts.append(f"{title}\n\n{lines}\n")
    return "\n".join(parts)


def test_the_map_is_what_the_modules_say():
    text = PAGE.read_text(encoding="utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0] == made(), (
        "run `python tests/test_map.py` and commit what it writes"
    )


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    pattern = re.escape(BEGIN) + ".*" + re.escape(END)
    PAGE.write_text(re.sub(pattern, lambda _: BEGIN + made() + END, page, flags=re.DOTALL))
