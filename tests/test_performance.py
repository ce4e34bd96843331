"""docs/performance.md says what its record of measurements, and arithmetic from it, say."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from scipy.stats import t

from common.config import override
from experiments.language import bench
from experiments.registry import experiments, find
from highway.config import LanguageModelConfig
from highway.cost import CORPORA, H100, TPU_V5E, training_hours, training_work

DOCS = Path(__file__).parent.parent / "docs"
WAYS = (
    "plain_", "", "bfloat16_", "kernel_", "kernel_bfloat16_",
    "rematerialised_", "torch_", "torch_deferred_",
)  # fmt: skip
SYNCHRONISATION = 2e-6
"""Seconds of one of all processors of a GPU, as docs/performance.md supposes."""
Measured = dict[str, float]


def speed(measured: Measured, way: str) -> float:
    return measured[f"ptb/{way}words_per_second"]


def memory(measured: Measured, way: str) -> float:
    return measured[f"ptb/{way}peak_memory_bytes"]


def compiling(measured: Measured, way: str) -> float:
    """Seconds of a first update that found nothing compiled, less those of one update."""
    return measured[f"ptb/{way}first_step_seconds"] - 700 / speed(measured, way)


def bound(measured: Measured) -> float:
    return measured["ptb/matmul_bound_words_per_second"]


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
        plain = measured[f"{size}/plain_words_per_second"]
        found = [measured[f"{size}/{way}words_per_second"] for way in ways]
        assert speeds == [f"{speed:,.0f} ({speed / plain:.2f})" for speed in found]
    assert table("Small models") == [[words, f"{measured[k]:,.2f}"] for words, k in SMALL.items()]


def language_models():
    """Name → work of every language model that has a preset `paper`."""
    found = {}
    for name, one in experiments().items():
        config = one.presets["paper"].config if "paper" in one.presets else None
        if isinstance(config, LanguageModelConfig):
            found[name] = training_work(config, *CORPORA[config.data.name])
    return found


PUBLISHED = language_models()["rhn_penn_treebank_depth10_tied"]


SMALL = {
    "Note RNN, updates a second: two devices": "note_rnn/updates_per_second",
    "one device": "note_rnn/one_device_updates_per_second",
    "one device, differentiated by JAX": "note_rnn/plain_updates_per_second",
    "the first over the last": "note_rnn/times_plain",
    "share of a large product's speed": "note_rnn/arithmetic_share",
    **{
        words: f"tutor/{setting}/{measure}"
        for setting in ("original", "vectorised")
        for words, measure in {
            f"tuning, {setting} setting, events a second": "steps_per_second",
            f"{setting}: with Adam on one flat vector": "flat_adam_steps_per_second",
            f"{setting}: LSTM differentiated by JAX": "scan_steps_per_second",
            f"{setting}: gradient steps a second": "updates_per_second",
            f"{setting}: time of three seeds over that of one": "3_seeds_time_ratio",
            f"{setting}: share of a large product's speed": "arithmetic_share",
        }.items()
    },
    "compositions a second, with rewards and Table 1": "tutor/compositions_per_second",
}
"""What is told of small models → its name among the measures."""
AIMS: list[tuple[str, str, Callable[[Measured], float]]] = [
    ("JAX, times plain", "≥ 1.45", lambda m: speed(m, "") / speed(m, "plain_")),
    (
        "JAX in bfloat16, times plain",
        "≥ 1.80",
        lambda m: speed(m, "bfloat16_") / speed(m, "plain_"),
    ),
    ("kernel, times plain", "≥ 1.90", lambda m: speed(m, "kernel_") / speed(m, "plain_")),
    (
        "kernel in bfloat16, times plain",
        "≥ 2.80",
        lambda m: speed(m, "kernel_bfloat16_") / speed(m, "plain_"),
    ),
    ("kernel, times PyTorch", "≥ 2.80", lambda m: speed(m, "kernel_") / speed(m, "torch_")),
    (
        "kernel in bfloat16, times PyTorch",
        "≥ 4.00",
        lambda m: speed(m, "kernel_bfloat16_") / speed(m, "torch_"),
    ),
    ("JAX, share of the products' speed", "≥ 0.80", lambda m: speed(m, "") / bound(m)),
    ("kernel, share of the products' speed", "≥ 1.00", lambda m: speed(m, "kernel_") / bound(m)),
    (
        "kernel, share of a 2048³ product's speed over the whole step",
        "≥ 0.80",
        lambda m: PUBLISHED.flops * speed(m, "kernel_") / 700 / 1e9 / m["sgemm_gflops"],
    ),
    (
        "JAX, memory as a multiple of plain's",
        "≤ 1.00",
        lambda m: memory(m, "") / memory(m, "plain_"),
    ),
    (
        "kernel, memory as a multiple of plain's",
        "≤ 1.00",
        lambda m: memory(m, "kernel_") / memory(m, "plain_"),
    ),
    ("JAX, compilation in seconds", "≤ 5.00", lambda m: compiling(m, "")),
    ("kernel, compilation in seconds", "≤ 5.00", lambda m: compiling(m, "kernel_")),
    (
        "JAX, first update from the compiled-program cache in seconds",
        "≤ 1.50",
        lambda m: m["ptb/cached_first_step_seconds"],
    ),
    ("Note RNN on two CPU devices, times plain", "≥ 1.90", lambda m: m["note_rnn/times_plain"]),
    (
        "tuning, original setting: time of 3 seeds over that of one",
        "≤ 1.80",
        lambda m: m["tutor/original/3_seeds_time_ratio"],
    ),
    (
        "tuning, vectorised setting: time of 3 seeds over that of one",
        "≤ 1.80",
        lambda m: m["tutor/vectorised/3_seeds_time_ratio"],
    ),
    (
        "tuning, original setting: Adam on one flat vector, times Adam on each array",
        "≥ 1.20",
        lambda m: (
            m["tutor/original/flat_adam_steps_per_second"] / m["tutor/original/steps_per_second"]
        ),
    ),
]
"""What is measured, what was aimed at, and how it follows from the measures."""


def reached(asked: str, value: float) -> bool:
    sign, limit = asked.split()
    return value >= float(limit) if sign == "≥" else value <= float(limit)


def test_aims_are_set_against_what_was_measured(measured):
    found = [(aim, asked, value(measured)) for aim, asked, value in AIMS]
    expected = [[aim, asked, f"{value:.2f}"] for aim, asked, value in found]
    assert table("The published model", number=1) == expected
    count = sum(reached(asked, value) for _, asked, value in found)
    assert f"{count} of {len(AIMS)} aims were reached." in (DOCS / "performance.md").read_text()


def test_every_way_and_size_was_measured(measured):
    """What the benches print today."""
    for size in bench.SIZES:
        assert {f"{size}/{way}words_per_second" for way in bench.WAYS} <= measured.keys()
    assert {f"ptb/{way}peak_memory_bytes" for way in bench.WAYS} <= measured.keys()


def paired(losses: dict[str, list[float]]) -> tuple[float, float]:
    """Mean of seeds' differences, and half of its 95 % interval by t."""
    apart = [a - b for a, b in zip(*losses.values(), strict=True)]
    mean, count = sum(apart) / len(apart), len(apart)
    error = (sum((one - mean) ** 2 for one in apart) / (count - 1) / count) ** 0.5
    return mean, float(t.ppf(0.975, count - 1)) * error


