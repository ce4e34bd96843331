"""Whether what an experiment computes can be compiled for platforms that aren't here."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import jax
from jax.stages import Traced

from common import device
from common.compute import Compute, Precision
from common.mesh import make_mesh
from experiments.registry import Experiment

PLATFORMS = ("cuda", "tpu")
"""As JAX names them."""


class Lowered(NamedTuple):
    """What came of lowering one program for one platform."""

    program: str
    platform: str
    error: str
    """Empty where it lowers."""


def trace(
    experiment: Experiment,
    preset: str,
    overrides: Sequence[str] = (),
    precision: Precision | Literal["tf32"] = "float32",
    devices: int = 1,
) -> dict[str, Traced]:
    """Trace all that a device computes in an experiment, as an accelerator is given it.

    The recurrence is computed in the fastest way but the CPU's. `precision` is that of what matrix
    products read, as for a run. Several devices, of those that JAX has here, divide the training
    among them.

    Raises:
      ConfigError: they can't divide it.
    """
    config = experiment.configure(preset, overrides)
    kernel = next(kernel for kernel in experiment.kernels if kernel != "cpu")
    compute = Compute(kernel, "float32" if precision == "tf32" else precision)
    programs = experiment.load_programs()
    if programs is None:
        return {}
    with jax.default_matmul_precision(
        device.matmul_precision("gpu", tf32=precision == "tf32") or "float32"
    ):
        mesh = make_mesh(devices)
        return programs(config, compute) if mesh is None else programs(config, compute, mesh)


def lower(programs: Mapping[str, Traced]) -> list[Lowered]:
    """Lower programs for every platform: for all at once, which is quicker, or else one by one."""
    found = []
    for name, traced in programs.items():
        whole = _failure(traced, PLATFORMS)
        for platform in PLATFORMS:
            error = _failure(traced, (platform,)) if whole else ""
            found.append(Lowered(name, platform, error))
    return found


def _failure(traced: Traced, platforms: tuple[str, ...]) -> str:
    """Why a program can't be lowered; empty if it can."""
    try:
        traced.lower(lowering_platforms=platforms)
    except Exception as error:  # whatever a primitive without a rule raises
        return (str(error).splitlines() or [type(error).__name__])[0]
    return ""
