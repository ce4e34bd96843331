"""Recurrent Highway Networks (Zilly et al., ICML 2017) as a library of modules and functions.

For models of your own in Flax: `RHNCell`, `DeepTransitionCell`, `FastRNN` and `Highway`;
`load_cells` gives trained ones.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from highway.block import Highway
    from highway.cells import DeepTransitionCell, RHNCell
    from highway.fast_rnn import FastRNN
    from highway.pretrained import load_cells

__all__ = ["DeepTransitionCell", "FastRNN", "Highway", "RHNCell", "load_cells"]

_MODULES = {
    "DeepTransitionCell": "highway.cells",
    "FastRNN": "highway.fast_rnn",
    "Highway": "highway.block",
    "RHNCell": "highway.cells",
    "load_cells": "highway.pretrained",
}


def __getattr__(name: str) -> Any:
    """Import a cell when it is asked for: settings and catalogues do without JAX."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """Name what can be imported, for completion."""
    return sorted({*globals(), *__all__})
