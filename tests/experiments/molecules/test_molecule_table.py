"""What the report says of molecules, from records by hand."""

import re
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from picture_case import described_in
from scipy.stats import binomtest

from common.config import override, to_dict
from common.record import DataUsed, Record, find_records, read_record
from experiments import registry
from experiments.molecules import table
from experiments.molecules.catalogue import HOURS, NAMES, WORDS, C
from experiments.molecules.headline import headline
from experiments.molecules.picture import Tuned, describe
from experiments.molecules.selection import REWARD
from experiments.results.paper_table import Answers, written
from tutor.molecules.config import RewardConfig

RESULTS = Path(__file__).parents[3] / "results"
Q, PSI, RL_ONLY = (f"tutor_molecules_{one}" for one in ("q", "psi", "rl_only"))
REINVENT = "tutor_molecules_reinvent"


def made(name: str, kl: float, reward: float, *overrides: str, seed: int = 0, **changes) -> Record:
    """A record of preset `cpu`, which got halfway there at its only evaluation."""
    metrics = {"composed/kl_policy_prior": kl, "composed/reward": reward, "composed/valid": 0.75}
    metrics |= {f"composed/{one}": 0.9 for one in ("unique_1k", "internal_diversity")}
    if name == "molecule_rnn":
        metrics |= {f"optimum/c{c}/{one}": value for c, values in OPTIMA.items() for one, value in (
            ("kl_policy_prior", values[0]), ("reward", values[1]), ("effective_samples", values[2]),
        )}  # fmt: skip
    fields = {
        "experiment": name,
        "preset": "cpu",
        "seed": seed,
        "status": "done",
        "command": "python -m experiments run",
        "config": to_dict(override(registry.find(name).preset("cpu").config, overrides)),
        "overrides": list(overrides),
        "parameters": 1,
        "metrics": metrics,
        "curve": [{"step": 128_000, "eval/kl_policy_prior": kl / 2, "eval/reward": reward / 2}],
        "data": [DataUsed("moses_sample", "1.0.0", "moses", {"train": 1}, {})],
        "seconds": {"training": 60.0},
        "device": {"platform": "cpu", "kind": "a processor"},
        "versions": {},
        "commit": "abc",
        "commits": ["abc"],
        "dirty": False,
        "finished": "2026-01-01T00:00:00+00:00",
    }
    return Record(**(fields | changes))


OPTIMA = {"0.2": (0.8, 3.5, 5_000.0), "0.1": (1.4, 3.7, 100.0), "0.02": (4.0, 3.8, 99.0)}
"""c → divergence, reward and effective samples of the best policy."""


@pytest.fixture
def records() -> list[Record]:
    tuned = [made(name, 0.5 + k, 2.5 + k / 10) for k, name in enumerate(list(NAMES)[1:])]
    return [made("molecule_rnn", 0.0, 2.2), *tuned]


def tables_of(text: str) -> list[list[list[str]]]:
    """The cells of each table, its head first."""
    found: list[list[list[str]]] = []
    for before, line in zip(["", *text.splitlines()], text.splitlines(), strict=False):
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            if not line.startswith("| -"):
                found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_all_methods_stand_beneath_one_another_in_narrow_tables(records, tmp_path):
    found = tables_of("\n".join(table.section(records, tmp_path)))
    assert len(found) == 3
    for head, paper, *rows in found:
        assert len(head) <= 7
        assert paper == ["Jaques et al. 2017", *[""] * (len(head) - 1)]
        assert [row[0] for row in rows] == list(NAMES.values())
    heads = [title for head, *_ in found for title in head[1:]]
    assert sorted(heads) == sorted(WORDS.values())
    psi = next(row for row in found[0] if row[0] == "Ψ")
    assert psi[1:3] == ["2.6", "1.5"]


