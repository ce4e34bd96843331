"""The command line as a user meets it: answers, exit codes and plain errors."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest

from common.config import differences, notes, override, to_dict
from common.progress import about
from common.record import FILE_NAME, read_record, write_record
from experiments.arguments import RESULTS, make_parser
from experiments.cli import COMMANDS, main
from experiments.registry import experiments

PTB_ROW = "rhn_penn_treebank_depth3_tied"


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one command, in this process."""
    try:
        code = main(list(arguments))
    except SystemExit as stop:  # argparse leaves this way
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def assert_plain(error: str) -> None:
    """One or two lines for people, no traceback."""
    assert error.startswith("error: ")
    assert 1 <= len(error.strip().splitlines()) <= 2
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["list"], ["show", PTB_ROW], ["run", "--help"], ["compose", "-h"]],
)
def test_answers_without_importing_jax(arguments):
    code = (
        "import sys; from experiments.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "slow = {'jax', 'flax', 'numpy', 'tensorflow_datasets'} & sys.modules.keys()\n"
        "sys.exit(f'imported {slow}' if slow else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_quickstart_has_a_command_of_its_own():
    more = ["--preset", "smoke", "--seeds", "1", "2", "--mesh", "data=1", "--set", "a=1"]
    short, long = (
        vars(make_parser(COMMANDS).parse_args([*words, *more]))
        for words in (["quickstart"], ["run", "quickstart"])
    )
    assert short == long


def test_list_names_every_experiment_with_its_row(capsys):
    code, out, _ = run(capsys, "list", "--long")
    assert code == 0
    for name, one in experiments().items():
        assert f"\n{name}\n    {one.title}\n    reproduces: {one.row}\n" in f"\n{out}"


def test_list_has_a_line_for_each_experiment(capsys):
    code, out, _ = run(capsys, "list")
    lines = out.splitlines()
    assert code == 0
    assert len(lines) == len(experiments()) + 2
    for line, (name, one) in zip(lines, experiments().items(), strict=False):
        assert line.split()[0] == name
        assert line.endswith(one.title)
        preset = one.presets[one.default_preset]
        time = ("about " if preset.estimated else "") + about(3600 * preset.hours)
        assert line.removeprefix(name).removesuffix(one.title).strip() == time


def test_table_gives_every_column_on_demand(capsys):
    widths = []
    for more in ([], ["--full"]):
        code, out, _ = run(capsys, "table", PTB_ROW, *more)
        assert code == 0
        *tables, last = re.split(r"\n\n(?=\| (?:run|metric|experiment) )", f"\n\n{out}")
        widths.append(last.strip().splitlines()[0].count("|"))
        shown = "Penn Treebank by recurrence depth" in "".join(tables)
        assert shown == (not more)  # the paper's table, before the short rows
    assert widths[0] < 8 < widths[1]


def test_table_has_own_and_committed_runs_in_rows_of_their_own(capsys, tmp_path):
    theirs = read_record(RESULTS / PTB_ROW / "cpu" / "seed0" / FILE_NAME)
    for root, seed in (("runs", 7), ("results", theirs.seed)):
        folder = tmp_path / root / theirs.experiment / theirs.preset / f"seed{seed}"
        folder.mkdir(parents=True)
        write_record(dataclasses.replace(theirs, seed=seed), folder)
    where = ("--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results"))
    code, out, _ = run(capsys, "table", theirs.experiment, "--json", *where)
    found = {(tuple(row["seeds"]), row["committed"]) for row in json.loads(out) if row["ours"]}
    assert (code, found) == (0, {((7,), False), ((theirs.seed,), True)})


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("note_rnn", "prior.learning_rate_decay=1.5"),
        ("tutor_melodies_q", "learn.discount=2"),
        ("quickstart", "rhn.depth=100000"),
        ("tutor_melodies_q", "learn.target_rate=5"),
        ("tutor_melodies_q", "learn.epsilon_start=2"),
        ("tutor_melodies_q", "learn.epsilon_end=1.01"),
        (PTB_ROW, "model.dropout_h=1"),
    ],
)
def test_shares_and_probabilities_have_their_range(capsys, name, setting):
    code, _, error = run(capsys, "run", name, "--set", setting)
    assert code == 2
    assert setting.partition("=")[0] in error
    assert "less than" in error


