"""A function of a user's that takes a while, as does a process that starts after another died."""

import os
import time
from pathlib import Path

import own_terms

if any(Path(os.environ["OWN_TERMS"]).iterdir()):
    time.sleep(1.5)


def dies_once(molecule) -> float:
    time.sleep(0.05)
    return own_terms.dies_once(molecule)
