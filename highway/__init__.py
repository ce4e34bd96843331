"""Recurrent Highway Networks (Zilly et al., ICML 2017) as a library of modules and functions.

For models of your own in Flax: `RHNCell`, `DeepTransitionCell`, `FastRNN` and `Highway`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from highway.cells import DeepTransitionCell, Highway, RHNCell
    from highway.fast_rnn import FastRNN

__all__ = ["DeepTransitionCell", "FastRNN", "Highway", "RHNCell"]


def __getattr__(name: str) -> Any:
    """Import a cell when it is asked for: settings and catalogues do without JAX."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module("highway.fast_rnn" if name == "FastRNN" else "highway.cells")
    return getattr(module, name)


def __dir__() -> list[str]:
    """Name what can be imported, for completion."""
    return sorted({*globals(), *__all__})
