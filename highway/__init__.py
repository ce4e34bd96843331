"""Recurrent Highway Networks (Zilly et al., ICML 2017) as a library of modules and functions.

For models of your own in Flax: `RHNCell`, `DeepTransitionCell`, `FastRNN` and `Highway`;
`load_cells` gives trained ones.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from highway.cells import DeepTransitionCell, Highway, RHNCell
    from highway.fast_rnn import FastRNN
    from highway.pretrained import load_cells

__all__ = ["DeepTransitionCell", "FastRNN", "Highway", "RHNCell", "load_cells"]

_MODULES = {"FastRNN": "highway.fast_rnn", "load_cells": "highway.pretrained"}
"""Name → where it is, if not in highway.cells."""


def __getattr__(name: str) -> Any:
    """Import a cell when it is asked for: settings and catalogues do without JAX."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES.get(name, "highway.cells")), name)


def __dir__() -> list[str]:
    """Name what can be imported, for completion."""
    return sorted({*globals(), *__all__})
