"""What compares runs, tested by the committed records and by made-up ones."""

from dataclasses import replace

import pytest
from finding_case import GROUPS, made, note_rnns

from common.config import flatten, from_dict, to_dict
from experiments import registry
from experiments.melodies.comparison import NO, ON_AVERAGE, SURE, Less, Runs, strength
from experiments.melodies.criteria import LOG_P, TONIC
from experiments.melodies.tested import CHANGES


def settings_of(record, committed):
    """All settings of a run by name, those of the Note RNN that it tuned among them."""
    config = registry.find(record.experiment).preset(record.preset).config
    found = flatten(to_dict(from_dict(type(config), record.config)))
    chosen = {one: found.pop(f"note_rnn.{one}", None) for one in ("preset", "seed", "run")}
    if chosen["preset"]:
        where = chosen["run"] or f"note_rnn/{chosen['preset']}/seed{chosen['seed']}"
        preset, seed = where.split("/")[-2:]
        (prior,) = (
            one
            for one in committed
            if (one.experiment, one.preset, f"seed{one.seed}") == ("note_rnn", preset, seed)
        )
        found = {**settings_of(prior, committed), **found}
    return found


@pytest.mark.parametrize("change", CHANGES, ids=lambda one: f"{one.of}: {one.what}")
def test_the_two_sides_of_a_change_differ_in_what_it_names(change, committed):
    before, after = (runs.among(committed) for runs in (change.before, change.after))
    assert before
    assert after
    for one in before:
        for other in after:
            old, new = settings_of(one, committed), settings_of(other, committed)
            assert {name for name in old if old[name] != new[name]} == set(change.settings)
            assert old == change.before.settings()
            assert new == change.after.settings()
    if change.of == "Q" and all(one.startswith("learn.") for one in change.settings):
        assert len(note_rnns([*before, *after])) == 1


def test_tunings_of_other_note_rnns_stay_out(committed):
    (runs,) = (one for one in GROUPS if one.label == "Q, c = 0.5")
    elsewhere = [one for one in committed if one.overrides == ["note_rnn.seed=1"]]
    assert elsewhere
    assert not runs.among(elsewhere)


def test_other_precisions_old_settings_and_other_data_stay_out(committed):
    (runs,) = (one for one in GROUPS if one.label == "Q, c = 1")
    found = runs.among(committed)
    first = found[0]
    narrow = replace(first, device={**first.device, "precision": "bfloat16"})
    learn = {**first.config["learn"], "batch_size": 9}
    before = replace(first, config={**first.config, "learn": learn})
    used = first.data[0]
    other = replace(used, checksums={**used.checksums, "Note RNN": "another"})
    elsewhere = replace(first, data=[other], finished="2099-01-01T00:00:00+00:00")
    assert runs.among([narrow, before, elsewhere, *committed]) == found


@pytest.mark.parametrize(
    ("low", "high", "held"),
    [
        ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0], SURE),
        ([1.0, 2.0, 5.0], [4.0, 5.0, 6.0], ON_AVERAGE),
        ([4.0, 5.0, 6.0], [1.0, 2.0, 5.0], NO),
        ([3.0], [3.0], NO),
        ([1.0], [1.0001], ON_AVERAGE),
        ([1.0, 2.0], [3.0, 4.0, 5.0], ON_AVERAGE),  # apart, but who knows how a third would be
        ([3.0, 4.0, 5.0], [6.0, 7.0], ON_AVERAGE),
        ([*[1.0] * 20, 5.0], [*[4.0] * 20, 2.0], SURE),  # seeds overlap, the intervals don't
    ],
)
def test_a_comparison_is_sure_only_beyond_its_spread(low, high, held):
    assert strength(Less(low, high, "")) == held


def test_what_is_exact_needs_no_seeds():
    printed, runs = [28.8], [37.0, 42.0, 42.0]
    assert strength(Less(printed, runs, "", low_exact=True)) == SURE
    assert strength(Less(printed, runs, "", high_exact=True)) == ON_AVERAGE
    assert strength(Less(printed, [27.0, *runs[1:]], "", low_exact=True)) == ON_AVERAGE
    assert strength(Less(printed, runs[:2], "", low_exact=True)) == ON_AVERAGE
    assert strength(Less(printed, runs[:1], "", low_exact=True, high_exact=True)) == SURE
    assert strength(Less(runs, printed, "", high_exact=True).opposite) == SURE


def test_the_values_of_a_change_are_those_of_its_settings():
    told = {(one.what, one.of): one.values for one in CHANGES}
    assert told["discount γ", "Q"] == "`learn.discount` 0.5 → 0.9"
    assert told["share of beginnings, in C", "Q"] == "`prior.beginnings` 0 → 0.25"
    assert told["slower tunes", "data"] == "`data.stretch` [] → [[4, 1.0]]"
    assert told["double Q-learning", "Q"] == "`learn.double` false → true"
    assert told["optimiser and loss", "Note RNN"] == (
        "`prior.optimizer` adam → adagrad; `prior.reduction` mean → sum"
    )


def test_a_change_within_its_spread_is_not_told(committed):
    (change,) = (one for one in CHANGES if one.what == "discount γ")

    def records(before, after):
        return [
            made(committed, runs, int(seed), **{TONIC: share})
            for runs, values in ((change.before, before), (change.after, after))
            for seed, share in zip(runs.seeds.split(), values, strict=True)
        ]

    def moved(found):
        return change.moved(change.sides(found), TONIC.removeprefix("composed/"))

    apart = records([10.0, 20.0, 30.0], [40.0, 50.0, 60.0])
    assert moved(apart) == (20.0, 50.0)
    assert moved(records([40.0, 50.0, 60.0], [10.0, 20.0, 30.0])) == (50.0, 20.0)
    assert moved(records([10.0, 20.0, 45.0], [40.0, 50.0, 60.0])) is None
    assert moved(apart[:3]) is None


@pytest.mark.parametrize(("note_rnns", "told"), [(1, None), (3, (-15.0, -8.0))])
def test_what_is_the_note_rnns_own_is_told_of_three_a_side(committed, note_rnns, told):
    """One Note RNN a side can't tell, however many tune it."""
    (change,) = (one for one in CHANGES if one.what == "share of beginnings, own keys")

    def tuned(runs, log_p):
        return [
            tuning(made(committed, runs, seed, **{LOG_P: log_p - seed % note_rnns}), seed)
            for seed in (0, 1, 2)
        ]

    def tuning(record, seed):
        checksums = {"Note RNN": f"{record.preset} {seed % note_rnns}"}
        data = [replace(one, checksums=one.checksums | checksums) for one in record.data]
        return replace(record, data=data)

    sides = tuned(change.before, -14.0), tuned(change.after, -7.0)
    assert change.moved(sides, LOG_P.removeprefix("composed/")) == told


def test_the_note_rnn_of_its_own_is_made_first_and_looked_for(committed):
    prior = Runs("prior", "note_rnn", "cpu", ("prior.learning_rate=0.5",), "13")
    runs = Runs("Q", "tutor_melodies_q", "in_c", ("learn.c=2.0",), "31 32", note_rnn=prior)
    where = "note_rnn.run=runs/note_rnn/cpu/seed13"
    assert runs.commands == (
        "python -m experiments run note_rnn --preset cpu --seeds 13 --set prior.learning_rate=0.5",
        "python -m experiments run tutor_melodies_q --preset in_c --seeds 31 32 "
        f"--set learn.c=2.0 {where}",
    )
    own, other = (made(committed, one, 31) for one in (runs, replace(runs, note_rnn=None)))
    assert runs.among([own, other]) == [own]
