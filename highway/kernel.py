"""The CPU kernel of the highway layers: compiled at first use, loaded, called.

The C++ lies in `highway/cpu`. The system's compiler turns it into a library in the cache folder,
named by all that it depends on: source, compiler, processor, JAX. Where that fails JAX does the
work, slower, and one line says so.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common import device
from common.datasets import default_cache_dir
from common.error import ConfigError

SOURCE = Path(__file__).parent / "cpu"
COMPILERS = ("c++", "g++", "clang++")
"""Tried in this order, after the one that $CXX names."""
_FLAGS = (
    "-std=c++17 -O3 -ffp-contract=fast -fPIC -shared -pthread -fvisibility=hidden".split()  # noqa: SIM905
)
_SECONDS = 300.0


class KernelError(Exception):
    """The kernel can't be had on this machine; the message is part of a sentence."""


class Level(NamedTuple):
    """What a processor must be able to do for one form of the kernel."""

    name: str
    """Of the form, and in the name of its library."""
    features: frozenset[str]
    """As Linux names them."""
    flags: tuple[str, ...]
    """That tell the compiler to use them."""

    @property
    def native_bfloat16(self) -> bool:
        """Whether it multiplies bfloat16 by the processor's own products, not in float32."""
        return "avx512_bf16" in self.features


_AVX512 = frozenset({"fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"})
_AVX512_FLAGS = ("-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")
LEVELS = (
    Level("avx512_bf16", _AVX512 | {"avx512_bf16"}, (*_AVX512_FLAGS, "-mavx512bf16")),
    Level("avx512", _AVX512, _AVX512_FLAGS),
    Level("avx2", frozenset({"fma", "avx2"}), ("-mfma", "-mavx2")),
    Level("portable", frozenset(), ()),
)
"""From best to simplest; the last one runs on any 64-bit x86 or ARM."""