def test_rates_fall_and_seeds_are_those_of_the_command_line(capsys):
    for name, setting, words in (
        (PTB_ROW, "train.learning_rate_decay=0.85", "greater than or equal to 1"),
        ("note_rnn", "prior.learning_rate=1e-4", "prior.learning_rate_floor"),
        ("tutor_melodies_q", "note_rnn.seed=4294967296", "note_rnn.seed"),
    ):
        code, _, error = run(capsys, "run", name, "--set", setting)
        assert code == 2
        assert words in error
    assert run(capsys, "show", "tutor_melodies_q", "--set", "note_rnn.seed=4294967295")[0] == 0


@pytest.mark.parametrize(
    ("name", "setting", "lower"),
    [
        (PTB_ROW, "model.units=1000000000", "model.units"),
        (PTB_ROW, "train.batch_size=1000000000", "train.batch_size"),
        ("note_rnn", "model.units=1000000000", "model.units"),
        ("note_rnn", "prior.batch_size=1000000000", "prior.batch_size"),
        ("note_rnn", "final_compositions=1000000000", "final_compositions"),
    ],
)
def test_what_cannot_fit_is_refused_with_the_memory_it_takes(
    capsys, tmp_path, name, setting, lower
):
    code, _, error = run(
        capsys, "run", name, "--preset", "smoke", "--out", str(tmp_path), "--set", setting
    )
    assert code == 2
    assert "GiB of memory" in error
    assert lower in error


@pytest.mark.parametrize(
    ("name", "preset", "settings", "told"),
    [
        (PTB_ROW, "cpu", ["train.epochs=20"], "is 2e-08 of the first one's (the preset's: 0.1)"),
        (PTB_ROW, "cpu", ["train.epochs=8"], ""),
        (PTB_ROW, "paper", ["train.epochs=510"], ""),
        ("tutor_melodies_g", "paper", ["learn.iterations=100000"], "ε is 0.82 at the end"),
        ("tutor_melodies_g", "paper", ["learn.iterations=600000"], ""),
    ],
)
def test_a_schedule_that_its_settings_were_not_made_for_is_noted(name, preset, settings, told):
    usual = experiments()[name].preset(preset).config
    (text,) = notes(override(usual, settings), usual) or [""]
    assert told in text
    assert bool(told) == bool(text)


@pytest.mark.parametrize("preset", ["smoke", "cpu", "paper"])
def test_the_readmes_settings_train_as_long_as_they_say(preset):
    text = (RESULTS.parent / "README.md").read_text(encoding="utf-8")
    (settings,) = re.findall(r"in the papers' terms: `--set (.*?)`", text, re.DOTALL)
    usual = experiments()[PTB_ROW].preset(preset).config
    changed = override(usual, settings.split())
    assert notes(changed, usual) == []
    assert changed.train.last_share > 0.01


def test_list_as_json(capsys):
    code, out, _ = run(capsys, "list", "--json")
    assert code == 0
    listed = {one["name"]: one for one in json.loads(out)}
    assert listed.keys() == experiments().keys()
    row = listed[PTB_ROW]
    assert row["parameters"] == 20_973_460
    assert {p["metric"]: p["value"] for p in row["published"]} == {
        "valid/perplexity": 72.7,
        "test_full/perplexity": 70.6,
    }
    assert row["presets"]["paper"]["data"] == ["penn_treebank"]
    assert row["presets"]["smoke"]["data"] == ["tiny_shakespeare"]


def test_show_prints_docstring_and_resolved_configuration(capsys):
    code, out, _ = run(capsys, "show", PTB_ROW, "--preset", "paper", "--set", "model.depth=7")
    assert code == 0
    assert "72.7 / 70.6" in out
    assert "  model.depth=7\n" in out
    assert "  model.units=1110\n" in out


def test_one_experiment_per_published_row():
    names = set(experiments())
    rows = {f"rhn_penn_treebank_depth{d}_{t}" for d in range(1, 11) for t in ("tied", "untied")}
    rows |= {"rhn_enwik8_depth5", "rhn_enwik8_depth10", "rhn_enwik8_depth10_large"}
    rows |= {"rhn_text8_depth10", "rhn_text8_depth10_large"}
    assert rows <= names
    for name in rows:
        presets = set(experiments()[name].presets)
        own = {"overnight"} if name == "rhn_penn_treebank_depth10_tied" else set()
        assert presets == {"smoke", "cpu", "paper"} | own


def test_overnight_is_the_published_model_in_fewer_epochs():
    presets = experiments()["rhn_penn_treebank_depth10_tied"].presets
    changed = differences(to_dict(presets["paper"].config), to_dict(presets["overnight"].config))
    assert {change.split(":")[0] for change in changed} == {
        "train.epochs", "train.constant_epochs", "train.learning_rate_decay",
    }  # fmt: skip


