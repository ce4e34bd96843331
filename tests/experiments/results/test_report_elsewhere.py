"""`report --runs FOLDER --out FOLDER`: the pages of anybody's runs, in a folder of their own."""

import dataclasses

import pytest
from report_case import TEST, place, record, seeds, words

from common.record import write_record
from experiments import registry
from experiments.cli import main


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """A registry of one experiment, and of no family."""
    monkeypatch.setattr(registry, "experiments", lambda: {"words": words()})
    monkeypatch.setattr(registry, "families", lambda: [])


@pytest.fixture
def runs(tmp_path):
    """Three seeds with pictures, and what a run leaves besides."""
    root = tmp_path / "runs"
    for one in seeds(words(), 66.0, 66.5, 68.0):
        folder = place(root, one).parent
        (folder / "learning_curve.png").write_bytes(b"png")
        (folder / "checkpoints").mkdir()
        (folder / "metrics.jsonl").write_text("{}\n")
    return root


@pytest.fixture
def out(tmp_path):
    return tmp_path / "report"


def report(*arguments):
    return main(["report", *map(str, arguments)])


def test_the_page_of_anybodys_runs(runs, out, capsys):
    assert report("--runs", runs, "--out", out) == 0
    assert str(out / "RESULTS.md") in capsys.readouterr().out
    text = (out / "RESULTS.md").read_text()
    assert "66.83 [66.00, 68.00]" in text
    assert "python -m experiments report --runs FOLDER --out FOLDER" in text
    assert str(runs) not in text
    assert "- seed0: [learning_curve](words/paper/seed0/learning_curve.png)" in text
    copied = {path.name for path in (out / "words/paper/seed2").iterdir()}
    assert copied == {"record.json", "learning_curve.png"}


def test_of_one_run(runs, out):
    assert report("--runs", runs / "words/paper/seed2", "--out", out) == 0
    assert " 68.00 |" in (out / "RESULTS.md").read_text()
    assert [path.name for path in (out / "words/paper").iterdir()] == ["seed2"]


def test_of_a_grid_and_of_folders_in_folders(tmp_path, out):
    root = tmp_path / "runs"
    for where, values in (("model.depth=3", 61.0), ("old/again", 62.0)):
        overrides = ["model.depth=3"] if "=" in where else []
        place(root / where, record(words(), overrides=overrides, metrics={TEST: values}))
    assert report("--runs", root, "--out", out) == 0
    text = (out / "RESULTS.md").read_text()
    assert " 61.00 |" in text
    assert " 62.00 |" in text
    assert (out / "model.depth=3/words/paper/seed0/record.json").exists()
    assert (out / "from=old%2Fagain/words/paper/seed0/record.json").exists()


def test_an_earlier_report_is_replaced(runs, out):
    assert report("--runs", runs, "--out", out) == 0
    (runs / "words/paper/seed2").rename(runs / "words/paper/other")
    assert report("--runs", runs, "--out", out) == 0
    assert "68.00" not in (out / "RESULTS.md").read_text()
    assert not (out / "words/paper/seed2").exists()


def test_a_report_among_its_runs_is_none_of_them(runs, capsys):
    out = runs / "report"
    for _ in range(2):
        assert report("--runs", runs, "--out", out) == 0
    assert "66.83 [66.00, 68.00]" in (out / "RESULTS.md").read_text()
    assert not (out / "from=report").exists()


def test_runs_that_are_not_finished_are_left_out_and_counted(runs, out, capsys):
    (runs / "words/paper/seed1/record.json").unlink()
    assert report("--runs", runs, "--out", out) == 0
    assert f"left out: 1 not finished (see `status {runs}`)\n" in capsys.readouterr().err
    assert not (out / "words/paper/seed1").exists()


def test_a_run_of_no_experiment_here_is_left_out_and_named(runs, out, capsys):
    stranger = place(runs, record(words("worlds"), metrics={TEST: 12.0})).parent
    told = f"left out: {stranger}: there is no experiment 'worlds' here."
    for arguments in (("--runs", runs, "--out", out), ("--results", runs)):
        assert report(*arguments) == 0
        assert capsys.readouterr().err.splitlines().count(told) == 1
        text = ((out if "--out" in arguments else runs) / "RESULTS.md").read_text()
        assert "66.83 [66.00, 68.00]" in text
        assert "12.00" not in text
    assert not (out / "worlds").exists()
    assert (out / "report.html").read_text().count("worlds") == 0


def test_of_the_committed_records(runs, out):
    assert report("--results", runs, "--out", out) == 0
    text = (out / "RESULTS.md").read_text()
    assert "`python -m experiments report --out FOLDER`" in text
    assert not (runs / "RESULTS.md").exists()


def test_links_out_of_the_folder_become_text(runs, out, monkeypatch):
    published = (registry.Published(TEST, "66.0", "[its page](../docs/its.md)"),)
    one = dataclasses.replace(words(), published=published)
    monkeypatch.setattr(registry, "experiments", lambda: {"words": one})
    assert report("--runs", runs, "--out", out) == 0
    text = (out / "RESULTS.md").read_text()
    assert "- published in: its page\n" in text
    assert "../docs" not in text


@pytest.mark.parametrize(
    ("arguments", "words_of_it"),
    [
        (["--runs", "{runs}"], "--runs needs --out"),
        (["--out", "{out}", "--add", "{runs}/words/paper/seed0"], "--add is for the committed"),
        (["--runs", "{out}/none", "--out", "{out}"], "there is no such folder"),
        (["--runs", "{empty}", "--out", "{out}"], "no finished run here. "),
        (["--runs", "{begun}", "--out", "{out}"], "no finished run here; 1 not finished"),
        (["--runs", "{runs}", "--out", "{runs}"], "isn't an earlier report"),
        (["--runs", "{runs}", "--out", "{runs}/words/paper/seed0/record.json"], "a file, not a"),
        (["--runs", "{runs}", "--out", "{empty}", "--results", "{empty}"], "the committed records"),
        (["--runs", "{other}", "--out", "{out}"], "no finished run in it is of an experiment here"),
        (
            ["--results", "{empty}", "--add", "{other}/else/paper/seed0"],
            "unknown experiment 'else'",
        ),
        (["--runs", "{twice}", "--out", "{out}"], "say of themselves that they are the same run"),
        (["--runs", "{damaged}", "--out", "{out}"], "not a record"),
    ],
)
def test_what_is_refused(runs, out, tmp_path, capsys, arguments, words_of_it):
    names = ("empty", "begun", "other", "twice", "damaged")
    folders = {name: tmp_path / name for name in names} | {"runs": runs, "out": out}
    folders["empty"].mkdir()
    (folders["begun"] / "words/cpu/seed0").mkdir(parents=True)
    place(folders["other"], record(words("else")))
    for copy in (place(folders["twice"], record(words())).parent.with_name("seed1"),):
        copy.mkdir()
        write_record(record(words()), copy)
    place(folders["damaged"], record(words())).write_text("{}")
    assert report(*(one.format(**folders) for one in arguments)) in (2, 3)
    assert words_of_it in capsys.readouterr().err
    assert (runs / "words/paper/seed0/record.json").exists()
    assert not list(folders["empty"].iterdir())
    assert not out.exists()
