import dataclasses
import json
import re
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest

from common.config import IMMATERIAL, Amount, OnlyFor, Prefix, meanings, override, to_dict
from common.error import ConfigError, DataError
from common.metric import MetricName
from common.plot import LARGEST_BYTES
from common.record import DataUsed, Record, find_records, read_record, write_record
from experiments import registry
from experiments.registry import Experiment, Preset, Published
from experiments.results.cells import as_json, as_text
from experiments.results.commit import add_run, load_records
from experiments.results.markdown import report_text, write_report
from experiments.results.row import named_rows, result_rows
from highway.config import DataConfig, EvaluationConfig, LanguageModelConfig
from highway.metric import metric as language_metric
from tutor.music.metric import composed

REPOSITORY = Path(__file__).parents[2]
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
        "published": tuple(Published(m, v, f"source of {v}") for m, v in published),
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


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([66.0], "matched"),
        ([66.66], "matched"),  # 1 % above, the limit
        ([65.34], "matched"),
        ([66.67], "short"),
        ([65.33], "better"),
        ([60.0, 64.0], "better"),  # within their range, but two seeds have no interval
        ([60.0, 72.0, 75.0], "matched"),  # mean 69, the interval 60 .. 75 holds 66
        ([68.0, 69.0, 70.0], "short"),
        ([63.0, 64.0, 65.0], "better"),
    ],
)
def test_verdicts_of_the_papers_own_settings(values, kind):
    row = only_row(words(), seeds(words(), *values))
    assert row.verdict.kind == row.verdict.text == kind
    assert row.seeds == tuple(range(len(values)))
    assert row.differences == (pytest.approx(sum(values) / len(values) - 66.0),)
    assert row.as_published


def test_everything_in_a_row():
    experiment = words()
    row = only_row(experiment, seeds(experiment, 66.0, 66.4, dirty=True))
    assert (row.dataset, row.split, row.protocol) == ("books", "test", "full (batch 1)")
    assert row.parameters == 21_000_000
    assert row.published == (Published(TEST, 66.0, "source of 66.0"),)
    assert row.ours is not None
    assert row.ours.values == (66.0, 66.4)
    assert (row.device, row.hours) == ("1 × H200, highest precision", 2.0)
    assert row.commits == ("01234567+dirty",)
    assert row.commands[1] == "python -m experiments run words --preset paper --seed 1"


def test_two_published_values_are_both_judged():
    experiment = words(published=((TEST, 66.0), (TEST, 65.0)))
    row = only_row(experiment, seeds(experiment, 66.2))
    # 66.2 is 0.3 % above 66.0 and 1.8 % above 65.0; 66.0 is the nearer.
    assert row.verdict.text == "matched (66.0), short (65.0)"
    assert row.verdict.kind == "matched"
    assert row.differences == (pytest.approx(0.2), pytest.approx(1.2))
    assert only_row(experiment, seeds(experiment, 70.0)).verdict.text == "short"


def test_a_scaled_down_run_says_by_how_much():
    experiment = words()
    row = only_row(experiment, [record(experiment, "cpu")], preset="cpu")
    assert row.verdict.kind == "scaled down"
    assert row.verdict.text == (
        "scaled down: 2.5 M of 21.0 M parameters, 14 of 500 epochs; 2 settings changed"
    )
    assert row.settings == (
        "model.dropout_x: 0.0 → 0.1",
        "model.units: 830 → 200",
        "train.epochs: 500 → 14",
    )
    assert row.differences == (0.0,)  # the data are the paper's
    assert not row.as_published


def test_a_part_of_the_corpus_leaves_no_difference():
    experiment = words()
    part = [record(experiment, overrides=["data.train_tokens=5000000"])]
    (not_run, row) = rows(experiment, part)
    assert not_run.verdict.kind == "not run"
    assert row.verdict.text == "scaled down: the first 5.0 M training tokens"
    assert row.differences == ()
    assert row.changes == ("data.train_tokens=5000000",)


def test_a_stand_in_leaves_no_difference():
    experiment = words()
    row = only_row(experiment, [record(experiment, "smoke")], preset="smoke")
    assert row.verdict.text == (
        "scaled down: 2.5 M of 21.0 M parameters, the first 12,000 training tokens, "
        "2 of 500 epochs, play stands in for books"
    )
    assert row.differences == ()


