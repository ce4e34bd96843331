"""What the tests of source files share: two files, their sums, and zips of them."""

import hashlib
import io
import zipfile

ONE, TWO = b"first file\n" * 50, b"second file\n" * 50


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()