def test_intervals_are_over_molecules_or_from_three_seeds_on_over_seeds(tmp_path):
    one = made(PSI, 1.0, 2.5)
    ends = {"composed_low/reward": 2.4, "composed_high/reward": 2.6}
    one = replace(one, metrics=one.metrics | ends)
    assert "2.5 [2.4, 2.6]" in "\n".join(table.section([one], tmp_path))
    several = [made(PSI, 1.0, 2.0 + k, seed=k) for k in range(3)]
    assert "3 [2, 4]" in "\n".join(table.section(several, tmp_path))
    assert "2, 3 " in "\n".join(table.section(several[:2], tmp_path))
    assert table.section([made("molecule_rnn", 0.0, 2.2)], tmp_path) == []


def test_what_some_seeds_lack_is_told_of_how_many_it_is(tmp_path):
    several = [made(PSI, 1.0, 2.0 + k, seed=k) for k in range(4)]
    measured = [
        replace(one, metrics=one.metrics | {"composed/unique_10k": 0.5}) for one in several[:3]
    ]
    cells = "\n".join(table.section([*measured, several[3]], tmp_path))
    assert " 0.5 (3 of 4 seeds) " in cells
    assert " 0.5, 0.5 (2 of 4 seeds) " in "\n".join(
        table.section([*measured[:2], *several[2:]], tmp_path)
    )
    assert "of 3 seeds" not in "\n".join(table.section(measured, tmp_path))


def test_methods_are_compared_seed_by_seed(tmp_path):
    def of(name, *rewards, kl):
        return [made(name, kl, reward, seed=seed) for seed, reward in enumerate(rewards)]

    q, psi = of(Q, 1.0, 2.0, 3.0, kl=9.0), of(PSI, 1.5, 3.0, 5.0, kl=1.0)
    prior = of("molecule_rnn", 2.0, 2.0, 2.0, kl=0.0)
    text = "\n".join(table.section([*prior, *psi, *q], tmp_path))
    assert tables_of(text)[-1] == [
        ["method", "seeds", WORDS["reward"], WORDS["kl_policy_prior"]],
        ["Ψ", "0, 1, 2", "+1.17 [+0.50, +2.00]", "-8.00"],
    ]
    assert "**Difference from Q, seed by seed**" in text
    assert text.count(table.PAIRS) == 1
    assert "seed by seed" not in "\n".join(table.section([*prior, *q, psi[0]], tmp_path))


def test_learners_of_values_differ_in_method_and_learning_rate_alone():
    """As the words below their differences have it."""
    same = ["learn.method=q", "learn.learning_rate=1e-4"]
    for preset in table.PRESETS:
        q, *others = (
            to_dict(override(registry.find(name).preset(preset).config, same))
            for name in NAMES
            if name not in ("molecule_rnn", REINVENT)
        )
        assert all(one == q for one in others)


def test_the_caption_tells_the_settings_of_the_records(records):
    text = table.caption(records[:1], records[1:])
    assert "on 30,000 molecules of the prior and 12,000 of each tuned model (c = 0.5)" in text
    reward = (
        "1 + 2 × QED + 1 × (10 − SA)/9 − 1 × ring penalty − 0.2 × carbons beyond 5 in a row "
        "− 0.3 × atoms missing to 15"
    )
    assert f"is {reward}; that of any other is 0" in text
    assert table.reward_in_words(RewardConfig()) == reward  # whose weight of logP is 0
    own = RewardConfig(valid=0, qed=0, sa=0, logp=-2, trivial=0, functions=(("a:b", 0.5),))
    assert table.reward_in_words(own) == (
        "−2 × logP − 1 × ring penalty − 0.2 × carbons beyond 5 in a row + 0.5 × a:b"
    )


def test_pictures_are_drawn_and_explained(records, tmp_path):
    far = made(RL_ONLY, 60.0, 3.0, seed=1)
    drawn = table.draw_figures([*records, far], tmp_path)
    names = [f"tutor_molecules_cpu_{one}.png" for one in table.FRONTIERS]
    assert [path.name for path in drawn] == names
    text = "\n".join(table.section(records, tmp_path))
    assert all(name in text for name in names)
    assert "A star is the prior" in text


