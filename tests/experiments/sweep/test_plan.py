"""Names, seeds and a grid expanded into runs: pure, but for what lies in run directories."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sweep_case import RHN

from common.config import override, to_dict
from common.error import ConfigError
from common.process import Process
from common.record import Record, write_record
from experiments.arguments import make_parser
from experiments.cli import COMMANDS, main
from experiments.melodies.domain import MELODIES
from experiments.registry import ONE_CORE, TWO_CORES, find
from experiments.run import Options
from experiments.sweep import command
from experiments.sweep.command import request
from experiments.sweep.machine import Machine, Places
from experiments.sweep.plan import Job, Request, expand, growth, matching, state_of
from experiments.sweep.point import LONGEST, is_point, mark_point, point_folder, points
from experiments.sweep.state import State
from experiments.sweep.view import plan_text, summary
from experiments.upstream import Upstream
from tutor.config import NoteRNNRun


def expanded(tmp_path: Path, *names: str, **asked) -> list[Job]:
    given = {"preset": "smoke", "out": tmp_path} | asked
    return expand(Request(tuple(names), **given))


def run_directories(jobs: list[Job], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for job in jobs for path in job.paths]


def begin(path: Path, config: object) -> None:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(to_dict(config)))
    (path / "metrics.jsonl").write_text("{}\n")


def finished(experiment: str, seed: int, config: dict[str, Any]) -> Record:
    return Record(
        experiment, "smoke", seed, "done", "", config, [], 1, {}, [], [], {}, {}, {}, "", [], False,
        "",
    )  # fmt: skip


def test_patterns_mean_experiments_in_their_order_each_once():
    found = matching(["rhn_penn_treebank_depth[12]_*tied", "note_rnn", "rhn_*_depth1_tied"])
    assert found == [
        "rhn_penn_treebank_depth1_tied",
        "rhn_penn_treebank_depth2_tied",
        "rhn_penn_treebank_depth1_untied",
        "rhn_penn_treebank_depth2_untied",
        "note_rnn",
    ]
    assert len(matching(["rhn_penn_treebank_*"])) == 20
    for wrong, message in (("nope*", "no experiment matches 'nope\\*'"), ("nope", "unknown")):
        with pytest.raises(ConfigError, match=message):
            matching(["note_rnn", wrong])


def test_every_run_has_its_command_and_all_have_their_first_seed_first(tmp_path):
    jobs = expanded(
        tmp_path,
        "rhn_penn_treebank_depth[12]_tied",
        seeds=(3, 1),
        overrides=("train.epochs=2",),
        passed=("--platform", "cpu"),
    )
    assert run_directories(jobs, tmp_path) == [
        f"rhn_penn_treebank_depth{depth}_tied/smoke/seed{seed}"
        for seed in (3, 1)
        for depth in (1, 2)
    ]
    words = f"run {jobs[0].experiment} --preset smoke --seeds 3 --set train.epochs=2 --platform cpu"
    assert jobs[0].command()[1:] == ["-m", "experiments", *words.split(), "--out", str(tmp_path)]
    assert {job.hours for job in jobs} == {find(RHN).presets["smoke"].hours}


def test_presets_are_each_experiments_default_or_the_one_given(tmp_path):
    (job,) = expanded(tmp_path, "tutor_melodies_q", preset=None)[1:]
    assert job.preset == find("tutor_melodies_q").default_preset
    (job,) = expanded(tmp_path, "tutor_melodies_q", preset="original")[1:]
    assert job.preset == "paper"


def test_a_grid_is_every_combination_in_folders_of_their_own(tmp_path):
    jobs = expanded(
        tmp_path, RHN, seeds=(0, 1), grid=("model.depth=1,2", "train.learning_rate=0.1,0.2")
    )
    folders = [job.out.relative_to(tmp_path).as_posix() for job in jobs]
    each = [f"model.depth={d},train.learning_rate={r}" for d in (1, 2) for r in (0.1, 0.2)]
    assert folders == each * 2
    assert [job.overrides for job in jobs] == [tuple(folder.split(",")) for folder in each * 2]
    assert len({path for job in jobs for path in job.paths}) == 8


@pytest.mark.parametrize(
    ("grid", "found"),
    [
        ([], [()]),
        (["a=1,2"], [("a=1",), ("a=2",)]),
        (["a= 1 , 2"], [("a=1",), ("a=2",)]),
        (["a=1,1"], [("a=1",)]),
        (["a=[1, 2],[3]"], [("a=[1, 2]",), ("a=[3]",)]),
        (['a=[["x,y", 1]],[]'], [('a=[["x,y", 1]]',), ("a=[]",)]),
        (["a=x=y"], [("a=x=y",)]),
    ],
)
def test_axes(grid, found):
    assert points(grid) == found


def test_names_of_points_are_names_of_files_and_differ():
    names = [point_folder(point) for point in points(['a=[1, 2],"x/y",../..,ü,~'])]
    assert len(set(names)) == 5
    assert not any(set(name) & set("/ []\"'\\*?") for name in names)
    long = [point_folder((f"a={'x' * 500}{k}",)) for k in range(2)]
    assert len(set(long)) == 2
    assert max(map(len, long)) < LONGEST + 12
    assert point_folder(()) == ""


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"grid": ("model.dept=1,2",)}, f"{RHN}: unknown key 'model.dept'. Did you mean"),
        ({"grid": ("model.depth=1,deep",)}, "model.depth='deep'"),
        ({"grid": ("model.depth=1,,2",)}, "expected key=value,value"),
        ({"grid": ("model.depth=1", "model.depth=2")}, "model.depth is there twice"),
        ({"grid": ("train.learning_rate=0.1,1e-1",)}, "are the same settings"),
        ({"grid": ("model.depth=1,2",), "overrides": ("model.depth=3",)}, "in --grid and in --set"),
        ({"overrides": ("model.dept=3",)}, "unknown key 'model.dept'"),
        ({"preset": "smoky"}, "no preset 'smoky'"),
    ],
)
def test_what_does_not_exist_is_refused_before_anything_starts(tmp_path, asked, message):
    with pytest.raises(ConfigError) as refused:
        expanded(tmp_path, RHN, **asked)
    assert message in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_the_run_that_others_start_from_comes_first_and_once(tmp_path):
    jobs = expanded(
        tmp_path,
        "tutor_melodies_psi",
        "tutor_melodies_q",
        seeds=(0, 1),
        grid=("learn.c=1,2",),
        passed=("--platform", "cpu"),
    )
    first, *rest = jobs
    assert run_directories([first], tmp_path) == ["note_rnn/smoke/seed0"]
    assert first.command()[-6:-2] == ["--platform", "cpu", "--mesh", "data=1"]  # as they train it
    assert len(rest) == 8
    assert {job.after for job in rest} == set(first.paths)
    both = expanded(tmp_path, "note_rnn", "tutor_melodies_q")
    assert [job.experiment for job in both] == ["note_rnn", "tutor_melodies_q"]
    assert both[0].passed == ()  # as it was asked for
    given = expanded(tmp_path, "tutor_melodies_q", overrides=("note_rnn.run=x",))
    assert [job.experiment for job in given] == ["tutor_melodies_q"]
    with pytest.raises(ConfigError, match=r"note_rnn\.seed has no effect beside note_rnn\.run=x"):
        expanded(
            tmp_path,
            "tutor_melodies_q",
            overrides=("note_rnn.run=x",),
            grid=("note_rnn.seed=4,5",),
        )
    seeds = expanded(tmp_path, "tutor_melodies_q", grid=("note_rnn.seed=4,5",))
    assert run_directories(seeds[:2], tmp_path) == ["note_rnn/smoke/seed4", "note_rnn/smoke/seed5"]


def test_seeds_begun_together_go_on_together(tmp_path):
    root = tmp_path / "tutor_melodies_q" / "smoke"
    begin(root / "seeds1-2", find("tutor_melodies_q").presets["smoke"].config)
    jobs = expanded(tmp_path, "tutor_melodies_q", seeds=(0, 1, 2))[1:]
    assert [job.seeds for job in jobs] == [(0,), (1, 2)]
    (root / "seed1").mkdir()
    config = to_dict(find("tutor_melodies_q").presets["smoke"].config)
    done = finished("tutor_melodies_q", 1, config)
    write_record(done, root / "seed1", Process())  # killed between two records
    jobs = expanded(tmp_path, "tutor_melodies_q", seeds=(0, 1, 2))[1:]
    assert [job.seeds for job in jobs] == [(0,), (1, 2)]
    assert state_of(jobs[1]).kind == "stopped"
    (root / "seed1" / "record.json").unlink()
    with pytest.raises(ConfigError, match="train together"):
        expanded(tmp_path, "tutor_melodies_q", seeds=(0, 1))


def test_a_directory_with_other_settings_is_in_the_way(tmp_path):
    config = find(RHN).presets["smoke"].config
    begin(tmp_path / RHN / "smoke" / "seed1", config)
    assert len(expanded(tmp_path, RHN, seeds=(0, 1))) == 2
    with pytest.raises(ConfigError, match="seed1 holds a run with another configuration"):
        expanded(tmp_path, RHN, seeds=(0, 1), overrides=("train.epochs=1",))
    memory = ("train.softmax_chunk=9", "evaluation.mc_batch_size=3")
    assert len(expanded(tmp_path, RHN, seeds=(0, 1), overrides=memory)) == 2


def test_a_finished_run_with_other_settings_is_in_the_way_without_its_config_too(tmp_path):
    """Its record says what they were."""
    path, config = tmp_path / RHN / "smoke" / "seed0", find(RHN).presets["smoke"].config
    path.mkdir(parents=True)
    write_record(finished(RHN, 0, to_dict(config)), path, Process())
    (job,) = expanded(tmp_path, RHN)
    assert state_of(job).kind == "finished"
    with pytest.raises(ConfigError, match="seed0 holds a run with another configuration"):
        expanded(tmp_path, RHN, overrides=("train.epochs=1",))
    (path / "record.json").write_text("{")
    (job,) = expanded(tmp_path, RHN, overrides=("train.epochs=1",))
    assert state_of(job).kind == "damaged"  # `run` says so


def test_a_run_that_others_start_from_must_have_its_presets_settings(tmp_path):
    path, config = (
        tmp_path / "note_rnn" / "smoke" / "seed0",
        find("note_rnn").preset("smoke").config,
    )
    path.mkdir(parents=True)
    write_record(finished("note_rnn", 0, to_dict(config)), path, Process())
    assert state_of(expanded(tmp_path, "tutor_melodies_q")[0]).kind == "finished"
    other = to_dict(override(config, ["model.units=9"]))
    write_record(finished("note_rnn", 0, other), path, Process())
    with pytest.raises(ConfigError) as refused:
        expanded(tmp_path, "tutor_melodies_q")
    assert "seed0 holds a run with another configuration (model.units: 9 → " in str(refused.value)
    assert f"--set note_rnn.run={path}" in str(refused.value)
    given = expanded(tmp_path, "tutor_melodies_q", overrides=(f"note_rnn.run={path}",))
    assert [job.experiment for job in given] == ["tutor_melodies_q"]


HERE = Places(1, cores=2, accelerators=0)
TWO_AT_A_TIME = replace(HERE, count=2)


def waiting(jobs: list[Job]) -> list[State]:
    return [State(jobs[0].out, "waiting")] * len(jobs)


def test_expected_hours_are_those_of_what_is_left(tmp_path):
    jobs = [Job("x", "cpu", (k,), tmp_path, hours=2.0) for k in range(4)]
    half = State(tmp_path, "stopped", step=5, total=10)
    states = [
        State(tmp_path, "finished"),
        half,
        State(tmp_path, "waiting"),
        State(tmp_path, "diverged"),
    ]
    assert summary(jobs, states, HERE) == (
        "4 runs: 1 finished, 1 diverged, 1 stopped, 1 waiting; "
        "3 h on 2 CPU cores expected, 1 at a time, as the presets have it"
    )
    many = summary(jobs, states, Places(8, cores=8, accelerators=0))
    assert "; 2 h on 8 CPU cores expected, 8 at a time" in many  # the longest
    assert summary(jobs[:1], states[:1], TWO_AT_A_TIME) == "1 run: 1 finished"


@pytest.mark.parametrize(
    ("device", "at_a_time", "cores", "hours"),
    [
        (TWO_CORES, 1, 2, 4),
        (TWO_CORES, 2, 2, 4),  # each on half of the cores that its hours are for
        (TWO_CORES, 1, 1, 8),
        (TWO_CORES, 2, 4, 2),
        (TWO_CORES, 1, 64, 4),  # a run is no faster on more
        (TWO_CORES, 4, None, 1),
        (ONE_CORE, 1, 2, 4),
        (ONE_CORE, 2, 2, 2),
    ],
)
def test_expected_hours_are_those_of_the_cores_here(tmp_path, device, at_a_time, cores, hours):
    jobs = [Job("x", "cpu", (k,), tmp_path, hours=1.0, device=device) for k in range(4)]
    places = Places(at_a_time, cores=cores, accelerators=0)
    where = f"{cores} CPU core{'s' * (cores != 1)}" if cores else f"{device} each"
    found = summary(jobs, waiting(jobs), places)
    assert f"; {hours} h on {where} expected, {at_a_time} at a time, " in found


@pytest.mark.parametrize(
    ("changes", "times"),
    [
        ([], 1.0),
        (["train.epochs=18", "data.train_tokens=200000"], 6.0),
        (["train.epochs=1", "train.learning_rate=9"], 1.0),
        (["data.train_tokens=0"], 1.0),  # all there are: how many isn't known
    ],
)
def test_amounts_that_are_raised_make_a_run_longer(changes, times):
    preset = override(
        find(RHN).preset("cpu").config, ["train.epochs=6", "data.train_tokens=100000"]
    )
    assert growth(preset, override(preset, changes)) == times


def test_hours_of_other_devices_are_told_apart_with_their_device(tmp_path):
    jobs = [
        Job("x", "paper", (k,), tmp_path, hours=6.0, device="one H100", estimated=True)
        for k in range(2)
    ]
    one = Job("y", "cpu", (0,), tmp_path, hours=1.0, device=TWO_CORES)
    assert "; about 12 h on one H100 expected, " in summary(jobs, waiting(jobs), TWO_AT_A_TIME)
    gpus = Places(2, cores=16, accelerators=2)
    assert "; about 6 h on one H100 each expected, " in summary(jobs, waiting(jobs), gpus)
    both = [one, *jobs]
    assert "; 1 h on 2 CPU cores and about 12 h on one H100 expected, 1 at a time" in summary(
        both, waiting(both), HERE
    )
    text = plan_text(both, waiting(both), HERE, commands=False)
    assert re.search(r"^\| y cpu seed 0 .* 1 h on 2 CPU cores \|$", text, re.M)
    assert re.search(r"^\| x paper seed 0 .* about 6 h on one H100 \|$", text, re.M)


def test_hours_are_those_of_the_preset_for_each_seed_and_of_the_run_before(tmp_path):
    root = tmp_path / "tutor_melodies_g" / "cpu"
    begin(root / "seeds1-2", find("tutor_melodies_g").preset("cpu").config)
    first, alone, joint = expanded(tmp_path, "tutor_melodies_g", preset="cpu", seeds=(0, 1, 2))
    tuned = find("tutor_melodies_g").preset("cpu")
    before = find("note_rnn").preset(first.preset)
    assert (first.experiment, alone.seeds, joint.seeds) == ("note_rnn", (0,), (1, 2))
    assert [job.hours for job in (first, alone, joint)] == [
        before.hours, tuned.hours, 2 * tuned.hours,
    ]  # fmt: skip
    assert [(job.device, job.cores) for job in (first, alone)] == [(TWO_CORES, 2)] * 2
    assert [job.estimated for job in (first, alone)] == [before.estimated, tuned.estimated]
    for preset, estimated in (("cpu", False), ("paper", True)):
        molecules = expanded(tmp_path, "tutor_molecules_q", preset=preset)
        assert [job.estimated for job in molecules] == [estimated] * 2
    (row,) = expanded(tmp_path, RHN, preset="paper")
    assert (row.device, row.cores, row.estimated) == (find(RHN).preset("paper").device, 0, True)


def test_a_dry_run_touches_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "look", lambda platform: Machine((0, 1, 2), 2**34))
    words = ["sweep", "rhn_*_depth[12]_tied", "--preset", "smoke", "--grid", "train.epochs=1,2"]
    assert main([*words, "--dry-run", "--out", str(tmp_path / "runs")]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^4 runs: 4 waiting; 0\.0\d+ h on 3 CPU cores expected, 3 at a", told, re.M)
    assert told.count("\npython -m experiments run ") == 4
    assert not list(tmp_path.iterdir())


def test_a_folder_is_a_points_by_its_mark(tmp_path):
    assert not is_point(tmp_path / "a=1")
    mark_point(tmp_path / "a=1", ("a=1",))
    assert is_point(tmp_path / "a=1")
    assert json.loads((tmp_path / "a=1" / "point.json").read_text()) == {"settings": ["a=1"]}


def test_points_share_the_run_that_they_start_from(tmp_path):
    """Unless one has its own."""
    upstream, wanted = Upstream("note_rnn", MELODIES), NoteRNNRun("smoke", 4)
    point = tmp_path / "learn.c=1"
    own = point / "note_rnn" / "smoke" / "seed4"
    options = Options("cpu", out=point)
    assert upstream.path(wanted, options) == own
    mark_point(point, ("learn.c=1",))
    (job, _) = expanded(
        tmp_path, "tutor_melodies_q", grid=("learn.c=1",), overrides=("note_rnn.seed=4",)
    )
    assert (upstream.path(wanted, options),) == job.paths
    own.mkdir(parents=True)
    assert upstream.path(wanted, options) == own


def test_options_of_run_are_handed_on():
    words = "sweep x --platform cpu --kernel jax --precision bfloat16 --preallocate 0.4"
    parse = make_parser(COMMANDS).parse_args
    asked = request(parse([*words.split(), "--data-dir", "/x", "--seeds", "1", "1"]))
    assert list(asked.passed) == words.split()[2:]
    assert asked.data_dir == Path("/x")
    assert asked.seeds == (1,)
    assert request(parse(["sweep", "x"])).passed == ()


def test_a_data_folder_goes_to_the_runs_that_read_from_it(tmp_path):
    row, data = "rhn_penn_treebank_depth1_tied", tmp_path / "data"
    jobs = expanded(tmp_path, row, "tutor_melodies_q", preset="cpu", data_dir=data)
    assert {job.experiment: "--data-dir" in job.command() for job in jobs} == {
        "note_rnn": False,  # trained first, on folk tunes
        row: True,
        "tutor_melodies_q": False,
    }
    assert jobs[1].command()[-4:] == ["--data-dir", str(data), "--out", str(tmp_path)]
    jobs = expanded(tmp_path, "tutor_molecules_q", preset="paper", data_dir=data)
    assert {job.experiment: "--data-dir" in job.command() for job in jobs} == {
        "molecule_rnn": True,  # on all of MOSES
        "tutor_molecules_q": True,
    }
    with pytest.raises(ConfigError, match="would read nothing from it"):
        expanded(tmp_path, row, "tutor_melodies_q", data_dir=data)
