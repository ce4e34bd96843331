"""RESULTS.md and the table: what is written of rows, and that the committed page is current."""

import csv
import dataclasses
import io
import json
import re
import sys
import types
from pathlib import Path

import pytest
from report_case import (
    TEST,
    VALID,
    only_row,
    pair,
    place,
    record,
    seeds,
    words,
)

from common.error import ConfigError
from common.metric import MetricName
from common.record import DataUsed, find_records
from common.table import TOO_NARROW
from experiments import registry
from experiments.cli import main
from experiments.registry import Published
from experiments.results.cells import (
    OURS,
    as_csv,
    as_json,
    as_text,
    device_and_hours,
    ours,
    result_cells,
)
from experiments.results.markdown import ran_on, report_text, write_report
from experiments.results.row import named_rows
from highway.metric import metric as language_metric
from tutor.music.metric import composed

REPOSITORY = Path(__file__).parents[3]


def test_the_report(tmp_path):
    # The | must not end the cell.
    experiment = words(published=((TEST, 66.0), (VALID, 69.9)), passes=0)
    odd = dataclasses.replace(words("odd"), published=(Published(TEST, "1.30", "table | 3"),))
    records = [*seeds(experiment, 66.0, 66.5, 68.0), record(experiment, "cpu")]
    for one in records:
        place(tmp_path, one)
    (tmp_path / "words/cpu/seed0/learning_curve.png").write_bytes(b"png")
    write_report(records, {"words": experiment, "odd": odd}, tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text()
    lines = text.splitlines()
    (paper,) = [line for line in lines if line.startswith("| perplexity") and "66.83" in line]
    cells = [cell.strip() for cell in paper.strip("|").split("|")]
    assert cells == ["perplexity", "66.0", "66.83 [66.00, 68.00]", "+0.83 (+1.3 %)"]
    facts = [line for line in lines if line.startswith("- ")]
    assert facts[:9] == [
        "- seeds: 0, 1, 2",
        "- data: books",
        "- split: test",
        "- published in: source of 66.0",
        "- protocol: full (batch 1)",
        "- parameters: 21,000,000",
        "- verdict: matched",
        "- ran on: 1 × H200, 2.0 h a seed",
        "- commit: `01234567`",
    ]
    assert (
        "- command: `python -m experiments run words --preset paper --seed 0` (also seed 1, 2)"
        in facts
    )
    (cpu,) = [line for line in facts if line.startswith("- settings, paper → ours: ")]
    assert "train.epochs: 500 → 14" in cpu
    (missing,) = [line for line in lines if "`python -m experiments run odd " in line]
    assert "test perplexity 1.30" in missing
    assert "12.0 h expected (an estimate)" in missing
    assert "- seed0: [learning_curve](words/cpu/seed0/learning_curve.png)" in text
    assert "### Word model: books" in lines
    assert "<summary>words, paper</summary>" in lines
    assert "<summary>words, cpu</summary>" in lines
    assert text.count(TOO_NARROW) == 1


def test_the_report_says_on_what_runs_ran():
    gpu, other = record(words()), record(words(), device={"platform": "gpu", "kind": "A100"})
    cpu = record(words(), device={"platform": "cpu", "kind": "Xeon", "cores": 2})
    assert ran_on([cpu]) == "**Runs.** 1 on CPU (Xeon); none on GPU or TPU."
    assert ran_on([gpu, cpu, other, gpu]) == (
        "**Runs.** 1 on CPU (Xeon), 3 on GPU (A100, H200); none on TPU."
    )


def test_of_runs_the_report_shares_what_they_share_and_says_what_they_do_not(tmp_path):
    experiment = words(published=((TEST, 66.0), (VALID, 69.9)), passes=0)
    curve = {TEST: 66.0, VALID: 72.0}
    records = [record(experiment, metrics=curve), record(experiment, seed=1)]
    records[1].metrics.pop(VALID)
    records.append(record(experiment, seed=2, status="diverged", metrics={}))
    lines = report_text(records, {"words": experiment}, tmp_path).splitlines()
    assert "- seeds: 0, 1; diverged: 2" in lines
    table = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if re.match(r"\| (metric|valid|test) ", line)
    ]
    assert table[0] == ["metric", "protocol", "published", OURS, "difference", "verdict"]
    assert [line[0] for line in table[1:]] == ["valid perplexity", "test perplexity"]
    assert table[1][2:4] == ["69.9 (source of 69.9)", "72.00 (seeds 0)"]
    assert table[2][2:4] == ["66.0 (source of 66.0)", "66.00, 66.00"]
    assert table[1][-1] == "short; 1 of 3 seeds diverged"
    assert table[2][-1] == "matched; 1 of 3 seeds diverged"