def test_the_committed_pictures_are_current():
    found = table.frontiers(find_records(RESULTS), "cpu")
    assert set(found) == set(table.FRONTIERS)
    for measure, shown in found.items():
        path = RESULTS / f"tutor_molecules_cpu_{measure}.png"
        assert described_in(path) == describe(*shown), (
            f"{path} is stale: run `python -m experiments report` and commit what it writes"
        )


def test_pictures_describe_what_they_show(records, tmp_path):
    (path, *_) = table.draw_figures(records[:2], tmp_path)
    assert described_in(path).splitlines() == [
        "prior: (0, 2.2)",
        "optimum: (0.8, 3.5), (1.4, 3.7)",
        "Q, c = 0.5: (0.5, 2.5)",
        "Q, c = 0.5, the way: (0.25, 1.25)",
    ]


def test_the_frontier_is_of_each_c():
    """Runs with another c count, those with any other override don't."""
    half = [made(PSI, 1.0, 2.0), made(PSI, 1.5, 3.0, seed=1)]
    tenth = made(PSI, 3.0, 6.0, "learn.c=0.1")
    records = [half[0], tenth, half[1], made(PSI, 9.0, 18.0, "reward.qed=3.0")]
    kept = table.by_experiment(records, "cpu", ("learn.c",))[PSI]
    assert table.by_c(kept, "reward") == [
        Tuned(0.1, [(3.0, 6.0)], [[(1.5, 3.0)]]),
        Tuned(C, [(1.0, 2.0), (1.5, 3.0)], [[(0.5, 1.0)], [(0.75, 1.5)]]),
    ]
    assert table.by_experiment(records, "cpu")[PSI] == half


def test_other_precisions_old_settings_other_data_and_priors_stay_out(records):
    def on(record, file, **model):
        sums = {"moses_sample.csv": file, **({"molecule RNN": model["prior"]} if model else {})}
        return replace(record, data=[replace(record.data[0], checksums=sums)])

    prior = on(records[0], "same")
    tuned = [on(one, "same", prior="a") for one in records[1:]]
    kept = table.by_experiment([prior, *tuned], "cpu")
    assert [one for made in kept.values() for one in made] == [prior, *tuned]
    narrow = replace(tuned[1], seed=7, device={**tuned[1].device, "products": "bfloat16"})
    before = replace(made(PSI, 9.0, 9.0, "learn.c=2.0", seed=8), overrides=[], data=tuned[1].data)
    elsewhere = on(made(PSI, 9.0, 9.0, seed=9), "other", prior="a")
    of_another = on(made(PSI, 9.0, 9.0, seed=10), "same", prior="b")
    prior_elsewhere = on(made("molecule_rnn", 0.0, 9.0, seed=1), "other")
    others = [narrow, before, elsewhere, of_another, prior_elsewhere]
    assert table.by_experiment([*others, prior, *tuned], "cpu") == kept


def test_the_optimum_is_drawn_where_enough_molecules_tell_of_it():
    assert table.optimum([made("molecule_rnn", 0.0, 2.2)], "reward") == [(0.8, 3.5), (1.4, 3.7)]


def test_a_sentence_tells_what_was_found(records):
    rang = replace(records[4], curve=[*records[4].curve, {"step": 9, "eval/collapsed": 1.0}])
    assert rang.experiment == RL_ONLY
    (text,) = headline([*records[:4], rang, *records[5:]])
    assert "cpu, one seed a method: mean reward, and KL(π ‖ p) in nats: prior 2.20; " in text
    assert "; REINVENT 2.90 (4.5), RL only 2.80 (3.5), G 2.70" in text
    assert "; 5 of 5 methods get more than the prior; their learning rates differ." in text
    assert text.endswith("The alarm of collapse rang for RL only.")
    (quiet,) = headline(records)
    assert quiet.endswith("No alarm rang.")
    assert headline(records[:2]) == []
    (worse,) = headline([made("molecule_rnn", 0.0, 2.85), *records[1:]])
    assert "prior 2.85; " in worse
    assert "; 1 of 5 methods gets more than the prior" in worse
    (none,) = headline([made("molecule_rnn", 0.0, 3.0), *records[1:]])
    assert "; none of 5 methods gets more than the prior" in none


