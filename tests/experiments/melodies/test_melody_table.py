from dataclasses import replace

import pytest

from common.config import override, to_dict
from common.plot import LARGEST_BYTES
from common.record import DataUsed, Record
from experiments import registry
from experiments.melodies import headline, pairs, picture
from experiments.melodies import table as melody_table
from experiments.melodies.catalogue import TABLE_1
from experiments.melodies.explain import page
from experiments.melodies.tested import (
    ADAGRAD,
    C_MASKED,
    C_MASKED_SLOW_RATE,
    OWN_BEGINNINGS,
    PUBLISHED,
)
from experiments.results.paper_table import Answers, Asked, written
from experiments.results.row import result_rows


def made(name, seed, value, preset="paper", overrides=()):
    """A record whose statistics are all `value`, with two evaluations of the policy."""
    experiment = registry.find(name)
    config = to_dict(override(experiment.preset(preset).config, overrides))
    tuned = {"Note RNN": str(config["note_rnn"])} if "note_rnn" in config else {}
    return Record(
        experiment=name,
        preset=preset,
        seed=seed,
        status="done",
        command="python -m experiments run",
        config=config,
        overrides=list(overrides),
        parameters=experiment.paper_parameters or 0,
        metrics={f"composed/{key}": value for key in (*TABLE_1, "reward", "log_prior")},
        curve=[
            {"step": step, "epoch": 1, "seconds": 1, "eval/reward": value, "eval/log_prior": -value}
            for step in (100_000, 200_000)
        ],
        data=[DataUsed("folk_melodies", "1.0.0", "songs", {"train": 1}, tuned)],
        seconds={"training": 60.0},
        device={"platform": "cpu", "kind": "a processor"},
        versions={},
        commit="abc",
        commits=["abc"],
        dirty=False,
        finished="2026-01-01T00:00:00+00:00",
    )


@pytest.fixture
def records():
    tuned = [made("tutor_melodies_q", seed, 10.0 + seed) for seed in (0, 1, 2)]
    return [*tuned, made("tutor_melodies_rl_only", 0, 30.0), made("note_rnn", 0, 5.0)]


def on(record, **sums):
    """The record of a run that saw data with these checksums."""
    return replace(record, data=[replace(record.data[0], checksums=sums)])


def row_of(text, statistic):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {statistic} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_methods_stand_side_by_side_and_with_what_the_paper_printed(records, tmp_path):
    text = "\n".join(melody_table.section(records, tmp_path))
    assert row_of(text, "statistic")[1:] == ["Note RNN", "Q", "RL only"]
    assert row_of(text, "mean autocorrelation, lag 3")[1] == "-0.13<br>5.000"
    cells = row_of(text, "notes in motif")
    assert cells[1] == "5.9<br>5.00"  # the paper's above ours
    assert cells[2].startswith("75.7<br>11.00 [")  # three seeds: their mean and an interval
    assert cells[3] == "30.00"  # one seed: its value
    (paper,) = melody_table.tables()
    answers = Answers(result_rows(records, registry.experiments()), registry.experiments())
    text = written(paper, answers).markdown()
    assert row_of(text, "mean autocorrelation, lag 1")[1] == "-0.16<br>5.000 ◇"
    cells = row_of(text, "notes in motif")
    assert cells[1] == "5.9<br>5.00 ◇"
    assert cells[2].startswith("75.7<br>11.00 [")
    assert cells[3:] == ["73.8<br>–", "69.3<br>–"]


def test_runs_with_other_settings_or_that_diverged_stay_out(records, tmp_path):
    others = [
        made("tutor_melodies_q", 3, 99.0, overrides=["learn.c=2.0"]),
        replace(made("tutor_melodies_q", 4, 99.0), status="diverged"),
    ]
    shown = melody_table.section(records, tmp_path)
    assert melody_table.section([*records, *others], tmp_path) == shown


def test_other_precisions_old_settings_and_other_data_stay_out():
    """But the models that were tuned may be several: each has made its own checksum."""

    setting, q = melody_table.SETTINGS[0], "tutor_melodies_q"
    tuned = [on(made(q, seed, 1.0), songs="same", **{"Note RNN": "a"}) for seed in (0, 1)]
    other = on(made(q, 2, 1.0, overrides=["note_rnn.seed=1"]), songs="same", **{"Note RNN": "b"})
    prior = on(made("note_rnn", 0, 1.0), songs="same")
    kept = {"note_rnn": [prior], q: [*tuned, other]}
    narrow = replace(tuned[0], seed=7, device={**tuned[0].device, "precision": "bfloat16"})
    before = replace(made(q, 8, 9.0, overrides=["learn.c=2.0"]), overrides=[], data=tuned[0].data)
    elsewhere = on(made(q, 9, 9.0), songs="others", **{"Note RNN": "a"})
    found = melody_table.by_experiment([elsewhere, before, narrow, *tuned, other, prior], setting)
    assert found == kept


