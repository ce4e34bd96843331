"""docs/performance.md says what its record of measurements, and arithmetic from it, say."""

import json
from pathlib import Path

import pytest

from experiments.registry import find
from highway.config import LanguageModelConfig

DOCS = Path(__file__).parent.parent / "docs"
WAYS = ("plain_", "", "bfloat16_", "kernel_", "kernel_bfloat16_", "torch_", "torch_deferred_")


@pytest.fixture(scope="module")
def measured():
    return json.loads((DOCS / "performance.json").read_text())["measured"]


def table(heading: str, number: int = 0) -> list[list[str]]:
    """The rows of a table below a heading, counted from 0, without its own."""
    text = (DOCS / "performance.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    tables = [part for part in text.split("\n\n") if part.startswith("|")]
    lines = tables[number].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_number_of_the_published_size_is_measured(measured):
    plain = measured["ptb/plain_words_per_second"]
    rows = table("The published model")
    assert len(rows) == len(WAYS)
    for way, (_, words, ratio, share, first, memory) in zip(WAYS, rows, strict=True):
        speed = measured[f"ptb/{way}words_per_second"]
        assert words == f"{speed:,.0f}"
        assert ratio == f"{speed / plain:.2f}"
        assert share == f"{measured[f'ptb/{way}fraction_of_matmul_bound']:.2f}"
        if way.startswith("torch"):
            assert first == memory == ""
        else:
            steps = (f"ptb/{way}{kind}first_step_seconds" for kind in ("", "cached_"))
            assert first == " / ".join(f"{measured[step]:.1f}" for step in steps)
            assert memory == f"{measured[f'ptb/{way}peak_memory_bytes'] / 1e6:,.0f}"


def test_the_bounds_are_measured(measured):
    text = (DOCS / "performance.md").read_text()
    assert f"{measured['ptb/matmul_bound_words_per_second']:,.0f} words/s" in text
    assert f"{measured['sgemm_gflops']:.0f} GFLOP/s" in text


def test_other_sizes_and_small_models_are_measured(measured):
    for size, *speeds in table("Other sizes"):
        ways = WAYS[: len(speeds)]
        assert speeds == [f"{measured[f'{size}/{way}words_per_second']:,.0f}" for way in ways]
    for name, value in table("Small models"):
        assert value == f"{measured[name]:,.2f}", name


def test_aims_are_set_against_what_was_measured(measured):
    speed = {way: measured[f"ptb/{way}words_per_second"] for way in WAYS}
    plain, torch, products = (
        speed["plain_"],
        speed["torch_"],
        measured["ptb/matmul_bound_words_per_second"],
    )
    memory = {way: measured[f"ptb/{way}peak_memory_bytes"] for way in ("", "kernel_", "plain_")}
    step = work(find("rhn_penn_treebank_depth10_tied").preset("paper").config)[0]
    of_product = step * speed["kernel_"] / 700 / 1e9 / measured["sgemm_gflops"]
    found = [speed[way] / plain for way in ("", "bfloat16_", "kernel_", "kernel_bfloat16_")]
    found += [speed["kernel_"] / torch, speed["kernel_bfloat16_"] / torch]
    found += [speed[""] / products, speed["kernel_"] / products, of_product]
    found += [memory[way] / memory["plain_"] for way in ("", "kernel_")]
    rows = table("The published model", number=1)
    assert [here for _, _, here in rows] == [f"{value:.2f}" for value in found]
    reached = [
        value <= float(asked) if "memory" in aim else value >= float(asked)
        for (aim, asked, _), value in zip(rows, found, strict=True)
    ]
    text = (DOCS / "performance.md").read_text()
    assert sum(reached) == 2
    assert "Two of eleven aims were reached." in text


def test_precisions_and_trials_are_those_recorded():
    record = json.loads((DOCS / "performance.json").read_text())
    losses = record["precision"]["valid/loss of seeds 0, 1, 2"]
    assert table("In bfloat16") == [
        [name, *(f"{loss:.3f}" for loss in each)] for name, each in losses.items()
    ]
    means = [sum(each) / len(each) for each in losses.values()]
    spread = max(max(each) - min(each) for each in losses.values())
    text = " ".join((DOCS / "performance.md").read_text().split())
    assert f"The means are {means[0]:.3f} and {means[1]:.3f}: they differ by" in text
    apart = abs(means[0] - means[1])
    assert f"by {apart:.3f}, seeds of one precision by up to {spread:.3f}" in text
    assert apart < spread
    trials = record["overnight_trials"]["valid/perplexity by constant epochs and decay"]
    assert table("Overnight") == [[name, f"{value:.1f}"] for name, value in trials.items()]
    best = min(trials, key=lambda name: trials[name])
    overnight = find("rhn_penn_treebank_depth10_tied").preset("overnight").config.train
    assert overnight.constant_epochs == 95 * int(best.split(",")[0]) // 12


def test_table_1_takes_the_time_that_was_measured():
    seconds = json.loads((DOCS / "performance.json").read_text())["table_1"]["seconds"]
    prior = seconds.pop("note_rnn_25000_updates") * 30 / 25 / 60
    tunings = sum(seconds.values()) / 60
    text = (DOCS / "performance.md").read_text()
    assert f"{prior:.1f} minutes for the Note RNN" in text
    assert f"{tunings:.1f} for the tunings, {prior + tunings:.1f} in all" in text


def test_hours_are_arithmetic(measured):
    """Seconds of an update: matrix products by their speed, dependent ones by their latency."""
    for name, gpu, tpu, cpu in table("Hours of the `paper` presets"):
        config = find(name).preset("paper").config
        flops, products, updates = work(config)
        rate = measured["ptb/kernel_bfloat16_words_per_second"]
        ptb_flops = work(find("rhn_penn_treebank_depth10_tied").preset("paper").config)[0]
        on_cpu = flops / (ptb_flops * rate / 700)
        assert gpu == f"{updates * (flops / 200e12 + products * 10e-6) / 3600:.1f}"
        assert tpu == f"{updates * (flops / 100e12 + products * 8e-6) / 3600:.1f}"
        assert cpu == f"{updates * on_cpu / 3600:,.0f}"


SIZES = {"penn_treebank": (10_000, 929_589), "enwik8": (205, 90_000_000), "text8": (27, 90_000_000)}


def work(config: LanguageModelConfig) -> tuple[float, int, int]:
    """Floating-point operations and dependent products of an update, and updates."""
    model, train = config.model, config.train
    vocabulary, tokens = SIZES[config.data.name]
    words = train.batch_size * train.steps
    width = model.embedding_size(vocabulary)
    weights = 2 * model.units * (model.depth * model.units + width) + model.units * vocabulary
    updates = train.epochs * (tokens // train.batch_size // train.steps)
    return 6.0 * words * weights, 2 * train.steps * model.depth, updates
