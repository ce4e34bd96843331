"""Note RNN and its tuning from end to end, as one types it: records, seeds together, resuming."""

import dataclasses
import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pretty_midi
import pytest

from common.checkpoint import Checkpoints
from common.melody import NO_EVENT, NOTE_OFF, decode_events, swap_specials
from common.midi import write_melody
from common.record import Record, read_record, write_record
from common.table import summarize
from experiments import trained
from experiments.cli import main
from experiments.melodies import tutor
from experiments.melodies.domain import SHARP
from experiments.melodies.note_rnn import compose as compose_alone
from experiments.registry import Published, find
from experiments.results.verdict import Departure, Verdict, judge
from tutor.evaluation import Composer

Q = "tutor_melodies_q"
SMALL = [
    "learn.iterations=1200", "learn.report_every=400", "learn.epsilon_iterations=600",
    "learn.replay_capacity=400", "evaluation.every=600", "evaluation.compositions=200",
]  # fmt: skip
"""As many compositions in every look as in the end: one compilation."""
QUALITIES = ["composed/reward", "composed/log_prior", "composed/kl_policy_prior"]
RULES = [
    "notes_excessively_repeated", "mean_autocorrelation1", "notes_not_in_key",
    "compositions_starting_with_tonic", "compositions_with_unique_high", "notes_in_motif",
]  # fmt: skip
"""Statistics of Table 1 that are defined whatever is composed."""


def run(out: Path, name: str, *arguments: str) -> int:
    return main(["run", name, "--preset", "smoke", "--out", str(out), *arguments])


def folder(out: Path, name: str, seed: int | str = 0) -> Path:
    return out / name / "smoke" / f"seed{seed}"


def record(out: Path, name: str, seed: int = 0) -> Record:
    return read_record(folder(out, name, seed) / "record.json")


def result(made: Record) -> tuple:
    """What must not depend on when, where and in how many sessions a run was done."""
    curve = [{key: row[key] for key in row if key != "seconds"} for row in made.curve]
    return made.metrics, curve, made.parameters, made.config, made.data


