"""What a picture says of itself."""

from pathlib import Path

from PIL import Image


def described_in(path: Path) -> str:
    """Return the description in a PNG file."""
    with Image.open(path) as opened:
        return str(opened.text["Description"])
