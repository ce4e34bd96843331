"""`--kernel` and `--precision`: recorded, kept by a run, refused where they mean nothing."""

import json
import shutil

import pytest
import run_case
from language_case import ROW, SMALL, folder, record, run
from run_case import result

import experiments.run
from common.compute import Compute
from common.config import override
from common.error import DataError
from common.record import FILE_NAME
from experiments.language import run as language_run
from experiments.registry import find
from highway import evaluation, kernel


@pytest.fixture(scope="module")
def by_scan(tmp_path_factory):
    """A run by scan that has yet to be evaluated; no test may change it."""
    out = tmp_path_factory.mktemp("scan")
    assert run(out, "--kernel", "scan", "--set", *SMALL) == 0
    (folder(out) / FILE_NAME).unlink()
    return out


@pytest.fixture
def begun(by_scan, tmp_path):
    shutil.copytree(folder(by_scan), folder(tmp_path))
    return tmp_path


def refused(capsys, *words):
    error = capsys.readouterr().err
    assert all(word in error for word in words), error


def test_how_a_run_was_computed_is_recorded_and_kept(begun, capsys):
    assert run(begun, "--kernel", "jax", "--set", *SMALL) == 2
    refused(capsys, "kernel: scan → jax", "--kernel")
    assert run(begun, "--set", *SMALL) == 0  # as it was
    made = record(begun)
    assert (made.device["kernel"], made.device["products"]) == ("scan", "float32")
    assert "--kernel" not in made.command


def test_work_from_before_there_was_a_choice_goes_on_by_scan(begun):
    manifest = folder(begun) / "manifest.json"
    told = json.loads(manifest.read_text())
    for session in told["sessions"]:
        del session["device"]["kernel"], session["device"]["products"]
    manifest.write_text(json.dumps(told))
    assert run(begun, "--set", *SMALL) == 0
    assert record(begun).device["kernel"] == "scan"


def test_precision_is_recorded(tmp_path):
    assert run(tmp_path, "--kernel", "jax", "--precision", "bfloat16", "--set", *SMALL) == 0
    made = record(tmp_path)
    assert (made.device["kernel"], made.device["products"]) == ("jax", "bfloat16")
    assert "--kernel jax --precision bfloat16" in made.command
    assert run(tmp_path / "other", "--kernel", "jax", "--set", *SMALL) == 0
    loss = record(tmp_path / "other").metrics["valid/loss"]
    assert made.metrics["valid/loss"] != loss  # it reaches the learner
    assert made.metrics["valid/loss"] == pytest.approx(loss, rel=1e-2)


def test_the_kernel_reaches_the_learner(tmp_path, monkeypatch):
    chosen = []

    def learner(config, size, windows, compute, mesh):
        chosen.append(compute)
        raise DataError("seen")

    monkeypatch.setattr(language_run, "LanguageModelLearner", learner)
    for way in ("scan", "jax"):
        assert run(tmp_path / way, "--kernel", way, "--set", *SMALL) == 3
    assert chosen == [Compute("scan"), Compute("jax")]


@pytest.mark.parametrize("level", kernel.LEVELS[:2], ids=lambda level: level.name)
def test_a_processor_without_products_of_bfloat16_is_told(tmp_path, capsys, monkeypatch, level):
    if kernel.load() is None:
        pytest.skip("there is no C++ compiler")
    monkeypatch.setattr(kernel, "best_level", lambda: level)
    assert run(tmp_path, "--precision", "bfloat16", "--set", *SMALL) == 0
    told = "has no products of bfloat16" in capsys.readouterr().err
    assert told == (level.name == "avx512")


def test_evaluations_keep_to_the_chunk_of_the_softmax(tmp_path, monkeypatch):
    """Those of a window, of whole streams and of Monte-Carlo dropout."""
    asked = []

    def window_losses(*arguments, softmax_chunk):
        asked.append((softmax_chunk, arguments[3].shape[0], len(arguments) > 5))
        return whole(*arguments, softmax_chunk=softmax_chunk)

    whole = evaluation.window_losses
    monkeypatch.setattr(evaluation, "window_losses", window_losses)
    changes = [*SMALL, "train.softmax_chunk=7", "evaluation.mc_passes=2", "evaluation.full=true"]
    assert run(tmp_path, "--set", *changes) == 0
    assert {chunk for chunk, *_ in asked} == {7}
    assert len(set(asked)) == 3  # they differ in their rows or masks
    *_, last = json.loads((folder(tmp_path) / "evaluations.json").read_text())
    batch = record(tmp_path).config["evaluation"]["mc_batch_size"]
    assert (last["protocol"], last["of"]["settings"]) == (
        "test_mc",
        {"passes": 2, "batch_size": batch, "softmax_chunk": 7},
    )


def test_a_run_from_before_a_setting_came_goes_on(begun):
    path = folder(begun) / "config.json"
    config = json.loads(path.read_text())
    del config["train"]["softmax_chunk"]
    path.write_text(json.dumps(config))
    assert run(begun, "--set", *SMALL) == 0


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("note_rnn", ["--kernel", "cpu"], ["--kernel cpu", "note_rnn", "scan"]),
    ],
)
def test_what_cannot_be_computed_so_is_refused(tmp_path, capsys, name, options, words):
    assert run_case.run(tmp_path, name, *options) == 2
    refused(capsys, *words)