def tune(out: Path, method: str, note_rnn: Path, *settings: str, seeds: tuple = (0,)) -> int:
    """Tunes the Note RNN of a run, little."""
    return run(
        out, f"tutor_melodies_{method}", "--seeds", *map(str, seeds),
        "--set", *SMALL, f"note_rnn.run={note_rnn}", *settings,
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def compilation():
    """XLA compiles with few optimisations, three times faster, here and in processes begun here."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> Path:
    """Two seeds tuned together, where no Note RNN was."""
    out = tmp_path_factory.mktemp("tuned")
    assert run(out, Q, "--seeds", "0", "1", "--set", *SMALL) == 0
    return out


@pytest.fixture(scope="module")
def note_rnn(tuned) -> Path:
    """The Note RNN that `tuned` had trained first."""
    return folder(tuned, "note_rnn")


@pytest.fixture(scope="module")
def highway(tmp_path_factory) -> Path:
    """A Note RNN with the core of the other paper."""
    out = tmp_path_factory.mktemp("highway")
    settings = ["model.core=rhn", "model.depth=2", "prior.iterations=30"]
    assert run(out, "note_rnn", "--set", *settings) == 0
    return out


@pytest.fixture(scope="module")
def quirky(tmp_path_factory) -> Path:
    """A Note RNN of the released code's data."""
    out = tmp_path_factory.mktemp("quirky")
    assert run(out, "note_rnn", "--set", "original_quirks=true") == 0
    return out


# --------------------------------------------------------------------------------------- Note RNN


def test_the_note_rnn_leaves_a_record_and_what_composes(note_rnn, capsys):
    made = read_record(note_rnn / "record.json")
    assert (made.experiment, made.status, made.parameters) == ("note_rnn", "done", 4166)
    for published in find("note_rnn").published:
        if "leaps" not in published.metric:  # there may be none
            assert published.metric in made.metrics
    assert made.metrics["valid/log_perplexity"] < math.log(38) / 2
    assert 0.5 < made.metrics["valid/accuracy"] < 1
    for name in RULES:
        low, value, high = (
            made.metrics[f"{split}/{name}"]
            for split in ("composed_low", "composed", "composed_high")
        )
        assert low <= value <= high
    (data,) = made.data
    assert (data.name, data.stand_in_for) == (
        "chorale_melodies",
        "30,000 MIDI songs, never released",
    )
    assert [row["step"] for row in made.curve] == [30, 60]
    best = min(row["valid/log_perplexity"] for row in made.curve)
    assert made.metrics["valid/log_perplexity"] == best
    assert (note_rnn / "learning_curve.png").exists()
    kept = trained.load(note_rnn)
    assert (kept.method, kept.notes["swapped_specials"], kept.model.units) == ("q", False, 16)
    assert sum(leaf.size for leaf in jax.tree.leaves(kept.policy.prior)) == 4166

    assert run(note_rnn.parents[2], "note_rnn") == 0  # the directory is that of the plain preset
    assert "done before" in capsys.readouterr().err


def test_parameters_kept_are_not_bound_to_a_device(note_rnn):
    """If they were, all that mixes them with new arrays would be compiled twice."""
    assert not any(leaf.committed for leaf in jax.tree.leaves(trained.load(note_rnn).policy))


# ----------------------------------------------------------------------------------------- tuning


def test_seeds_together_have_a_record_each(tuned, note_rnn):
    for seed in (0, 1):
        made = record(tuned, Q, seed)
        assert (made.experiment, made.seed, made.status) == (Q, seed, "done")
        assert made.parameters == 4166
        for metric in (*QUALITIES, *(f"composed/{name}" for name in RULES)):
            assert math.isfinite(made.metrics[metric])
        assert [row["step"] for row in made.curve] == [600, 1200]
        assert {"eval/reward", "eval/log_prior", "eval/kl_policy_prior"} <= made.curve[0].keys()
        assert not any("seed" in key for row in made.curve for key in row)
        assert made.data[0].checksums["Note RNN"]
        assert "--seeds 0 1" in made.command
        names = {entry.name for entry in folder(tuned, Q, seed).iterdir()}
        assert names >= {"config.json", "manifest.json", "record.json", "policy", "reward.png"}
        assert names >= {"log_prior.png", *(f"composition{n}.mid" for n in (1, 2, 3))}
        assert not names & {"checkpoints", "metrics.jsonl"}  # the training lies elsewhere
        kept = trained.load(folder(tuned, Q, seed))
        assert kept.method == "q"
        changed = [
            not np.array_equal(one, other)
            for one, other in zip(*map(jax.tree.leaves, kept.policy), strict=True)
        ]
        assert all(changed)
        frozen = trained.load(note_rnn).policy.prior
        jax.tree.map(np.testing.assert_array_equal, kept.policy.prior, frozen)
    assert record(tuned, Q, 0).metrics != record(tuned, Q, 1).metrics
    together = {entry.name for entry in folder(tuned, Q, "s0-1").iterdir()}
    assert together >= {"config.json", "manifest.json", "metrics.jsonl", "checkpoints"}
    assert "record.json" not in together


def test_a_rerun_says_done_before(tuned, capsys):
    before = [(folder(tuned, Q, seed) / "record.json").stat().st_mtime_ns for seed in (0, 1)]
    assert run(tuned, Q, "--seeds", "1", "0", "--set", *SMALL) == 0
    assert capsys.readouterr().err.count("done before; --fresh runs it again") == 2
    after = [(folder(tuned, Q, seed) / "record.json").stat().st_mtime_ns for seed in (0, 1)]
    assert after == before


def test_a_seed_alone_is_the_same_seed_in_company(tuned, note_rnn, tmp_path):
    """Side by side, products of matrices are summed in another order, so last bits differ. After
    240 updates that is still small; but an event drawn just at a border may be another, and two
    of 200 compositions so be counted otherwise."""
    assert tune(tmp_path, "q", note_rnn, seeds=(1,)) == 0
    assert not folder(tmp_path, Q, "s0-1").exists()
    alone, together = record(tmp_path, Q, 1).metrics, record(tuned, Q, 1).metrics
    other = record(tuned, Q, 0).metrics
    assert alone.keys() == together.keys()
    for name in ("reward", "log_prior", "kl_policy_prior", "entropy"):
        assert alone[f"composed/{name}"] == pytest.approx(together[f"composed/{name}"], rel=1e-3)
    for name in RULES:
        assert alone[f"composed/{name}"] == pytest.approx(
            together[f"composed/{name}"], rel=0.01, abs=1
        )
    gap = abs(alone["composed/reward"] - together["composed/reward"])
    assert gap < 0.1 * abs(alone["composed/reward"] - other["composed/reward"])


@pytest.mark.parametrize("method", ["psi", "rl_only"])
def test_a_given_note_rnn_is_tuned_by_each_method(tmp_path, note_rnn, method):
    before = (note_rnn / "record.json").stat().st_mtime_ns
    assert tune(tmp_path, method, note_rnn) == 0
    name = f"tutor_melodies_{method}"
    made = record(tmp_path, name)
    assert made.config["learn"]["method"] == method
    assert all(math.isfinite(value) for value in made.metrics.values())
    assert trained.load(folder(tmp_path, name)).method == method
    assert not (tmp_path / "note_rnn").exists()
    assert (note_rnn / "record.json").stat().st_mtime_ns == before


def test_the_core_can_be_swapped(tmp_path, highway):
    """A highway network of the first paper as Note RNN, tuned by G of the second."""
    first = folder(highway, "note_rnn")
    assert tune(tmp_path, "g", first) == 0
    kept = trained.load(folder(tmp_path, "tutor_melodies_g"))
    assert (kept.method, kept.model.core, kept.model.depth) == ("g", "rhn", 2)
    assert record(tmp_path, "tutor_melodies_g").parameters == record(highway, "note_rnn").parameters


def test_a_look_between_two_rounds_is_taken_at_the_next(tmp_path, note_rnn):
    """200 steps are done at once; a look is due every 500."""
    settings = ["learn.iterations=1000", "evaluation.every=500", "learn.epsilon_iterations=600"]
    assert tune(tmp_path, "q", note_rnn, *settings) == 0
    assert [row["step"] for row in record(tmp_path, Q).curve] == [600, 1000]


def test_the_final_compositions_are_those_of_the_tuned_policy(tuned):
    """As whoever loads the saved model composes them, and unlike those of the prior."""
    for seed in (0, 1):
        model = trained.load(folder(tuned, Q, seed))
        found = {}
        for params in model.policy:
            composer = Composer(model.graph, "q", model.domain.environment, model.domain.length)
            policy = model.policy._replace(params=params)
            made = composer.compose(policy, jax.random.key(seed), 200)
            found[len(found)] = made.metrics("composed")["composed/reward"]
        assert record(tuned, Q, seed).metrics["composed/reward"] == pytest.approx(found[0])
        assert found[0] != pytest.approx(found[1], rel=1e-3)


def test_each_evaluation_draws_anew(tmp_path, note_rnn):
    """Of a policy that stays as it is, so that only the random keys differ."""
    assert tune(tmp_path, "q", note_rnn, "learn.learning_rate=1e-30") == 0
    policy = trained.load(folder(tmp_path, Q)).policy
    jax.tree.map(np.testing.assert_array_equal, policy.params, policy.prior)
    first, second = record(tmp_path, Q).curve
    assert first["eval/reward"] != second["eval/reward"]
    assert first["eval/reward"] == pytest.approx(second["eval/reward"], rel=0.3)


def test_a_note_rnn_composes_with_the_keys_of_its_seed(note_rnn):
    model = trained.load(note_rnn)
    made = [
        compose_alone(model.graph, model.policy.prior, seed, 3, lambda: None).events
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_seeds_of_a_note_rnn_compose_with_different_keys(tmp_path, monkeypatch):
    drawn = []

    class Watched(Composer):
        def compose(self, policy, key, *arguments, **keywords):
            drawn.append(jax.random.key_data(key).tolist())
            return super().compose(policy, key, *arguments, **keywords)

    monkeypatch.setattr("experiments.melodies.note_rnn.Composer", Watched)
    settings = ["--set", "prior.iterations=2", "prior.report_every=1"]
    assert run(tmp_path, "note_rnn", "--seeds", "0", "1", *settings) == 0
    assert drawn == [jax.random.key_data(jax.random.key(seed)).tolist() for seed in (0, 1)]


# --------------------------------------------------------------------------------------- resuming

STOPPED = """
import os, sys
from common import training
from common.population import Population
training.CALL_SECONDS = training.CHECKPOINT_SECONDS = 0.0
advance = Population.advance
def stopped(self, state, stop):
    if stop > 600:
        os.kill(os.getpid(), int(sys.argv[1]))
    return advance(self, state, stop)
Population.advance = stopped
from experiments.cli import main
sys.exit(main(sys.argv[2:]))
"""
"""The command line in which a signal comes as the 600th step is done."""


@pytest.mark.parametrize(
    ("number", "code", "at"), [(signal.SIGTERM, 143, 800), (signal.SIGKILL, -9, 600)]
)
def test_two_seeds_stopped_in_the_middle_end_with_the_same_bits(
    tuned, note_rnn, tmp_path, capsys, number, code, at
):
    """Real processes: one is asked to stop and saves, the other is killed and goes back."""
    here = folder(tmp_path, "note_rnn")
    here.parent.mkdir(parents=True)
    here.symlink_to(note_rnn)
    command = ["run", Q, "--preset", "smoke", "--out", str(tmp_path), "--seeds", "0", "1"]
    command += ["--set", *SMALL]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, str(int(number)), *command],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if number == signal.SIGTERM:
        assert "stopped by SIGTERM at update 800 of 1200; saved in" in done.stderr
        assert "The same command continues it." in done.stderr
    assert not (folder(tmp_path, Q) / "record.json").exists()
    capsys.readouterr()
    assert main(command) == 0
    assert f"continues at update {at}" in capsys.readouterr().err
    for seed in (0, 1):
        assert result(record(tmp_path, Q, seed)) == result(record(tuned, Q, seed))
    sessions = json.loads((folder(tmp_path, Q, "s0-1") / "manifest.json").read_text())["sessions"]
    assert len(sessions) == 2


# --------------------------------------------------------------------------------- original quirks


def test_swapped_specials_by_hand():
    events = np.array([[NOTE_OFF, NO_EVENT, 5], [2, NOTE_OFF, 37]])
    swapped = swap_specials(events)
    assert swapped.tolist() == [[NO_EVENT, NOTE_OFF, 5], [2, NO_EVENT, 37]]
    assert np.array_equal(swap_specials(swapped), events)


def test_quirks_of_the_released_code(tmp_path, quirky, note_rnn, monkeypatch):
    """Swapped data in the Note RNN; on it G, which lets its prior drift; looks that count only
    each piece's last reward."""
    first = folder(quirky, "note_rnn")
    assert trained.load(first).notes["swapped_specials"]
    # Relabelled events are as hard to learn: the data are the same, the first weights aren't.
    losses = [read_record(run / "record.json").metrics for run in (first, note_rnn)]
    assert losses[0] != losses[1]
    assert losses[0]["valid/log_perplexity"] == pytest.approx(
        losses[1]["valid/log_perplexity"], rel=0.2
    )

    looks = []

    class Watched(Composer):
        def compose(self, *arguments, **keywords):
            looks.append(super().compose(*arguments, **keywords))
            return looks[-1]

    monkeypatch.setattr(tutor, "Composer", Watched)
    assert tune(tmp_path, "g", first, "original_quirks=true") == 0
    made = record(tmp_path, "tutor_melodies_g")
    kept = trained.load(folder(tmp_path, "tutor_melodies_g"))
    assert kept.notes["swapped_specials"]
    drifted = [
        not np.array_equal(one, other)
        for one, other in zip(
            jax.tree.leaves(kept.policy.prior),
            jax.tree.leaves(trained.load(first).policy.prior),
            strict=True,
        )
    ]
    assert any(drifted)
    assert len(looks) == 3
    for row, look in zip(made.curve, looks[:2], strict=True):
        assert row["eval/reward"] == pytest.approx(np.mean(look.reward[:, -1]))
        assert row["eval/reward"] != pytest.approx(np.mean(look.reward))
        assert row["eval/log_prior"] == pytest.approx(np.mean(look.log_prior[:, -1]))
    assert made.metrics["composed/reward"] == pytest.approx(np.mean(looks[2].reward))
    midi = folder(tmp_path, "tutor_melodies_g") / "composition1.mid"
    heard = [
        note._replace(pitch=note.pitch + SHARP)
        for note in decode_events(swap_specials(looks[2].events[0]))
    ]
    played = pretty_midi.PrettyMIDI(str(midi)).instruments
    assert [note.pitch for part in played for note in part.notes] == [n.pitch for n in heard]


# ----------------------------------------------------------------------------------------- errors


def refused(capsys, code: int, *words: str) -> None:
    """The last message is one or two plain lines with these words in it."""
    error = capsys.readouterr().err
    assert "Traceback" not in error
    message = error[error.rindex("error: ") :].strip()
    assert len(message.splitlines()) <= 2
    for word in words:
        assert word in message, message
    assert code in (2, 3)


def test_a_directory_that_is_no_note_rnn(tmp_path, capsys):
    assert tune(tmp_path, "q", tmp_path) == 3
    refused(capsys, 3, str(tmp_path), "no trained sequence model here", "not finished yet")
    assert tune(tmp_path, "q", tmp_path / "nowhere") == 3
    refused(capsys, 3, str(tmp_path / "nowhere"), "no trained sequence model")


def test_another_note_rnn_in_the_place_of_the_presets_is_not_taken_for_it(highway, capsys):
    assert run(highway, Q, "--set", *SMALL) == 2
    refused(
        capsys, 2, str(folder(highway, "note_rnn")), "isn't that of preset smoke",
        "model.core: lstm → rhn", "--set note_rnn.run=", "--out",
    )  # fmt: skip


def test_an_unknown_preset_of_the_note_rnn(tmp_path, capsys):
    assert run(tmp_path, Q, "--set", "note_rnn.preset=smok") == 2
    refused(capsys, 2, "note_rnn has no preset 'smok'", "Did you mean 'smoke'?")


def test_a_note_rnn_that_diverged_is_not_tuned(tmp_path, note_rnn, capsys):
    made = dataclasses.replace(read_record(note_rnn / "record.json"), status="diverged", metrics={})
    folder(tmp_path, "note_rnn").mkdir(parents=True)
    write_record(made, folder(tmp_path, "note_rnn"))
    assert run(tmp_path, Q) == 4
    assert "the Note RNN diverged, there is nothing to tune" in capsys.readouterr().err


def test_quirks_that_do_not_match(tmp_path, quirky, note_rnn, capsys):
    assert tune(tmp_path / "a", "q", folder(quirky, "note_rnn")) == 2
    refused(capsys, 2, "has original_quirks=true", "this experiment false", "note_rnn.run=DIR")
    assert tune(tmp_path / "b", "q", note_rnn, "original_quirks=true") == 2
    refused(capsys, 2, str(note_rnn), "has original_quirks=false", "this experiment true")
    assert run(tmp_path / "c", Q, "--set", "original_quirks=true") == 2
    refused(capsys, 2, "the Note RNN of preset smoke is without", "note_rnn.run=DIR")
    assert not (tmp_path / "c" / "note_rnn").exists()  # refused before it was trained


def test_a_note_rnn_of_another_vocabulary(tmp_path, capsys, note_rnn):
    checkpoints = Checkpoints(tmp_path / "other" / trained.FOLDER)
    kept = trained.load(note_rnn)
    notes = {"model": {}, "method": "q", "num_events": 40, "swapped_specials": False}
    checkpoints.save(kept.policy._asdict(), notes)
    checkpoints.close()
    assert tune(tmp_path, "q", tmp_path / "other") == 2
    refused(capsys, 2, str(tmp_path / "other"), "knows 40 events; melodies have 38")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["learn.iterations=1300"], ["learn.iterations=1300", "evaluation.every=600"]),
        (
            ["learn.environments=28", "learn.replay_capacity=420"],
            ["learn.iterations=1200", "28 environments", "140"],
        ),
        (["learn.replay_capacity=410"], ["replay_capacity=410", "multiple", "environments=40"]),
        (["learn.double=true", "learn.method=psi"], ["learn.double=true", "q, rl_only"]),
        (
            ["learn.replay_capacity=20", "learn.environments=20"],
            ["learn.replay_capacity=20", "32"],
        ),
    ],
)
def test_settings_that_do_not_fit(tmp_path, note_rnn, capsys, settings, words):
    assert tune(tmp_path, "q", note_rnn, *settings) == 2
    refused(capsys, 2, *words)
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        (["data.name=tiny_shakespeare"], 2, ["data.name=tiny_shakespeare", "melodies"]),
        (["data.name=chorale_melody"], 2, ["unknown dataset", "Did you mean 'chorale_melodies'"]),
        (["data.name=midi_melodies"], 3, ["midi_melodies needs a folder", "--data-dir FOLDER"]),
        (["prior.masked=24"], 2, ["prior.masked=24", "prior.steps=24"]),
        (["prior.masked=2000", "prior.steps=3000"], 3, ["prior.masked=2000", "no sequence"]),
        (["model.depth=2"], 2, ["model.core=lstm", "model.core=rhn"]),
    ],
)
def test_data_and_settings_that_a_note_rnn_refuses(tmp_path, capsys, settings, code, words):
    assert run(tmp_path, "note_rnn", "--set", *settings) == code
    refused(capsys, code, *words)