PUBLISHED = {
    "optimizer": "sgd", "learning_rate": 0.2, "weight_decay": 1e-7, "clip_norm": 10.0,
    "epochs": 500, "core": "rhn", "layers": 1, "coupled": True, "masks": "shared",
    "initial_range": 0.04, "embedding": 0, "train_tokens": 0, "evaluation_tokens": 0, "full": True,
}  # fmt: skip
PENN_TREEBANK = {
    "name": "penn_treebank", "batch_size": 20, "steps": 35, "learning_rate_decay": 1.02,
    "constant_epochs": 20, "transform_bias": -2.0,
    "dropout_x": 0.25, "dropout_i": 0.75, "dropout_h": 0.25, "dropout_o": 0.75,
}  # fmt: skip
CHARACTERS = {
    "batch_size": 128, "steps": 50, "learning_rate_decay": 1.03, "constant_epochs": 5,
    "transform_bias": -4.0, "tied": False,
    "dropout_x": 0.1, "dropout_i": 0.4, "dropout_h": 0.1, "dropout_o": 0.4,
}  # fmt: skip
# Depth, units, then validation and test: untied, tied. docs/published.md.
DEPTH_STUDY = """
1 1275 92.4 89.2 93.2 90.6
2 1180 79.0 76.3 76.9 75.1
3 1110 75.0 72.6 72.7 70.6
4 1050 73.3 70.9 70.8 68.6
5 1000 72.0 69.8 69.7 67.7
6 960 71.9 69.3 69.1 66.6
7 920 71.7 68.7 68.7 66.4
8 890 71.2 68.5 68.2 66.1
9 860 71.3 68.5 68.1 66.0
10 830 71.3 68.3 68.3 66.0
"""


def published_rows():
    """Experiment → its settings and its published values, written out from docs/published.md."""
    for line in DEPTH_STUDY.strip().splitlines():
        depth, units, *values = line.split()
        for tied, (valid, test) in ((False, values[:2]), (True, values[2:])):
            settings = PENN_TREEBANK | {"depth": int(depth), "units": int(units), "tied": tied}
            numbers = {("valid/perplexity", float(valid)), ("test_full/perplexity", float(test))}
            settings["mc_passes"] = 1000 if tied and depth == "5" else 0
            if tied and depth == "5":
                numbers.add(("test_mc/perplexity", 64.4))
            if tied and depth == "10":
                numbers |= {("valid/perplexity", 67.9), ("test_full/perplexity", 65.4)}
            yield f"rhn_penn_treebank_depth{depth}_{'' if tied else 'un'}tied", settings, numbers
    smaller = {"dropout_i": 0.3, "dropout_h": 0.05, "dropout_o": 0.3, "batch_size": 100}
    for name, changes, bpc in [
        ("enwik8_depth5", {"units": 1500, "learning_rate_decay": 1.04, **smaller}, 1.31),
        ("enwik8_depth10", {"units": 1000}, 1.30),
        ("enwik8_depth10_large", {"units": 1500}, 1.27),
        ("text8_depth10", {"units": 1000, "steps": 100}, 1.29),
        ("text8_depth10_large", {"units": 1500}, 1.27),
    ]:
        dataset, depth = name.split("_")[:2]
        settings = CHARACTERS | {"name": dataset, "depth": int(depth.removeprefix("depth"))}
        yield f"rhn_{name}", settings | changes, {("test_full/bits_per_character", bpc)}


