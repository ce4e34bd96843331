"""The model of molecules: what a run learns, measures and leaves."""

import importlib.util
import json

import numpy as np
import pytest
from run_case import folder, record, run

from common.checkpoint import digest
from common.datasets import load
from common.molecule import MOSES
from experiments import trained
from experiments.molecules.molecule_rnn import SEVERAL_C, load_molecules, measured
from tutor.evaluation import Compositions
from tutor.molecules.config import MoleculeDataConfig, RewardConfig, ScoringConfig


def test_a_run_learns_and_is_measured(molecule_runs, prior):
    made = record(molecule_runs, "molecule_rnn")
    losses = [row["valid/log_perplexity"] for row in made.curve]
    assert [row["step"] for row in made.curve] == [20, 40]
    assert losses[1] < losses[0] < np.log(len(MOSES))
    assert {f"{split}/log_perplexity" for split in ("valid", "test", "test_scaffolds")} < set(
        made.metrics
    )
    assert 0 <= made.metrics["composed/valid"] <= 1
    assert made.metrics["composed/length"] > 1
    assert made.metrics["composed/log_prior"] < -made.metrics["composed/length"]  # of a molecule
    best = [made.metrics[f"optimum/c{c:g}/reward"] for c in SEVERAL_C]
    assert best == sorted(best)
    assert best[0] >= made.metrics["composed/reward"]
    assert made.metrics["speed/scored"] > 0
    (data,) = made.data
    assert (data.name, data.stand_in_for) == ("moses_sample", "moses")
    molecules = load("moses_sample").train[:400]
    assert data.tokens["train"] == sum(len(MOSES.encode(one)) - 1 for one in molecules)
    assert len((prior / "composition1.txt").read_text().splitlines()) == 24
    assert trained.load(prior).notes["reward"]["qed"] == RewardConfig().qed


@pytest.mark.slow
def test_an_rhn_can_be_the_core(tmp_path):
    little = ["model.core=rhn", "model.depth=2", "prior.iterations=20", "prior.evaluate_every=20"]
    assert run(tmp_path, "molecule_rnn", "--set", *little, "final_samples=20") == 0
    assert trained.load(folder(tmp_path, "molecule_rnn")).model.core == "rhn"


@pytest.mark.slow
def test_another_seed_is_another_model(molecule_runs, prior, tmp_path):
    settings = ["prior.iterations=40", "prior.evaluate_every=20", "final_samples=150"]
    assert run(tmp_path, "molecule_rnn", "--set", *settings) == 0
    assert run(tmp_path, "molecule_rnn", "--seeds", "1", "--set", *settings) == 0
    again, other = (
        digest(trained.load(folder(tmp_path, "molecule_rnn", seed)).policy.prior) for seed in (0, 1)
    )
    assert again == digest(trained.load(prior).policy.prior)
    assert other != again


def test_what_is_measured_of_known_molecules():
    """Training molecules are valid, not new, and pass the filters that chose them."""
    molecules = load("moses_sample").train[:60]
    numbers = [MOSES.encode(one)[1:] for one in molecules]
    events = np.zeros((61, 60), np.int32)
    counted = np.zeros((61, 60), bool)
    for row, number in enumerate(numbers):
        events[row, : len(number)], counted[row, : len(number)] = number, True
    events[60, 0], counted[60, 0] = 2, True  # END at once: no molecule
    zero = np.zeros((61, 60), np.float32)
    made = Compositions(events, zero, zero, zero, zero, counted)
    found = measured(made, molecules[:30], RewardConfig(), ScoringConfig())
    assert found["composed/valid"] == 60 / 61
    assert found["composed/novelty"] == 0.5
    assert found["composed/filters"] == 1
    assert found["composed/internal_diversity"] > 0.8
    assert 2 < found["composed/sa"] < 3.5


def test_data_are_cut_as_configured():
    found = load_molecules(MoleculeDataConfig("moses_sample", 7, 3), None)
    splits = (found.train, found.valid, found.test, found.test_scaffolds)
    assert [len(split) for split in splits] == [7, 3, 3, 3]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("prior.steps=20", "set prior.steps="),
        ("data.name=chorale_melodies", "needs a dataset of molecules"),
    ],
)
def test_what_is_refused(tmp_path, capsys, setting, message):
    assert run(tmp_path, "molecule_rnn", "--set", setting) != 0
    assert message in capsys.readouterr().err


def test_without_rdkit_nothing_is_trained(tmp_path, capsys, monkeypatch):
    known = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "rdkit" else known(name)
    )
    assert run(tmp_path, "molecule_rnn") == 2
    error = capsys.readouterr().err
    assert 'pip install "highway-tutor[molecules]"' in error
    assert not list(tmp_path.rglob("metrics.jsonl"))


def test_the_record_is_json_without_nan(prior):
    text = (prior / "record.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(name))