def test_learning_rates_that_differ_are_told_below_the_tables(records, tmp_path):
    text = "\n".join(table.section(records, tmp_path))
    told = "The learning rates of these methods differ: 0.0002 for G; 0.0001 for REINVENT; 2e-05 "
    assert re.search(rf"\n{told}for (Q|Ψ|RL only), (Q|Ψ|RL only), (Q|Ψ|RL only).\n", text)
    alike = [made(PSI, 1.0, 2.5), made("tutor_molecules_q", 1.0, 2.4)]
    assert "learning rates" not in "\n".join(table.section(alike, tmp_path))


def test_a_sentence_tells_no_methods_apart_whose_intervals_overlap():
    def several(name, *rewards):
        return [made(name, 439.4, reward, seed=seed) for seed, reward in enumerate(rewards)]

    prior = made("molecule_rnn", 0.0, 2.0)
    ends = {"composed_low/reward": 1.9, "composed_high/reward": 2.1}
    prior = replace(prior, metrics=prior.metrics | ends)
    runs = [*several(PSI, 2.5, 2.7, 2.9), *several(RL_ONLY, 2.4, 2.5, 2.6)]
    near = several("tutor_molecules_q", 2.05, 2.1, 2.15)
    (text,) = headline([prior, *runs, *near])
    assert "3 seeds a method: mean reward, and KL(π ‖ p) in nats: prior 2.00; " in text
    assert "; Ψ 2.70 (439), RL only 2.50 (439), Q 2.10 (439); 2 of 3 methods get more" in text
    assert "; the intervals of Ψ and RL only overlap. No alarm" in text


def test_the_prior_of_sentence_picture_and_table_is_the_one_that_was_tuned(records, tmp_path):
    """Priors of other seeds have a row of all seeds, and count nowhere else."""
    tuned = [
        made(one.experiment, 0.5, 2.5, "molecule_rnn.seed=1", overrides=[]) for one in records[1:]
    ]
    found = {"molecule_rnn": [made("molecule_rnn", 0.0, 2.0 + k, seed=k) for k in range(3)]}
    found |= {one.experiment: [one] for one in tuned}
    assert table.tuned_prior(found) == found["molecule_rnn"][1:2]
    priors = [made("molecule_rnn", 0.0, 2.2 + k, seed=k) for k in (1, 0, 2)]
    runs = [replace(priors[1], metrics=records[0].metrics), priors[0], priors[2], *records[1:]]
    (text,) = headline(runs)
    assert "prior 2.20; " in text
    assert "; 5 of 5 methods get more than the prior" in text
    assert table.frontiers(runs, "cpu")["reward"][1:] == (
        [(0.0, 2.2)],
        [(0.8, 3.5), (1.4, 3.7)],
    )
    rows = tables_of("\n".join(table.section(runs, tmp_path)))[0][2:4]
    assert [row[:2] for row in rows] == [
        ["molecule RNN, seed 0", "2.2"],
        ["molecule RNN, seeds 0, 1, 2", "3.2 [2.2, 4.2]"],
    ]
    (text,) = headline(runs[1:])  # without the run that was tuned
    assert "than the prior" not in text
    assert [point for _, point, _ in table.frontiers(runs[1:], "cpu").values()] == [[]] * 4


def test_the_benchmarks_numbers_stand_under_its_own_name():
    (paper,) = table.tables()
    assert written(paper, Answers([], registry.experiments())).titles == (
        "measure", "CharRNN (MOSES)", "ours",
    )  # fmt: skip


def test_that_all_tune_one_prior_is_told_where_there_are_intervals_over_seeds(records):
    assert table.cautions(records) == []
    more = [made(PSI, 1.5, 2.6, seed=seed) for seed in (1, 2)]
    (text,) = table.cautions([*records, *more])
    assert text.startswith(
        "All tunings of molecules with preset cpu tune one molecule RNN (seed 0)"
    )
    assert table.cautions([*records, more[0]]) == []


