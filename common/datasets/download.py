"""Fetching a file over HTTP from a list of mirrors, accepting only the bytes that are expected."""

import hashlib
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from common.error import DataError

_BLOCK = 1 << 18
# Some research servers turn away Python's own user agent.
_HEADERS = {"User-Agent": "Mozilla/5.0 (compatible; highway-tutor)"}
STALL_SECONDS = 30.0
"""Longest wait for a connection, and for the next byte."""
MIRROR_SECONDS = 1800.0
"""Longest time for the whole file from one mirror."""


@dataclass(frozen=True)
class Download:
    """A file on the web: the same bytes at each of several addresses."""

    mirrors: tuple[str, ...]
    """Addresses, tried in order."""
    size: int
    """Bytes."""
    sha256: str


class _MirrorError(Exception):
    """Why one mirror didn't give the file."""


def fetch(download: Download, destination: Path) -> None:
    """Bring a file to `destination`, from the first mirror that gives the expected bytes.

    TFDS's own download manager isn't used: it has no time limit and no mirrors. The file is
    written under another name and renamed when its size and sha256 are right, so `destination`
    never holds anything else.

    Args:
      download: which bytes, and from where.
      destination: the file, overwritten. The caller makes sure that no other process fetches it.

    Raises:
      DataError: no mirror gave the file; names each with its reason.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    for left in destination.parent.glob(f".{destination.name}.*.part"):  # by a killed process
        left.unlink()
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    failures = []
    for address in download.mirrors:
        print(f"downloading {address} ({download.size / 1e6:.1f} MB)", file=sys.stderr)
        try:
            _fetch_one(address, download, partial)
            partial.replace(destination)
            return
        except _MirrorError as error:
            failures.append(f"{address}: {error}")
        finally:
            partial.unlink(missing_ok=True)
    raise DataError(f"could not download {destination.name}: {'; '.join(failures)}.")


def _fetch_one(address: str, download: Download, partial: Path) -> None:
    """Write what one mirror sends to `partial`; raise _MirrorError unless it's as expected."""
    if not address.startswith(("http://", "https://")):
        raise _MirrorError("not an http or https address")
    digest, size = hashlib.sha256(), 0
    deadline = time.monotonic() + MIRROR_SECONDS
    request = urllib.request.Request(address, headers=_HEADERS)
    try:
        with (
            urllib.request.urlopen(request, timeout=STALL_SECONDS) as response,
            partial.open("wb") as file,
        ):
            while block := _read_some(response):
                size += len(block)
                if size > download.size:
                    raise _MirrorError(f"longer than the expected {download.size:,} bytes")
                if time.monotonic() > deadline:
                    raise _MirrorError(f"not done after {MIRROR_SECONDS:.0f} s")
                digest.update(block)
                file.write(block)
    except urllib.error.HTTPError as error:
        raise _MirrorError(f"HTTP status {error.code}") from error
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as err:
        raise _MirrorError(_reason(err)) from err
    if size < download.size:
        raise _MirrorError(f"ended after {size:,} of {download.size:,} bytes")
    if digest.hexdigest() != download.sha256:
        raise _MirrorError(f"sha256 is {digest.hexdigest()}, expected {download.sha256}")


def _read_some(response: http.client.HTTPResponse) -> bytes:
    """What has come, so that a server that drips bytes can't outlast the deadline; b"" at the end.

    Any failure here is the mirror's, TLS's own (an OSError like those of a full disk) included.
    """
    try:
        return response.read1(_BLOCK)
    except OSError as error:
        raise _MirrorError(_reason(error)) from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error) or type(error).__name__