@dataclass(frozen=True)
class Library:
    """A compiled kernel whose functions XLA knows."""

    level: str

    def forward(
        self,
        kernels: Sequence[jax.Array],
        biases: Sequence[jax.Array],
        state: jax.Array,
        projected: jax.Array,
        mask: jax.Array | None,
        *,
        save: bool,
        narrow: bool,
        threads: int | None,
    ) -> tuple[jax.Array, jax.Array, list[tuple[jax.Array, ...]]]:
        """Run all layers of all time steps.

        Args:
          kernels: of each layer [units, gates, units].
          biases: of each layer [gates, units].
          state: [batch, units].
          projected: [time, batch, gates, units].
          mask: [1 or gates, batch, units] or None.
          save: whether to return what the backward pass needs.
          narrow: whether products read bfloat16.
          threads: at most so many; None for as many as there are cores.

        Returns:
          The last state, the outputs [time, batch, units], and what was saved of each layer: the
          state that entered, proposal, transform and, with three gates, carry.

        Raises:
          ValueError: an array has another shape.
        """
        time, batch, gates, units = projected.shape
        _check("state", "[batch, units]", state, (batch, units))
        _check_layers(kernels, mask, batch, gates, units)
        for layer, bias in enumerate(biases):
            _check(f"biases[{layer}]", "[gates, units]", bias, (gates, units))
        steps = jax.ShapeDtypeStruct((time, batch, units), jnp.float32)
        count = (1 + gates) * len(kernels) if save else 0
        last, outputs, *saved = jax.ffi.ffi_call(
            _target("forward", self.level),
            [jax.ShapeDtypeStruct(state.shape, jnp.float32), *[steps] * (1 + count)],
            vmap_method="sequential",
        )(
            projected,
            state,
            _some_mask(mask, state),
            *kernels,
            *biases,
            threads=np.int32(threads or cores()),
            narrow=narrow,
        )
        layers = [tuple(saved[i : i + 1 + gates]) for i in range(0, count, 1 + gates)]
        return last, outputs, layers

    def backward(
        self,
        kernels: Sequence[jax.Array],
        saved: Sequence[Sequence[jax.Array]],
        mask: jax.Array | None,
        last_bar: jax.Array,
        output_bars: jax.Array,
        *,
        narrow: bool,
        threads: int | None,
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Gradients of the last state and the outputs → of the first state, and the errors.

        The errors of a layer, [time, batch, gates, units], are the gradients of its products'
        results; those of the first layer are the projected inputs' as well. The other arguments are
        those of `forward` and what it saved.

        Raises:
          ValueError: an array has another shape.
        """
        time, batch, units = output_bars.shape
        gates = len(saved[0]) - 1
        _check("last_bar", "[batch, units]", last_bar, (batch, units))
        _check_layers(kernels, mask, batch, gates, units)
        for layer, arrays in enumerate(saved):
            for array in arrays:
                _check(f"saved[{layer}]", "[time, batch, units]", array, (time, batch, units))
        errors = jax.ShapeDtypeStruct((time, batch, gates, units), jnp.float32)
        state_bar, *found = jax.ffi.ffi_call(
            _target("backward", self.level),
            [jax.ShapeDtypeStruct(last_bar.shape, jnp.float32), *[errors] * len(kernels)],
            vmap_method="sequential",
        )(
            last_bar,
            output_bars,
            _some_mask(mask, last_bar),
            *kernels,
            *[array for layer in saved for array in layer],
            threads=np.int32(threads or cores()),
            narrow=narrow,
        )
        return state_bar, tuple(found)


def takes(arrays: Any) -> bool:
    """Return whether all arrays have the type that the kernel works with."""
    return all(array.dtype == jnp.float32 for array in jax.tree.leaves(arrays))


def cores() -> int:
    """Return in how many threads the kernel works: $NPROC, which XLA heeds too, or the cores."""
    if (told := os.environ.get("NPROC", "")).isdecimal() and int(told) > 0:
        return int(told)
    return device.cores()


@functools.cache
def load() -> Library | None:
    """Return the kernel at this processor's level; None, said in one line, if it can't be had."""
    try:
        return load_level(best_level())
    except KernelError as error:
        print(f"The CPU kernel can't be used, JAX does its work: {error}.", file=sys.stderr)
        return None


def best_level() -> Level:
    """Return the best form of the kernel for this processor.

    Raises:
      KernelError: there is none.
    """
    if platform.machine().lower() not in ("x86_64", "amd64", "aarch64", "arm64"):
        raise KernelError(f"it isn't made for processors of kind {platform.machine() or '?'}")
    if sys.platform not in ("linux", "darwin"):
        raise KernelError(f"it isn't made for {sys.platform}")
    features = _features()
    return next(level for level in LEVELS if level.features <= features)


@functools.cache
def load_level(level: Level) -> Library:
    """Compile the kernel's form for a level unless the cache has it, and loads it.

    Raises:
      KernelError: it can't be compiled or loaded; says why.
    """
    path = _compile(level)
    try:
        library = ctypes.CDLL(str(path))
        functions = {"forward": library.HighwayForward, "backward": library.HighwayBackward}
    except (OSError, AttributeError) as error:
        raise KernelError(f"{path} can't be loaded ({error})") from None
    for name, function in functions.items():
        capsule = jax.ffi.pycapsule(function)
        jax.ffi.register_ffi_target(_target(name, level.name), capsule, platform="cpu")
    return Library(level.name)


def _target(name: str, level: str) -> str:
    """What XLA calls a function; each level has its own, so that several can be compared."""
    return f"highway_{name}_{level}"


def _some_mask(mask: jax.Array | None, state: jax.Array) -> jax.Array:
    return jnp.ones((1, *state.shape), jnp.float32) if mask is None else mask


def _check_layers(
    kernels: Sequence[jax.Array], mask: jax.Array | None, batch: int, gates: int, units: int
) -> None:
    """Raise ValueError unless kernels and mask fit the other arrays."""
    for layer, kernel in enumerate(kernels):
        _check(f"kernels[{layer}]", "[units, gates, units]", kernel, (units, gates, units))
    if mask is not None:
        shapes = (1, batch, units), (gates, batch, units)
        _check("mask", "[1 or gates, batch, units]", mask, *shapes)


def _check(name: str, axes: str, array: jax.Array, *shapes: tuple[int, ...]) -> None:
    """Raise ValueError unless an array has one of these shapes.

    The C++ takes all sizes from one array: it would read and write past the end of a smaller one.
    """
    if array.shape not in shapes:
        wanted = " or ".join(str(list(shape)) for shape in shapes)
        raise ValueError(f"{name} must be {axes}, here {wanted}, not {list(array.shape)}.")


def _features() -> frozenset[str]:
    """What the processor can do, as far as Linux says so."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())


def _compiler() -> list[str]:
    """The command of a C++ compiler."""
    own = shlex.split(os.environ.get("CXX", ""))
    for command in [own] if own else [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return command
    wanted = own[0] if own else " or ".join(COMPILERS)
    raise KernelError(f"there is no C++ compiler ({wanted})")


def _run(command: list[str]) -> str:
    """What a command prints."""
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"{command[0]} didn't run ({error})") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise KernelError(f"{command[0]} failed ({lines[0].strip()})")
    return done.stdout


def _library(level: Level, compiler: Sequence[str]) -> Path:
    """The library's file in the cache, named by all that it depends on."""
    digest = hashlib.sha256()
    for path in sorted(SOURCE.iterdir()):
        digest.update(path.read_bytes())
    for text in (
        _run([*compiler, "--version"]),
        *compiler,
        *_FLAGS,
        *level.flags,
        platform.machine(),
        jax.__version__,
    ):
        digest.update(text.encode() + b"\0")
    try:
        folder = default_cache_dir() / "kernel"
    except ConfigError as error:
        raise KernelError(str(error).splitlines()[0].rstrip(".")) from None
    return folder / f"highway-{level.name}-{digest.hexdigest()[:16]}.so"


def _compile(level: Level) -> Path:
    """The library's file in the cache, made if it isn't there."""
    compiler = _compiler()
    library = _library(level, compiler)
    folder = library.parent
    try:
        if library.exists():
            return library
        folder.mkdir(parents=True, exist_ok=True)
        # Made aside and moved into place at once: other processes may be doing the same.
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            made = Path(aside) / library.name
            source = str(SOURCE / "kernel.cc")
            _run(
                [
                    *compiler,
                    *_FLAGS,
                    *level.flags,
                    "-I",
                    jax.ffi.include_dir(),
                    source,
                    "-o",
                    str(made),
                ]
            )
            os.replace(made, library)
    except OSError as error:
        raise KernelError(f"{folder} can't be written ({error.strerror})") from None
    return library
