"""Properties of molecules, by RDKit. Nothing here needs JAX: scoring has processes of its own."""

import functools
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common.error import ConfigError

INSTALL = 'pip install "highway-tutor[molecules]"'
HARDEST = 10.0
"""Synthetic accessibility (Ertl & Schuffenhauer 2009) goes from 1, easy, to this."""
_USUAL_RING = 6
_LARGEST_RING = 7
_ELEMENTS = frozenset(("C", "N", "S", "O", "F", "Cl", "Br", "H"))
_RADIUS, _BITS = 2, 1024

Value = float | str


def require_rdkit() -> None:
    """Raise ConfigError where RDKit isn't installed; says how to install it."""
    if importlib.util.find_spec("rdkit") is None:
        raise ConfigError(f"molecules need RDKit, which isn't installed: {INSTALL}")


def parse(smiles: str) -> Any | None:
    """Return RDKit's molecule of SMILES; None where they are of none, or of no atoms."""
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles)
    return molecule if molecule is not None and molecule.GetNumAtoms() else None


def silence() -> None:
    """Let RDKit no longer print why it can't read a molecule."""
    from rdkit import rdBase

    rdBase.DisableLog("rdApp.*")


def canonical(molecule: Any) -> str:
    """Return its canonical SMILES."""
    from rdkit import Chem

    return Chem.MolToSmiles(molecule)


def qed(molecule: Any) -> float:
    """Compute the quantitative estimate of drug-likeness, 0..1 (Bickerton et al. 2012)."""
    from rdkit.Chem import QED

    return float(QED.qed(molecule))


def sa(molecule: Any) -> float:
    """Compute synthetic accessibility, 1 (easy) to 10 (Ertl & Schuffenhauer 2009)."""
    return float(_sa_scorer().calculateScore(molecule))


def logp(molecule: Any) -> float:
    """Compute the octanol-water partition coefficient (Wildman & Crippen 1999)."""
    from rdkit.Chem import rdMolDescriptors

    return float(rdMolDescriptors.CalcCrippenDescriptors(molecule)[0])


def ring_penalty(molecule: Any) -> float:
    """Compute by how many atoms the largest ring exceeds six; 0 without such a ring."""
    rings = molecule.GetRingInfo().AtomRings()
    return float(max(max(map(len, rings), default=0) - _USUAL_RING, 0))


def atoms(molecule: Any) -> float:
    """Count the atoms other than hydrogen."""
    return float(molecule.GetNumHeavyAtoms())


def filters(molecule: Any) -> float:
    """Tell whether it passes the filters that MOSES's molecules passed: 1 if so, else 0.

    They are: no ring of eight atoms or more, no charged atom, elements C, N, S, O, F, Cl, Br and H
    only, none of the medicinal chemistry filters (MCF) nor of the assay interference patterns
    (PAINS), as in the benchmark.
    """
    from rdkit import Chem

    if any(len(ring) > _LARGEST_RING for ring in molecule.GetRingInfo().AtomRings()):
        return 0.0
    if any(a.GetFormalCharge() or a.GetSymbol() not in _ELEMENTS for a in molecule.GetAtoms()):
        return 0.0
    explicit = Chem.AddHs(molecule)
    if any(explicit.HasSubstructMatch(pattern) for pattern in _medicinal_filters()):
        return 0.0
    return 0.0 if _assay_filters().HasMatch(molecule) else 1.0


def fingerprint(molecule: Any) -> str:
    """Return its Morgan fingerprint of radius 2 and 1,024 bits, in hexadecimal."""
    import numpy as np

    return np.packbits(_fingerprints().GetFingerprintAsNumPy(molecule)).tobytes().hex()


PROPERTIES: dict[str, Callable[[Any], Value]] = {
    one.__name__: one
    for one in (canonical, qed, sa, logp, ring_penalty, atoms, filters, fingerprint)
}
"""Name → function of RDKit's molecule."""


def measure(smiles: str, functions: Sequence[Callable[[Any], Value]]) -> list[Value] | None:
    """Return what functions say of a molecule; None where the SMILES are of none."""
    molecule = parse(smiles)
    return None if molecule is None else [function(molecule) for function in functions]


@functools.cache
def _sa_scorer() -> Any:
    """The score's authors' module, which RDKit installs among its contributions."""
    from rdkit.Chem import RDConfig

    path = os.path.join(RDConfig.RDContribDir, "SA_Score", "sascorer.py")
    spec = importlib.util.spec_from_file_location("rdkit_sascorer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def _medicinal_filters() -> list[Any]:
    from rdkit import Chem

    lines = Path(__file__).with_name("mcf.csv").read_text(encoding="ascii").splitlines()[1:]
    return [Chem.MolFromSmarts(line.partition(",")[2].strip('"')) for line in lines]


@functools.cache
def _assay_filters() -> Any:
    from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

    return FilterCatalog(FilterCatalogParams(FilterCatalogParams.FilterCatalogs.PAINS))


@functools.cache
def _fingerprints() -> Any:
    from rdkit.Chem import rdFingerprintGenerator

    return rdFingerprintGenerator.GetMorganGenerator(radius=_RADIUS, fpSize=_BITS)