@pytest.mark.parametrize("used", [("books", "real books"), ("pamphlets", None)])
def test_other_data_at_the_papers_settings_is_no_papers_run(used):
    experiment = words()
    name, stand_in_for = used
    data = [DataUsed(name, "1.0.0", stand_in_for, {}, {})]
    not_run, row = rows(experiment, seeds(experiment, 66.0, data=data))
    assert not_run.verdict.kind == "not run"
    assert (row.verdict.kind, row.differences) == ("scaled down", ())


def test_settings_that_are_not_the_papers_nor_smaller():
    experiment = words()
    changed = [record(experiment, overrides=["train.learning_rate=0.3", "train.epochs=1000"])]
    _, row = rows(experiment, changed)
    assert row.verdict.text == "other settings: 1,000 epochs (paper 500); 1 setting changed"
    larger = [record(experiment, parameters=22_000_000)]
    _, row = rows(experiment, larger)
    assert row.verdict.text == "other settings: 22.0 M parameters (paper 21.0 M)"


def test_settings_that_do_not_matter_do_not_part_seeds():
    experiment = words()
    records = [
        record(experiment, seed=0),
        record(experiment, seed=1, overrides=["train.report_every=7", "evaluation.mc_passes=5"]),
    ]
    row = only_row(experiment, records)
    assert (row.seeds, row.changes, row.verdict.kind) == ((0, 1), (), "matched")


def test_the_number_of_passes_matters_to_monte_carlo_dropout_only():
    experiment = words(published=((TEST, 66.0), (MC, 64.0)), passes=1000)
    metrics = {TEST: 66.0, MC: 64.0}
    few = [record(experiment, overrides=["evaluation.mc_passes=10"], metrics=metrics)]
    assert only_row(experiment, few).verdict.kind == "matched"
    not_run, row = rows(experiment, few, MC)
    assert (not_run.verdict.kind, not_run.protocol) == ("not run", "MC dropout, 1000 passes")
    assert (row.verdict.kind, row.protocol) == ("other settings", "MC dropout, 10 passes")
    all_passes = [record(experiment, metrics=metrics)]
    assert only_row(experiment, all_passes, MC).verdict.kind == "matched"


def test_what_was_not_run_says_what_it_takes():
    experiment = words()
    row = only_row(experiment, [])
    assert row.verdict.kind == "not run"
    assert (row.ours, row.seeds, row.parameters) == (None, (), 21_000_000)
    assert (row.device, row.hours, row.estimated) == ("one GPU", 12.0, True)
    assert row.commands == ("python -m experiments run words --preset paper",)
    assert rows(experiment, [], VALID) == []  # nothing is published for it
    assert [row.preset for row in rows(experiment, [record(experiment, "cpu")])] == ["paper", "cpu"]


def test_diverged_seeds_are_counted_but_do_not_enter_the_mean():
    experiment = words()
    bad = record(experiment, seed=7, status="diverged", metrics={TEST: 1e30})
    row = only_row(experiment, [bad, *seeds(experiment, 66.0, 66.4)])
    assert row.ours is not None
    assert row.ours.mean == pytest.approx(66.2)
    assert (row.seeds, row.diverged) == ((0, 1), (7,))
    assert row.verdict.text == "matched; 1 of 3 seeds diverged"
    assert row.verdict.kind == "matched"


def test_a_run_that_only_diverged():
    experiment = words()
    bad = record(experiment, status="diverged", metrics={})
    row = only_row(experiment, [bad])
    assert (row.ours, row.differences) == (None, ())
    assert row.verdict.text == "diverged: 1 of 1 seeds"
    bad = record(experiment, "cpu", status="diverged", metrics={})
    row = only_row(experiment, [bad], preset="cpu")
    assert row.verdict.kind == "diverged"
    assert row.verdict.text.startswith("diverged: 1 of 1 seeds; scaled down: 2.5 M of")
    # Where other seeds finished, a metric that they lack is not blamed on the divergence.
    assert [r.preset for r in rows(experiment, [bad, record(experiment, "cpu", 1)], MC)] == []