def test_a_setting_is_told_of_once_it_has_runs(records, tmp_path):
    data = replace(
        made("melody_data", 0, 0.0, preset="own_key"), metrics={"start/notes_in_motif": 21.0}
    )
    adagrad = [
        made("note_rnn", 0, 5.0, preset="adagrad"),
        *(made("tutor_melodies_q", seed, 12.34, preset="adagrad") for seed in (0, 1, 2)),
    ]
    before, after = (
        ("\n".join(melody_table.section(runs, tmp_path)), page(runs))
        for runs in ([data, *records], [data, *records, *adagrad])
    )
    assert "adagrad" not in before[0]
    assert "| `adagrad`" not in before[1]
    assert "all that was measured: preset adagrad\n" in after[0]
    assert "only public trainer" in after[0]
    motif = after[1].partition("### Notes in motif\n")[2]
    line = next(one for one in motif.splitlines() if one.startswith("| `adagrad`"))
    assert "12.34" in line
    assert "21.00" in line
    assert "run tutor_melodies_q --preset adagrad --seeds 0 1 2" in after[1]


def test_data_and_how_melodies_move_stand_beside(records, tmp_path):
    data = replace(
        made("melody_data", 0, 0.0, preset="own_key"),
        metrics={"start/notes_in_motif": 21.0, "anywhere/on_beat": 90.0},
    )
    moving = replace(records[0], metrics={**records[0].metrics, "composed/on_beat": 58.0})
    text = "\n".join(melody_table.section([data, moving, *records[1:]], tmp_path))
    assert row_of(text, "statistic")[1] == "data, from the start<br>data, from anywhere"
    assert row_of(text, "notes in motif")[1] == "21.00<br>–"
    cells = row_of(text, "notes on the beat, %")
    assert (cells[1], cells[3]) == ("–<br>90", "58")


def test_the_interval_of_the_data_is_that_of_one_drawing(tmp_path):
    """Three drawings of windows from the same tunes are no three samples of tunes."""
    drawn = [
        replace(
            made("melody_data", seed, 0.0, preset="own_key"),
            metrics={
                "anywhere/on_beat": 90.0 + seed,
                "anywhere_low/on_beat": 80.0,
                "anywhere_high/on_beat": 95.0,
            },
        )
        for seed in (1, 0, 2)
    ]
    found = melody_table.by_experiment(drawn, melody_table.SETTINGS[0])
    row = row_of(melody_table.table_1(found).markdown(), "notes on the beat, %")
    assert row[1] == "–<br>90 [80, 95]"


def test_what_is_of_the_prior_stands_in_its_column_alone():
    runs = [
        replace(made(name, 0, 0.0), metrics={"composed/log_p_tonic": -5.0})
        for name in ("note_rnn", "tutor_melodies_q")
    ]
    found = melody_table.by_experiment(runs, melody_table.SETTINGS[0])
    cells = row_of(melody_table.table_1(found).markdown(), melody_table.MOVES["log_p_tonic"])
    assert cells[1:] == ["-5", ""]


def test_of_several_tuned_note_rnns_each_counts_once():
    """Tuned by 3, 1 and 1 seeds: the interval is over the three means 11, 20 and 30."""
    runs = [made("tutor_melodies_q", seed, 10.0 + seed) for seed in (0, 1, 2)]
    for seed, prior, value in ((3, 1, 20.0), (4, 2, 30.0)):
        change = f"note_rnn.seed={prior}"
        one = made("tutor_melodies_q", seed, value, overrides=[change])
        runs.append(one)
    (found,) = melody_table.by_experiment(runs, melody_table.SETTINGS[0]).values()
    assert melody_table.means(found, "composed/notes_in_motif") == [11.0, 20.0, 30.0]
    assert melody_table.means(found[:4], "composed/notes_in_motif") == [11.0, 20.0]
    assert (
        melody_table.value_of(found[:4], "composed/notes_in_motif") == "11.00, 20.00 (2 Note RNNs)"
    )
    assert (
        melody_table.value_of(found, "composed/notes_in_motif")
        == "20.33 [11.00, 30.00] (3 Note RNNs)"
    )


