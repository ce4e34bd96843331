"""Markdown of the results page as HTML: pictures inline, tables that become cards where narrow."""

import html
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from common.table import Table
from experiments.results.html.media import Allowance, digest, embed, is_picture
from experiments.results.paper_table import MARKS, anchor

COLUMNS_TO_CARDS = 4
"""Tables with more columns than this are read row by row on a phone."""
ROLES = {
    "table": "table",
    "thead": "rowgroup",
    "tbody": "rowgroup",
    "tr": "row",
    "th": "columnheader",
    "td": "cell",
}
"""Said explicitly, for a table laid out as cards would be none to a screen reader."""
BEFORE_MARK = re.compile(f" (?=[{''.join(MARKS.values())}])")
"""The space between a number and the mark of its verdict, which must not be parted from it."""


FOLD = re.compile(r"<p>&lt;details&gt;\s*&lt;summary&gt;(.*?)&lt;/summary&gt;</p>")
UNFOLD = "<p>&lt;/details&gt;</p>"
"""How the tags of a fold come out, which stand in paragraphs of their own."""


class Prose:
    """Writes Markdown as HTML. Whatever is HTML in it stays text, but for line breaks and folds."""

    def __init__(self, folder: Path, allowance: Allowance):
        """Prepare to write.

        Args:
          folder: from which links to pictures are followed; other files aren't linked.
          allowance: what pictures may take.
        """
        self.folder, self.allowance = folder, allowance
        self.shown: set[str] = set()
        """Digests of the pictures that were written."""
        self._parser = MarkdownIt("commonmark", {"html": False}).enable("table")

    def write(self, text: str) -> Markup:
        """Return Markdown as HTML; a picture that it links stands below the paragraph."""
        tokens = self._parser.parse(text)
        _shape_tables(tokens)
        written: list[Token] = []
        waiting: list[Token] = []
        for before, token in zip([None, *tokens], tokens, strict=False):
            if token.type == "inline" and token.children:
                if before is not None and before.type == "heading_open":
                    before.attrSet("id", anchor(token.content))
                if before is None or before.tag not in ("td", "th"):
                    waiting += self._pictures(token)
                token.children = self._linked(token.children)
            written.append(token)
            if token.level == 0 and token.nesting <= 0:
                written, waiting = written + waiting, []
        rendered = self._parser.renderer.render(written, self._parser.options, {})
        rendered = FOLD.sub(r"<details><summary>\1</summary>", rendered)
        rendered = rendered.replace(UNFOLD, "</details>")
        return Markup(rendered.replace("&lt;br&gt;", "<br>"))

    def table(self, table: Table) -> Markup:
        """Return a table, its cells' Markdown written."""
        return self.write(table.markdown())

    def _pictures(self, inline: Token) -> list[Token]:
        """The pictures that a paragraph shows or links, as blocks to stand below it."""
        found, children = [], inline.children or []
        for place, child in enumerate(children):
            source = child.attrGet("src" if child.type == "image" else "href")
            if not isinstance(source, str) or (path := self._local(source)) is None:
                continue
            if child.type == "image":
                words = str(child.attrGet("title") or child.content)
            else:
                words = _text_of_link(children[place:])
            if picture := embed(path, words, self.allowance):
                self.shown.add(digest(path))
                found.append(Token("html_block", "", 0, content=f"{picture.figure()}\n"))
        return found

    def _linked(self, children: Sequence[Token]) -> list[Token]:
        """Parts of a paragraph without pictures, and without links to files."""
        kept, dropped = [], False
        for child in children:
            if child.type == "image":
                continue
            if child.type == "link_open":
                target = str(child.attrGet("href"))
                dropped = not target.startswith(("#", "https://"))
            if not (dropped and child.type in ("link_open", "link_close")):
                kept.append(child)
        return kept

    def _local(self, source: str) -> Path | None:
        """The picture in the folder that a link names."""
        path = self.folder / unquote(source)
        inside = path.resolve().is_relative_to(self.folder.resolve())
        return path if inside and is_picture(path) and path.is_file() else None


def shaped(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    """Return a table of plain texts."""

    def line(tag: str, cells: Sequence[object]) -> str:
        labels = ["" if tag == "th" else f' data-label="{html.escape(t)}"' for t in titles]
        each = zip(labels, map(str, cells), strict=True)
        inner = "".join(
            f'<{tag} role="{ROLES[tag]}"{label}>{html.escape(cell)}</{tag}>' for label, cell in each
        )
        return f'<tr role="row">{inner}</tr>'

    head, body = line("th", titles), "".join(line("td", row) for row in rows)
    return Markup(
        f'<table role="table"{_cards(len(titles))}><thead role="rowgroup">{head}</thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>'
    )


def _cards(columns: int) -> str:
    return ' class="cards"' if columns > COLUMNS_TO_CARDS else ""


def _shape_tables(tokens: Sequence[Token]) -> None:
    """Give every cell the title of its column, and all parts of a table their roles."""
    titles: list[str] = []
    column, table = 0, None
    for token, after in itertools.zip_longest(tokens, tokens[1:]):
        if token.nesting != 1 or token.tag not in ROLES:
            continue
        token.attrSet("role", ROLES[token.tag])
        if token.tag == "table":
            table, titles = token, []
        elif token.tag == "tr":
            column = 0
        elif token.tag == "th":
            titles.append(re.sub(r"[*`]|<br>", " ", after.content if after else "").strip())
            if table is not None and len(titles) > COLUMNS_TO_CARDS:
                table.attrSet("class", "cards")
        elif token.tag == "td":
            token.attrSet("data-label", titles[column])
            for part in (after.children if after else None) or []:
                part.content = BEFORE_MARK.sub("\u00a0", part.content)
            column += 1


def _text_of_link(children: Sequence[Token]) -> str:
    """The words of the link that some tokens begin with."""
    words = []
    for child in children:
        if child.type == "link_close":
            break
        words.append(child.content)
    return "".join(words)