def test_without_music21_the_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("common.datasets.folk_melodies.corpus_folder", lambda: None)
    monkeypatch.setenv("HIGHWAY_TUTOR_CACHE", str(tmp_path / "cache"))
    assert main(["run", "note_rnn", "--preset", "cpu", "--out", str(tmp_path)]) == 3
    refused(capsys, 3, "folk_melodies", 'pip install "highway-tutor[music]"')


def write_midi_files(where: Path, count: int) -> None:
    """Melodies unlike each other, and a file that isn't one."""
    where.mkdir()
    for number in range(count):
        random = np.random.default_rng(number)
        write_melody(random.integers(2, 30, 40), where / f"melody{number}.mid")
    (where / "broken.mid").write_bytes(b"MThd and no more")
    (where / "readme.txt").write_text("no music")


def test_a_folder_of_midi_files_with_an_unreadable_one(tmp_path, capsys):
    write_midi_files(tmp_path / "few", 2)
    settings = ["--set", "data.name=midi_melodies", "prior.iterations=2", "prior.report_every=1"]
    assert run(tmp_path / "runs", "note_rnn", "--data-dir", str(tmp_path / "few"), *settings) == 3
    refused(capsys, 3, "midi_melodies: the valid split is empty", "bring more melodies (2 here)")

    write_midi_files(tmp_path / "enough", 4)
    assert (
        run(tmp_path / "runs", "note_rnn", "--data-dir", str(tmp_path / "enough"), *settings) == 0
    )
    told = capsys.readouterr().err
    assert "skipped broken.mid" in told
    assert "5 found, 1 unreadable, 4 kept" in told
    made = record(tmp_path / "runs", "note_rnn")
    (data,) = made.data
    assert data.name == "midi_melodies"
    assert data.tokens == {"train": 80, "valid": 40, "test": 40}
    assert "--data-dir DIR" in made.command
    assert str(tmp_path) not in json.dumps(made.config)