def test_tunings_of_another_prior_or_other_data_are_named(records, tmp_path):
    def on(record, prior, file="same"):
        sums = {"moses_sample.csv": file, "molecule RNN": prior}
        return replace(record, data=[replace(record.data[0], checksums=sums)])

    shown = [on(one, "a") for one in records[1:]]
    others = [
        on(made(PSI, 9.0, 9.0, seed=10), "b"),
        on(made(PSI, 9.0, 9.0, "molecule_rnn.seed=1"), "c"),
        on(made(PSI, 9.0, 9.0, "learn.c=0.1", seed=11), "b"),
        on(made(PSI, 9.0, 9.0, seed=12), "a", "other"),
    ]
    more = [on(made(PSI, 9.0, 9.0, "learn.c=0.1"), "a"), made(PSI, 9.0, 9.0, "reward.qed=3.0")]
    text = "\n".join(table.section([*shown, *others, *more], tmp_path))
    assert (
        "Not in tables and pictures: Ψ, seed 10, learned from another molecule RNN; "
        "Ψ with molecule_rnn.seed=1, seed 0, learned from another molecule RNN; "
        "Ψ with learn.c=0.1, seed 11, learned from another molecule RNN; "
        "Ψ, seed 12, learned from other data.\n"
    ) in text
    assert "Not in" not in "\n".join(table.section([*shown, *more], tmp_path))


def test_a_sentence_counts_the_seeds_that_did_not_finish(records):
    """Their alarms count, too; runs of other settings, data and presets don't."""

    def lost(name, *overrides, collapsed=0.0, **changes):
        curve = [{"step": 64_000.0, "eval/collapsed": collapsed}]
        changes = {"metrics": {}, "curve": curve} | changes
        return made(name, 1.0, 1.0, *overrides, status="diverged", **changes)

    q = "tutor_molecules_q"
    kept = [one for one in records if one.experiment not in (q, RL_ONLY)]
    away = [lost(q), lost(q, seed=1), lost(RL_ONLY, "alarm.stop=true", collapsed=1.0)]
    (text,) = headline([*kept, *away, lost(PSI, seed=1), lost(PSI, "alarm.stop=true")])
    assert "3 of 5 methods get more than the prior" in text
    assert "Seeds that didn't finish: Q (2 of 2), Ψ (1 of 2), RL only (1 of 1). " in text
    assert text.endswith("The alarm of collapse rang for RL only.")
    elsewhere = replace(records[1].data[0], checksums={"moses_sample.csv": "other"})
    others = [
        lost(q, "reward.qed=3.0", seed=1, collapsed=1.0),
        lost(q, seed=1, data=[elsewhere], collapsed=1.0),
        lost(q, seed=1, preset="smoke", collapsed=1.0),
    ]
    assert headline([*records, *others]) == headline(records)


def test_shares_of_molecules_have_wilsons_interval_whatever_the_record_has(tmp_path):
    """Records from before it have none of the filters, and an interval of nothing around 0."""
    prior = made("molecule_rnn", 0.0, 2.2)
    prior = replace(prior, metrics=prior.metrics | {"composed/filters": 0.96})
    none = made(RL_ONLY, 439.0, 0.0)
    ends = {"composed_low/valid": 0.0, "composed_high/valid": 0.0}
    none = replace(none, metrics=none.metrics | ends | {"composed/valid": 0.0})
    first, _, others = tables_of("\n".join(table.section([prior, none], tmp_path)))
    passing = binomtest(21_600, 22_500).proportion_ci(method="wilson")  # 75 % of 30,000 are valid
    assert others[2][2] == f"0.96 [{passing.low:.4g}, {passing.high:.4g}]"
    valid = binomtest(0, 12_000).proportion_ci(method="wilson")
    assert first[3][3] == f"0 [0, {valid.high:.4g}]"


