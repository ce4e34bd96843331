"""The CPU kernel: equal to the JAX path in every form that this processor runs, or dispensable."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from common.compute import Compute
from common.deferred import unroll
from highway import kernel
from highway.config import ModelConfig
from highway.core import RHN
from highway.fused import HighwayRecurrence, KernelRecurrence, LayerWeights, highway_recurrence

ROOT = Path(__file__).parents[2]
FLOAT32, BFLOAT16 = 1e-5, 1e-2
"""Relative differences (L2, of each array) from the JAX path in float32."""

LEVELS = [level for level in kernel.LEVELS if level.features <= kernel._features()]
"""What this processor runs."""


@pytest.fixture(autouse=True)
def needs_kernel():
    if kernel.load() is None:
        pytest.skip("no kernel on this machine")


def make_case(units, batch, *, layers=2, time=3, gates=2, mask_of=None):
    """Weights, first state, projected inputs, mask; the magnitudes of a trained network."""
    keys = iter(jax.random.split(jax.random.key(units + batch), 2 * layers + 3))
    weights = tuple(
        LayerWeights(
            jax.random.normal(next(keys), (units, gates, units)) / units**0.5,
            jax.random.normal(next(keys), (gates, units)),
        )
        for _ in range(layers)
    )
    state = jax.random.normal(next(keys), (batch, units))
    projected = jax.random.normal(next(keys), (time, batch, gates, units))
    mask = None
    if mask_of is not None:
        shape = ({"shared": 1, "separate": gates}[mask_of], batch, units)
        mask = jax.random.bernoulli(next(keys), 0.7, shape) / 0.7
    return weights, state, projected, mask


@partial(jax.jit, static_argnums=0)
def run(recurrence, weights, state, projected, mask):
    """Last state, outputs, and gradients of a sum that weighs them all differently."""

    def weighed(weights, state, projected):
        last, outputs = unroll(recurrence, weights, state, projected, mask)
        cosines = jnp.cos(jnp.arange(outputs.size + last.size, dtype=outputs.dtype))
        both = jnp.concatenate([outputs.ravel(), last.ravel()])
        return both @ cosines, (last, outputs)

    return jax.grad(weighed, (0, 1, 2), has_aux=True)(weights, state, projected)


def assert_near(actual, expected, tolerance):
    actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape
        assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b)


def assert_same_bits(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def recurrence(coupled=True, **settings):
    return KernelRecurrence(coupled, library=kernel.load(), **settings)


@pytest.mark.parametrize("batch", [pytest.param(1, marks=pytest.mark.slow), 20, 128])
@pytest.mark.parametrize(
    "units",
    [7, pytest.param(100, marks=pytest.mark.slow), 830, pytest.param(832, marks=pytest.mark.slow)],
)
def test_any_width_and_batch_equal_the_jax_path(units, batch):
    case = make_case(units, batch, mask_of="shared")
    expected = run(HighwayRecurrence(True), *case)
    assert_near(run(recurrence(), *case), expected, FLOAT32)
    assert_near(run(recurrence(precision="bfloat16"), *case), expected, BFLOAT16)


@pytest.mark.parametrize("mask_of", [None, "shared", "separate"])
@pytest.mark.parametrize("coupled", [True, False])
@pytest.mark.parametrize("batch", [pytest.param(3, marks=pytest.mark.slow), 11])
def test_gates_and_masks_equal_the_jax_path(coupled, mask_of, batch):
    case = make_case(37, batch, layers=3, gates=2 if coupled else 3, mask_of=mask_of)
    expected = run(HighwayRecurrence(coupled), *case)
    assert_near(run(recurrence(coupled), *case), expected, FLOAT32)
    assert_near(run(recurrence(coupled, precision="bfloat16"), *case), expected, BFLOAT16)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
@pytest.mark.slow
def test_every_level_computes_the_same(level, precision):
    case = make_case(37, 20, gates=3, mask_of="separate")
    library = kernel.load_level(level)
    actual = run(KernelRecurrence(False, precision, library=library), *case)
    # Levels of one precision read the same rounded numbers, now and then rounded the other way.
    nearly = FLOAT32 if precision == "float32" else BFLOAT16 / 5
    assert_near(actual, run(recurrence(False, precision=precision), *case), nearly)


def test_bfloat16_is_bfloat16():
    case = make_case(100, 20)
    _, (_, exact) = run(recurrence(), *case)
    _, (_, outputs) = run(recurrence(precision="bfloat16"), *case)
    assert np.linalg.norm(outputs - exact) > 1e-4 * np.linalg.norm(exact)


@pytest.mark.parametrize("mask_of", [None, "shared", "separate"])
@pytest.mark.parametrize("coupled", [True, False])
def test_bfloat16_without_the_kernel(coupled, mask_of):
    case = make_case(37, 5, gates=2 if coupled else 3, mask_of=mask_of)
    jax_way = run(HighwayRecurrence(coupled, "bfloat16"), *case)
    assert_near(jax_way, run(HighwayRecurrence(coupled), *case), BFLOAT16)
    # Closer to the kernel, which rounds the same numbers, than both are to float32.
    assert_near(jax_way, run(recurrence(coupled, precision="bfloat16"), *case), BFLOAT16 / 5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_bits_depend_on_neither_threads_nor_company(precision):
    case = make_case(100, 20, layers=3, time=5, mask_of="shared")
    expected = run(recurrence(precision=precision, threads=1), *case)
    for threads in (None, 2, 3, 50):
        assert_same_bits(run(recurrence(precision=precision, threads=threads), *case), expected)
    shared = recurrence(precision=precision, threads=2)
    with ThreadPoolExecutor(4) as callers:
        for result in callers.map(lambda _: run(shared, *case), range(12)):
            assert_same_bits(result, expected)


def test_threads_are_as_many_as_xla_may_have(monkeypatch):
    monkeypatch.setenv("NPROC", "3")
    assert kernel.cores() == 3
    monkeypatch.delenv("NPROC")
    assert 1 <= kernel.cores() <= os.cpu_count()


def test_bits_are_those_without_saving():
    weights, state, projected, mask = make_case(37, 4, mask_of="shared")
    _, (last, outputs) = run(recurrence(), weights, state, projected, mask)
    evaluated = jax.jit(unroll, static_argnums=0)(recurrence(), weights, state, projected, mask)
    assert_same_bits(evaluated, (last, outputs))


def test_what_is_not_finite_stays_so():
    weights, state, projected, _ = make_case(37, 4)
    _, (last, outputs) = run(recurrence(), weights, state.at[1, 5].set(jnp.nan), projected, None)
    assert np.isnan(outputs[:, 1]).all()
    assert np.isnan(last[1]).all()
    assert np.isfinite(outputs[:, [0, 2, 3]]).all()
    _, (_, outputs) = run(recurrence(), weights, state, projected.at[0].set(jnp.inf), None)
    assert np.isfinite(outputs).all()  # gates saturate


def test_large_inputs_saturate_as_in_jax():
    weights, state, projected, _ = make_case(37, 4)
    case = weights, state, projected * 100, None
    assert_near(run(recurrence(), *case)[1], run(HighwayRecurrence(True), *case)[1], FLOAT32)


def test_members_side_by_side():
    case = make_case(20, 3)
    several = jax.tree.map(lambda x: jnp.stack([x, x / 2]), case)
    both = jax.vmap(partial(run, recurrence()))(*several)
    for member in range(2):
        one = jax.tree.map(lambda x, member=member: x[member], several)
        alone = run(recurrence(), *one)
        assert_near(jax.tree.map(lambda x, member=member: x[member], both), alone, FLOAT32)


def test_other_types_and_platforms_go_the_jax_way():
    case = make_case(20, 3)
    for platform in ("cuda", "tpu"):
        lowered = run.trace(recurrence(), *case).lower(lowering_platforms=(platform,))
        assert "highway_forward" not in lowered.as_text()
    assert "highway_forward" in run.trace(recurrence(), *case).lower().as_text()
    with jax.enable_x64(True):
        case = jax.tree.map(lambda x: x.astype(jnp.float64), case)
        expected = run(HighwayRecurrence(True), *case)
        assert expected[1][0].dtype == jnp.float64
        assert_same_bits(run(recurrence(), *case), expected)


LIBRARY = kernel.Library("none")
"""Its checks come before any code of the kernel, so they are seen without running it."""


def arrays_of_forward():
    weights, state, projected, mask = make_case(5, 4, layers=2, mask_of="shared")
    kernels, biases = ([layer[i] for layer in weights] for i in (0, 1))
    return {
        "kernels": kernels,
        "biases": biases,
        "state": state,
        "projected": projected,
        "mask": mask,
    }


def arrays_of_backward():
    arrays = arrays_of_forward()
    steps = jnp.zeros((3, 4, 5))
    return {
        "kernels": arrays["kernels"],
        "saved": [[steps] * 3] * 2,
        "mask": arrays["mask"],
        "last_bar": arrays["state"],
        "output_bars": steps,
    }


@pytest.mark.parametrize(
    ("name", "axis", "message"),
    [
        ("state", 0, r"state must be \[batch, units\], here \[4, 5\], not \[1, 5\]"),
        ("state", 1, r"state must be .*, not \[4, 1\]"),
        ("mask", 1, r"mask must be .* \[1, 4, 5\] or \[2, 4, 5\], not \[1, 1, 5\]"),
        ("mask", 2, r"mask must be .*, not \[1, 4, 1\]"),
        ("kernels", 0, r"kernels\[1\] must be .* \[5, 2, 5\], not \[1, 2, 5\]"),
        ("kernels", 1, r"kernels\[1\] must be .*, not \[5, 1, 5\]"),
        ("kernels", 2, r"kernels\[1\] must be .*, not \[5, 2, 1\]"),
        ("biases", 0, r"biases\[1\] must be .* \[2, 5\], not \[1, 5\]"),
        ("saved", 0, r"saved\[1\] must be .* \[3, 4, 5\], not \[1, 4, 5\]"),
        ("saved", 1, r"saved\[1\] must be .*, not \[3, 1, 5\]"),
        ("last_bar", 0, r"last_bar must be .* \[4, 5\], not \[1, 5\]"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name, axis, message):
    def cut(value):
        if isinstance(value, list):  # the last layer's, of what is saved its last array
            return [*value[:-1], cut(value[-1])]
        return jax.lax.slice_in_dim(value, 0, 1, axis=axis)

    calls = [
        (LIBRARY.forward, arrays_of_forward(), {"save": True}),
        (LIBRARY.backward, arrays_of_backward(), {}),
    ]
    for call, arrays, options in calls:
        if name in arrays:
            with pytest.raises(ValueError, match=message):
                call(**arrays | {name: cut(arrays[name])}, **options, narrow=False, threads=1)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("outer", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_a_state_of_another_batch_is_refused(outer, batch):
    model = ModelConfig(units=7, depth=2)
    core = RHN(5, model, rngs=nnx.Rngs(0), compute=Compute("cpu"))
    with pytest.raises(ValueError, match=r"state must be .*, here \[4, 7\]"):
        outer(core.unroll)(core.initial_state(batch), jnp.ones((6, 4, 5)))


def test_no_time_steps():
    weights, state, projected, _ = make_case(20, 3)
    gradients, (last, outputs) = run(recurrence(), weights, state, projected[:0], None)
    assert_same_bits(last, state)
    assert outputs.shape == (0, 3, 20)
    assert not any(np.any(x) for x in jax.tree.leaves(gradients[0]))


SCRIPT = """
import jax, jax.numpy as jnp
from common.deferred import unroll
from highway.fused import LayerWeights, highway_recurrence
for _ in range(2):
    recurrence = highway_recurrence(True)
