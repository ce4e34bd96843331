"""Recurrent Highway Networks (Zilly et al., ICML 2017) as a library of modules and functions.

For models of your own in Flax: `RHNCell`, `DeepTransitionCell`, `FastRNN` and `Highway`;
`load_cells` gives trained ones.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from highway.cells import DeepTransitionCell, FastRNN, Highway, RHNCell
    from highway.pretrained import load_cells

__all__ = ["DeepTransitionCell", "FastRNN", "Highway", "RHNCell", "load_cells"]


def __getattr__(name: str) -> Any:
    """Import a cell when it is asked for: settings and catalogues do without JAX."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from highway import cells, pretrained

    return getattr(pretrained if name == "load_cells" else cells, name)