def test_the_readme_tells_what_became_of_each_method():
    """Much is half of the most that any method gains, or more; the alarm rang in the end for those
    that collapsed, whatever the seed."""
    found = table.by_experiment(find_records(RESULTS), "cpu")
    before = fmean(one.metrics[REWARD] for one in table.tuned_prior(found))
    told: dict[str, list[str]] = {"much": [], "little": [], "collapse": []}
    gains = {
        NAMES[name]: fmean(one.metrics[REWARD] for one in runs) - before
        for name, runs in table.tunings(found).items()
    }
    for name, runs in table.tunings(found).items():
        gain = gains[NAMES[name]]
        ended = "much" if gain >= max(gains.values()) / 2 else "little"
        if all(one.metrics["composed/collapsed"] for one in runs):
            ended = "collapse"
        told[ended].append(NAMES[name])
    much, little, collapse = (" and ".join(names) for names in told.values())
    readme = " ".join((RESULTS.parent / "README.md").read_text(encoding="utf-8").split())
    assert (
        f"In the committed runs {much} gain much reward over the prior, {little} little; "
        f"{collapse} collapse."
    ) in readme
    rates: dict[float, list[str]] = {}
    for name, runs in table.tunings(found).items():
        (rate,) = {one.config["learn"]["learning_rate"] for one in runs}
        rates.setdefault(rate, []).append(NAMES[name])
    (least, slow), _, (most, (first,)) = sorted(rates.items())
    times = {10: "ten times"}[round(most / least)]
    assert slow == ["Q", "Ψ", "RL only"]
    assert f"{first}'s learning rate is {times} that of Ψ, Q and RL only" in readme
    assert f"({most:g} and {least:g})" in readme


def test_runs_that_stopped_are_named(tmp_path):
    diverged = made(PSI, 1.0, 2.0, status="diverged")
    rang = made(
        PSI, 1.0, 2.0, seed=1, status="diverged",
        curve=[{"step": 9_000.0, "eval/collapsed": 1.0}, {"step": 64_000.0, "eval/collapsed": 0.0}],
    )  # fmt: skip
    stopped = made(
        RL_ONLY, 1.0, 2.0, "alarm.stop=true", status="diverged",
        curve=[{"step": 256_000.0, "eval/collapsed": 1.0}],
    )  # fmt: skip
    text = "\n".join(table.section([diverged, rang, stopped], tmp_path))
    assert "Ψ, seed 1, diverged (its alarm had rung) after 64,000 steps" in text
    assert "Ψ, seed 0, diverged after 128,000 steps" in text
    assert (
        "RL only with alarm.stop=true, seed 0, was stopped by its alarm after 256,000 steps" in text
    )


def test_hours_are_told_once_and_are_those_of_records():
    """The prior and its tuning by Ψ finish in under 90 minutes on two cores."""
    hours = {}
    for name in NAMES:
        experiment = registry.find(name)
        assert experiment.preset("cpu").hours == HOURS[name]
        assert f"{HOURS[name]:g} on " in experiment.docstring
        assert HOURS[name] < 1  # as the README says
        seeds = (RESULTS / name / "cpu").glob("seed*/record.json")
        if each := [sum(read_record(path).seconds.values()) / 3600 for path in seeds]:
            hours[name] = fmean(each)
    assert sum(hours.get(name, HOURS[name]) for name in ("molecule_rnn", PSI)) < 1.5
    told = {name: HOURS[name] for name in hours}
    assert told == pytest.approx(hours, abs=0.0051), "HOURS in the catalogue: what records say"


def test_the_caption_tells_the_samples_of_the_preset(monkeypatch):
    def changed(name):
        one = registry.find(name)
        paper = one.preset("paper")
        config = override(paper.config, ["final_samples=1234"])
        return replace(one, presets={**one.presets, "paper": replace(paper, config=config)})

    monkeypatch.setattr(table, "find", changed)
    assert "1,234 samples" in table.tables()[0].caption
