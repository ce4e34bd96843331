"""Files as parts of the page: pictures and texts, within what the page may weigh."""

import base64
import functools
import hashlib
import html
import io
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from common.plot import alternative_text, described, with_few_colours

KINDS = {".png": "image/png", ".svg": "image/svg+xml"}
"""Ending of a picture's name → its media type."""
OPAQUE = (255, 255)
"""Least and most of a picture's opacity."""
LONGEST_TEXT = 5_000
"""Characters of a sample that are shown."""


class Allowance:
    """How many bytes may yet be put into the page."""

    def __init__(self, size: int):
        """Begin with so many bytes."""
        self.left = size

    def part(self, size: int) -> "Allowance":
        """Set so many bytes aside, or what there is."""
        part = Allowance(min(size, self.left))
        self.left -= part.left
        return part

    def add(self, other: "Allowance") -> None:
        """Take over what another has left."""
        self.left, other.left = self.left + other.left, 0

    def take(self, size: int) -> bool:
        """Take so many bytes if they are there; return whether they were."""
        if size > self.left:
            return False
        self.left -= size
        return True


@dataclass(frozen=True)
class Picture:
    """A picture in the page."""

    caption: str
    alt: str
    description: str
    """What can be seen, in full; empty where nobody wrote it."""
    source: str
    """A data URI."""

    def figure(self) -> Markup:
        """Return it as an element."""
        caption, alt, whole = map(html.escape, (self.caption, self.alt, self.description))
        if whole:
            whole = (
                f'<details><summary>In words<span class="unseen">: {caption}</span></summary>'
                f"<p>{whole}</p></details>"
            )
        return Markup(
            f'<figure class="picture"><img src="{self.source}" alt="{alt}" loading="lazy">'
            f"<figcaption>{caption}</figcaption>{whole}</figure>"
        )


def data_uri(content: bytes, kind: str) -> str:
    """Return content as a URI that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def embed(path: Path, words: str, allowance: Allowance) -> Picture | None:
    """Put a picture's file into the page; None where there is no room left for it.

    Args:
      path: the file.
      words: what the page calls it.
      allowance: what it may take.
    """
    if allowance.left <= 0:
        return None
    content = path.read_bytes()
    if path.suffix == ".png":
        content = _smaller(content)
    if not allowance.take(4 * len(content) // 3):
        return None
    alt, whole = alternative_text(path, words), described(path)
    return Picture(words, alt, whole, data_uri(content, KINDS[path.suffix]))


@functools.lru_cache(maxsize=64)
def _smaller(png: bytes) -> bytes:
    """A PNG file with few colours where that saves room; one with transparent parts, or that can't
    be read, as it is."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(png)) as picture:
            if "transparency" in picture.info or picture.convert("RGBA").getextrema()[3] != OPAQUE:
                return png
        return min(png, with_few_colours(png), key=len)
    except (UnidentifiedImageError, OSError):
        return png


def digest(path: Path) -> str:
    """Return what tells a file's content from others."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_picture(path: Path) -> bool:
    """Return whether a file is a picture that browsers show."""
    return path.suffix in KINDS


def beginning(path: Path) -> str:
    """Return a text file's content, cut where it is long."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}\n… (cut here)"