def test_records_with_overrides_have_rows_of_their_own():
    experiment = words()
    records = [
        record(experiment, "cpu", 0),
        record(experiment, "cpu", 0, overrides=["model.tied=false"]),
        record(experiment, "cpu", 1),
    ]
    _, plain, changed = rows(experiment, records)
    assert (plain.changes, plain.seeds) == ((), (0, 1))
    assert (changed.changes, changed.seeds) == (("model.tied=false",), (0,))


def test_a_setting_added_since_takes_its_default():
    experiment = words()
    old = record(experiment)
    del old.config["train"]["optimizer"]
    assert only_row(experiment, [old]).verdict.kind == "matched"


def test_a_setting_removed_since_is_a_difference():
    experiment = words()
    old = record(experiment)
    old.config["train"]["gone"] = 1
    _, row = rows(experiment, [old])
    assert row.settings == ("train.gone: (absent) → 1",)


def test_the_first_of_two_records_of_a_seed_counts():
    experiment = words()
    twice = [record(experiment, metrics={TEST: value}) for value in (66.0, 70.0)]
    row = only_row(experiment, twice)
    assert row.ours is not None
    assert row.ours.values == (66.0,)


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


def test_an_experiment_with_several_models_and_no_paper():
    experiment = pair()
    records = [
        record(
            experiment,
            "cpu",
            seed,
            overrides=[f"rhn.train.report_every={seed + 1}"],
            parameters={"rhn": 5, "lstm": 6},
            metrics={metric.name: 2.25 for metric in experiment.metrics},
            data=[DataUsed("play", "1.0.0", None, {}, {})],
        )
        for seed in (0, 1)
    ]
    first, second = result_rows(records, {"pair": experiment})
    assert (first.parameters, first.protocol, first.split) == (5, "full (batch 1)", "test")
    assert (second.parameters, second.protocol, second.split) == (6, "batched", "valid")
    assert first.seeds == second.seeds == (0, 1)
    assert first.verdict.kind == first.verdict.text == ""
    assert "rhn: bits per character" in report_text(records, {"pair": experiment}, Path("none"))


def test_a_record_of_an_unknown_experiment_is_refused():
    stranger = record(words("worlds"))
    with pytest.raises(DataError, match=r"'worlds' \(paper, seed 0\).*Did you mean 'words'"):
        result_rows([stranger], {"words": words()})


def place(root, one):
    folder = root / one.experiment / one.preset / f"seed{one.seed}"
    folder.mkdir(parents=True)
    return write_record(one, folder)


def test_the_first_root_with_a_run_counts(tmp_path):
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    place(mine, record(words(), seed=0, commit="mine"))
    place(theirs, record(words(), seed=0, commit="theirs"))
    place(theirs, record(words(), seed=1, commit="theirs"))
    records = load_records([mine, theirs, tmp_path / "absent"])
    assert [(one.seed, one.commit) for one in records] == [(0, "mine"), (1, "theirs")]


def test_the_same_seed_with_another_configuration_is_another_run(tmp_path):
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    place(mine, record(words()))
    place(theirs, record(words(), overrides=["train.epochs=3"]))
    assert len(load_records([mine, theirs])) == 2


def test_what_is_no_record_is_named(tmp_path):
    path = place(tmp_path, record(words()))
    path.write_text('{"experiment": "words"}')
    with pytest.raises(DataError, match=r"words/paper/seed0/record\.json: not a record"):
        load_records([tmp_path])


