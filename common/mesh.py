"""Several devices for one training: a batch or a population divided among them.

Devices may be those of several processes. An array is then in part out of a process's reach, unless
every device has all of it: states are kept so between calls, and what is read of them is read from
the process's own device.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from common.error import ConfigError

AXIS = "data"
"""The name of a mesh's only axis."""


def make_mesh(devices: int) -> Mesh | None:
    """Make a mesh of the first devices that JAX has, or None of one: that needs no mesh."""
    if devices == 1:
        return None
    return jax.make_mesh(
        (devices,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )


def require_even(mesh: Mesh | None, count: int, setting: str) -> None:
    """Raise ConfigError where devices can't divide `count`, which a setting says, evenly."""
    if mesh is not None and count % mesh.size:
        raise ConfigError(
            f"{setting}={count} can't be divided evenly by {mesh.size} devices: choose another "
            "number, or another --mesh."
        )


def spec(axis: int | None) -> PartitionSpec:
    """Return how devices hold an array whose axis they divide, or, with None, all of it."""
    return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, AXIS)


def replicate(tree: Any, mesh: Mesh | None) -> Any:
    """Put the whole of every array on each device of a mesh; without one they stay as they are."""
    return divide(tree, mesh, None)


def divide(tree: Any, mesh: Mesh | None, axis: int | None = 0) -> Any:
    """Divide an axis of every array among the devices; without a mesh they stay as they are.

    Args:
      tree: arrays; those that aren't on the mesh yet are the same in all processes.
      mesh: the devices.
      axis: which one; None to put the whole of every array on each device.
    """
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, spec(axis))
    if not mesh.is_multi_process:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda leaf: _put(leaf, sharding), tree)


def own(tree: Any, mesh: Mesh | None) -> Any:
    """Return what this process's first device has of arrays that each device has the whole of.

    What is computed of it is computed once, not by each device of the mesh. Without a mesh arrays
    stay as they are.
    """
    return tree if mesh is None else jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


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

    def with_nothing_kept(whole: Any, *divided: jax.Array) -> tuple[Any, None]:
        return function(whole, *divided), None

    return shared(with_nothing_kept, mesh, whole, divided, (0,) * len(divided))[0]


def shared(
    function: Callable[..., tuple[Any, Any]],
    mesh: Mesh | None,
    whole: Any,
    divided: tuple[Any, ...],
    axes: tuple[Any, ...],
) -> tuple[Any, Any]:
    """Compute sums over a batch, and what its sequences keep, each device for its share of them.

    Args:
      function: (whole, *divided) → sums, a pytree of float arrays of one type, and a pytree of
        arrays [batch, ...].
      mesh: the devices, or None for one: `function` is then called with everything.
      whole: what every device reads all of.
      divided: pytrees of arrays with an axis of the batch, which the devices divide evenly.
      axes: which axis that is in each of `divided`, as a number or a pytree of numbers.

    Returns:
      What `function` would return for the whole batch, up to the order of sums.
    """
    if mesh is None:
        return function(whole, *divided)

    def on_each(whole: Any, *divided: Any) -> tuple[Any, Any]:
        sums, kept = function(whole, *divided)
        # One sum of everything: devices wait for one another at each.
        flat, unravel = ravel_pytree(sums)
        return unravel(jax.lax.psum(flat, AXIS)), kept

    return jax.shard_map(
        on_each,
        mesh=mesh,
        in_specs=(spec(None), *jax.tree.map(spec, axes)),
        out_specs=(spec(None), spec(0)),
        check_vma=False,
    )(whole, *divided)


def each(function: Callable[..., Any], mesh: Mesh | None, members: Any, *whole: Any) -> Any:
    """Call a function of members, each device for its share of them.

    Args:
      function: (members, *whole) → a pytree of arrays [members, ...].
      mesh: the devices, or None for one: `function` is then called with everything.
      members: pytree of arrays [members, ...], which the devices divide evenly.
      whole: what every device reads all of.
    """
    if mesh is None:
        return function(members, *whole)
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=(spec(0), *(spec(None) for _ in whole)),
        out_specs=spec(0),
        check_vma=False,
    )(members, *whole)


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """`jax.device_put` where some of the devices are other processes'."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _put(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