def test_precisions_and_trials_are_those_recorded():
    record = json.loads((DOCS / "performance.json").read_text())
    losses = record["precision"]["valid/loss of seeds 0, 1, 2"]
    assert table("In bfloat16") == [
        [name, *(f"{loss:.3f}" for loss in each)] for name, each in losses.items()
    ]
    mean, margin = paired(losses)
    text = " ".join((DOCS / "performance.md").read_text().split())
    assert f"lower by {mean:.3f} [{mean - margin:.3f}, {mean + margin:.3f}]" in text
    assert mean - margin < 0 < mean + margin
    trials = record["overnight_trials"]["valid/perplexity by constant epochs and decay"]
    assert table("Overnight") == [[name, f"{value:.1f}"] for name, value in trials.items()]
    best = min(trials, key=lambda name: trials[name])
    overnight = find("rhn_penn_treebank_depth10_tied").preset("overnight").config.train
    assert overnight.constant_epochs == overnight.epochs * int(best.split(",")[0]) // 12
    constant = f"{overnight.constant_epochs} of {overnight.epochs} epochs at a constant rate"
    assert f"{constant}, two thirds" in text
    assert f"then division by {overnight.learning_rate_decay:g} an epoch" in text


def test_table_1_takes_the_time_that_was_measured():
    seconds = json.loads((DOCS / "performance.json").read_text())["table_1"]["seconds"]
    prior = seconds.pop("note_rnn_25000_updates") * 30 / 25 / 60
    tunings = sum(seconds.values()) / 60
    assert prior + tunings < 25  # as was asked
    text = (DOCS / "performance.md").read_text()
    assert f"{prior:.1f} minutes for the Note RNN" in text
    assert f"{tunings:.1f} for the tunings, {prior + tunings:.1f} in all" in text


