"""`bench rhn`: how fast recurrent highway networks train on this machine, each way of computing."""

import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common import device
from common.compute import Compute
from common.config import override
from common.datasets import default_cache_dir
from common.error import ConfigError
from common.window import make_windows
from experiments import bench
from experiments.registry import find
from highway import kernel
from highway.config import LanguageModelConfig
from highway.learner import LanguageModelLearner

SIZES: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "ptb": ("rhn_penn_treebank_depth10_tied", 10_000, ()),
    "enwik8": ("rhn_enwik8_depth10_large", 205, ("train.steps=10",)),
    "small": ("rhn_penn_treebank_depth10_tied", 10_000, ("model.units=200",)),
}
"""Name → experiment whose `paper` preset has the size, its vocabulary, settings changed.

Windows of enwik8 are shortened: its updates take seconds, all of them alike."""


class Way(NamedTuple):
    """A way to train, and what it changes in the settings."""

    compute: Compute
    changes: tuple[str, ...] = ()


WAYS = {
    "": Way(Compute("jax")),
    "plain_": Way(Compute("scan")),
    "bfloat16_": Way(Compute("jax", "bfloat16")),
    "rematerialised_": Way(Compute("jax"), ("train.recurrence_chunk=5",)),
    "kernel_": Way(Compute("cpu")),
    "kernel_bfloat16_": Way(Compute("cpu", "bfloat16")),
}
"""What stands before a measure's name → how it is computed."""

APART_SIZE = "ptb"
"""The one whose memory and first steps are measured in processes of their own."""
PEER_SIZES = ("ptb", "small")
"""Those that PyTorch trains as well, if asked for."""


def rhn(seconds: float, peer: str = "") -> dict[str, float]:
    """Measure training steps at published sizes, all ways interleaved.

    Args:
      seconds: about how long each piece of a measurement runs, at least one update.
      peer: `torch` to measure PyTorch in turns with the ways, empty for none.

    Returns:
      SIZE/WAY words_per_second, medians over pieces, for the ways of `WAYS` that this machine has;
      SIZE/matmul_bound_words_per_second: were a step's matrix products alone its cost;
      SIZE/WAY fraction_of_matmul_bound;
      APART_SIZE/WAY first_step_seconds and cached_first_step_seconds: a new process's first update,
        compiled then or by a process before; compile_seconds: the former less one update;
        peak_memory_bytes: the most that such a process held;
      SIZE/torch_words_per_second, SIZE/torch_deferred_words_per_second: of the peer, as written
        plainly and with one product for each weight's gradient;
      sgemm_gflops: of a large matrix product;
      kernel_native_bfloat16: 1 where the kernel uses the processor's products of bfloat16, 0 where
        that has none and they are computed in float32;
      peak_memory_bytes: the most this process held.
    """
    measured = {"sgemm_gflops": bench.product_flops() / 1e9}
    if _has_kernel():
        measured["kernel_native_bfloat16"] = float(kernel.best_level().native_bfloat16)
    ways = {name: way for name, way in WAYS.items() if way.compute.kernel != "cpu" or _has_kernel()}
    for size, (_, vocabulary, _) in SIZES.items():
        config = _config(size)
        peers = _peers(config, vocabulary) if peer and size in PEER_SIZES else {}
        found = _measure(config, vocabulary, ways, seconds, peers)
        measured |= {f"{size}/{k}": v for k, v in found}
    measured["peak_memory_bytes"] = bench.peak_memory()
    train = _config(APART_SIZE).train
    for name in ways:
        apart, way = _apart(name), f"{APART_SIZE}/{name}"
        update = train.batch_size * train.steps / measured[f"{way}words_per_second"]
        apart["compile_seconds"] = apart["first_step_seconds"] - update
        measured |= {f"{way}{k}": v for k, v in apart.items()}
    return measured


def _config(size: str) -> LanguageModelConfig:
    name, _, changes = SIZES[size]
    return override(find(name).preset("paper").config, changes)


