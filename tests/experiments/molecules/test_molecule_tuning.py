"""Tuning on molecules from the command line: methods, resuming, the alarm, what users may set."""

import csv
import json
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from run_case import folder, record, result, run

from common.config import from_dict
from common.datasets import load
from common.datasets.source import sha256_of
from common.error import ConfigError
from common.interrupt import Interrupt
from common.molecule import split_smiles
from experiments import registry, trained
from experiments.cli import main
from experiments.compose import compose
from experiments.melodies.domain import MELODIES
from experiments.molecules.catalogue import NAMES, RATES, C
from experiments.molecules.domain import LENGTH, MOLECULES
from experiments.molecules.tutor import (
    CENTRED_OVER,
    baseline,
    begin,
    make_learner,
    measured,
    why_collapsed,
    why_floored,
)
from tutor.config import LearnConfig, SequenceModelConfig
from tutor.evaluation import Compositions, Policy
from tutor.kl_control import SOFTMAX
from tutor.learner import TutorLearner
from tutor.molecules.config import AlarmConfig, RewardConfig, ScoringConfig
from tutor.molecules.reward import Reward
from tutor.molecules.scorer import Throughput

FEW = ["evaluation.samples=20", "evaluation.final_samples=20"]


def tune(out: Path, prior: Path, method: str, *arguments: str) -> int:
    return run(
        out, f"tutor_molecules_{method}", "--set", f"molecule_rnn.run={prior}", *FEW, *arguments
    )


def train_rewards(out: Path, method: str) -> list[float]:
    """Rewards a token, without a baseline: those of these tests are positive."""
    rows = (folder(out, f"tutor_molecules_{method}") / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(row).get("seed0/train/reward") for row in rows]
    return [one for one in found if one is not None]


class Longer(Reward):
    """Also rewards length: a prior that learned little makes no molecules to reward."""

    def _rewards(self, molecules, measured):
        lengths = np.array([len(one) for one in molecules], np.float32)
        return super()._rewards(molecules, measured) + 0.1 * lengths


@pytest.fixture(scope="module", autouse=True)
def longer():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.molecules.tutor.Reward", Longer)
        yield


def timeless(made) -> tuple:
    """What of a record doesn't depend on when, where and in how many sessions it was made."""
    metrics, curve, *rest = result(made)

    def plain(row):
        return {name: value for name, value in row.items() if not name.startswith("speed/")}

    return plain(metrics), [plain(row) for row in curve], *rest


@pytest.fixture(scope="module")
def reinvent(tmp_path_factory, prior) -> Path:
    """Where runs of the policy gradient lie."""
    out = tmp_path_factory.mktemp("reinvent")
    assert tune(out, prior, "reinvent") == 0
    return out


def test_a_tuning_is_recorded(reinvent, prior, capsys):
    made = record(reinvent, "tutor_molecules_reinvent")
    assert {"composed/valid", "composed/kl_policy_prior", "composed_low/reward"} < set(made.metrics)
    assert made.metrics["speed/scored"] > 0
    assert [row["step"] for row in made.curve] == [1776, 2368]
    length, reward = (made.metrics[f"composed/{name}"] for name in ("length", "reward"))
    assert reward > 0.05 * length
    best = {name: made.metrics[f"optimum/c{C:g}/{name}"] for name in ("reward", "baseline")}
    assert made.metrics["prior/reward"] < best["baseline"] < best["reward"]
    assert train_rewards(reinvent, "reinvent")[0] > 0
    assert 0 < made.metrics["speed/scoring_share"] < 1
    assert made.metrics["composed/collapsed"] == 1  # a prior that knows nothing makes no molecules
    (data,) = made.data
    assert "molecule RNN" in data.checksums
    found = trained.load(folder(reinvent, "tutor_molecules_reinvent"))
    before = trained.load(prior)
    kernels = (one.policy.prior["output_kernel"] for one in (found, before))
    np.testing.assert_array_equal(*kernels)
    biases = [one.policy.prior["output_bias"] for one in (found, before)]
    assert np.ptp(biases[0] - biases[1]) < 1e-5  # centred: the same probabilities
    assert not np.array_equal(found.policy.params["output_bias"], biases[0])


