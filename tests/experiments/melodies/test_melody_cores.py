from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from test_melody_table import made

from common.melody import NUM_EVENTS
from common.record import find_records
from experiments.melodies import table as melody_table
from experiments.melodies.catalogue import PAPER_PARAMETERS, RHN
from experiments.melodies.cores import CORES, section
from experiments.melodies.table import by_experiment
from experiments.registry import find
from tutor.size import parameter_count

G = "tutor_melodies_g"


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
            found.append(with_metrics(learned, valid__log_perplexity=value / 10))
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


def test_what_came_of_it_is_said_in_a_sentence(records, tmp_path):
    _, told, *_ = section(records)
    assert "melodies 0.71 [0.7, 0.72] (0.5)" in told
    assert "tuned by G from one Note RNN each, mean" in told
    assert "event 7.1 [7, 7.2] (5); mean KL" in told
    assert "nats, 0.071 [0.07, 0.072] (0.05)" in told
    assert "3 seeds a model" in told
    assert told in "\n".join(melody_table.section(records, tmp_path))
    other = with_metrics(made(G, 0, 7.1, "in_c"), composed__kl_policy_prior=0.05)
    near = [one for one in records if (one.experiment, one.preset) != (G, "in_c")]
    _, told, *_ = section([*near, other])
    assert "7.1 [7, 7.2] (7.1, overlapping)" in told
    assert "1 to 3 seeds a model" in told
    another = made(G, 3, 7.1, "rhn", ["note_rnn.seed=1"])
    _, told, *_ = section([*records, with_metrics(another, composed__kl_policy_prior=0.07)])
    assert "tuned by G, mean" in told


@pytest.mark.parametrize("missing", [(G, "in_c"), (G, "rhn")])
def test_nothing_is_said_without_both_cores(records, missing):
    kept = [one for one in records if (one.experiment, one.preset) != missing]
    assert not section(kept)


def test_the_readme_tells_what_the_records_have():
    root = Path(__file__).parents[3]
    committed = find_records(root / "results")
    told = " ".join((root / "README.md").read_text(encoding="utf-8").split())

    def both(experiment, metric, digits):
        """Of RHN and LSTM, the mean over seeds."""
        return " and ".join(
            format(fmean(one.metrics[metric] for one in group[experiment]), f".{digits}f")
            for group in reversed([by_experiment(committed, core) for core in CORES.values()])
        )

    assert f"log perplexity {both('note_rnn', 'valid/log_perplexity', 3)}" in told
    assert f"KL {both(G, 'composed/kl_policy_prior', 2)} nats" in told
    assert f"less reward ({both(G, 'composed/reward', 2)};" in told
