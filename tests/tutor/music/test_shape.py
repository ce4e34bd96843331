"""How melodies move and in what rhythm, from melodies counted by hand."""

import jax
import numpy as np
import pytest

from experiments.trained import core_factory
from tutor.config import SequenceModelConfig
from tutor.music.shape import (
    count_on_beat,
    log_p_after_primers,
    note_distances,
    summarize_phrases,
    summarize_shape,
)
from tutor.sequence_model import make_model

MELODIES = np.array(
    [
        [14, 1, 16, 1, 0, 24, 16, 1],  # 4 notes, on 0 2 5 6; up 2, up 8, down 8
        [1, 20, 1, 20, 0, 13, 1, 1],  # 3 notes, all on odd places; 0, down 7
        [0, 1, 1, 1, 30, 1, 1, 1],  # a note alone
        [1, 1, 1, 1, 0, 1, 1, 1],  # nothing
    ]
)  # fmt: skip


def test_distances_from_note_to_note():
    assert note_distances(MELODIES).tolist() == [
        [-1, -1, 2, -1, -1, 8, 8, -1],
        [-1, -1, -1, 0, -1, 7, -1, -1],
        [-1] * 8,
        [-1] * 8,
    ]


def test_notes_on_the_beat_wherever_it_is():
    assert count_on_beat(MELODIES).tolist() == [3, 3, 1, 0]


def test_the_shape_of_melodies():
    found = summarize_shape(MELODIES)
    assert found["note_density"].value == pytest.approx(100 * 8 / 32)
    assert found["on_beat"].value == pytest.approx(100 * 7 / 8)
    assert found["leaps_over_fifth"].value == pytest.approx(100 * 2 / 5)  # a fifth is none
    assert found["mean_interval"].value == pytest.approx((18 / 3 + 7 / 2) / 2)
    for low, value, high in ((e.low, e.value, e.high) for e in found.values()):
        assert low < value < high


def test_rests_and_holds_swapped_have_the_same_shape():
    swapped = np.select([MELODIES == 0, MELODIES == 1], [1, 0], MELODIES)
    assert summarize_shape(swapped) == summarize_shape(MELODIES)


def test_notes_that_return_after_bars():
    """Two bars of one piece are alike but for a note; holds and rests count for nothing."""
    first = np.zeros((1, 16), int)
    first[0, [0, 4, 8]] = 14, 16, 18
    second = first.copy()
    second[0, 8] = 19
    held = np.where(second == 0, 1, second)
    found = summarize_phrases(np.concatenate([first, held, first], axis=1))
    assert set(found) == {f"notes_returning_after_{bars}_bars" for bars in (1, 2)}
    assert found["notes_returning_after_1_bars"].value == pytest.approx(100 * 4 / 6)
    assert found["notes_returning_after_2_bars"].value == pytest.approx(100)


def test_log_p_of_an_event_after_each_primer():
    graph, params = make_model(
        9, core_factory(SequenceModelConfig(units=6)), jax.random.key(0), initial_range=1.0
    )
    core = {name: np.asarray(value, np.float64) for name, value in params["core"].items()}
    kernel, bias = (np.asarray(params[f"output_{name}"], np.float64) for name in ("kernel", "bias"))
    found = []
    for primer in range(5):
        gates = core["input_kernel"][primer] + core["bias"]
        i, _, o = 1 / (1 + np.exp(-gates[:3]))
        logits = o * np.tanh(i * np.tanh(gates[3])) @ kernel + bias
        found.append(logits[7] - np.log(np.sum(np.exp(logits))))
    assert log_p_after_primers(graph, params, 5, 7) == pytest.approx(np.mean(found), abs=1e-5)