def test_values_are_tuned_and_a_reward_of_the_users_counts(tmp_path, prior, capsys, monkeypatch):
    others = {name: one for name, one in NAMES.items() if name != "tutor_molecules_psi"}
    monkeypatch.setattr(
        "experiments.molecules.tutor.NAMES", others
    )  # as of a new row of the catalogue
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "tutor" / "molecules")
    own = 'reward.functions=[["own_terms:counted", 100.0]]'
    baselines = []

    class Watched(TutorLearner):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            baselines.append(self.baseline)

    monkeypatch.setattr("experiments.molecules.tutor.TutorLearner", Watched)
    assert tune(tmp_path, prior, "psi", own, "learn.iterations=1280") == 0
    said = capsys.readouterr().err
    assert "the policy has collapsed. seed 0" in said
    assert "of the prior's molecules are valid: a better prior" in said
    made = record(tmp_path, "tutor_molecules_psi")
    assert made.config["reward"]["functions"] == [["own_terms:counted", 100.0]]
    assert made.metrics["prior/valid"] > 0
    assert made.metrics["prior/reward"] > 90 * made.metrics["prior/valid"]
    assert trained.load(folder(tmp_path, "tutor_molecules_psi")).method == "psi"
    assert len(train_rewards(tmp_path, "psi")) == 2
    assert min(train_rewards(tmp_path, "psi")) > 0
    assert baselines[-1] == made.metrics["prior/reward"]


def test_a_function_of_the_users_that_was_edited_is_another_reward(
    tmp_path, prior, capsys, monkeypatch
):
    """Of a run that goes on, and of a finished one; what is negative is told beforehand."""
    monkeypatch.syspath_prepend(tmp_path)
    module, runs = tmp_path / "docking.py", tmp_path / "runs"
    module.write_text("def score(molecule):\n    return -1.0\n")
    own = 'reward.functions=[["docking:score", 100.0]]'
    few = (own, "learn.iterations=1280", "reward.baseline=0")
    assert tune(runs, prior, "psi", *few) == 0
    assert "note: 100% of the prior's valid molecules would get less" in capsys.readouterr().err
    (data,) = record(runs, "tutor_molecules_psi").data
    assert data.checksums["docking:score"] == sha256_of(module)
    module.write_text("def score(molecule):\n    return -2.0\n")
    told = "holds a run on other data: moses_sample (docking:score "
    assert tune(runs, prior, "psi", *few) == 2
    assert told in capsys.readouterr().err
    (folder(runs, "tutor_molecules_psi") / "record.json").unlink()
    assert tune(runs, prior, "psi", *few) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sums", "invalid", "said"),
    [
        ([-9.0, -2.0, 1.0, np.nan], 0.0, "67% of the prior's valid molecules"),
        ([-9.0, -2.0, 1.0, np.nan], -5.0, "less than reward.invalid=-5, down to -9,"),
        ([-9.0, -2.0, 1.0, np.nan], -9.0, ""),
        ([-1.0, *[1.0] * 9], 0.0, ""),
        ([np.nan], 0.0, ""),
    ],
)
def test_valid_molecules_at_the_least_reward_are_told(sums, invalid, said):
    halves = np.array(sums) / 2
    each = {"valid": np.isfinite(halves).astype(float), "term/own": halves, "term/qed": halves}
    told = why_floored(each, RewardConfig(invalid=invalid))
    assert (said in told) if said else told == ""


def test_settings_and_method_reach_a_tuning_of_several_seeds(tmp_path, prior, monkeypatch):
    """G's policy is p · exp(G): after a few updates of values that begin at 0, nearly the prior."""
    asked, scoring = [], []

    class Seen(Longer):
        def __init__(self, config, given, **others):
            scoring.append(given)
            super().__init__(config, given, **others)

        def measure(self, molecules):
            asked.append(len(molecules))
            return super().measure(molecules)

    monkeypatch.setattr("experiments.molecules.tutor.Reward", Seen)
    name, settings = "tutor_molecules_g", ["learn.iterations=320", "reward.baseline=0"]
    settings += ["evaluation.samples=20", "evaluation.final_samples=30", "scoring.timeout=77"]
    settings += [f"molecule_rnn.run={prior}", "learn.report_every=160", "learn.unroll=4"]
    assert run(tmp_path, name, "--seeds", "1", "2", "--set", *settings) == 0
    assert asked == [CENTRED_OVER, 20, 20, 30, 30]
    assert [one.timeout for one in scoring] == [77]
    policies = []
    for seed in (1, 2):
        made = record(tmp_path, name, seed)
        assert made.metrics["composed/kl_policy_prior"] < 0.5
        found = trained.load(folder(tmp_path, name, seed))
        assert found.method == "g"
        policies.append(found.policy.params["output_bias"])
    assert not np.array_equal(*policies)
    (rows,) = [path.read_text().splitlines() for path in tmp_path.rglob("metrics.jsonl")]
    seen = [json.loads(row) for row in rows]
    trainings = [row for row in seen if "seed1/train/reward" in row]
    assert trainings
    for row in trainings:
        assert row["seed1/train/reward"] > 0
        assert row["seed1/train/kl_policy_prior"] < 0.05