def test_note_rnns_of_one_seed_are_told_apart():
    """Trained twice from one seed, say on two machines: not six seeds of one Note RNN."""
    note_rnns = dict(enumerate("aaabbb"))
    runs = [
        on(made("tutor_melodies_q", seed, float(seed)), **{"Note RNN": one})
        for seed, one in note_rnns.items()
    ]
    (found,) = melody_table.by_experiment(runs, melody_table.SETTINGS[0]).values()
    assert len(found) == 6
    told = melody_table.value_of(found, "composed/notes_in_motif")
    assert told == "1.00, 4.00 (2 Note RNNs)"
    assert "Q R1 (6 runs on 2 Note RNNs)" in page(runs)


def test_what_a_note_rnn_has_counts_once_however_often_it_is_tuned():
    log_p = "composed/log_p_tonic"

    def runs(name, *note_rnns):
        return [
            on(at(name, seed=seed, log_p_tonic=value), **{"Note RNN": one} if one else {})
            for seed, (one, value) in enumerate(note_rnns)
        ]

    tuned = runs("tutor_melodies_q", ("a", -5.0), ("a", -5.0), ("a", -5.0), ("b", -7.0))
    assert melody_table.means(tuned[:3], log_p) == [-5.0]
    assert melody_table.means(tuned, log_p) == [-5.0, -7.0]
    themselves = runs("note_rnn", ("", -5.0), ("", -5.0), ("", -7.0))
    assert melody_table.means(themselves, log_p) == [-5.0, -5.0, -7.0]


def test_intervals_stand_where_something_varies():
    metric = "composed/notes_in_motif"
    (one,) = [replace(made("note_rnn", 0, 10.0), metrics={metric: 10.0})]
    assert melody_table.value_of([one], metric) == "10.00"
    ends = {"composed_low/notes_in_motif": 9.0, "composed_high/notes_in_motif": 11.0}
    wide = replace(one, metrics=one.metrics | ends)
    assert melody_table.value_of([wide], metric) == "10.00 [9.00, 11.00]"
    assert melody_table.value_of([wide, wide, wide], metric) == "10.00"


def test_what_rounds_to_nothing_is_told_from_nothing():
    share, lag = "composed/notes_in_motif", "composed/mean_autocorrelation1"

    def told(metric, *values):
        runs = [
            replace(made("note_rnn", seed, 0.0), metrics={metric: value})
            for seed, value in enumerate(values)
        ]
        return melody_table.value_of(runs, metric)

    assert told(share, 0.0, 0.0, 0.0) == "0.00"
    assert told(share, 0.0, 0.004, 0.0002) == "0.001 [0.00, 0.004]"
    assert told(share, 0.0, 0.03, 0.00006) == "0.01 [0.00, 0.03]"
    assert told(lag, -0.00004) == "-0.00004"
    assert melody_table.number_of(0.003, "notes_in_motif", "+") == "+0.003"
    assert melody_table.number_of(-0.003, "on_beat", "+") == "-0.003"


def test_no_table_without_tuned_models(records, tmp_path):
    assert melody_table.section(records[-1:], tmp_path) == []
    assert melody_table.draw_figures(records[-1:], tmp_path) == []


def at(name, preset="paper", seed=0, **metrics):
    found = {f"composed/{k}": v for k, v in metrics.items()}
    return replace(made(name, seed, 1.0, preset), metrics=found)


def test_the_method_that_keeps_closest_to_the_prior_is_named():
    far, near = (
        [at(name, kl_policy_prior=value, seed=seed, **more) for seed in range(3)]
        for name, value, more in (
            ("tutor_melodies_q", 1.5, {}),
            ("tutor_melodies_g", 0.25, {"reward": 0.9}),
        )
    )
    elsewhere = at("tutor_melodies_psi", "vectorised", kl_policy_prior=0.1)
    (told,) = headline.nearest_to_the_prior([*far, *near, elsewhere])
    assert told == (
        "With the published settings G keeps closest to its prior, by mean KL(π ‖ p), nats "
        "(mean reward in parentheses): G 0.25 (0.90), Q 1.5."
    )
    assert headline.nearest_to_the_prior([*far, elsewhere]) == []
    assert [told] == melody_table.findings([*far, *near])
    wide = [
        at("tutor_melodies_g", kl_policy_prior=value, seed=seed)
        for seed, value in enumerate((0.1, 0.2, 1.6))
    ]
    for unsure in ([*far, *wide], [far[0], near[0]]):
        (told,) = headline.nearest_to_the_prior(unsure)
        assert told.startswith("With the published settings, on average, G keeps closest")


