"""`compare`: what differs between runs is shown, and nothing unlike is averaged."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from matplotlib.image import imread

from common.record import read_record, write_record
from common.run_directory import RunDirectory
from common.table import TOO_NARROW, summarize
from experiments.cli import main
from experiments.compare import picture
from experiments.compare.difference import results_table, runs_table, settings_table
from experiments.compare.picture import drawn_metrics
from experiments.compare.side import read_sides, short_labels

RESULTS = Path(__file__).parents[3] / "results"
NAME = "rhn_penn_treebank_depth3_tied"
WORDS = read_record(RESULTS / NAME / "cpu/seed0/record.json")
VALID, TEST = "valid/perplexity", "test_full/perplexity"


def changed(**settings) -> dict:
    """The configuration with some settings of the model changed."""
    return {**WORDS.config, "model": {**WORDS.config["model"], **settings}}


def run(root: Path, folder: str, seed: int = 0, test: float = 80.0, **changes) -> Path:
    """The directory of a finished run."""
    path = root / NAME / folder / f"seed{seed}"
    path.mkdir(parents=True)
    metrics = {VALID: 90.0, TEST: test, "valid/loss": 4.5}
    record = replace(WORDS, preset=folder, seed=seed, **{"metrics": metrics, **changes})
    write_record(record, path)
    return path


def unfinished(path: Path) -> Path:
    """The directory of a run that was stopped after two evaluations."""
    with RunDirectory(path) as directory:
        directory.claim(changed(depth=5))
        session = {"device": WORDS.device, "versions": WORDS.versions}
        directory.begin_session({**session, "commit": "f" * 40, "dirty": True})
        directory.claim_data(asdict(WORDS.data[0]))
        directory.note_schedule({"total": 400, "items_per_update": 1, "item": "tokens"})
        for step, value in ((100, 300.0), (200, 250.0)):
            row = {"step": step, "epoch": step / 100, VALID: value, "seconds": 1.0}
            directory.append_metrics(row, "metrics.jsonl")
    return path


def answer(capsys, *arguments: object) -> tuple[int, str, str]:
    code = main(["compare", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def cells(table) -> dict[str, list]:
    return {row[0]: list(row[1:]) for row in table.rows}


def test_only_settings_that_differ_have_a_row(tmp_path):
    sides = read_sides(
        [run(tmp_path, "a"), run(tmp_path, "b", config=changed(depth=5, dropout_i=0.25))]
    )
    table = settings_table(sides)
    assert table.titles == ("setting", "a", "b")
    assert cells(table) == {"model.depth": ["3", "5"], "model.dropout_i": ["0.2", "0.25"]}
    same = read_sides([run(tmp_path, "c"), run(tmp_path, "d", test=70.0)])
    assert settings_table(same) is None


def test_a_setting_that_came_since_has_its_default(tmp_path):
    old = changed()
    assert old["model"].pop("masks") == "shared"
    sides = read_sides([run(tmp_path, "a", config=old), run(tmp_path, "b")])
    assert settings_table(sides) is None


def test_how_runs_were_made_is_told_where_it_differs(tmp_path):
    data = [replace(WORDS.data[0], checksums={**WORDS.data[0].checksums, "ptb.test.txt": "9" * 64})]
    other = {**WORDS.device, "kind": "Other", "products": "bfloat16"}
    sides = read_sides(
        [
            run(tmp_path, "a"),
            run(tmp_path, "b", data=data, device=other, commits=["e" * 40], dirty=True),
        ]
    )
    told = cells(runs_table(sides))
    assert told["state"] == ["finished", "finished"]
    assert told["commit"] == [", ".join(one[:8] for one in WORDS.commits), "eeeeeeee+dirty"]
    assert told["device"][1].startswith("Other")
    assert told["precision"] == ["float32", "float32, products of the recurrence in bfloat16"]
    assert told["checksum of ptb.test.txt"][1] == "9" * 12
    assert "checksum of ptb.train.txt" not in told
    assert "jax" not in told


def test_differing_data_and_precision_are_said(capsys, tmp_path):
    data = [replace(WORDS.data[0], checksums={**WORDS.data[0].checksums, "ptb.test.txt": "9" * 64})]
    device = {**WORDS.device, "platform": "gpu", "precision": "tensorfloat32"}
    paths = run(tmp_path, "a"), run(tmp_path, "b", data=data, device=device)
    code, out, _ = answer(capsys, *paths, "--out", tmp_path / "o")
    assert code == 0
    assert "The data differ (ptb.test.txt):" in out
    assert "The precision differs (float32; tensorfloat32)" in out
    _, out, _ = answer(capsys, paths[0], run(tmp_path, "c"), "--out", tmp_path / "o")
    assert "differ (" not in out
    assert "differs (" not in out
    assert "The settings are the same." in out
    assert "valid loss" not in out
    assert "valid loss" in answer(capsys, *paths, "--full", "--out", tmp_path / "o")[1]


def test_several_differences_of_data_are_told_apart(capsys, tmp_path):
    """Names have commas of their own; of a run that hasn't said what it learns from all differ."""
    more = [replace(WORDS.data[0], version="2.0.0", tokens={**WORDS.data[0].tokens, "valid": 5})]
    a, b = run(tmp_path, "a"), run(tmp_path, "b", data=more)
    told = answer(capsys, a, b, "--out", tmp_path / "o")[1]
    assert "The data differ (penn_treebank, version; penn_treebank, valid): so" in told
    told = answer(capsys, a, run(tmp_path, "c", data=[]), "--out", tmp_path / "o")[1]
    (line,) = [line for line in told.splitlines() if line.startswith("| data ")]
    assert [cell.strip() for cell in line.split("|")[1:-1]] == ["data", "penn_treebank", "–"]


