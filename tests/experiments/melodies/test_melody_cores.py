from dataclasses import replace
from pathlib import Path

import pytest
from test_melody_table import made

from common.melody import NUM_EVENTS
from common.record import find_records
from experiments.melodies import table as melody_table
from experiments.melodies.catalogue import PAPER_PARAMETERS, RHN
from experiments.melodies.cores import CORES, LOG_PERPLEXITY, section
from experiments.melodies.table import by_experiment, summary_of
from experiments.registry import find
from experiments.results.alike import told_apart
from tutor.size import parameter_count

Q, PSI, G = (f"tutor_melodies_{one}" for one in ("q", "psi", "g"))
REWARD, KL = "composed/reward", "composed/kl_policy_prior"


def with_metrics(record, **changed):
    named = {name.replace("__", "/"): value for name, value in changed.items()}
    return replace(record, metrics={**record.metrics, **named})


@pytest.fixture
def records():
    """Of the LSTM 5, of the RHN 7 and a bit, everywhere."""
    found = []
    for seed in (0, 1, 2):
        for note_rnn, preset, value in (("cpu", "in_c", 5.0), ("rhn", "rhn", 7.0 + seed / 10)):
            learned = made("note_rnn", seed, value, note_rnn)
            found.append(with_metrics(learned, test__log_perplexity=value / 10))
            tuned = made(G, seed, value, preset)
            found.append(with_metrics(tuned, composed__kl_policy_prior=value / 100))
    return found


def test_the_rhn_has_as_many_parameters_as_the_lstm():
    assert parameter_count(RHN, NUM_EVENTS) == PAPER_PARAMETERS
    note_rnn, tutor = find("note_rnn"), find(G)
    assert note_rnn.preset("rhn").config.model == RHN
    assert tutor.preset("rhn").config.note_rnn.preset == "rhn"


def test_both_cores_stand_below_one_another(records, tmp_path):
    text = "\n".join(section(records))
    assert "against 0.71 [0.7, 0.72]" in text
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| G ")]
    assert [[cell.strip() for cell in row[:4]] for row in rows] == [
        ["G", "LSTM", "5", "0.05"],
        ["G", "RHN", "7.1 [7, 7.2]", "0.071 [0.07, 0.072]"],
    ]
    assert text in "\n".join(melody_table.section(records, tmp_path))


def told_of(records):
    _, told, *_ = section(records)
    return told


def test_what_came_of_it_is_said_in_a_sentence(records, tmp_path):
    told = told_of(records)
    assert "predicts test melodies less well, 0.71 [0.7, 0.72] against 0.5 (log" in told
    assert ": by G more reward, 7.1 [7, 7.2] against 5, at more KL, 0.071 [0.07, 0.072] ag" in told
    assert "3 seeds a model" in told
    assert told in "\n".join(melody_table.section(records, tmp_path))
    other = with_metrics(made(G, 0, 7.1, "in_c"), composed__kl_policy_prior=0.08)
    near = [one for one in records if (one.experiment, one.preset) != (G, "in_c")]
    told = told_of([*near, other])
    assert "by G about as much, 7.1 [7, 7.2] against 7.1, at less KL, " in told
    assert "1 to 3 seeds a model" in told


def test_each_method_that_tuned_both_cores_is_told_of(records):
    """Whatever the other methods show, and with how many Note RNNs where there are several."""
    psi, q = "tutor_melodies_psi", "tutor_melodies_q"
    both = [
        with_metrics(made(psi, 0, value, preset), composed__kl_policy_prior=0.05)
        for preset, value in (("in_c", 3.0), ("rhn", 2.0))
    ]
    told = told_of([*records, *both, made(q, 0, 1.0, "rhn")])
    assert ": by Ψ less reward, 2 against 3, at about the same KL, 0.05 against 0.05; by G" in told
    assert "by Q" not in told
    another = made(G, 3, 7.1, "rhn", ["note_rnn.seed=1"])
    told = told_of([*records, with_metrics(another, composed__kl_policy_prior=0.07)])
    assert "by G more reward, 7.1, 7.1 (2 Note RNNs) against 5, " in told


@pytest.mark.parametrize("missing", [(G, "in_c"), (G, "rhn")])
def test_nothing_is_said_without_both_cores(records, missing):
    kept = [one for one in records if (one.experiment, one.preset) != missing]
    assert not section(kept)


def test_the_readme_tells_what_the_records_have():
    root = Path(__file__).parents[3]
    committed = find_records(root / "results")
    told = " ".join((root / "README.md").read_text(encoding="utf-8").split())

    groups = [by_experiment(committed, core) for core in reversed(CORES.values())]

    def both(experiment, metric, digits):
        """Of RHN and LSTM, the mean over Note RNNs or seeds."""
        found = (summary_of(group[experiment], metric) for group in groups)
        return " and ".join(f"{one.mean:.{digits}f}" for one in found)

    told_apart_by = {
        (name, metric): told_apart(*(summary_of(core[name], metric) for core in groups))
        for name, metric in (
            ("note_rnn", LOG_PERPLEXITY), (Q, REWARD), (Q, KL), (PSI, REWARD), (PSI, KL),
            (G, REWARD), (G, KL),
        )
    }  # fmt: skip
    about_the_same = [one for one, apart in told_apart_by.items() if not apart]
    assert about_the_same == [(Q, KL), (PSI, KL)]
    assert f"slightly less well (test log perplexity {both('note_rnn', LOG_PERPLEXITY, 3)})" in told
    rhn, lstm = groups
    for method, metric in ((Q, REWARD), (PSI, REWARD), (G, REWARD), (G, KL)):
        assert summary_of(rhn[method], metric).mean < summary_of(lstm[method], metric).mean
    assert {len(rhn[method]) for method in (Q, PSI, G)} == {3}
    assert len({one.config["note_rnn"]["seed"] for m in (Q, PSI, G) for one in rhn[m]}) == 1
    assert (
        "Tuned with the LSTM's settings, three times from one Note RNN, it gets less reward: by Q "
        "and Ψ at about the same KL, by G at less KL ([both cores]"
    ) in told
