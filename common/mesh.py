"""Several devices for one training: a batch, a population or a state divided among them.

Devices may be those of several processes. An array is then in part out of a process's reach, unless
every device has all of it: states are kept so between calls, and what is read of them is read from
the process's own device.
"""

import math
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
    return put(tree, mesh, spec(axis))


def put(tree: Any, mesh: Mesh | None, specs: Any) -> Any:
    """Put arrays on the devices; without a mesh they stay as they are.

    Args:
      tree: arrays; those that aren't on the mesh yet are the same in all processes.
      mesh: the devices.
      specs: a pytree of `spec`s, each of which says how devices hold all arrays at its place.
    """
    if mesh is None:
        return tree
    if not mesh.is_multi_process:
        return jax.device_put(tree, shardings(mesh, specs))

    return jax.tree.map(
        lambda sharding, part: jax.tree.map(lambda leaf: _put_leaf(leaf, sharding), part),
        shardings(mesh, specs),
        tree,
    )


def placed_shapes(tree: Any, mesh: Mesh | None, specs: Any) -> Any:
    """Return shapes and types of arrays as `put` would return these; they may be shapes themselves.

    Args:
      tree: arrays, or their shapes and types.
      mesh: the devices, or None for one: the tree is then returned as it is.
      specs: see `put`.
    """
    if mesh is None:
        return tree

    def placed(sharding: NamedSharding, part: Any) -> Any:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), part
        )

    return jax.tree.map(placed, shardings(mesh, specs), tree)


def constrain(tree: Any, mesh: Mesh | None, specs: Any) -> Any:
    """Say within a jitted function how devices hold arrays; without a mesh nothing is said.

    Args:
      tree: arrays that are being computed.
      mesh: the devices.
      specs: see `put`.
    """
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, shardings(mesh, specs))


def held_bytes(tree: Any, mesh: Mesh | None, specs: Any) -> int:
    """Return how many bytes of arrays lie in one memory: a device's, or of CPUs the machine's.

    Args:
      tree: arrays, or their shapes and types.
      mesh: the devices, or None for one.
      specs: see `put`.
    """

    def held(one: PartitionSpec, part: Any) -> int:
        sizes = []
        for leaf in jax.tree.leaves(part):
            shape = leaf.shape if mesh is None else NamedSharding(mesh, one).shard_shape(leaf.shape)
            sizes.append(math.prod(shape) * leaf.dtype.itemsize)
        return sum(sizes)

    return _devices_a_memory(mesh) * sum(jax.tree.leaves(jax.tree.map(held, specs, tree)))


def shardings(mesh: Mesh, specs: Any) -> Any:
    """Return `specs` (see `put`) as shardings over a mesh."""
    return jax.tree.map(lambda one: NamedSharding(mesh, one), specs)


def own_places(mesh: Mesh | None, count: int, setting: str) -> np.ndarray:
    """Return the places, of an axis that devices divide, that this process's devices have.

    Args:
      mesh: the devices, or None for one, which has all.
      count: places in all.
      setting: that says so, for errors.

    Returns:
      Rising numbers from 0 to count − 1.

    Raises:
      ConfigError: the devices can't divide the axis evenly.
    """
    require_even(mesh, count, setting)
    places = np.arange(count)
    if mesh is None:
        return places
    parts = NamedSharding(mesh, spec(0)).addressable_devices_indices_map((count,))
    return np.unique(np.concatenate([places[part] for part in parts.values() if part is not None]))


def assemble(tree: Any, mesh: Mesh | None, axis: int | None) -> Any:
    """Put arrays, of which devices divide an axis, on them from the parts that processes have.

    Args:
      tree: NumPy arrays with this process's `own_places` along the axis, in their order.
      mesh: the devices, or None for one.
      axis: which one; None where each process has, and each device gets, everything.
    """
    if mesh is None:
        return jax.device_put(tree)
    if axis is None or not mesh.is_multi_process:
        return divide(tree, mesh, axis)
    sharding = NamedSharding(mesh, spec(axis))
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), tree
    )


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


def _devices_a_memory(mesh: Mesh | None) -> int:
    if mesh is None or mesh.devices.flat[0].platform != "cpu":
        return 1
    return len(mesh.local_devices)


def _put_leaf(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """`jax.device_put` where some of the devices are other processes'."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _put_leaf(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