def test_a_run_of_no_experiment_here_is_compared_and_marked(capsys, tmp_path):
    stranger = run(tmp_path, "b", test=70.0, experiment="worlds")
    told = answer(capsys, run(tmp_path, "a"), stranger, "--out", tmp_path / "o")[1]
    assert "-10.00" in told
    assert told.count("There is no experiment 'worlds' here: its settings") == 1
    told = answer(capsys, run(tmp_path, "c"), run(tmp_path, "d"), "--out", tmp_path / "o")[1]
    assert "no experiment" not in told


def test_results_and_differences_to_the_first(tmp_path):
    paths = [run(tmp_path, "a"), run(tmp_path, "b", test=77.5), run(tmp_path, "c", test=81.25)]
    table = results_table(read_sides(paths))
    assert table.titles == ("metric", "a", "b", "difference", "c", "difference")
    found = cells(table)
    assert found["test perplexity ↓"] == ["80.00", "77.50", "-2.50", "81.25", "+1.25"]
    assert not any("loss" in name for name in found)
    everything = cells(results_table(read_sides(paths), full=True))
    assert "valid loss ·" in everything  # nobody says which side is the better


def test_seeds_are_averaged_and_paired(tmp_path):
    before, after = (80.0, 84.0, 82.0), (79.0, 82.5, 81.0)
    for seed in range(3):
        run(tmp_path, "a", seed, before[seed])
        run(tmp_path, "b", seed, after[seed])
    sides = read_sides([tmp_path / NAME / "a", tmp_path / NAME / "b"])
    one, two, difference = cells(results_table(sides))["test perplexity ↓"]
    assert one == "82.00 [80.00, 84.00]"
    wide = summarize([now - then for then, now in zip(before, after, strict=True)])
    assert difference == f"{wide.mean:+.2f} [{wide.low:+.2f}, {wide.high:+.2f}] in 3 pairs"
    assert two.startswith("80.83 [")


def test_only_the_same_seed_on_the_same_data_makes_a_pair(tmp_path):
    prior = {"Note RNN": "1" * 32}
    own = [replace(WORDS.data[0], checksums={**WORDS.data[0].checksums, **prior})]
    for seed in range(3):
        run(tmp_path, "a", seed, 80.0 + seed)
        run(tmp_path, "other_seeds", seed + 2, 81.0)
        run(tmp_path, "other_prior", seed, 81.0, data=own)
    first, *others = (tmp_path / NAME / one for one in ("a", "other_seeds", "other_prior"))
    for other in others:
        found = cells(results_table(read_sides([first, other])))["test perplexity ↓"]
        assert found[2] == "+0.00 unpaired"


def test_unlike_seeds_of_a_folder_are_refused(capsys, tmp_path):
    run(tmp_path, "a")
    for name, change in {
        "settings": {"config": changed(depth=4)},
        "data": {"data": [replace(WORDS.data[0], version="2.0.0")]},
        "precision": {"device": {**WORDS.device, "x64": True}},
    }.items():
        run(tmp_path, name, 0)
        run(tmp_path, name, 1, **change)
        code, _, error = answer(capsys, tmp_path / NAME / "a", tmp_path / NAME / name)
        assert code == 2, name
        assert "seeds 0 and 1 differ in" in error
        assert "one by one" in error
    immaterial = {**WORDS.config, "train": {**WORDS.config["train"], "report_every": 7}}
    run(tmp_path, "fine", 0)
    run(tmp_path, "fine", 1, config=immaterial)
    sides = read_sides([tmp_path / NAME / "a", tmp_path / NAME / "fine"])
    assert cells(settings_table(sides)) == {"train.report_every": ["100", "100 / 7"]}


