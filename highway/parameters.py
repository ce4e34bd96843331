"""What Flax's own layers do with their arguments, for ours: initialisers, types, checks."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

Initializer = Callable[..., jax.Array]
"""As `jax.nn.initializers` has them: called with key, shape and type, it gives an array."""
LECUN_NORMAL: Initializer = nnx.initializers.lecun_normal()
ORTHOGONAL: Initializer = nnx.initializers.orthogonal()
ZEROS: Initializer = nnx.initializers.zeros_init()

M = TypeVar("M", bound=nnx.Module | nnx.List)


def draw(
    module: nnx.Module | nnx.List,
    kernel_init: Initializer,
    recurrent_kernel_init: Initializer,
    bias_init: Initializer,
    param_dtype: Any,
    rngs: nnx.Rngs,
) -> None:
    """Draw a module's parameters anew, and put them into the type.

    Args:
      module: its kernels are [from, gates, to], its biases [gates, to].
      kernel_init: of kernels named "input_...", called with [from, to] for each gate.
      recurrent_kernel_init: of the other kernels, likewise.
      bias_init: of the first gate's bias, the proposal's, [to]; the others keep theirs.
      param_dtype: of the parameters.
      rngs: its stream "params" is drawn from.
    """
    drawn = jnp.promote_types(param_dtype, jnp.float32)  # some initialisers know no less
    for path, parameter in nnx.iter_graph(module):
        if not isinstance(parameter, nnx.Param):
            continue
        value = parameter[...]
        if value.ndim == 3:
            of_input = str(path[-1]).startswith("input_")
            init = kernel_init if of_input else recurrent_kernel_init
            shape = (value.shape[0], value.shape[2])
            each = [init(rngs.params(), shape, drawn) for _ in range(value.shape[1])]
            value = jnp.stack(each, axis=1)
        else:
            value = value.at[0].set(bias_init(rngs.params(), value.shape[1:], drawn))
        parameter.set_value(value.astype(param_dtype))


def cast(module: M, dtype: Any) -> M:
    """Return a module whose arrays are these in another type; gradients pass through."""
    graph, state = nnx.split(module)
    return nnx.merge(graph, jax.tree.map(lambda leaf: leaf.astype(dtype), state))


def check_width(inputs: jax.Array, width: int) -> None:
    """Raise ValueError for inputs that aren't [..., width]: a reshape might hide it."""
    if inputs.shape[-1:] != (width,):
        raise ValueError(f"inputs have shape [..., {width}] here, not {list(inputs.shape)}.")


def check_depth(depth: int) -> None:
    """Raise ValueError for a depth below 1."""
    if depth < 1:
        raise ValueError(f"depth is 1 or more, not {depth}.")