def test_runs_with_settings_changed_have_a_line_each(tmp_path):
    experiment = words()
    records = [
        *seeds(experiment, 66.0, 66.5, 68.0, preset="cpu"),
        *seeds(experiment, 80.0, 81.0, 82.5, preset="cpu", overrides=["model.depth=2"]),
        *seeds(experiment, 90.0, preset="cpu", overrides=["model.depth=1"]),
    ]
    lines = report_text(records, {"words": experiment}, tmp_path).splitlines()
    assert "<summary>words, cpu; settings changed: 2</summary>" in lines
    changed = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("| `model.depth=")
    ]
    command = "`python -m experiments run words --preset cpu --seed 0`"
    hours = "1 × H200, 2.0 h a seed"
    assert changed == [
        ["`model.depth=1`", "90.00", "scaled down", hours, command],
        [
            "`model.depth=2`",
            "81.17 [80.00, 82.50]",
            "scaled down",
            hours,
            f"{command} (also seed 1, 2)",
        ],
    ]


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


def test_no_table_of_the_results_is_wide():
    text = (REPOSITORY / "results" / "RESULTS.md").read_text(encoding="utf-8")
    columns = [len(re.findall(r"(?<!\\)\|", line)) - 1 for line in text.splitlines()]
    assert max(columns) <= 7


@pytest.mark.parametrize("page", registry.pages())
def test_pages_written_from_records_are_current(page):
    records = find_records(REPOSITORY / "results")
    current = (REPOSITORY / page).read_text(encoding="utf-8")
    assert current == registry.load(registry.pages()[page])(records), (
        f"{page} is stale: run `python -m experiments report` and commit what it writes"
    )


def test_hours_that_presets_promise_are_those_of_the_committed_records():
    """And they were measured on as many cores as the presets promise them for."""
    hours: dict[tuple[str, str], list[float]] = {}
    own = (made for made in find_records(REPOSITORY / "results") if not made.overrides)
    for made in own:
        promised = registry.find(made.experiment).preset(made.preset)
        if made.device["platform"] == "cpu":
            cores = registry.CORES.get(promised.device)
            found = made.device.get("cores", cores)
            assert found == cores, (made.experiment, made.preset, made.seed, found)
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
def test_the_table_as_json_says_how_runs_depart_from_the_papers():
    records = [*seeds(words(), 66.0, 66.5, 68.0), record(words(), "cpu", metrics={TEST: 97.0})]
    full, small = json.loads(as_json(named_rows([], records, with_not_run=False)))
    assert (full["full_size"], full["as_published"], full["settings"]) == (True, True, [])
    assert (small["full_size"], small["as_published"]) == (False, False)
    assert "train.epochs: 500 → 14" in small["settings"]
    assert "14 of 500 epochs" in small["departure"]["amounts"]


@pytest.mark.usefixtures("known")
def test_the_table_as_json():
    (row,) = json.loads(as_json(named_rows([], seeds(words(), 66.0, 66.5, 68.0))))
    assert row["ours"] == {
        "mean": pytest.approx(66.8333333),
        "low": 66.0,
        "high": 68.0,
        "values": [66.0, 66.5, 68.0],
        "middle": None,
        "middle_low": None,
        "middle_high": None,
    }
    published = {"metric": TEST, "printed": "66.0", "value": 66.0, "source": "source of 66.0"}
    assert row["better"] == "lower"
    assert row["metric"] == TEST
    assert row["published"] == [published]
    assert row["verdict"] == {"kind": "matched", "text": "matched", "close": False}
    assert len(row["commands"]) == 3


