"""What the texts of command-line arguments are read as, and which are refused."""

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path

from tutor.config import COLDEST


def path(text: str) -> Path:
    """Read a path, `~` and `~name` in front being homes: shells leave them alone in `--out=~/x`."""
    return Path(os.path.expanduser(text))


def assignment(text: str) -> str:
    """Read a `key=value`; a value that begins with `~` is a path."""
    key, equals, value = text.partition("=")
    return key + equals + (os.path.expanduser(value) if value.startswith("~") else value)


def axis(text: str) -> str:
    """Read a setting with the values that it takes, `key=value,value`."""
    key, equals, values = text.partition("=")
    if not key or not equals or not values:
        raise argparse.ArgumentTypeError(f"'{text}': write key=value,value")
    return text


def mesh(text: str) -> int:
    """Read the number of devices in `data=N`."""
    name, _, number = text.partition("=")
    if name != "data" or not number.isdecimal() or not 1 <= int(number) <= 4096:
        raise argparse.ArgumentTypeError(f"'{text}': write data=N, N from 1 to 4096")
    return int(number)


def coordinator(text: str) -> str:
    """Read the address of process 0, `HOST:PORT`; an IPv6 address stands in brackets."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if (
        not host.strip("[]")
        or (":" in host and not bracketed)
        or not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535)
    ):
        raise argparse.ArgumentTypeError(f"'{text}': write HOST:PORT, PORT from 1 to 65535")
    return text


def _whole(least: int, most: int, words: str) -> Callable[[str], int]:
    """Return a reader of whole numbers; `words` says which are meant."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"'{text}': {words}")
        return int(text)

    return read


def _real(fits: Callable[[float], bool], words: str) -> Callable[[str], float]:
    """Return a reader of numbers that fit; `words` says which are meant."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not fits(value):
            raise argparse.ArgumentTypeError(f"'{text}': {words}")
        return value

    return read


jobs = _whole(1, 4096, "choose a number from 1 to 4096")
processes = _whole(1, 2**20, "choose a number from 1")
process = _whole(0, 2**20, "processes are numbered from 0")
seed = _whole(0, 2**32 - 1, "a seed is a number from 0 to 2³² − 1")
count = _whole(1, 100, "choose a number from 1 to 100")
tokens = _whole(1, 100_000, "choose a number from 1 to 100000")
temperature = _real(
    lambda value: COLDEST <= value < math.inf, f"choose a number from {COLDEST:g} on"
)
share = _real(lambda value: 0 <= value <= 1, "choose a share from 0 to 1")
seconds = _real(lambda value: 0 < value < 3600, "seconds lie between 0 and 3600")