def test_the_report(tmp_path):
    # The | must not end the cell.
    experiment = words(published=((TEST, 66.0), (VALID, 69.9)), passes=0)
    odd = dataclasses.replace(words("odd"), published=(Published(TEST, 1.25, "table | 3"),))
    records = [*seeds(experiment, 66.0, 66.5, 68.0), record(experiment, "cpu")]
    for one in records:
        place(tmp_path, one)
    (tmp_path / "words/cpu/seed0/learning_curve.png").write_bytes(b"png")
    write_report(records, {"words": experiment, "odd": odd}, tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text()
    lines = text.splitlines()
    (paper,) = [line for line in lines if line.startswith("|") and " 66.83 [" in line]
    cells = [cell.strip() for cell in paper.strip("|").split("|")]
    assert cells[1:] == [
        "words, paper",
        "books, test",
        "perplexity",
        "full (batch 1)",
        "21,000,000",
        "66.0 (source of 66.0)",
        "66.83 [66.00, 68.00]",
        "3",
        "+0.83 (+1.3 %)",
        "matched",
    ]
    (source,) = [line for line in lines if line.startswith(f"{cells[0]}. ")]
    assert "1 × H200, highest precision, 2.0 h a seed; commit `01234567`" in source
    assert "`python -m experiments run words --preset paper --seed 0` (also seed 1, 2)" in source
    (cpu,) = [line for line in lines if line.startswith("2. ")]
    assert "train.epochs: 500 → 14" in cpu
    assert r"1.25 (table \| 3)" in text
    assert "12.0 h expected (an estimate)" in text
    assert "[seed0 learning_curve](words/cpu/seed0/learning_curve.png)" in text
    assert "## Word model: books" in lines


def test_the_report_is_the_same_in_any_order(tmp_path):
    records = [*seeds(words(), 66.0, 66.5, 68.0), record(words(), "cpu")]
    known = {"words": words()}
    assert report_text(records, known, tmp_path) == report_text(records[::-1], known, tmp_path)


def test_results_are_current():
    """results/RESULTS.md is what the committed records and the registry give."""
    results = REPOSITORY / "results"
    path = results / "RESULTS.md"
    expected = report_text(
        find_records(results), registry.experiments(), results, registry.families()
    )
    current = path.read_text(encoding="utf-8") if path.exists() else ""
    assert current == expected, (
        f"{path} is stale: run `python -m experiments report` and commit what it writes"
    )


def test_hours_that_presets_promise_are_those_of_the_committed_records():
    hours: dict[tuple[str, str], list[float]] = {}
    for made in find_records(REPOSITORY / "results"):
        hours.setdefault((made.experiment, made.preset), []).append(sum(made.seconds.values()))
    assert len(hours) > 10
    for (name, preset), seconds in hours.items():
        promised = registry.find(name).preset(preset)
        measured = sum(seconds) / len(seconds) / 3600
        assert not promised.estimated, name
        assert promised.hours == pytest.approx(measured, rel=0.2), (name, preset, measured)


@pytest.fixture
def known(monkeypatch):
    """A registry of two experiments."""
    found = {"words": words(), "pair": pair()}
    monkeypatch.setattr(registry, "experiments", lambda: found)


@pytest.mark.usefixtures("known")
def test_the_table_as_json():
    (row,) = json.loads(as_json(named_rows([], seeds(words(), 66.0, 66.5, 68.0))))
    assert row["ours"] == {
        "mean": pytest.approx(66.8333333),
        "low": 66.0,
        "high": 68.0,
        "values": [66.0, 66.5, 68.0],
    }
    published = {"metric": TEST, "value": 66.0, "source": "source of 66.0"}
    assert row["better"] == "lower"
    assert row["metric"] == TEST
    assert row["published"] == [published]
    assert row["verdict"] == {"kind": "matched", "text": "matched"}
    assert len(row["commands"]) == 3


@pytest.mark.usefixtures("known")
def test_the_table_shows_what_was_asked_for():
    def shown(names, records):
        return as_text(named_rows(names, records))

    records = [record(words())]
    assert shown([], records) == shown(["words"], records)
    assert "python -m experiments run words --preset paper --seed 0" in shown([], records)
    assert "| not run |" in shown(["words"], [])
    assert named_rows(["words"], [], with_not_run=False) == []
    assert shown(["pair"], records).startswith("No results here yet.")
    assert shown([], []).startswith("No results here yet.")
    with pytest.raises(ConfigError, match="Did you mean 'words'"):
        shown(["word"], records)


def finished_run(tmp_path, **changes):
    run = tmp_path / "run"
    run.mkdir(exist_ok=True)
    write_record(record(words(), "cpu", 3, **changes), run)
    return run


def test_a_run_is_added_with_its_pictures_and_samples_only(tmp_path):
    run = finished_run(tmp_path, dirty=True)
    for name in ("curve.png", "sample.txt", "metrics.jsonl", "config.json", ".lock"):
        (run / name).write_text(name)
    (run / "checkpoints").mkdir()
    target = add_run(run, tmp_path / "results")
    assert target == tmp_path / "results/words/cpu/seed3"
    assert sorted(path.name for path in target.iterdir()) == [
        "curve.png",
        "record.json",
        "sample.txt",
    ]
    assert read_record(target / "record.json").dirty


def test_adding_a_run_again_replaces_all_of_it(tmp_path):
    run = finished_run(tmp_path)
    (run / "old.png").write_text("old")
    add_run(run, tmp_path / "results")
    (run / "old.png").unlink()
    finished_run(tmp_path, commit="later")
    target = add_run(run, tmp_path / "results")
    assert [path.name for path in target.iterdir()] == ["record.json"]
    assert [path.name for path in target.parent.iterdir()] == ["seed3"]
    assert read_record(target / "record.json").commit == "later"


@pytest.mark.parametrize("name", ["curve.png", "sample.txt"])
def test_a_large_file_is_not_added(tmp_path, name):
    run = finished_run(tmp_path)
    (run / name).write_bytes(b"x" * LARGEST_BYTES)
    add_run(run, tmp_path / "results")
    (run / name).write_bytes(b"x" * (LARGEST_BYTES + 1))
    with pytest.raises(DataError, match=f"{name}: 200,001 bytes"):
        add_run(run, tmp_path / "results")
    assert (tmp_path / "results/words/cpu/seed3" / name).stat().st_size == LARGEST_BYTES


def test_a_run_does_not_replace_one_with_other_overrides(tmp_path):
    add_run(finished_run(tmp_path), tmp_path / "results")
    other = finished_run(tmp_path, overrides=["model.depth=2"])
    with pytest.raises(DataError, match=r"other overrides \(none; this one: model\.depth=2\)"):
        add_run(other, tmp_path / "results")


def test_a_failure_while_adding_leaves_the_old_run(tmp_path, monkeypatch):
    run = finished_run(tmp_path)
    target = add_run(run, tmp_path / "results")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("experiments.results.commit.shutil.copyfile", fail)
    with pytest.raises(OSError, match="disk full"):
        add_run(run, tmp_path / "results")
    assert [path.name for path in target.parent.iterdir()] == ["seed3"]
    assert (target / "record.json").exists()


def test_a_failure_while_replacing_leaves_the_old_run(tmp_path, monkeypatch):
    run = finished_run(tmp_path)
    target = add_run(run, tmp_path / "results")
    rename = Path.rename

    def fail(self, to):
        if ".new." in self.name:
            raise OSError("no")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no"):
        add_run(run, tmp_path / "results")
    assert [path.name for path in target.parent.iterdir()] == ["seed3"]
    assert (target / "record.json").exists()


def test_an_unfinished_run_is_not_added(tmp_path):
    with pytest.raises(DataError, match=r"no record\.json: not a run, or not finished yet"):
        add_run(tmp_path, tmp_path / "results")


# ----------------------------------------------- what settings and metrics say of themselves


@dataclass(frozen=True)
class ToyConfig:
    plain: int = 1
    many: Annotated[int, Amount("things")] = 10
    quiet: Annotated[int, IMMATERIAL] = 1
    first: Annotated[int, Prefix("letters")] = 0
    passes: Annotated[int, OnlyFor("test_mc")] = 1


@dataclass(frozen=True)
class NestedConfig:
    part: ToyConfig = field(default_factory=ToyConfig)
    also: ToyConfig = field(default_factory=ToyConfig)


def toy(**changes):
    paper = Preset(NestedConfig(), 1.0, "one GPU", ("books",))
    fields = {"presets": {"paper": paper}, "default_preset": "paper", "paper_parameters": None}
    return words("toy", **(fields | changes))


@pytest.mark.parametrize(
    ("override", "metric", "text"),
    [
        ("part.plain=2", TEST, "other settings: 1 setting changed"),
        ("also.plain=2", TEST, "other settings: 1 setting changed"),
        ("part.many=4", TEST, "scaled down: 4 of 10 things"),
        ("also.many=20", TEST, "other settings: 20 things (paper 10)"),
        ("part.quiet=2", TEST, "matched"),
        ("part.first=7", TEST, "scaled down: the first 7 letters"),
        ("part.passes=2", TEST, "matched"),
        ("part.passes=2", MC, "other settings: 1 setting changed"),
    ],
)
def test_what_is_said_beside_a_setting_reaches_the_verdict(override, metric, text):
    experiment = toy(published=((TEST, 66.0), (MC, 66.0)))
    made = record(experiment, overrides=[override], metrics={TEST: 66.0, MC: 66.0})
    found = [row for row in rows(experiment, [made], metric) if row.ours is not None]
    assert [row.verdict.text for row in found] == [text]


def test_a_setting_that_says_nothing_is_material():
    for experiment in registry.experiments().values():
        kind = type(experiment.presets[experiment.default_preset].config)
        assert all(not key.endswith(("units", "depth", "learning_rate")) for key in meanings(kind))
    known = meanings(LanguageModelConfig)
    assert known["train.epochs"] == Amount("epochs")
    assert known["train.report_every"] == IMMATERIAL
    assert known["evaluation.mc_passes"] == OnlyFor("test_mc")


@pytest.mark.parametrize(("better", "kind"), [("lower", "short"), ("higher", "better")])
def test_a_metrics_better_side_reaches_the_verdict_and_the_report(better, kind):
    metric = dataclasses.replace(language_metric(TEST), better=better)
    experiment = words(metrics=(metric,))
    made = seeds(experiment, 70.0)
    assert only_row(experiment, made).verdict.kind == kind
    text = report_text(made, {"words": experiment}, Path("none"))
    assert ("Higher is better: perplexity." in text) == (better == "higher")


def test_a_metrics_decimals_and_protocol_reach_the_report():
    metric = dataclasses.replace(language_metric(TEST), decimals=1)
    experiment = words(metrics=(metric,))
    text = report_text(seeds(experiment, 66.04), {"words": experiment}, Path("none"))
    assert re.search(r"\| +66\.0 \|", text)
    assert f"*{metric.protocol.name}*: {metric.protocol.text}." in text
    assert composed("reward").protocol.text not in text


def test_protocols_name_the_settings_value():
    metric = composed("reward").of_model("tutor")
    config = {"final_compositions": 7, "tutor": {"evaluation": {"final_compositions": 5_000}}}
    assert metric.protocol.describe(config, "tutor") == "5,000 compositions"
    assert metric.protocol.describe(config, "") == "7 compositions"
    assert metric.protocol.describe({}, "") == "compositions"
    assert MetricName.parse("rhn/test_full/loss") == ("rhn", "test_full", "loss")
    assert MetricName.parse("valid/loss") == ("", "valid", "loss")


def test_a_number_published_for_no_metric_is_refused():
    with pytest.raises(ValueError, match="words has no metric 'test/wit'"):
        words(published=(("test/wit", 1.0),))


def test_rows_stand_in_the_order_of_an_experiments_own_presets():
    experiment = words()
    presets = {name: experiment.presets[name] for name in ("paper", "smoke", "cpu")}
    turned = dataclasses.replace(experiment, presets=presets)
    made = [record(experiment, name) for name in ("smoke", "cpu", "paper")]
    assert [row.preset for row in rows(experiment, made)] == ["paper", "cpu", "smoke"]
    assert [row.preset for row in rows(turned, made)] == ["cpu", "smoke", "paper"]


def test_a_familys_own_part_of_the_report_is_asked_for(tmp_path):
    name = "toy_family_report"
    module = types.ModuleType(name)
    module.section = lambda records, folder: [f"## Toys: {len(records)} in {folder.name}\n"]
    drawn = []
    module.draw_figures = lambda records, folder: drawn.append(folder)
    family = registry.Family((words(),), report=name)
    sys.modules[name] = module
    try:
        made = seeds(words(), 66.0)
        write_report(made, {"words": words()}, tmp_path / "RESULTS.md", [family])
    finally:
        del sys.modules[name]
    assert f"## Toys: 1 in {tmp_path.name}" in (tmp_path / "RESULTS.md").read_text()
    assert drawn == [tmp_path]