def test_what_the_processes_did_is_told():
    class Known:
        scorer = SimpleNamespace(
            throughput=Throughput(measured=6, known=2, seconds=3.0, replaced=5, given_up=4)
        )

        def measure(self, molecules):
            return {"valid": np.ones(len(molecules)), "reward": np.ones(len(molecules))}

    values = np.zeros((2, 3), np.float32)
    made = Compositions(np.full((2, 3), 5), *[values] * 4, np.ones((2, 3), bool))
    found = measured(made, Known(), AlarmConfig(), "eval")
    told = {name: value for name, value in found.items() if name.startswith("speed/")}
    assert told == {
        "speed/scored": 2.0, "speed/known": 0.25, "speed/workers_replaced": 5.0,
        "speed/given_up": 4.0,
    }  # fmt: skip


def test_a_picture_too_large_loses_no_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("experiments.molecules.domain.LARGEST_BYTES", 10)
    values = np.zeros((1, 3), np.float32)
    made = Compositions(np.full((1, 3), 5), *[values] * 4, np.ones((1, 3), bool))
    MOLECULES.write(made, tmp_path, {})
    assert (tmp_path / "composition1.txt").exists()
    assert not (tmp_path / "molecules.png").exists()
    assert "left out" in capsys.readouterr().err


def test_molecules_have_room():
    """Those that ship in a window and an episode; the policy gradient counts their mean length."""
    sample = load("moses_sample")
    steps = [len(split_smiles(one)) + 1 for one in (*sample.train[::10], *sample.valid)]
    window = registry.find("molecule_rnn").preset("cpu").config.prior.steps
    assert max(steps) <= window <= LENGTH
    counted = registry.find("tutor_molecules_reinvent").preset("cpu").config.learn.sequence_steps
    assert np.mean(steps) == pytest.approx(counted, abs=1)


@pytest.mark.slow
def test_a_failing_function_of_the_users_is_named(tmp_path, prior, capsys, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "tutor" / "molecules")
    own = 'reward.functions=[["own_terms:fails", 1.0]]'
    assert tune(tmp_path, prior, "reinvent", own) == 2
    error = capsys.readouterr().err
    assert "own_terms:fails failed with ValueError: no such thing" in error
    assert "Traceback" not in error


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_result(tmp_path, prior, reinvent, monkeypatch):
    class Stop(Interrupt):
        checks = 0

        def check(self):
            Stop.checks += 1
            if Stop.checks == 3:
                self.received = signal.SIGTERM
            super().check()

    with monkeypatch.context() as patch:
        patch.setattr("common.training.CALL_SECONDS", 0.0)
        patch.setattr("experiments.train.Interrupt", Stop)
        assert tune(tmp_path, prior, "reinvent") == 143
    assert tune(tmp_path, prior, "reinvent") == 0
    name = "tutor_molecules_reinvent"
    assert timeless(record(tmp_path, name)) == timeless(record(reinvent, name))


def test_the_alarm_can_stop_a_run(tmp_path, prior, capsys):
    assert tune(tmp_path, prior, "reinvent", "alarm.stop=true") == 4
    assert "the policy has collapsed. seed 0 after 1,776 steps" in capsys.readouterr().err
    made = record(tmp_path, "tutor_molecules_reinvent")
    assert made.status == "diverged"
    (row,) = made.curve
    assert row["eval/collapsed"] == 1


def test_the_alarm_stops_nobody_else(tmp_path, prior, capsys):
    assert tune(tmp_path, prior, "reinvent", "alarm.stop=true", "--seeds", "0", "1") == 2
    assert "alarm.stop=true would stop all seeds" in capsys.readouterr().err


def test_a_wrong_function_is_told_before_a_prior_is_trained(tmp_path, capsys):
    wrong = 'reward.functions=[["no_such_module:x", 1.0]]'
    assert run(tmp_path, "tutor_molecules_psi", "--set", wrong) == 2
    assert "No module named 'no_such_module'" in capsys.readouterr().err
    assert not list(tmp_path.rglob("molecule_rnn"))


def test_a_model_of_melodies_is_refused(tmp_path, prior, capsys):
    found = trained.load(prior)
    graph, params = trained.make_graph(found.model, MELODIES.num_events)
    melodies = found._replace(domain=MELODIES, graph=graph, policy=Policy(params, params))
    trained.save(tmp_path / "melodies", melodies)
    assert tune(tmp_path, tmp_path / "melodies", "psi") == 2
    assert "a model of melodies is there, not one of molecules" in capsys.readouterr().err


@pytest.mark.parametrize("method", [*RATES, "reinvent"])
def test_what_values_start_from(method):
    """Of the methods that multiply the prior by exp(values), G alone, they are 0 at first."""
    config = registry.find(f"tutor_molecules_{method}").preset("smoke").config
    graph, params = trained.make_graph(SequenceModelConfig(units=4), MOLECULES.num_events)
    learner = make_learner(config, graph, MOLECULES.environment)
    state = begin(learner, method if method in RATES else SOFTMAX, params, 0)
    zero = not np.any(state.params["output_kernel"]) and not np.any(state.params["output_bias"])
    assert zero == (method == "g")
    np.testing.assert_array_equal(state.prior["output_kernel"], params["output_kernel"])