# --------------------------------------------------------------------------- presets and verdicts


def test_presets_as_they_are_shown(capsys):
    for method in ("q", "psi", "g", "rl_only"):
        shown = []
        for preset in ("original", "paper"):
            assert main(["show", f"tutor_melodies_{method}", "--preset", preset]) == 0
            shown.append(capsys.readouterr().out)
        assert shown[0] == shown[1]
        assert "Preset paper (of smoke, cpu, vectorised, paper, original):" in shown[0]
        assert "learn.environments=1\n" in shown[0]
        assert main(["show", f"tutor_melodies_{method}", "--preset", "vectorised"]) == 0
        vectorised = capsys.readouterr().out
        assert "learn.environments=40\n" in vectorised
        changed = set(vectorised.splitlines()) ^ set(shown[0].splitlines())
        assert len(changed) == 4  # the heading and the environments: as many events and updates
    assert main(["show", Q, "--preset", "origina"]) == 2
    assert "Did you mean 'original'?" in capsys.readouterr().err


SAME = Departure(
    (), smaller=False, other_data=False, settings=(), stand_in=(), unavoidable=False, others=0
)


@pytest.mark.parametrize(
    ("better", "published", "ours", "kind"),
    [
        ("lower", 0.5, 0.4, "better"),
        ("lower", 0.5, 0.6, "short"),
        ("lower", 0.5, 0.503, "matched"),
        ("higher", 92.0, 95.0, "better"),
        ("higher", 92.0, 80.0, "short"),
        ("higher", 92.0, 91.5, "matched"),
        ("toward zero", -0.16, -0.05, "better"),
        ("toward zero", -0.16, 0.05, "better"),
        ("toward zero", -0.16, -0.3, "short"),
        ("toward zero", -0.16, 0.3, "short"),
        ("toward zero", 28.7, 40.0, "short"),
        ("toward zero", 0.0, 0.0, "matched"),
        ("toward zero", 0.0, 0.1, "short"),
    ],
)
def test_which_side_of_a_published_value_is_the_better(better, published, ours, kind):
    value = Published("composed/thing", published, "a table")
    verdict = judge(summarize([ours]), [value], SAME, better=better, seeds=1, diverged=0)
    assert (verdict.kind, verdict.text) == (kind, kind)


