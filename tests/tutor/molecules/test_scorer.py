"""Molecules measured by processes: the numbers of RDKit, whatever happens to the processes."""

import hashlib
import importlib.util
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.error import ConfigError
from tutor.molecules import chemistry, worker
from tutor.molecules.config import RewardConfig, ScoringConfig
from tutor.molecules.reward import NAMES, TERM, Reward, function_checksums, longest_run, terms
from tutor.molecules.scorer import Scorer

pytest.importorskip("rdkit", reason='needs pip install "highway-tutor[molecules]"')

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
MACROCYCLE = "C1CCCCCCCCC1"
NONE = "c1ccccc"
MOLECULES = [ASPIRIN, NONE, "", "CCCCCCCCCO", MACROCYCLE, "C<begin>C"]
CHAIN = ["C" * k for k in range(1, 30)]


@pytest.fixture
def own(monkeypatch, tmp_path):
    """The user's functions can be imported, and know what they did before."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("OWN_TERMS", str(tmp_path))


@pytest.fixture
def scorer():
    """Makes scorers, whose processes end with the test."""
    made = []

    def make(*arguments, **settings) -> Scorer:
        made.append(Scorer(*arguments, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_values_are_those_of_rdkit(scorer):
    from rdkit import Chem
    from rdkit.Chem import QED, Crippen, RDConfig

    sys.path.append(f"{RDConfig.RDContribDir}/SA_Score")
    import sascorer

    found = scorer(NAMES, workers=2).measure(MOLECULES)
    for smiles, values in zip(MOLECULES, found, strict=True):
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None or not smiles:
            assert values is None
            continue
        rings = Chem.GetSymmSSSR(molecule)
        penalty = max([len(ring) - 6 for ring in rings] + [0])
        assert values == (
            QED.qed(molecule), sascorer.calculateScore(molecule), Crippen.MolLogP(molecule),
            penalty, molecule.GetNumHeavyAtoms(),
        )  # fmt: skip
    assert found[4][3] == 4.0


def test_a_molecule_is_measured_once(scorer):
    one = scorer(("atoms",), workers=2, remembered=3)
    assert one.measure(["C", "CC", "C"]) == [(1.0,), (2.0,), (1.0,)]
    assert one.measure(["C"]) == [(1.0,)]
    assert (one.throughput.measured, one.throughput.known) == (2, 2)
    one.measure(["CCC", "CCCC"])  # of the first two the one asked for last is still known
    one.measure(["C"])
    assert one.throughput.measured == 4
    one.measure(["CC"])
    assert one.throughput.measured == 5


@pytest.mark.parametrize("trouble", ["dies_once", "hangs_once"])
def test_a_process_that_dies_or_hangs_is_replaced_and_its_molecules_scored(own, scorer, trouble):
    one = scorer((), [f"own_terms:{trouble}"], workers=2, timeout=0.5)
    assert one.measure(CHAIN) == [(float(k),) for k in range(1, 30)]
    assert (one.throughput.replaced, one.throughput.given_up) == (1, 0)


def test_a_process_whose_answers_wait_while_another_starts_does_not_hang(own, scorer):
    one = scorer((), ["slow_terms:dies_once"], workers=2, timeout=1.0)
    assert one.measure(CHAIN) == [(float(k),) for k in range(1, 30)]
    assert (one.throughput.replaced, one.throughput.given_up) == (1, 0)


@pytest.mark.parametrize(("trouble", "timeout"), [("hangs", 0.3), ("dies", 60.0)])
def test_a_molecule_that_always_hangs_or_kills_counts_as_none(own, scorer, trouble, timeout):
    one = scorer((), [f"own_terms:{trouble}"], workers=2, timeout=timeout)
    expected = [(float(k),) if k != 5 else None for k in range(1, 30)]
    assert one.measure(CHAIN) == expected
    assert (one.throughput.replaced, one.throughput.given_up) == (2, 1)


def test_a_process_killed_between_two_calls(scorer):
    one = scorer(("atoms",))
    one.measure(["C"])
    one._workers[0].process.kill()
    one._workers[0].process.wait()
    assert one.measure(["CC"]) == [(2.0,)]


def test_a_process_is_ready_once_it_has_read_its_tables():
    chemistry._sa_scorer.cache_clear()
    chemistry._assay_filters.cache_clear()
    read = chemistry._sa_scorer, chemistry._assay_filters
    assert worker.built_in(("sa", "filters")) == [chemistry.sa, chemistry.filters]
    assert [one.cache_info().currsize for one in read] == [1, 1]


def test_settings_of_scoring_reach_the_scorer(monkeypatch):
    made = []
    monkeypatch.setattr("tutor.molecules.reward.Scorer", lambda *_, **given: made.append(given))
    Reward(RewardConfig(), ScoringConfig(workers=3, timeout=1.5, remembered=7), cores=2)
    Reward(RewardConfig(), ScoringConfig(), cores=2)
    assert made[0] == {"workers": 3, "timeout": 1.5, "remembered": 7}
    assert made[1]["workers"] == 2  # one a core


def test_threads_share_a_scorer(scorer):
    one, found = scorer(("atoms",), workers=2), {}

    def ask(start: int) -> None:
        found[start] = one.measure(CHAIN[start:])

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for start, values in found.items():
        assert values == [(float(k),) for k in range(start + 1, 30)]


def test_functions_of_the_users(own, scorer):
    assert scorer(("atoms",), ["own_terms:rings"]).measure(["C1CC1C"]) == [(4.0, 1.0)]
    with pytest.raises(ConfigError, match=r"own_terms:fails failed with ValueError.* molecule C"):
        scorer((), ["own_terms:fails"]).measure(["C"])
    with pytest.raises(ConfigError, match="own_terms:nothing returned nan, which is no finite"):
        scorer((), ["own_terms:nothing"]).measure(["C"])
    with pytest.raises(ConfigError, match="can't be measured: ModuleNotFoundError"):
        scorer((), ["no_such_module:x"]).measure(["C"])


def test_without_rdkit_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install "highway-tutor\[molecules\]"') as error:
        Scorer(("qed",))
    assert len(str(error.value).splitlines()) == 1


def test_filters_of_the_benchmark():
    def passes(smiles: str) -> float:
        return chemistry.filters(chemistry.parse(smiles))

    assert passes("CCCS(=O)c1ccc2[nH]c(=NC(=O)OC)[nH]c2c1") == 1
    assert passes(MACROCYCLE) == 0
    assert passes("C[N+](C)(C)C") == 0
    assert passes("CC[Si](C)C") == 0
    assert passes("CC=CC#N") == 0  # MCF1: an unsaturated nitrile
    assert passes("O=C1C=CC(=O)C=C1") == 0  # PAINS: a quinone


def test_the_reward_is_its_weighted_terms(own):
    config = RewardConfig(
        valid=0.5, qed=2.0, sa=3.0, logp=0.25, ring=1.5, functions=(("own_terms:rings", 7.0),),
        repeated_carbons=0.1, carbons=4, trivial=0.3, atoms=12,
    )  # fmt: skip
    reward = Reward(config, ScoringConfig(workers=1))
    try:
        scores = reward(MOLECULES)
        chain, macrocycle = (reward.scorer.measure([one])[0] for one in ("CCCCCCCCCO", MACROCYCLE))
        before = replace(reward.scorer.throughput)
        found = reward.measure(MOLECULES)
        asked = reward.scorer.throughput.known - before.known
    finally:
        reward.scorer.close()
    assert scores[[1, 2, 5]].tolist() == [0, 0, 0]
    assert found["reward"].tolist() == scores.tolist()
    assert asked == len(MOLECULES)  # each is asked for once
    parts = {name: values for name, values in found.items() if name.startswith(TERM)}
    np.testing.assert_allclose(sum(parts.values())[[0, 3, 4]], scores[[0, 3, 4]], rtol=1e-6)
    assert parts["term/own_terms:rings"][[0, 4]].tolist() == [7.0, 7.0]
    assert np.isnan(parts["term/valid"]).tolist() == [False, True, True, False, False, True]
    qed, sa, logp = chain[:3]
    expected = 0.5 + 2 * qed + 3 * (10 - sa) / 9 + 0.25 * logp - 0.1 * (9 - 4) - 0.3 * (12 - 10)
    np.testing.assert_allclose(scores[3], expected, rtol=1e-6)
    assert terms(config, MACROCYCLE, macrocycle)["ring"] == -1.5 * 4
    assert terms(config, MACROCYCLE, macrocycle)["own_terms:rings"] == 7.0
    assert found["valid"].tolist() == [1, 0, 0, 1, 1, 0]
    assert np.isnan(found["qed"]).tolist() == [False, True, True, False, False, True]


@pytest.mark.parametrize("term", ["repeated_carbons", "trivial"])
def test_patches_can_be_turned_off(term):
    values = (0.5, 2.0, 3.0, 0.0, 10.0)
    on = terms(RewardConfig(), "CCCCCCCCCO", values)
    off = terms(RewardConfig(**{term: 0.0}), "CCCCCCCCCO", values)
    assert on[term] < 0
    assert off[term] == 0
    assert {**on, term: 0} == off


def test_no_molecule_is_worse_than_garbage():
    def scores(**settings):
        config = RewardConfig(ring=5.0, **settings)
        reward = Reward(config, ScoringConfig(workers=1))
        try:
            return reward([MACROCYCLE, NONE, ASPIRIN]).tolist(), reward.measure([ASPIRIN])
        finally:
            reward.scorer.close()

    (large, none, aspirin), parts = scores()
    assert large == none == 0 < aspirin
    assert "term/logp" not in parts  # its weight is 0
    (large, none, same), _ = scores(invalid=-30.0)
    assert none == -30 < large < 0
    assert same == aspirin


def test_runs_of_carbons():
    assert longest_run("CCCl") == 2
    assert longest_run("CCc1ccccc1CCCO") == 3
    assert longest_run("Oc1ccccc1") == 0


def test_checksums_are_of_the_files_of_functions(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "first.py").write_text("1")
    names = ("first:a", "first:b", "sys:nothing", "gone:a", "gone.too:a")
    config = RewardConfig(functions=tuple((name, 1.0) for name in names))
    one = hashlib.sha256(b"1").hexdigest()
    assert function_checksums(config) == {"first:a": one, "first:b": one}


def test_a_function_named_twice_is_refused():
    with pytest.raises(ConfigError, match=r"reward\.functions: 'a:b' stands there twice"):
        RewardConfig(functions=(("a:b", 1.0), ("a:c", 1.0), ("a:b", 2.0)))


def test_a_function_that_has_no_name():
    with pytest.raises(ConfigError, match="write MODULE:FUNCTION"):
        RewardConfig(functions=(("rings", 1.0),))
