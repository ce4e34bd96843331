"""A hook of MkDocs: every link, picture and anchor of the built site must lead somewhere.

Scripts, styles and pictures must lie in the site itself, so that it is whole without a network.
"""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LINKS = ("href", "src")
PAGE = "index.html"


class _Page(HTMLParser):
    """What a page links to, what it loads when it is shown, and the anchors that it has."""

    def __init__(self, text: str):
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        self.links |= {given[name] for name in LINKS if name in given}
        loads = "src" in given or given.get("rel") in ("stylesheet", "icon")
        self.loaded |= {given[name] for name in LINKS if loads and name in given}
        self.anchors |= {given["id"]} if "id" in given else set()


def broken(site: Path) -> list[str]:
    """Follow all links within a site.

    Args:
      site: folder of a static site.

    Returns:
      A line for each link to a file that isn't there, or to an anchor that its page doesn't have,
      and for each script, style or picture that comes from the network.
    """
    pages = {
        path.resolve(): _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")
    }
    return sorted(
        f"{path.relative_to(site.resolve())}: {link}"
        for path, page in pages.items()
        for link in page.links
        if not (link.startswith("data:") or _leads_somewhere(link, path, site.resolve(), pages))
    )


def _leads_somewhere(link: str, page: Path, site: Path, pages: dict[Path, _Page]) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:  # outside of the site
        return link not in pages[page].loaded
    place, anchor = unquote(parts.path), unquote(parts.fragment)
    folder = site if place.startswith("/") else page.parent
    target = (folder / place.lstrip("/")).resolve() if place else page
    if target.is_dir():
        target = target / PAGE
    if not target.is_file() or not target.is_relative_to(site):
        return False
    return not anchor or target not in pages or anchor in pages[target].anchors


def on_post_build(config: Any) -> None:
    """Fail the build where a link is broken.

    Raises:
      PluginError: names the pages and their broken links.
    """
    from mkdocs.exceptions import PluginError

    if found := broken(Path(config["site_dir"])):
        raise PluginError("links that lead nowhere:\n  " + "\n  ".join(found))