@pytest.mark.usefixtures("known")
def test_of_many_seeds_every_form_has_the_interquartile_mean(tmp_path):
    """Of the middle four of eight: an outlier among the seeds doesn't move it."""
    values = (66.0, 66.0, 67.0, 67.0, 69.0, 69.0, 70.0, 900.0)
    rows = named_rows([], seeds(words(), *values))
    (found,) = json.loads(as_json(rows))
    assert found["ours"]["middle"] == 68.0
    (line,) = csv.DictReader(io.StringIO(as_csv(rows)))
    mean, low, high = re.fullmatch(r"(.*) \[(.*), (.*)\]", line["interquartile mean"]).groups()
    assert mean == "68.00"
    assert 66 <= float(low) < 68 < float(high)
    below = f"<br>interquartile mean {line['interquartile mean']}"
    for changes in ([], ["model.depth=2"]):
        made = seeds(words(), *values, overrides=changes)
        assert below in report_text(made, registry.experiments(), tmp_path)
    few = seeds(words(), *values[:7])
    assert "interquartile" not in as_csv(named_rows([], few))
    assert "interquartile" not in report_text(few, registry.experiments(), tmp_path)


@pytest.mark.parametrize(("seconds", "text"), [(7200, "2.0 h"), (1090, "18 min"), (7.4, "7 s")])
def test_how_long_a_seed_took(seconds, text):
    took = {"train": seconds / 2, "evaluate": seconds / 2}
    row = only_row(words(), seeds(words(), 66.0, 66.5, seconds=took))
    assert device_and_hours(row) == f"1 × H200, {text} a seed"


@pytest.mark.usefixtures("known")
def test_what_is_the_same_with_every_seed_is_told_once():
    (row,) = named_rows([], seeds(words(), 66.0, 66.0, 66.0))
    assert ours(row) == "66.00"


@pytest.mark.usefixtures("known")
def test_seeds_that_diverged_are_told_beside_every_number(tmp_path):
    """In the short table, and of runs as their preset has them and with settings changed."""

    def page(records):
        return re.sub(" +", " ", report_text(records, registry.experiments(), tmp_path))

    lost = {"status": "diverged", "metrics": {}}
    plain = [*seeds(words(), 66.0, 67.0), record(words(), seed=7, **lost)]
    deep = {"overrides": ["model.depth=2"]}
    changed = [*seeds(words(), 66.0, 67.0, **deep), record(words(), seed=7, **deep, **lost)]
    for made, kind in ((plain, "matched"), (changed, "other settings")):
        told = f"{kind}; 1 of 3 seeds diverged |"
        line = f"| 66.00, 67.00 | {told}"
        short = re.sub(" +", " ", as_text(named_rows([], made, with_not_run=False)))
        assert f"| 66.00, 67.00 | 2 | {told}" in short
    assert line in page(changed)
    assert "- seeds: 0, 1; diverged: 7\n" in page(plain)
    assert "- seeds: diverged: 7\n" in page(plain[2:])