def test_methods_are_compared_seed_by_seed_below_each_table(tmp_path):
    def tunings(name, *rewards, kl, **changes):
        return [
            on(at(name, seed=seed, reward=one, kl_policy_prior=kl), **{"Note RNN": "a"} | changes)
            for seed, one in enumerate(rewards)
        ]

    q = tunings("tutor_melodies_q", 1.0, 2.0, 3.0, kl=1.0)
    g = tunings("tutor_melodies_g", 0.5, 2.0, 2.5, kl=0.75)
    elsewhere = tunings("tutor_melodies_psi", 5.0, 5.0, 5.0, kl=5.0, **{"Note RNN": "b"})
    text = "\n".join(melody_table.section([*g, *q, *elsewhere], tmp_path))
    assert text.count("**Difference from Q, seed by seed**") == 1
    table, legend = text.partition("**Difference from Q, seed by seed**")[2].split("\n\n", 2)[1:]
    assert row_of(table, "G") == ["G", "0, 1, 2", "-0.33 [-0.50, +0.00]", "-0.25"]
    assert "| Ψ" not in table
    assert legend.count(pairs.READING) == 1
    assert "trains its prior" not in legend
    alone = "\n".join(melody_table.section([*q, *elsewhere], tmp_path))
    assert "seed by seed" not in alone
    quirks = [replace(one, config=one.config | {"original_quirks": True}) for one in (*q, *g)]
    found = {"tutor_melodies_q": quirks[:3], "tutor_melodies_g": quirks[3:]}
    assert "G also updates its prior" in pairs.between_methods(found)[-1]


def test_tunings_of_a_preset_differ_in_their_method_alone():
    """As the words below their differences have it."""
    for setting in melody_table.SETTINGS:
        configs = [
            to_dict(override(registry.find(name).preset(setting.preset).config, ["learn.method=q"]))
            for name in melody_table.TUNED
        ]
        assert all(one == configs[0] for one in configs)


def test_it_is_said_that_all_tunings_of_table_1_share_a_note_rnn():
    tuned = [made("tutor_melodies_q", seed, 1.0) for seed in (0, 1, 2)]
    (told,) = melody_table.cautions(tuned)
    assert "tune one Note RNN" in told
    assert melody_table.cautions(tuned[:2]) == []
    others = [
        made("tutor_melodies_q", 3 + seed, 1.0, overrides=[f"note_rnn.seed={seed}"])
        for seed in (1, 2)
    ]
    assert melody_table.cautions([*tuned[:2], *others]) == []
    rows = result_rows([*tuned, *others], registry.experiments())
    asked = Asked("tutor_melodies_q", "composed/notes_in_motif")
    (shown,) = Answers(rows, registry.experiments()).full_size(asked)
    assert shown.seeds == (0, 1, 2)  # Table 1 has none of the others
    assert melody_table.cautions([*tuned, *others]) == [told]
    on_another = on(made("tutor_melodies_g", 0, 1.0), **{"Note RNN": "another"})
    assert melody_table.cautions([*tuned, on_another]) == [
        "The tunings in Table 1 tune 2 Note RNNs: methods may differ because these do."
    ]


def of_q(runs, tonic, log_p):
    """The seeds of runs of Q and their Note RNNs, by what they make of the tonic.

    They tune the first of these; each expects a tonic by 1 nat more than the one before.
    """
    names = "composed/compositions_starting_with_tonic", "composed/log_p_tonic"
    return [
        replace(
            made(one.experiment, int(seed), 1.0, one.preset, one.overrides),
            metrics=dict(zip(names, (tonic, log_p + k * step), strict=True)),
        )
        for one, step in ((runs, 0), (runs.prior, 1))
        for k, seed in enumerate(one.seeds.split())
    ]


