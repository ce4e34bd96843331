"""A hook of MkDocs: brings README, map and results into the site, and makes the API's pages."""

import ast
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
OUTSIDE = {
    "README.md": "index.md",
    "WORKSPACE.md": "workspace.md",
    "CHANGELOG.md": "changelog.md",
    "results/RESULTS.md": "results.md",
}
"""File of the repository → page of the site."""
PACKAGES = ("highway", "tutor", "common", "experiments")
_LINK = re.compile(r"\]\(([^)#:\s]+)((?:#[^)\s]*)?(?: \"[^\"]*\")?)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put README and results first, then the guides, then the API by package."""
    guides = [path.name for path in sorted((ROOT / "docs").glob("*.md"))]
    api = [
        {package: [{n: f"api/{n}.md"} for n in _modules() if n.partition(".")[0] == package]}
        for package in PACKAGES
    ]
    config.nav = [
        {"Start": "index.md"},
        {"Results": "results.md"},
        {"Guides": [*guides, "workspace.md", "changelog.md"]},
        {"API": api},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the style, what lies outside of docs/, and a page for every module with public names."""
    style = str(Path(__file__).parent / "site.css")
    files.append(File.generated(config, "assets/site.css", abs_src_path=style))
    for source, page in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_moved(text, Path(source).parent)))
    for made in sorted((*ROOT.glob("results/**/*.*"), *ROOT.glob("examples/*.*"))):
        if made.suffix not in (".json", ".md"):
            name = made.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(made)))
    for file in list(files):  # guides speak of files where they are in the repository
        if file.src_uri.endswith(".md") and file.generated_by is None:
            text = Path(str(file.abs_src_path)).read_text(encoding="utf-8")
            files.remove(file)
            page = File.generated(config, file.src_uri, content=_moved(text, Path("docs")))
            files.append(page)
    for module in _modules():
        page = f"api/{module}.md"
        files.append(File.generated(config, page, content=f"# {module}\n\n::: {module}\n"))
    return files


def _modules() -> list[str]:
    """Names of the packages' modules that define something public, in order."""
    found = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if parts[-1] != "__main__" and _has_public(path):
                found.append(name)
    return sorted(found)


def _has_public(path: Path) -> bool:
    kinds = (ast.FunctionDef, ast.ClassDef)
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(node, kinds) and not node.name.startswith("_") for node in body)


def _moved(text: str, folder: Path) -> str:
    """Rewrite a page's links from places in the repository to places in the site."""

    def moved(match: re.Match[str]) -> str:
        target, anchor = match.groups()
        place = (ROOT / folder / target).resolve()
        if not place.is_relative_to(ROOT) or not place.exists():
            return match.group(0)
        name = place.relative_to(ROOT).as_posix()
        name = OUTSIDE.get(name, name.removeprefix("docs/"))
        return f"]({name}{anchor})"

    return _LINK.sub(moved, text)
