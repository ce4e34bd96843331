"""Files as parts of the page: pictures and texts, within what the page may weigh."""

import base64
import html
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

KINDS = {".png": "image/png", ".svg": "image/svg+xml"}
"""Ending of a picture's name → its media type."""
LONGEST_TEXT = 5_000
"""Characters of a sample that are shown."""


class Allowance:
    """How many bytes may yet be put into the page."""

    def __init__(self, size: int):
        """Begin with so many bytes."""
        self.left = size

    def take(self, size: int) -> bool:
        """Take so many bytes if they are there; return whether they were."""
        if size > self.left:
            return False
        self.left -= size
        return True


@dataclass(frozen=True)
class Picture:
    """A picture in the page."""

    alt: str
    source: str
    """A data URI."""

    def figure(self) -> Markup:
        """Return it as an element."""
        alt = html.escape(self.alt)
        return Markup(
            f'<figure class="picture"><img src="{self.source}" alt="{alt}" loading="lazy">'
            f"<figcaption>{alt}</figcaption></figure>"
        )


def data_uri(content: bytes, kind: str) -> str:
    """Return content as a URI that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def embed(path: Path, alt: str, allowance: Allowance) -> Picture | None:
    """Put a picture's file into the page; None where there is no room left for it."""
    if not allowance.take(4 * path.stat().st_size // 3):
        return None
    return Picture(alt, data_uri(path.read_bytes(), KINDS[path.suffix]))


def is_picture(path: Path) -> bool:
    """Return whether a file is a picture that browsers show."""
    return path.suffix in KINDS


def beginning(path: Path) -> str:
    """Return a text file's content, cut where it is long."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}\n… (cut here)"
