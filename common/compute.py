"""How a recurrent model is computed: by which code, and in which precision of its products."""

from dataclasses import dataclass
from typing import Literal

Kernel = Literal["scan", "jax", "cpu"]
KERNELS: tuple[Kernel, ...] = ("cpu", "jax", "scan")
"""From the fastest to the reference; see `Compute`."""
Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
"""The reference first."""
FLOAT_BYTES = 4
"""Of a number of parameters, states and sums, which are float32 in every precision."""


@dataclass(frozen=True)
class Compute:
    """A way to compute recurrence and softmax. Ways differ in speed, and in results by rounding."""

    kernel: Kernel = "scan"
    """`scan`: differentiated by JAX; `jax`: with a custom VJP (`jax.custom_vjp`), its backward pass
    written by hand; `cpu`: the same in C++."""
    precision: Precision = "float32"
    """Of what matrix products read; their sums, and parameters, are float32 always."""


SCAN = Compute()
"""The reference."""