def test_diverged_and_unfinished_seeds_stay_out_of_means(capsys, tmp_path):
    for seed in range(3):
        run(tmp_path, "a", seed, 80.0)
    run(tmp_path, "b", 0, 70.0)
    run(tmp_path, "b", 1, status="diverged", metrics={})
    code, out, _ = answer(capsys, tmp_path / NAME / "a", tmp_path / NAME / "b", "--out", tmp_path)
    assert code == 0
    assert "1 finished; 1 diverged" in out
    assert "Not among the results: b, seed 1 (diverged)." in out
    assert " -10.00 unpaired |" in out


def test_an_unfinished_run_is_marked(capsys, tmp_path):
    path = unfinished(tmp_path / NAME / "slow" / "seed0")
    code, out, _ = answer(capsys, run(tmp_path, "a"), path, "--out", tmp_path / "o")
    assert code == 0
    assert "slow (unfinished)" in out
    assert "stopped, 200 of 400 (50 %)" in out
    assert "Not finished: slow" in out
    assert "ffffffff+dirty" in out
    rows = [line for line in out.splitlines() if line.startswith("| valid perplexity")]
    assert "250.00" in rows[0]
    assert "+160.00" in rows[0]
    assert "| model.depth" in out
    assert (tmp_path / "o" / "valid_perplexity.png").exists()


def test_curves(capsys, tmp_path):
    def curve(shift: float) -> list[dict]:
        return [{"step": k, VALID: 99.0 - k + shift, "train/loss": 1.0} for k in range(9)]

    for seed in range(3):
        run(tmp_path, "a", seed, curve=curve(seed))
        run(tmp_path, "b", seed, curve=curve(5.0 * seed))
    folders = [tmp_path / NAME / one for one in "ab"]
    assert drawn_metrics(read_sides(folders)) == [VALID]
    _, out, _ = answer(capsys, *folders, "--out", tmp_path / "o")
    file = tmp_path / "o" / "valid_perplexity.png"
    assert out.rstrip().endswith(str(file))
    banded = imread(file)
    for seed in range(3):
        record = read_record(folders[1] / f"seed{seed}" / "record.json")
        write_record(replace(record, curve=curve(5.0)), folders[1] / f"seed{seed}")
    answer(capsys, *folders, "--out", tmp_path / "o")
    assert not np.array_equal(banded, imread(file))  # the same mean, without a band
    assert drawn_metrics(read_sides([run(tmp_path, "c", curve=[]), folders[0]])) == []


def test_curves_are_of_the_seeds_whose_results_are_shown(monkeypatch, tmp_path):
    """Neither one that diverged nor one that still runs cuts the others' curve or enters it."""
    drawn = {}

    def seen(series, file, *, bands, **words):
        drawn[file.stem] = series, bands
        return file

    monkeypatch.setattr(picture, "learning_curves", seen)
    loss = "valid/loss"
    whole = [{"step": k, loss: 100.0 - k / 100} for k in (100, 200, 300)]
    higher = [{**row, loss: row[loss] + 2} for row in whole]
    lost = [{"step": 100, loss: 9e9, VALID: 1.0}]  # of VALID there's no picture without it
    for folder in "ab":  # with the settings of the run that isn't finished
        run(tmp_path, folder, 0, curve=whole, config=changed(depth=5))
        run(tmp_path, folder, 1, curve=higher, config=changed(depth=5))
        diverged = {"status": "diverged", "metrics": {}, "curve": lost}
        run(tmp_path, folder, 2, config=changed(depth=5), **diverged)
    unfinished(tmp_path / NAME / "b" / "seed3")
    picture.draw_curves(read_sides([tmp_path / NAME / folder for folder in "ab"]), tmp_path)
    assert list(drawn) == ["valid_loss"]
    series, bands = drawn["valid_loss"]
    for side in "ab":
        assert series[side] == [(100, 100.0), (200, 99.0), (300, 98.0)]
        assert bands[side] == [(100, 99.0, 101.0), (200, 98.0, 100.0), (300, 97.0, 99.0)]


def test_metrics_in_common(capsys, tmp_path):
    a, b = run(tmp_path, "a", metrics={VALID: 1.0}), run(tmp_path, "b", metrics={TEST: 1.0})
    code, _, error = answer(capsys, a, b)
    assert code == 2
    assert f"no metric in common: a has {VALID}; b has {TEST}" in error
    many = run(tmp_path, "many", metrics={f"valid/m{k}": 1.0 for k in range(8)})
    error = answer(capsys, a, many)[2]
    assert "valid/m4 and 3 more" in error
    assert "valid/m5" not in error
    none = run(tmp_path, "c", status="diverged", metrics={})
    code, out, _ = answer(capsys, a, none, "--out", tmp_path / "o")
    assert code == 0
    assert "There are no results to compare." in out