def test_why_the_tonic_is_off_is_said_where_runs_show_it():
    """Training beginnings must raise both the share and the prior's chances, past all seeds."""
    published = of_q(PUBLISHED, 2.0, -14.0)
    told = headline.off_the_tonic
    (text,) = told([*published, *of_q(OWN_BEGINNINGS, 40.0, -7.0)])
    assert "at the published learning rate of 0.5 with Adam, as the paper has it, beg" in text
    assert "is off (2.00 % of Q's compositions start with one, printed 28.8): at" in text
    assert "Training on beginnings gives 40.00 % ([why](#why-lines-of-table-1-differ))." in text
    assert "Adagrad" not in text
    both = [*published, *of_q(OWN_BEGINNINGS, 40.0, -7.0)]
    (text,) = told([*both, *of_q(ADAGRAD, 50.0, -6.0)])
    assert "gives 40.00 %; training as the only public trainer does, by Adagrad on the " in text
    assert "summed loss, gives 50.00 % ([why]" in text
    assert "Adagrad" not in told([*both, *of_q(ADAGRAD, 50.0, -15.0)])[0]
    (behind,) = headline.behind_the_tonic(both)
    assert "the shares are of 3 seeds a Note RNN. Over Note RNNs (3 seeds a side), " in behind
    assert "their mean log p of a tonic rises from -13 [-14, -12] to -6" in behind
    assert headline.behind_the_tonic(published) == []
    assert told([*published, *of_q(OWN_BEGINNINGS, 1.0, -7.0)]) == []
    assert told([*published, *of_q(OWN_BEGINNINGS, 40.0, -15.0)]) == []
    tuned = of_q(OWN_BEGINNINGS, 40.0, -7.0)
    assert told([*published, *tuned[:2], *tuned[3:]]) == []
    assert told([*published, *tuned[:3]]) == []
    assert told([*published, *tuned[:4]]) == []  # three tunings of one Note RNN
    assert told(published) == []
    assert told([*of_q(PUBLISHED, 30.0, -14.0), *of_q(OWN_BEGINNINGS, 40.0, -7.0)]) == []


@pytest.mark.parametrize(
    ("tonic", "log_p", "said"),
    [(90.0, -2.0, True), (1.0, -2.0, False), (90.0, -15.0, False)],
)
def test_a_lower_rate_is_told_beside_what_it_starts_from(tonic, log_p, said):
    other = [*of_q(PUBLISHED, 2.0, -14.0), *of_q(OWN_BEGINNINGS, 40.0, -7.0)]
    slow = of_q(C_MASKED_SLOW_RATE, tonic, log_p)
    (text,) = headline.behind_the_tonic([*other, *of_q(C_MASKED, 2.0, -14.0), *slow])
    expected = (
        "A lower learning rate may do so, too: in C, with 4,000 updates in place of 30,000 and a "
        "faster decay, 2.00 % start with the tonic at 0.5 and 90.00 % at 0.01 (one Note RNN a "
        "side, too few to tell)."
    )
    assert text.endswith(expected) == said
    assert "lower learning rate" not in headline.behind_the_tonic([*other, *slow])[0]


def test_what_else_differs_from_the_published_settings_is_named():
    published, fast, slow = (runs.settings() for runs in (PUBLISHED, C_MASKED, C_MASKED_SLOW_RATE))
    assert {name for name in fast if fast[name] != slow[name]} == {"prior.learning_rate"}
    assert {name for name in fast if fast[name] != published[name]} == {
        "data.key",
        "prior.iterations",
        "prior.decay_every",
    }
    assert fast["prior.decay_every"] < published["prior.decay_every"]


def test_pictures_are_small_the_same_again_and_linked(records, tmp_path):
    paths = melody_table.draw_figures(records, tmp_path)
    assert [path.name for path in paths] == [
        "tutor_melodies_table_1.png",
        "tutor_melodies_paper_reward.png",
        "tutor_melodies_paper_log_prior.png",
    ]
    first = [path.read_bytes() for path in paths]
    assert all(len(content) < LARGEST_BYTES for content in first)
    melody_table.draw_figures(records, tmp_path)
    assert [path.read_bytes() for path in paths] == first
    text = "\n".join(melody_table.section(records, tmp_path))
    assert paths[0].name == melody_table.PICTURE
    assert all(path.name in text for path in paths[1:])


def test_the_caption_tells_the_compositions_of_the_preset(monkeypatch):
    def changed(name):
        one = registry.find(name)
        paper = one.preset("paper")
        config = override(paper.config, ["final_compositions=1234"])
        return replace(one, presets={**one.presets, "paper": replace(paper, config=config)})

    monkeypatch.setattr(melody_table, "find", changed)
    assert "1,234 compositions" in melody_table.tables()[0].caption


def test_whoever_tunes_a_note_rnn_of_fewer_updates_says_so():
    presets = registry.find("note_rnn").presets
    whole = presets["paper"].config.prior.iterations
    for setting in melody_table.SETTINGS:
        updates = presets[setting.note_rnn].config.prior.iterations
        told = [setting.title, picture.LABELS.get(setting.preset, setting.title)]
        wanted = updates < whole
        assert [f"Note RNN of {updates:,} updates" in one for one in told] == [wanted, wanted]