@pytest.fixture(scope="module")
def one_epoch_by_kernel(tmp_path_factory):
    """A run by the CPU kernel, stopped after one of its two epochs; no test may change it."""
    if kernel.load() is None:
        pytest.skip("there is no C++ compiler")
    validate, calls = language_run._Trial.validate, []

    def once(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise DataError("stopped")
        return validate(*arguments)

    out = tmp_path_factory.mktemp("kernel")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language_run._Trial, "validate", once)
        assert run(out, "--set", *SMALL) == 3
    told = sessions(out)[0]["device"]
    assert (told["kernel"], told["kernel_level"]) == ("cpu", kernel.load().level)
    assert told["kernel_threads"] == told["cores"]
    return out


@pytest.fixture
def by_kernel(one_epoch_by_kernel, tmp_path):
    shutil.copytree(folder(one_epoch_by_kernel), folder(tmp_path))
    return tmp_path


def sessions(out):
    return json.loads((folder(out) / "manifest.json").read_text())["sessions"]


def test_a_run_by_the_kernel_goes_on_without_it(by_kernel, done, capsys, monkeypatch):
    monkeypatch.setattr(experiments.run, "_has_cpu_kernel", lambda: False)
    assert run(by_kernel, "--kernel", "cpu", "--set", *SMALL) == 2
    refused(capsys, "CPU kernel", "leave --kernel out")
    assert run(by_kernel, "--precision", "bfloat16", "--set", *SMALL) == 2
    refused(capsys, "precision: float32 → bfloat16")
    assert len(sessions(by_kernel)) == 1
    assert run(by_kernel, "--set", *SMALL) == 0
    output = capsys.readouterr()
    assert "begun by --kernel cpu, goes on by jax here" in output.out + output.err
    assert [one["device"]["kernel"] for one in sessions(by_kernel)] == ["cpu", "jax"]
    made, alone = record(by_kernel), record(done)
    assert (made.device["kernel"], made.device["kernels"]) == ("jax", ["cpu", "jax"])
    assert "kernel_level" not in made.device
    assert (alone.device["kernel"], "kernels" in alone.device) == ("cpu", False)
    assert made.metrics == pytest.approx(alone.metrics, rel=1e-4)
    assert result(made) != result(alone)  # one epoch did round otherwise


def test_a_run_that_went_on_without_the_kernel_stays_so(by_kernel, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(experiments.run, "_has_cpu_kernel", lambda: False)
        assert run(by_kernel, "--set", *SMALL) == 0
    (folder(by_kernel) / FILE_NAME).unlink()
    assert run(by_kernel, "--set", *SMALL) == 0
    assert record(by_kernel).device["kernel"] == "jax"
    assert record(by_kernel).device["kernels"] == ["cpu", "jax"]


def test_a_new_run_without_the_kernel_is_by_jax(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "load", lambda: None)
    assert run(tmp_path, "--set", *SMALL) == 0
    assert record(tmp_path).device["kernel"] == "jax"


@pytest.mark.parametrize(
    ("name", "settings", "first"),
    [
        (ROW, ["train.steps=4"], "cpu"),
        (ROW, ["train.steps=3"], "jax"),
        (ROW, ["train.recurrence_chunk=4"], "cpu"),
        (ROW, ["train.recurrence_chunk=3"], "jax"),
        (ROW, ["model.core=dt_rnn"], "jax"),
        (ROW, ["model.core=dts_rnn"], "jax"),
        (ROW, ["model.core=lstm", "model.depth=1"], "jax"),
        ("rhn_analysis", [], "cpu"),
        ("rhn_analysis", ["language.train.steps=2"], "jax"),
        ("rhn_analysis", ["run=somewhere"], "cpu"),
        ("stacked_or_deep", [], "cpu"),
        ("stacked_or_deep", ["train.steps=3"], "jax"),
        ("quickstart", [], "cpu"),
        ("quickstart", ["train.recurrence_chunk=2"], "jax"),
    ],
)
def test_the_kernel_is_named_and_needed_only_where_it_computes(name, settings, first):
    experiment = find(name)
    config = override(experiment.preset("smoke").config, settings)
    assert experiment.kernels_for(config)[0] == first


def test_what_the_kernel_does_not_compute_needs_none(tmp_path, capsys, monkeypatch):
    def never():
        raise AssertionError("asks for a compiler")

    monkeypatch.setattr(kernel, "load", never)
    lstm = ["--set", *SMALL, "model.core=lstm", "model.depth=1"]
    assert run(tmp_path, "--kernel", "cpu", *lstm) == 2
    refused(capsys, "--kernel cpu", "these settings", "jax, scan")
    assert run(tmp_path, *lstm) == 0
    assert record(tmp_path).device["kernel"] == "jax"
    assert not [one for one in record(tmp_path).device if one.startswith("kernel_")]