def test_what_is_no_run(capsys, tmp_path):
    a = run(tmp_path, "a")
    run(tmp_path, "b")
    (tmp_path / "empty" / "seed0").mkdir(parents=True)
    damaged = run(tmp_path, "damaged")
    (damaged / "record.json").write_text("{}")
    for other, code, words in (
        (tmp_path / "missing", 3, "there is no such folder"),
        (tmp_path / "empty", 3, "nothing of a run here yet"),
        (tmp_path / NAME, 3, "runs of several presets"),
        (RESULTS.parent / "docs", 3, "no run here"),
        (damaged, 3, "not a record"),
        (a, 2, "two or more different runs"),
    ):
        found, _, error = answer(capsys, a, other)
        assert found == code, other
        assert error.startswith("error: ")
        assert words in error
    assert answer(capsys, a)[0] == 2
    curveless = run(tmp_path, "curveless", curve=[{"step": 1, VALID: 9.0}])
    text = (curveless / "record.json").read_text()
    (curveless / "record.json").write_text(text.replace('"step"', '"stop"'))
    assert "record.json: not a record: curve.0: no step" in answer(capsys, a, curveless)[2]
    stopped = unfinished(tmp_path / NAME / "slow" / "seed0")
    for name, content in (
        ("data.json", "{}"),
        ("data.json", '{"name": 1, "checksums": []}'),
        ("manifest.json", '{"sessions": [1]}'),
        ("manifest.json", '{"sessions": [{"device": "cpu"}]}'),
        ("metrics.jsonl", '{"valid/perplexity": 9.0}\n'),
    ):
        whole = (stopped / name).read_bytes()
        (stopped / name).write_text(content)
        code, _, error = answer(capsys, a, stopped)
        assert code == 3
        assert "damaged (" in error
        assert (name if name != "metrics.jsonl" else "metrics") in error
        (stopped / name).write_bytes(whole)
    (stopped / "config.json").write_text("{")
    assert "config.json: damaged" in answer(capsys, a, stopped)[2]
    (stopped / "config.json").unlink()
    assert "config.json: gone" in answer(capsys, a, stopped)[2]


def test_labels_are_what_tells_paths_apart():
    def labels(*paths: str) -> list[str]:
        return short_labels([Path(one) for one in paths])

    assert labels("runs/a/cpu/seed0", "runs/b/cpu/seed0") == ["a", "b"]
    assert labels("runs/a/cpu/seed0", "runs/a/cpu/seed1") == ["seed0", "seed1"]
    assert labels("runs/a/cpu/seed0", "other/a/paper/seed0") == ["runs/a/cpu", "other/a/paper"]
    assert labels("runs/a", "runs/a/cpu") == ["runs/a", "runs/a/cpu"]


def test_committed_tunings_of_the_same_prior_are_paired(capsys, tmp_path):
    folders = [RESULTS / f"tutor_melodies_{method}" / "paper" for method in ("q", "psi")]
    code, out, _ = answer(capsys, *folders, "--out", tmp_path)
    assert code == 0
    assert "in 3 pairs" in out
    assert TOO_NARROW in out
    methods = [json.loads((one / "seed0/record.json").read_text())["config"] for one in folders]
    assert methods[0]["learn"]["method"] != methods[1]["learn"]["method"]
    assert "| learn.method" in out
    assert {path.name for path in tmp_path.iterdir()} >= {"eval_reward.png", "eval_log_prior.png"}


def test_no_jax_is_needed(tmp_path):
    code = (
        "import sys; from experiments.cli import main\n"
        "sys.exit(main(sys.argv[1:]) or 'jax' in sys.modules)"
    )
    paths = [run(tmp_path, "a"), run(tmp_path, "b"), "--out", tmp_path / "o"]
    subprocess.run([sys.executable, "-c", code, "compare", *map(str, paths)], check=True)


def test_a_joint_training_shows_each_seed_its_own_rows(tmp_path):
    preset = tmp_path / NAME / "both"
    unfinished(preset / "seeds0-1")
    rows = [{"step": 1, "seed0/eval/x": 1.0, "seed1/eval/x": 2.0}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (preset / "seeds0-1" / "metrics.jsonl").write_text(text)
    for seed in (0, 1):
        (preset / f"seed{seed}").mkdir()
        for name in ("config.json", "manifest.json"):
            content = (preset / "seeds0-1" / name).read_bytes()
            (preset / f"seed{seed}" / name).write_bytes(content)
    sides = read_sides([preset / "seed0", preset / "seed1"])
    assert [side.values("eval/x") for side in sides] == [{0: 1.0}, {1: 2.0}]
    assert [run.curve[0]["eval/x"] for side in sides for run in side.runs] == [1.0, 2.0]
    assert all(run.data["data"] == WORDS.data[0].name for side in sides for run in side.runs)