def test_other_data_where_nobody_has_the_papers_is_told_and_compared():
    other = dataclasses.replace(SAME, amounts=("a for b",), stand_in=("a for b",), unavoidable=True)
    value = Published("composed/thing", 0.5, "a table")
    verdict = judge(summarize([0.7]), [value], other, better="higher", seeds=1, diverged=0)
    assert verdict == Verdict("other data", "other data: a for b; better")
    smaller = dataclasses.replace(other, settings=("learn.iterations: 2 → 1",), smaller=True)
    assert (
        judge(summarize([0.7]), [value], smaller, better="higher", seeds=1, diverged=0).kind
        == "scaled down"
    )


def test_the_better_side_of_each_published_statistic():
    directions = {p.metric: find(Q).metric(p.metric).better for p in find(Q).published}
    assert directions["composed/mean_autocorrelation1"] == "toward zero"
    assert directions["composed/notes_not_in_key"] == "toward zero"
    assert directions["composed/leaps_resolved"] == "higher"
    assert len(directions) == 11
    note_rnn = {metric.name: metric.better for metric in find("note_rnn").metrics}
    assert note_rnn["valid/accuracy"] == "higher"
    assert note_rnn["valid/log_perplexity"] == "lower"
    assert find("tutor_melodies_rl_only").published == ()
