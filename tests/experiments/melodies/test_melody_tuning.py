"""Tuning from end to end, as one types it: records, seeds together, methods, evaluations."""

import math

import jax
import numpy as np
import pytest
from melody_case import RULES, SMALL, Q, tune
from run_case import folder, record, run

from experiments import trained
from experiments.melodies.domain import judge_phrases, of_bars
from tutor.evaluation import Composer

QUALITIES = ["composed/reward", "composed/log_prior", "composed/kl_policy_prior"]


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


def require_pieces_of_the_tuned_policy(model: trained.Trained, told: dict[str, float]) -> None:
    """Of eight bars; the prior's are others."""
    longer = of_bars(8)
    composer = Composer(model.graph, model.method, longer.environment, longer.length)
    found = []
    for params in model.policy:
        policy = model.policy._replace(params=params)
        made = composer.compose(policy, jax.random.key(0), 200)
        found.append(judge_phrases(made.events, "composed_8_bars"))
    for name, value in found[0].items():
        assert told[name] == pytest.approx(value)
    assert found[0] != pytest.approx(found[1], rel=1e-3)


@pytest.mark.parametrize("method", ["psi", pytest.param("rl_only", marks=pytest.mark.slow)])
def test_a_given_note_rnn_is_tuned_by_each_method(tmp_path, note_rnn, method):
    before = (note_rnn / "record.json").stat().st_mtime_ns
    assert tune(tmp_path, method, note_rnn, "eight_bar_pieces=200") == 0
    name = f"tutor_melodies_{method}"
    made = record(tmp_path, name)
    assert made.config["learn"]["method"] == method
    assert all(math.isfinite(value) for value in made.metrics.values())
    assert 0 <= made.metrics["composed_8_bars/notes_returning_after_4_bars"] < 100
    assert not (tmp_path / "note_rnn").exists()
    assert (note_rnn / "record.json").stat().st_mtime_ns == before
    model = trained.load(folder(tmp_path, name))
    assert model.method == method
    require_pieces_of_the_tuned_policy(model, made.metrics)


def test_the_core_can_be_swapped(tmp_path, highway):
    """A highway network of the first paper as Note RNN, tuned by G of the second."""
    first = folder(highway, "note_rnn")
    assert tune(tmp_path, "g", first) == 0
    kept = trained.load(folder(tmp_path, "tutor_melodies_g"))
    assert (kept.method, kept.model.core, kept.model.depth) == ("g", "rhn", 2)
    assert record(tmp_path, "tutor_melodies_g").parameters == record(highway, "note_rnn").parameters


def test_an_evaluation_between_two_rounds_is_done_at_the_next(tmp_path, note_rnn):
    """200 steps are done at once; an evaluation is due every 500."""
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


def test_the_final_compositions_have_the_set_temperature(tmp_path, note_rnn):
    assert tune(tmp_path, "q", note_rnn, "evaluation.temperature=0.001") == 0
    model = trained.load(folder(tmp_path, Q))
    found = {}
    for temperature in (0.001, 1.0):
        composer = Composer(
            model.graph,
            "q",
            model.domain.environment,
            model.domain.length,
            temperature=temperature,
        )
        made = composer.compose(model.policy, jax.random.key(0), 200)
        found[temperature] = made.metrics("composed")["composed/entropy"]
    assert record(tmp_path, Q).metrics["composed/entropy"] == pytest.approx(found[0.001])
    assert found[0.001] < 0.1 * found[1.0]


@pytest.mark.slow
def test_each_evaluation_draws_anew(tmp_path, note_rnn):
    """Of a policy that stays as it is, so that only the random keys differ."""
    assert tune(tmp_path, "q", note_rnn, "learn.learning_rate=1e-30") == 0
    policy = trained.load(folder(tmp_path, Q)).policy
    jax.tree.map(np.testing.assert_array_equal, policy.params, policy.prior)
    first, second = record(tmp_path, Q).curve
    assert first["eval/reward"] != second["eval/reward"]
    assert first["eval/reward"] == pytest.approx(second["eval/reward"], rel=0.3)
