"""Several devices for one training: a batch divided among them."""

from collections.abc import Callable
from typing import Any

import jax
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"
"""The name of a mesh's only axis."""


def make_mesh(devices: int) -> Mesh | None:
    """Make a mesh of the first devices that JAX has, or None of one: that needs no mesh."""
    if devices == 1:
        return None
    return jax.make_mesh(
        (devices,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )


def replicate(tree: Any, mesh: Mesh | None) -> Any:
    """Put the whole of every array on each device of a mesh; without one they stay as they are."""
    return tree if mesh is None else jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def summed(function: Callable[..., Any], mesh: Mesh | None, whole: Any, *divided: jax.Array) -> Any:
    """Compute sums over a batch, each device over its share of it.

    Args:
      function: (whole, *divided) → a pytree of float arrays of one type, all of them sums over the
        batch.
      mesh: the devices, or None for one: `function` is then called with everything.
      whole: what every device reads all of.
      divided: arrays [batch, ...]; the devices divide the batch evenly.

    Returns:
      What `function` would return for the whole batch, up to the order of sums.
    """
    if mesh is None:
        return function(whole, *divided)

    def on_each(whole: Any, *divided: jax.Array) -> Any:
        # One sum of everything: devices wait for one another at each.
        flat, unravel = ravel_pytree(function(whole, *divided))
        return unravel(jax.lax.psum(flat, AXIS))

    everywhere = PartitionSpec()
    return jax.shard_map(
        on_each,
        mesh=mesh,
        in_specs=(everywhere, *(PartitionSpec(AXIS) for _ in divided)),
        out_specs=everywhere,
        check_vma=False,
    )(whole, *divided)