weights = (LayerWeights(jnp.ones((5, 2, 5)) / 5, jnp.zeros((2, 5))),)
_, outputs = unroll(recurrence, weights, jnp.ones((2, 5)), jnp.zeros((3, 2, 2, 5)), None)
print(type(recurrence).__name__, float(outputs.sum()))
"""


def start_process(cache, code=SCRIPT, **environment):
    """A process of its own, its environment changed."""
    environment = {**os.environ, "HIGHWAY_TUTOR_CACHE": str(cache), **environment}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"PATH": "", "CXX": ""}, "there is no C++ compiler (c++ or g++ or clang++)"),
        pytest.param(
            {"CXX": "no-such-compiler"},
            "there is no C++ compiler (no-such-compiler)",
            marks=pytest.mark.slow,
        ),
        pytest.param({"CXX": "false"}, "false failed (no message)", marks=pytest.mark.slow),
    ],
)
def test_without_a_compiler_one_line_says_so(tmp_path, environment, reason):
    process = start_process(tmp_path, **environment)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert err == f"The CPU kernel can't be used, JAX does its work: {reason}.\n"
    name, total = out.split()
    assert name == "HighwayRecurrence"
    with_kernel, err = start_process(kernel.default_cache_dir()).communicate(timeout=120)
    assert err == ""
    assert with_kernel.split()[0] == "KernelRecurrence"
    assert float(with_kernel.split()[1]) == pytest.approx(float(total), rel=1e-6)


@pytest.mark.slow
def test_processes_may_compile_at_the_same_time(tmp_path):
    processes = [start_process(tmp_path) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert (out.split()[0], err) == ("KernelRecurrence", "")
    (library,) = (tmp_path / "kernel").iterdir()
    assert library.suffix == ".so"


def test_reasons_to_do_without(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(kernel.platform, "machine", lambda: "riscv64")
        with pytest.raises(kernel.KernelError, match="processors of kind riscv64"):
            kernel.best_level()
    (tmp_path / "file").touch()
    monkeypatch.setenv("HIGHWAY_TUTOR_CACHE", str(tmp_path / "file"))
    with pytest.raises(kernel.KernelError, match=r"file/kernel can't be written \(Not a directory"):
        kernel.load_level.__wrapped__(kernel.LEVELS[-1])


def test_without_a_home_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setenv("HIGHWAY_TUTOR_CACHE", "~nobody-of-this-name/cache")
    monkeypatch.setattr(kernel, "load_level", kernel.load_level.__wrapped__)
    assert kernel.load.__wrapped__() is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("The CPU kernel can't be used, JAX does its work: no place for")


def test_an_unreadable_library_is_a_reason(monkeypatch, tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(kernel, "_compile", lambda level: broken)
    with pytest.raises(kernel.KernelError, match=r"broken\.so can't be loaded"):
        kernel.load_level.__wrapped__(kernel.LEVELS[-1])


def test_a_library_is_named_by_all_that_it_depends_on(monkeypatch, tmp_path):
    (tmp_path / "kernel.cc").write_text("// one source")

    def name(level=kernel.LEVELS[-1], compiler=("c++",)):
        return kernel._library(level, compiler).name

    version = "compiler 1"
    monkeypatch.setattr(kernel, "SOURCE", tmp_path)
    monkeypatch.setattr(kernel, "_run", lambda command: version)
    first = name()
    assert name() == first
    names = [name(kernel.LEVELS[0]), name(compiler=("c++", "-O0"))]
    for target, attribute, other in (
        (kernel, "_FLAGS", ["-O1"]),
        (kernel.platform, "machine", lambda: "other"),
        (kernel.jax, "__version__", "0"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(target, attribute, other)
            names.append(name())
    version = "compiler 2"
    names.append(name())
    version = "compiler 1"
    (tmp_path / "kernel.cc").write_text("// another source")
    names.append(name())
    assert len({first, *names}) == 1 + len(names) == 8


def test_choice_of_the_way():
    assert highway_recurrence(True) == recurrence(True)
    assert highway_recurrence(True, precision="bfloat16") == recurrence(precision="bfloat16")
    jax_way = highway_recurrence(False, use_kernel=False, precision="bfloat16")
    assert jax_way == HighwayRecurrence(False, "bfloat16")


@pytest.mark.slow
@pytest.mark.parametrize("level", [LEVELS[0], LEVELS[-1]], ids=lambda level: level.name)
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_sanitizers(tmp_path, sanitizers, level):
    driver = tmp_path / "driver"
    flags = f"-std=c++17 -O1 -g -pthread -fsanitize={sanitizers} -fno-sanitize-recover=all".split()
    source = Path(__file__).parent / "kernel_driver.cc"
    command = [*kernel._compiler(), *flags, *level.flags, "-I", kernel.SOURCE, source, "-o", driver]
    built = subprocess.run(command, check=False, capture_output=True, text=True)
    if "cannot find -l" in built.stderr:
        pytest.skip("the compiler has no sanitizers")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([driver], check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