@pytest.mark.parametrize(("name", "settings", "numbers"), list(published_rows()))
def test_paper_presets_are_the_published_settings(name, settings, numbers):
    config = to_dict(experiments()[name].presets["paper"].config)
    flat = {key: value for group in config.values() for key, value in group.items()}
    assert flat | PUBLISHED | settings == flat
    assert {(one.metric, one.value) for one in experiments()[name].published} == numbers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "rhn_pen_treebank_depth3_tied"], r"Did you mean 'rhn_penn_treebank_depth3_tied'"),
        (["show", "nothing_like_it"], r"unknown experiment 'nothing_like_it'. Known: quickstart"),
        (["run", PTB_ROW, "--preset", "smoky"], r"no preset 'smoky'. Did you mean 'smoke'"),
        (["run", PTB_ROW, "--set", "model.dept=3"], r"Did you mean 'model.depth'"),
        (["run", PTB_ROW, "--set", "model.depth=deep"], r"model.depth='deep'"),
        (["run", PTB_ROW, "--set", "model.core=lstm"], r"model.core=lstm has depth 1"),
        (["run", PTB_ROW, "--set", "model.embedding=7"], r"embedding as wide as the units"),
        (["run", PTB_ROW, "--preset", "smoke", "--platform", "gpu"], r"'gpu' isn't available"),
        (["table", "nope"], r"unknown experiment 'nope'"),
        (
            ["run", "tutor_melodies_q", "--set", "note_rnn.run=x", "note_rnn.seed=1"],
            r"note_rnn.seed has no effect beside note_rnn.run=x",
        ),
        (
            ["run", "tutor_melodies_q", "--set", "learn.learning_rate_end=0.01"],
            r"learn.learning_rate_end=0.01 is above learn.learning_rate=",
        ),
        (["run", PTB_ROW, "--set", "model.forget_bias=2"], r"model.forget_bias=2.0 has no effect"),
        (
            ["run", PTB_ROW, "--set", "model.core=lstm", "model.depth=1", "model.coupled=false"],
            r"model.coupled=false has no effect: model.core=lstm doesn't read it, only rhn does",
        ),
        (
            ["sweep", "note_rnn", "--grid", "model.transform_bias=-2,-4"],
            r"model.transform_bias=-4.0 has no effect: model.core=lstm doesn't read it",
        ),
        (
            ["run", "stacked_or_deep", "--set", "model.units=9"],
            r"model.units=9 has no effect: every model has its own, by depths and parameters",
        ),
        (["data", "nope"], r"unknown dataset 'nope'"),
    ],
)
def test_usage_errors_are_plain_and_exit_with_2(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    if "--platform" in arguments:  # JAX chooses its platform once per process
        done = subprocess.run(
            [sys.executable, "-m", "experiments", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        code, error = done.returncode, done.stderr
    else:
        code, _, error = run(capsys, *arguments)
    assert code == 2
    assert_plain(error)
    assert re.search(message, error)
    assert not list(tmp_path.rglob("*seed*"))  # nothing was begun


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["run"],
        ["run", PTB_ROW, "--seeds", "-1"],
        ["run", PTB_ROW, "--seeds", "x"],
        ["run", PTB_ROW, "--platform", "abacus"],
        ["run", PTB_ROW, "--fresh", "--resume"],
    ],
)
def test_what_argparse_refuses_exits_with_2(capsys, arguments):
    code, _, error = run(capsys, *arguments)
    assert code == 2
    assert_plain(error)
    assert "--help" in error


def test_debug_shows_the_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "show", "nope", "--debug"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" in done.stderr


def test_a_closed_pipe_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m experiments list --long | head -1; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["quickstart", "0"]
    assert done.stderr == ""


def test_data_that_is_damaged_exits_with_3(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HIGHWAY_TUTOR_CACHE", str(tmp_path / "cache"))
    assert run(capsys, "data", "tiny_shakespeare")[0] == 0
    prepared = next((tmp_path / "cache").rglob("*train*array_record*"))
    prepared.write_bytes(prepared.read_bytes()[:-1])
    code, _, error = run(capsys, "data", "tiny_shakespeare")
    assert code == 3
    assert str(prepared) in error

    hand = tmp_path / "hand"
    assert run(capsys, "data", "--data-dir", str(hand))[0] == 3
    hand.mkdir()
    (hand / "enwik8").write_bytes(b"")
    code, _, error = run(capsys, "data", "enwik8", "--data-dir", str(hand))
    assert code == 3
    assert str(hand / "enwik8") in error


def test_devices_says_what_is_there(capsys):
    code, out, _ = run(capsys, "devices", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["platform"] == "cpu"
    assert found["count"] >= 1
    assert found["memory_bytes"] > 0


def test_data_prepares_what_ships_and_says_how_to_get_the_rest(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HIGHWAY_TUTOR_CACHE", str(tmp_path))
    monkeypatch.setattr("common.datasets.folk_melodies.corpus_folder", lambda: None)  # no music21
    monkeypatch.setattr("common.datasets.moses.package_folder", lambda: None)  # no molsets
    code, out, _ = run(capsys, "data")
    assert code == 0
    states = {line.split()[0]: line.split()[1] for line in out.splitlines() if line[0] != " "}
    assert states == {
        "penn_treebank": "missing",
        "enwik8": "missing",
        "text8": "missing",
        "jsb_chorales": "ready",
        "tiny_shakespeare": "ready",
        "folk_melodies": "missing",
        "chorale_melodies": "ready",
        "moses_sample": "ready",
        "moses": "missing",
        "midi_melodies": "missing",
        "text_files": "missing",
        "text_files_words": "missing",
        "digits": "ready",
        "mnist": "missing",
    }
    assert 'pip install "highway-tutor[music]"' in out
    assert "--data-dir" in out