def hours_of(measured: Measured, name: str) -> list[float]:
    """On an H100, on a TPU v5e, and on two cores by the measured speed of the nearest size."""
    work, config = language_models()[name], find(name).preset("paper").config
    near = "ptb" if config.data.name == "penn_treebank" else "enwik8"
    of, vocabulary, changes = bench.SIZES[near]
    sized = override(find(of).preset("paper").config, changes)
    tokens = sized.train.batch_size * sized.train.steps
    rate = measured[f"{near}/kernel_bfloat16_words_per_second"]
    flops = rate / tokens * training_work(sized, vocabulary, tokens).flops
    hours = [training_hours(work, machine) for machine in (H100, TPU_V5E)]
    return [*hours, work.updates * work.flops / flops / 3600]


def test_hours_are_arithmetic(measured):
    rows = {name: hours for name, *hours in table("Hours of the `paper` presets")}
    assert rows.keys() == language_models().keys()
    for name, row in rows.items():
        gpu, tpu, cpu = hours_of(measured, name)
        assert row == [f"{gpu:.1f}", f"{tpu:.1f}", f"{cpu:,.0f}"], name
        assert find(name).preset("paper").hours == round(gpu, 1)


def test_one_update_of_the_published_model_on_a_gpu():
    """Where its time goes, by the same arithmetic."""
    text = " ".join((DOCS / "performance.md").read_text().split())
    waits = PUBLISHED.dependent_products * H100.latency * 1e3
    computes = PUBLISHED.flops / H100.flops * 1e3
    assert f"{waits:.1f} ms of {waits + computes:.1f}" in text
    persistent = PUBLISHED.dependent_products * SYNCHRONISATION * 1e3 + computes
    assert f"{(waits + computes) / persistent:.1f} times" in text
    model = find("rhn_penn_treebank_depth10_tied").preset("paper").config.model
    megabytes = 2 * 2 * model.depth * model.units**2 / 1e6
    assert f"{megabytes:.1f} MB" in text


def test_hours_of_the_preset_overnight(measured):
    """At the speed of the earlier run, and at that of the page's."""
    earlier = json.loads((DOCS / "performance.json").read_text())["earlier"]
    overnight = find("rhn_penn_treebank_depth10_tied").preset("overnight")
    words = overnight.config.train.epochs * CORPORA["penn_treebank"].tokens
    fast, slow = (
        words / run["ptb/kernel_bfloat16_words_per_second"] / 3600 for run in (earlier, measured)
    )
    assert overnight.hours < 8
    assert overnight.hours == pytest.approx(fast, rel=0.1)
    text = " ".join((DOCS / "performance.md").read_text().split())
    assert f"{fast:.1f} hours at the speed of the earlier run, {slow:.1f} at this one's" in text
    for name, form in (
        ("sgemm_gflops", "had {:.0f} GFLOP/s"),
        ("ptb/plain_words_per_second", "plain {:,.0f} words/s"),
        ("ptb/kernel_bfloat16_words_per_second", "in bfloat16 {:,.0f}."),
    ):
        assert form.format(earlier[name]) in text