def _apart(way: str) -> dict[str, float]:
    """What a process of its own tells of the first steps of one way."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "experiments.language.bench", way]
        environment = {**os.environ, "HIGHWAY_TUTOR_CACHE": cache}
        if way.startswith("kernel"):  # its compilation isn't that of the program
            (Path(cache) / "kernel").symlink_to(kernel.default_cache_dir() / "kernel")
        first, again = (
            json.loads(
                subprocess.run(
                    command, env=environment, stdout=subprocess.PIPE, check=True, text=True
                ).stdout
            )
            for _ in range(2)
        )
    return first | {"cached_first_step_seconds": again["first_step_seconds"]}


def _first_steps(way: str) -> dict[str, float]:
    """Train a few updates in this process."""
    device.configure("auto", default_cache_dir() / "compiled")
    training = _training(_config(APART_SIZE), SIZES[APART_SIZE][1], WAYS[way])
    first = training.piece()
    training.piece()
    return {"first_step_seconds": first, "peak_memory_bytes": bench.peak_memory()}


def _has_kernel() -> bool:
    return jax.default_backend() == "cpu" and kernel.load() is not None


def _peers(config: LanguageModelConfig, vocabulary: int) -> dict[str, bench.Training]:
    """Trainings in PyTorch by the names of what is measured of them.

    Raises:
      ConfigError: it isn't installed.
    """
    try:
        from experiments.language.torch_peer import TorchTraining
    except ImportError as error:
        raise ConfigError(
            f"PyTorch isn't there ({error}).\nInstall it: pip install 'highway-tutor[torch]'"
        ) from None
    return {
        "torch_": TorchTraining(config, vocabulary, deferred=False),
        "torch_deferred_": TorchTraining(config, vocabulary, deferred=True),
    }


def _measure(
    config: LanguageModelConfig,
    vocabulary: int,
    ways: dict[str, Way],
    seconds: float,
    peers: dict[str, bench.Training],
) -> list[tuple[str, float]]:
    """Names and numbers of one size."""
    trainings = {name: _training(config, vocabulary, way) for name, way in ways.items()} | peers
    for training in trainings.values():
        training.warm_up(seconds)
    products = _Products(config, vocabulary)
    products.seconds()  # compiles
    works = {name: training.piece for name, training in trainings.items()}
    took = bench.in_turns(works | {"products": products.seconds})
    words, bound = config.train.batch_size * config.train.steps, took.pop("products")
    found = [("matmul_bound_words_per_second", words / bound)]
    for name, update in took.items():
        found += [
            (f"{name}words_per_second", words / update),
            (f"{name}fraction_of_matmul_bound", bound / update),
        ]
    return found


def _training(config: LanguageModelConfig, vocabulary: int, way: Way) -> bench.Training:
    """A training on random words."""
    config = override(config, way.changes)
    train = config.train
    count = train.batch_size * (4 * train.steps + 1)
    tokens = np.random.default_rng(0).integers(0, vocabulary, count).astype(np.int32)
    windows = make_windows(tokens, train.batch_size, train.steps, split="train")
    learner = LanguageModelLearner(config, vocabulary, windows, way.compute)
    return bench.LearnerTraining(learner, learner.initial_state(0))


class _Products:
    """The matrix products of one update by themselves, in float32, as a plain library does them."""

    def __init__(self, config: LanguageModelConfig, vocabulary: int):
        model, train = config.model, config.train
        width, units = model.embedding_size(vocabulary), model.units
        gates = 2 if model.coupled else 3
        rows = train.batch_size * train.steps
        ones = partial(jnp.full, fill_value=1e-3)
        steps = train.steps * model.depth
        self._chain = jax.jit(partial(_chain, steps=steps))
        self._forward = ones((train.batch_size, units)), ones((units, gates * units))
        self._backward = ones((train.batch_size, gates * units)), ones((gates * units, units))
        # Input to gates, and features to logits: forward, to the input, to the kernel.
        shapes = [(rows, width, gates * units), (rows, units, vocabulary)]
        triples = [s for m, k, n in shapes for s in ((m, k, n), (m, n, k), (k, m, n))]
        triples += [(units, rows, gates * units)] * model.depth  # a layer's kernel
        matmul = jax.jit(jnp.matmul)
        self._single = [partial(matmul, ones((m, k)), ones((k, n))) for m, k, n in triples]

    def seconds(self) -> float:
        """Return the seconds of all of them, one after the other."""
        took = bench.seconds_of(lambda: self._chain(*self._forward))
        took += bench.seconds_of(lambda: self._chain(*self._backward))
        return took + sum(bench.seconds_of(one) for one in self._single)


def _chain(a: jax.Array, b: jax.Array, *, steps: int) -> jax.Array:
    """Products [n, k] · [k, m] that wait for one another, as those of a recurrence do."""

    def step(a: jax.Array, _: None) -> tuple[jax.Array, None]:
        product = a @ b
        first = product[:, : min(a.shape[1], b.shape[1])]
        return jax.lax.dynamic_update_slice(a, first, (0, 0)), None

    return jax.lax.scan(step, a, None, length=steps)[0]


if __name__ == "__main__":
    print(json.dumps(_first_steps(sys.argv[1])))
