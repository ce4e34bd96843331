"""Recurrent layers of trained models as cells of Flax NNX."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from common.error import ConfigError
from common.model_file import read_model
from highway.cells import DeepTransitionCell, HighwayCell, RHNCell


def load_cells(
    path: str | Path, *, network: Literal["params", "prior"] = "params", **options: Any
) -> list[HighwayCell]:
    """Return the recurrent layers of a model that `export` wrote, with their parameters.

    Args:
      path: the file, as `python -m experiments export RUN FILE` makes it. What else is in it
        (embeddings, output layers) `common.model_file.read_model` gives.
      network: which of a tuned model's two: the one that was tuned, or the prior it came from.
      **options: of the cells, as in `RHNCell`: dropout, `dtype`, `compute`, `rngs`.

    Returns:
      A cell for each stacked layer, the lowest first.

    Raises:
      DataError: it is no such file, or damaged.
      ConfigError: its layers are neither highway layers nor deep transitions.
      ValueError: there is no such network.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from common.model_file import write_model
    >>> from highway import RHNCell, load_cells
    >>> cell, xs = RHNCell(8, 16, depth=3, rngs=nnx.Rngs(0)), jnp.ones((2, 5, 8))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "rhn.safetensors")  # as export writes it
    ...     write_model(file, nnx.to_pure_dict(nnx.state(cell, nnx.Param)), {})
    ...     (loaded,) = load_cells(file)
    >>> bool((nnx.RNN(loaded)(xs) == nnx.RNN(cell)(xs)).all())
    True
    """
    if network not in ("params", "prior"):
        raise ValueError(f"network is 'params' or 'prior', not {network!r}.")
    params = read_model(path).params
    core = params.get(network, params).get("core", {})
    layers = core.get("cores", {0: core})
    return [_make_cell(path, layers[number], options) for number in sorted(layers)]


def _make_cell(
    path: str | Path, params: Mapping[str, Any], options: Mapping[str, Any]
) -> HighwayCell:
    """A cell of the sizes that the parameters have, as documented at `highway.core`."""
    zeros = nnx.initializers.zeros
    given: dict[str, Any] = {
        "kernel_init": zeros,  # all are replaced
        "recurrent_kernel_init": zeros,
        "rngs": nnx.Rngs(0),
        **options,
    }
    cell: HighwayCell
    if "layers" in params:
        inputs, gates, units = params["input_kernel"].shape
        cell = RHNCell(inputs, units, depth=len(params["layers"]), coupled=gates == 2, **given)
    elif "kernels" in params:
        inputs, _, units = params["input_kernel"].shape
        shortcut = "input_shortcut" in params
        cell = DeepTransitionCell(
            inputs, units, depth=len(params["kernels"]), shortcut=shortcut, **given
        )
    else:
        raise ConfigError(
            f"{path}: no highway layers in it, nor deep transitions; it has "
            f"{', '.join(map(str, params)) or 'no recurrent layer'}.\n"
            "common.model_file.read_model gives the arrays as they are."
        )
    cell.core = nnx.merge(nnx.graphdef(cell.core), jax.tree.map(jnp.asarray, dict(params)))
    return cell