def test_values_learn_from_rewards_about_their_mean_and_reinvent_about_its_constant():
    before = {"prior/reward": 2.0, f"optimum/c{C:g}/baseline": 3.0, "optimum/c0.1/baseline": 3.5}
    learns, follows = (
        registry.find(f"tutor_molecules_{name}").preset("cpu").config for name in ("g", "reinvent")
    )
    assert baseline(learns, before) == 2
    assert baseline(follows, before) == 3
    assert baseline(replace(follows, learn=replace(follows.learn, c=0.1)), before) == 3.5
    without = replace(learns.reward, baseline=0)
    assert [baseline(replace(one, reward=without), before) for one in (learns, follows)] == [0, 0]


@pytest.mark.parametrize("name", ["g", "reinvent"])
def test_the_baseline_reaches_either_learner(name):
    config = registry.find(f"tutor_molecules_{name}").preset("smoke").config
    graph, _ = trained.make_graph(SequenceModelConfig(units=4), MOLECULES.num_events)
    assert make_learner(config, graph, MOLECULES.environment, 1.25).baseline == 1.25


def test_a_baseline_needs_a_discount_of_1():
    config = registry.find("tutor_molecules_psi").preset("smoke").config
    for change in ({"discount": 0.9}, {"bootstrap_at_end": True, "unroll": 1}):
        with pytest.raises(ConfigError, match=r"set reward\.baseline=0"):
            replace(config, learn=replace(config.learn, **change))


def test_what_the_alarm_watches():
    found = {"eval/entropy": 0.5, "eval/unique": 0.9, "eval/valid": 0.9}
    assert why_collapsed(found, AlarmConfig(), "eval") == ""
    for name in ("entropy", "unique", "valid"):
        alarm = replace(AlarmConfig(), **{name: 0.95})
        assert f"is below alarm.{name}=0.95" in why_collapsed(found, alarm, "eval")


@pytest.mark.parametrize("preset", ["smoke", "cpu", "paper"])
def test_presets_have_one_budget_and_no_value_after_the_end(preset):
    budgets = set()
    for name in NAMES:
        config = registry.find(name).preset(preset).config
        if name == "molecule_rnn":
            assert (config.prior.beginnings, config.prior.masked) == (1.0, 0)
            continue
        budgets.add(config.learn.iterations)
        assert config.molecule_rnn.preset == preset
        if isinstance(config.learn, LearnConfig):
            assert name.endswith(config.learn.method)
            assert not config.learn.bootstrap_at_end
            assert config.learn.discount == 1.0
            assert config.learn.exploration == "boltzmann"
        assert config.learn.c == C
        assert config.reward.baseline > 0
    assert max(budgets) / min(budgets) < 1.1


def test_compose_writes_a_table_and_a_picture(reinvent, tmp_path, capsys):
    source = folder(reinvent, "tutor_molecules_reinvent")
    (tmp_path / "start.smi").write_text("c1ccccc1\n")
    command = ["compose", str(source), "-n", "32", "--out", str(tmp_path / "made")]
    assert main([*command, "--primer", str(tmp_path / "start.smi")]) == 0
    assert "molecules2.png" in capsys.readouterr().out
    with (tmp_path / "made" / "molecules.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["number"] for row in rows] == [str(k) for k in range(1, 33)]
    assert all(row["smiles"].startswith("c1ccccc1") for row in rows)
    reward = Reward(RewardConfig(), ScoringConfig(workers=1))
    try:
        found = reward.measure([row["smiles"] for row in rows])
    finally:
        reward.scorer.close()
    np.testing.assert_allclose([float(row["reward"]) for row in rows], found["reward"], atol=1e-4)
    assert [row["valid"] for row in rows] == [str(int(one)) for one in found["valid"]]
    terms = [f"reward_{name}" for name in ("valid", "qed", "sa", "ring", "repeated_carbons")]
    for row in rows:
        assert all(bool(row[name]) == (row["valid"] == "1") for name in (*terms, "reward_trivial"))
    assert "reward_logp" not in rows[0]  # its weight is 0
    with pytest.raises(ConfigError, match="molecules make no sound"):
        compose(source, tmp_path / "sound", count=1, wav=True)
    with pytest.raises(ConfigError, match="molecules have no bars"):
        compose(source, tmp_path / "bars", count=1, bars=2)


def test_settings_of_the_reward_come_back_from_the_notes(reinvent):
    notes = trained.load(folder(reinvent, "tutor_molecules_reinvent")).notes
    kept = from_dict(RewardConfig, json.loads(json.dumps(notes["reward"])))
    assert kept == registry.find("tutor_molecules_reinvent").preset("smoke").config.reward
