"""What the tests of results share: an experiment, its records and their rows."""

from dataclasses import dataclass, field

from common.config import override, to_dict
from common.record import DataUsed, Record, write_record
from experiments.registry import Experiment, Preset, Published
from experiments.results.row import result_rows
from highway.config import DataConfig, EvaluationConfig, LanguageModelConfig
from highway.metric import metric as language_metric

TEST, VALID, MC = "test_full/perplexity", "valid/perplexity", "test_mc/perplexity"


@dataclass(frozen=True)
class PairConfig:
    rhn: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    lstm: LanguageModelConfig = field(default_factory=LanguageModelConfig)


def words(name="words", published=((TEST, 66.0),), passes=0, **changes):
    paper = LanguageModelConfig(
        data=DataConfig("books"), evaluation=EvaluationConfig(mc_passes=passes)
    )
    cpu = override(paper, ["train.epochs=14", "model.units=200", "model.dropout_x=0.1"])
    smoke = override(paper, ["data.name=play", "data.train_tokens=12000", "train.epochs=2"])
    fields = {
        "name": name,
        "title": "Words",
        "row": "a row of a table",
        "docstring": "Words.",
        "presets": {
            "smoke": Preset(smoke, 0.01, "2 cores", ("play",)),
            "cpu": Preset(cpu, 0.5, "2 cores", ("books",)),
            "paper": Preset(paper, 12.0, "one GPU", ("books",), estimated=True),
        },
        "default_preset": "cpu",
        "data": ("books",),
        "metrics": tuple(map(language_metric, (VALID, TEST, MC))),
        "published": tuple(Published(m, str(v), f"source of {v}") for m, v in published),
        "paper_parameters": 21_000_000,
        "runner": "somewhere.word_model:run",
        "section": "Word model",
    }
    return Experiment(**(fields | changes))


def record(experiment, preset="paper", seed=0, overrides=(), **changes):
    config = override(experiment.presets[preset].config, overrides)
    books = not isinstance(config, PairConfig) and "play" not in str(config)
    name = "books" if books else "play"
    fields = {
        "experiment": experiment.name,
        "preset": preset,
        "seed": seed,
        "status": "done",
        "command": f"python -m experiments run {experiment.name} --preset {preset} --seed {seed}",
        "config": to_dict(config),
        "overrides": list(overrides),
        "parameters": 21_000_000 if preset == "paper" else 2_500_000,
        "metrics": {TEST: 66.0, VALID: 70.0},
        "curve": [],
        "data": [DataUsed(name, "1.0.0", None if books else "books", {"train": 9}, {})],
        "seconds": {"train": 7000.0, "evaluate": 200.0},
        "device": {"platform": "gpu", "kind": "H200", "count": 1, "precision": "highest"},
        "versions": {},
        "commit": "0123456789abcdef",
        "commits": ["0123456789abcdef"],
        "dirty": False,
        "finished": "2025-01-02T03:04:05+00:00",
    }
    return Record(**(fields | changes))


def seeds(experiment, *values, preset="paper", **changes):
    return [
        record(experiment, preset, seed, metrics={TEST: value}, **changes)
        for seed, value in enumerate(values)
    ]


def rows(experiment, records, metric=TEST):
    found = result_rows(records, {experiment.name: experiment})
    return [row for row in found if row.metric.name == metric]


def only_row(experiment, records, metric=TEST, preset="paper"):
    (row,) = [row for row in rows(experiment, records, metric) if row.preset == preset]
    return row


def pair():
    metrics = (
        language_metric("test_full/bits_per_character").of_model("rhn"),
        language_metric("valid/bits_per_character").of_model("lstm"),
    )
    preset = Preset(PairConfig(), 0.04, "2 cores", ("play",))
    return words(
        "pair",
        (),
        presets={"cpu": preset},
        metrics=metrics,
        data=("play",),
        paper_parameters=None,
        runner="somewhere.pair:run",
        section="Pair",
    )


def place(root, one):
    folder = root / one.experiment / one.preset / f"seed{one.seed}"
    folder.mkdir(parents=True)
    return write_record(one, folder)
