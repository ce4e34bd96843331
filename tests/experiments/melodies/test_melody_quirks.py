"""Quirks of the released code, in runs."""

from dataclasses import replace

import jax
import numpy as np
import pretty_midi
import pytest
from melody_case import Q, refused, tune
from PIL import Image
from run_case import folder, record, run

from common import device
from common.compute import SCAN
from common.error import ConfigError
from common.melody import NO_EVENT, NOTE_OFF, decode_events, swap_specials
from common.record import read_record
from experiments import trained
from experiments.melodies import tutor
from experiments.melodies.domain import MELODIES, SHARP
from experiments.melodies.programs import tuning
from experiments.registry import find
from tutor.config import Quirks, SequenceModelConfig
from tutor.evaluation import Composer
from tutor.learner import TutorLearner


def test_swapped_specials_by_hand():
    events = np.array([[NOTE_OFF, NO_EVENT, 5], [2, NOTE_OFF, 37]])
    swapped = swap_specials(events)
    assert swapped.tolist() == [[NO_EVENT, NOTE_OFF, 5], [2, NO_EVENT, 37]]
    assert np.array_equal(swap_specials(swapped), events)


def test_quirks_of_the_released_code(tmp_path, quirky, note_rnn, monkeypatch):
    """Swapped data in the Note RNN; on it G, which lets its prior drift; evaluations that count
    only each piece's last reward."""
    first = folder(quirky, "note_rnn")
    assert trained.load(first).notes["swapped_specials"]
    # Relabelled events are as hard to learn: the data are the same, the first weights aren't.
    losses = [read_record(run / "record.json").metrics for run in (first, note_rnn)]
    assert losses[0] != losses[1]
    assert losses[0]["valid/log_perplexity"] == pytest.approx(
        losses[1]["valid/log_perplexity"], rel=0.2
    )

    evaluations = []

    class Watched(Composer):
        def compose(self, *arguments, **keywords):
            evaluations.append(super().compose(*arguments, **keywords))
            return evaluations[-1]

    quirks = []

    class WatchedLearner(TutorLearner):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            quirks.append(self.quirks)

    monkeypatch.setattr(tutor, "Composer", Watched)
    monkeypatch.setattr(tutor, "TutorLearner", WatchedLearner)
    assert tune(tmp_path, "g", first, "original_quirks=true") == 0
    assert quirks[-1] == Quirks(stores_best_action=True, trains_prior=True, early_epsilon=True)
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
    assert len(evaluations) == 3
    for row, evaluation in zip(made.curve, evaluations[:2], strict=True):
        assert row["eval/reward"] == pytest.approx(np.mean(evaluation.reward[:, -1]))
        assert row["eval/reward"] != pytest.approx(np.mean(evaluation.reward))
        assert row["eval/log_prior"] == pytest.approx(np.mean(evaluation.log_prior[:, -1]))
    assert made.metrics["composed/reward"] == pytest.approx(np.mean(evaluations[2].reward))
    drawn = Image.open(folder(tmp_path, "tutor_melodies_g") / "reward.png").text["Description"]
    assert drawn.endswith("mean over the last event of each piece")
    midi = folder(tmp_path, "tutor_melodies_g") / "composition1.mid"
    heard = [
        note._replace(pitch=note.pitch + SHARP)
        for note in decode_events(swap_specials(evaluations[2].events[0]))
    ]
    played = pretty_midi.PrettyMIDI(str(midi)).instruments
    assert [note.pitch for part in played for note in part.notes] == [n.pitch for n in heard]


@pytest.mark.parametrize("trains_prior", [True, False])
def test_training_the_prior_is_a_setting_of_its_own(tmp_path, note_rnn, trains_prior):
    assert tune(tmp_path, "g", note_rnn, f"trains_prior={str(trains_prior).lower()}") == 0
    kept = trained.load(folder(tmp_path, "tutor_melodies_g"))
    first = trained.load(note_rnn).policy.prior
    same = jax.tree.map(np.array_equal, kept.policy.prior, first)
    assert all(jax.tree.leaves(same)) != trains_prior


@pytest.mark.parametrize("quirk", ["trains_prior", "original_quirks"])
def test_the_programs_of_devices_have_the_quirks(quirk):
    """Adam's two moments of the prior are among what a round takes."""
    experiment = find("tutor_melodies_g")
    config = experiment.preset("smoke").config
    plain, quirky = (
        tuning(replace(config, **{quirk: value}), SCAN)["rounds of 1 seed"]
        for value in (False, True)
    )
    _, prior = trained.make_graph(SequenceModelConfig(), MELODIES.num_events)
    taken = [len(jax.tree.leaves(one.args_info)) for one in (plain, quirky)]
    assert taken[1] - taken[0] >= 2 * len(jax.tree.leaves(prior))


def test_memory_for_a_prior_that_trains_is_asked_for(tmp_path, monkeypatch):
    asked = []

    def ask(needed, settings):
        asked.append(needed)
        raise ConfigError("that is all")

    monkeypatch.setattr(device, "require_memory", ask)
    for value in ("false", "true"):
        assert run(tmp_path, "tutor_melodies_g", "--set", f"trains_prior={value}") == 2
    model = find("note_rnn").preset("smoke").config.model
    _, prior = trained.make_graph(model, MELODIES.num_events)
    assert asked[1] - asked[0] == 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(prior))


def test_only_g_trains_its_prior(tmp_path, note_rnn, capsys):
    assert tune(tmp_path, "psi", note_rnn, "trains_prior=true") == 2
    refused(capsys, 2, "trains_prior=true is a quirk of G-learning", "learn.method=psi")


def test_quirks_that_do_not_match(tmp_path, quirky, note_rnn, capsys):
    assert tune(tmp_path / "a", "q", folder(quirky, "note_rnn")) == 2
    refused(capsys, 2, "has original_quirks=true", "this experiment false", "note_rnn.run=DIR")
    assert tune(tmp_path / "b", "q", note_rnn, "original_quirks=true") == 2
    refused(capsys, 2, str(note_rnn), "has original_quirks=false", "this experiment true")
    assert run(tmp_path / "c", Q, "--set", "original_quirks=true") == 2
    words = "the Note RNN of preset smoke has original_quirks=false", "this experiment true"
    refused(capsys, 2, *words, "Set original_quirks=false", "note_rnn.run=DIR")
    assert run(tmp_path / "c", Q, "--set", "note_rnn.preset=swapped_stretched") == 2
    words = "of preset swapped_stretched has original_quirks=true", "this experiment false"
    refused(capsys, 2, *words, "Set original_quirks=true", "note_rnn.run=DIR")
    assert not (tmp_path / "c" / "note_rnn").exists()  # refused before it was trained
