"""`bench rhn`: every way of every size, in names that say which."""

import json

import pytest

from common.compute import Compute
from experiments import bench as timing
from experiments.cli import main
from experiments.language import bench

TINY = ("model.units=8", "model.depth=2", "train.steps=4", "train.batch_size=2")
SIZES = {
    "ptb": ("rhn_penn_treebank_depth10_tied", 11, TINY),
    "enwik8": ("rhn_enwik8_depth10_large", 7, TINY),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bench, "SIZES", SIZES)
    monkeypatch.setattr(timing, "PIECES", 1)
    monkeypatch.setattr(timing, "PRODUCT_SIZE", 64)


def test_one_flat_object_of_numbers(monkeypatch, capsys):
    monkeypatch.setattr(bench, "_apart", lambda way: {"first_step_seconds": 1.0 + len(way)})
    ways = {name: way for name, way in bench.WAYS.items() if name in ("", "plain_")}
    monkeypatch.setattr(bench, "WAYS", ways)
    assert main(["bench", "rhn", "--json", "--seconds", "0.01"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert all(isinstance(value, int | float) and value > 0 for value in measured.values())
    for size in SIZES:
        bound = measured[f"{size}/matmul_bound_words_per_second"]
        for way in ways:
            speed = measured[f"{size}/{way}words_per_second"]
            share = measured[f"{size}/{way}fraction_of_matmul_bound"]
            assert share == pytest.approx(speed / bound)
    assert {"sgemm_gflops", "peak_memory_bytes"} <= measured.keys()
    assert measured["ptb/plain_first_step_seconds"] == 1.0 + len("plain_")
    assert "enwik8/first_step_seconds" not in measured


def test_compiling_is_timed_where_no_program_was_kept(monkeypatch, capsys):
    """Whatever the cache of this process holds: a new process's first update, less one update."""
    monkeypatch.setattr(bench, "_apart", lambda way: {"first_step_seconds": 100.0})
    monkeypatch.setattr(bench, "WAYS", {"plain_": bench.WAYS["plain_"]})
    assert main(["bench", "rhn", "--json", "--seconds", "0.01"]) == 0
    measured = json.loads(capsys.readouterr().out)
    update = 2 * 4 / measured["ptb/plain_words_per_second"]
    assert measured["ptb/plain_compile_seconds"] == pytest.approx(100.0 - update, abs=1e-9)
    assert "enwik8/plain_compile_seconds" not in measured


def test_each_way_is_computed_as_its_name_says(monkeypatch):
    chosen = []

    class Seen(bench.LanguageModelLearner):
        def __init__(self, config, *arguments):
            chosen.append((arguments[-1], config.train.recurrence_chunk))
            super().__init__(config, *arguments)

    monkeypatch.setattr(bench, "LanguageModelLearner", Seen)
    ways = {name: bench.WAYS[name] for name in ("bfloat16_", "rematerialised_", "plain_")}
    config = bench.override(bench.find(SIZES["ptb"][0]).preset("paper").config, TINY)
    found = dict(bench._measure(config, 11, ways, 0.01, {"peer_": Peer()}))
    assert chosen == [(Compute("jax", "bfloat16"), 0), (Compute("jax"), 5), (Compute(), 0)]
    assert found["peer_words_per_second"] == pytest.approx(8 / Peer.SECONDS)


def test_a_peer_is_measured_where_one_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(bench, "_apart", lambda way: {"first_step_seconds": 1.0})
    monkeypatch.setattr(bench, "WAYS", {"plain_": bench.WAYS["plain_"]})
    monkeypatch.setattr(bench, "_peers", lambda config, vocabulary: {"torch_": Peer()})
    assert main(["bench", "rhn", "--json", "--seconds", "0.01", "--peer", "torch"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["ptb/torch_words_per_second"] == pytest.approx(8 / Peer.SECONDS)
    assert "enwik8/torch_words_per_second" not in measured


class Peer(timing.Training):
    SECONDS = 0.25

    def advance(self, steps: int) -> None:
        raise NotImplementedError

    def piece(self) -> float:
        return self.SECONDS


@pytest.mark.slow
def test_first_steps_in_processes_of_their_own():
    """At the published size, which other processes know."""
    found = bench._apart("plain_")
    assert found["cached_first_step_seconds"] < found["first_step_seconds"]
    assert 2e8 < found["peak_memory_bytes"] < 3e9


def test_a_peer_that_no_benchmark_knows(capsys):
    assert main(["bench", "tutor", "--peer", "torch"]) == 2
    assert "bench tutor has no peer" in capsys.readouterr().err
