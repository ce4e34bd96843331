"""Functions of a user's, for the tests of scoring."""

import os
import time
from pathlib import Path


def _first_time(molecule, what: str) -> bool:
    mark = Path(os.environ["OWN_TERMS"]) / f"{what}{molecule.GetNumAtoms()}"
    fresh = not mark.exists()
    mark.touch()
    return fresh


def rings(molecule) -> float:
    return molecule.GetRingInfo().NumRings()


def counted(molecule) -> float:
    return 1.0


def fails(molecule) -> float:
    raise ValueError("no such thing")


def nothing(molecule) -> float:
    return float("nan")


def dies_once(molecule) -> float:
    """The first time that it sees a molecule of five atoms its process dies."""
    if molecule.GetNumAtoms() == 5 and _first_time(molecule, "died"):
        os._exit(9)
    return molecule.GetNumAtoms()


def dies(molecule) -> float:
    if molecule.GetNumAtoms() == 5:
        os._exit(9)
    return molecule.GetNumAtoms()


def hangs_once(molecule) -> float:
    if molecule.GetNumAtoms() == 5 and _first_time(molecule, "hung"):
        time.sleep(60)
    return molecule.GetNumAtoms()


def hangs(molecule) -> float:
    if molecule.GetNumAtoms() == 5:
        time.sleep(60)
    return molecule.GetNumAtoms()