@pytest.mark.usefixtures("known")
def test_the_table_as_csv(tmp_path, capsys):
    for one in seeds(words(), 66.0, 66.5, 68.0):
        place(tmp_path, one)
    where = ("--out", str(tmp_path), "--results", str(tmp_path / "none"))
    assert main(["table", "--csv", *where]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["experiment"] == "words, paper"
    assert row["ours, mean [95 % CI]"] == "66.83 [66.00, 68.00]"
    assert row["commit"] == "01234567"
    assert [float(row[name]) for name in ("mean", "low", "high")] == [
        pytest.approx(200.5 / 3),
        66.0,
        68.0,
    ]
    assert dict(zip(json.loads(row["seeds"]), json.loads(row["values"]), strict=True)) == {
        0: 66.0,
        1: 66.5,
        2: 68.0,
    }
    (none,) = csv.DictReader(io.StringIO(as_csv(named_rows(["words"], []))))
    assert tuple(row) == tuple(none)
    assert (none["mean"], none["low"], none["high"], none["values"]) == ("", "", "", "[]")


@pytest.mark.usefixtures("known")
def test_without_results_every_form_says_so(tmp_path, capsys):
    """Nothing is published for the pair, so that there's no row of what was not run either."""

    def shown(form: str) -> str:
        folders = ["--out", str(tmp_path), "--results", str(tmp_path)]
        assert main(["table", "pair", form, *folders]) == 0
        return capsys.readouterr().out

    heads = as_csv(named_rows([], seeds(words(), 66.0))).splitlines()[0]
    assert shown("--csv") == f"{heads}\n"
    assert json.loads(shown("--json")) == []
    assert shown("--full").startswith("No results here yet.")


def on(files):
    return [DataUsed("books", "1.0.0", None, {"train": 9}, files)]


@pytest.mark.usefixtures("known")
def test_every_form_has_the_checksums_of_the_data(tmp_path):
    """Short ones where people read, whole ones where programs do."""
    files = {"a.txt": "a" * 64, "b.txt": "b" * 64}
    made = seeds(words(), 66.0, 66.5, 68.0, data=on(files))
    found = named_rows([], made)
    short = f"a.txt {'a' * 12}; b.txt {'b' * 12}"
    title = "data checksums (sha256)"
    text = report_text(made, registry.experiments(), tmp_path)
    assert f"- {title}: {short}\n" in text
    assert f"| {short} |" in as_text(found, full=True)
    (line,) = csv.DictReader(io.StringIO(as_csv(found)))
    assert line[title] == f"a.txt {'a' * 64}; b.txt {'b' * 64}"
    assert json.loads(as_json(found))[0]["checksums"] == files
    # Runs with settings changed say theirs where it isn't that of the others.
    both = seeds(words(), 70.0, data=on(files), overrides=["model.depth=2"])
    text = report_text([*made, *both], registry.experiments(), tmp_path)
    assert text.count(short) == 1
    other = seeds(words(), 70.0, data=on({"c.txt": "c" * 64}), overrides=["model.depth=2"])
    text = report_text([*made, *other], registry.experiments(), tmp_path)
    assert f"- {title} of those: books: c.txt {'c' * 12}\n" in text


@pytest.mark.usefixtures("known")
def test_files_of_several_data_are_told_apart():
    several = [*on({"a.txt": "1"}), DataUsed("songs", "1.0.0", None, {}, {"a.txt": "2"})]
    (row,) = named_rows(
        [], [record(words(), data=several, metrics={TEST: 66.0})], with_not_run=False
    )
    assert row.checksums == {"books, a.txt": "1", "songs, a.txt": "2"}


@pytest.mark.parametrize(
    ("published", "ours", "difference"),
    [
        ("-0.16", -0.20, "-0.04 (-25.0 %)"),
        ("-0.16", -0.12, "+0.04 (+25.0 %)"),
        ("0.16", 0.20, "+0.04 (+25.0 %)"),
        ("0.00", 0.20, "+0.20"),
    ],
)
def test_a_difference_and_its_percentage_have_one_sign(published, ours, difference):
    experiment = dataclasses.replace(words(), published=(Published(TEST, published, "a table"),))
    assert result_cells(only_row(experiment, seeds(experiment, ours)))["difference"] == difference


@pytest.mark.usefixtures("known")
def test_the_table_shows_what_was_asked_for():
    def shown(names, records):
        return as_text(named_rows(names, records), full=True)

    records = [record(words())]
    assert shown([], records) == shown(["words"], records)
    assert "python -m experiments run words --preset paper --seed 0" in shown([], records)
    assert "| not run |" in shown(["words"], [])
    assert named_rows(["words"], [], with_not_run=False) == []
    assert shown(["pair"], records).startswith("No results here yet.")
    assert shown([], []).startswith("No results here yet.")
    with pytest.raises(ConfigError, match="Did you mean 'words'"):
        shown(["word"], records)


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


def test_a_familys_own_part_of_the_report_is_asked_for(tmp_path):
    name = "toy_family_report"
    module = types.ModuleType(name)
    drawn = []
    module.REPORT = registry.Report(
        section=lambda records, folder: [f"## Toys: {len(records)} in {folder.name}\n"],
        draw_figures=lambda records, folder: drawn.append(folder),
    )
    family = registry.Family((words(),), report=f"{name}:REPORT")
    sys.modules[name] = module
    try:
        made = seeds(words(), 66.0)
        write_report(made, {"words": words()}, tmp_path / "RESULTS.md", [family])
    finally:
        del sys.modules[name]
    assert f"## Toys: 1 in {tmp_path.name}" in (tmp_path / "RESULTS.md").read_text()
    assert drawn == [tmp_path]
