"""What the results say of language models in a sentence."""

from dataclasses import replace
from pathlib import Path

import pytest

from common.config import override, to_dict
from common.record import find_records, read_record
from experiments.language import depth_study, table
from experiments.language.depth_study import findings
from experiments.language.table import tables
from experiments.registry import find
from experiments.results.paper_table import Answers, written

RESULTS = Path(__file__).parents[3] / "results"


@pytest.fixture(scope="module")
def row():
    """(depth, test perplexity, overrides, what else differs) → the record of a run."""
    one = read_record(RESULTS / "rhn_penn_treebank_depth3_tied/cpu/seed0/record.json")

    def record(depth, perplexity, *overrides, weights="tied", preset="cpu", **changes):
        name = f"rhn_penn_treebank_depth{depth}_{weights}"
        config = to_dict(override(find(name).preset(preset).config, overrides))
        return replace(
            one,
            experiment=name,
            preset=preset,
            config=config,
            overrides=list(overrides),
            parameters=2_501_000,
            metrics={"test_full/perplexity": perplexity},
            **changes,
        )

    return record


def test_how_perplexity_goes_with_depth(row):
    rows = [row(10, 150.0), row(1, 171.26), row(5, 141.0), row(5, 139.0)]
    others = [row(1, 9.0, preset="smoke"), row(1, 9.0, "model.units=5")]
    (found,) = findings([*rows, *others, row(2, 9.0, weights="untied")])
    assert found == (
        "Penn Treebank by recurrence depth, tied, preset cpu (2.5 M parameters, 6 epochs, 1 to 2 "
        "seeds a depth): test perplexity (published, at full size) at depth 1: 171.26 (90.6); 5: "
        "140.00 (67.7); 10: 150.00 (66.0). Lowest at 5 (of the published, at 10); with fewer than "
        "3 seeds a depth it isn't known how much of a difference is the seeds'."
    )


def test_depths_that_come_near_the_lowest_are_named(row):
    def seeds(depth, *values):
        return [row(depth, value, seed=seed) for seed, value in enumerate(values)]

    rows = [*seeds(1, 170.0, 171.0, 172.0), *seeds(5, 138.0, 140.0, 142.0)]
    (found,) = findings([*rows, *seeds(10, 141.0, 141.3, 141.6)])
    assert "at depth 1: 171.00 (90.6); 5: 140.00 (67.7); 10: 141.30 (66.0). Lowest at 5" in found
    assert found.endswith("at 10), within 1 % of it at 10 (its interval overlaps those at 10).")
    (found,) = findings(
        [*rows[:3], *seeds(5, 140.0, 140.1, 140.2), *seeds(10, 141.0, 141.3, 141.6)]
    )
    assert found.endswith("within 1 % of it at 10 (its interval overlaps none of theirs).")
    (found,) = findings([*rows, *seeds(10, 143.0, 144.0, 148.0)])
    assert found.endswith("published, at 10).")
    (found,) = findings([*rows, *seeds(2, 150.0, 151.0), *seeds(9, 140.5), *seeds(10, 141.0)])
    assert "(of the published, at 9 and 10), within 1 % of it at 9 and 10; with fewer" in found
    assert "with fewer than 3 seeds at depth 2, 9 and 10 it isn't known how much of a" in found


def test_of_a_presets_studies_the_one_with_the_most_runs_has_a_sentence(row):
    tied = [row(depth, 150.0) for depth in (1, 5, 10)]
    untied = [row(depth, 140.0, weights="untied") for depth in (1, 2, 5, 10)]
    (found,) = findings([*tied, *untied])
    assert "depth, untied, preset cpu" in found
    (found,) = findings([*tied, *untied, row(2, 150.0), row(2, 151.0, seed=1)])
    assert "depth, tied, preset cpu" in found


def test_two_depths_are_no_trend(row):
    assert findings([row(1, 171.0), row(10, 150.0), row(10, 151.0)]) == []


def test_other_precisions_settings_and_data_stay_out(row):
    rows = [row(1, 171.0, seed=0), row(5, 141.0), row(10, 150.0)]
    (found,) = findings(rows)
    narrow = row(5, 9.0, seed=1, device={**rows[0].device, "products": "bfloat16"})
    before = row(5, 9.0, "train.epochs=3", seed=2)
    before = replace(before, overrides=[])  # made before the preset's settings changed
    other = replace(rows[0].data[0], checksums={"ptb.train.txt": "other"})
    elsewhere = row(5, 9.0, seed=3, data=[other], finished="2099-01-01T00:00:00+00:00")
    for one in (narrow, before, elsewhere):
        assert findings([one, *rows]) == [found]
    assert findings([narrow, elsewhere, rows[0], rows[2]]) == []


def test_seeds_that_diverged_are_counted(row):
    rows = [row(1, 171.0, seed=0), row(5, 141.0, seed=0), row(10, 150.0, seed=0)]
    (quiet,) = findings(rows)
    assert "diverged" not in quiet

    def lost(depth, seed, *overrides, **changes):
        one = row(depth, 9.0, *overrides, seed=seed, status="diverged", **changes)
        return replace(one, metrics={})

    (found,) = findings([*rows, lost(1, 1), lost(1, 2), lost(8, 0), lost(10, 0)])
    assert found == f"{quiet} Seeds that diverged: 2 of 3 at depth 1, 1 of 1 at depth 8."
    other = replace(rows[0].data[0], checksums={"ptb.train.txt": "other"})
    others = [
        lost(1, 1, "train.epochs=3"),
        lost(1, 1, data=[other]),
        lost(1, 1, preset="smoke"),
        lost(1, 1, weights="untied"),
        lost(1, 1, device={**rows[0].device, "products": "bfloat16"}),
    ]
    assert findings([*rows, *others]) == [quiet]


def test_what_is_published_beside_is_the_depth_studys(row):
    """It has the same value at depths 9 and 10, tied; the paper's comparison a lower one at 10."""
    rows = [row(depth, value) for depth, value in ((1, 171.0), (9, 141.0), (10, 141.0))]
    (found,) = findings(rows)
    assert (
        "9: 141.00 (66.0); 10: 141.00 (66.0). Lowest at 9 and 10 (of the published, at 9" in found
    )


def test_depths_of_which_nothing_was_published_are_told_all_the_same(row, monkeypatch):
    """As of a row that a user added."""
    rows = [row(depth, 160.0 - depth) for depth in (1, 5, 10)]

    def without(*depths):
        names = [f"rhn_penn_treebank_depth{depth}_tied" for depth in depths]
        monkeypatch.setattr(
            depth_study,
            "find",
            lambda name: replace(find(name), published=()) if name in names else find(name),
        )
        return findings(rows)

    assert "Lowest at 10 (of the published, at 5)" in without(10)[0]
    assert "Lowest at 10; " in without(1, 5, 10)[0]


def test_without_ties_the_published_ones_are_those_without(row):
    (found,) = findings([row(depth, 200.0 - depth, weights="untied") for depth in (3, 7, 9)])
    assert "untied, preset cpu" in found
    assert "Lowest at 9 (of the published, at 9)" in found


def test_the_depth_study_tells_sizes_and_what_was_published_of_dropout_at_test(row):
    study = tables()[0]
    experiments = {one.experiment: find(one.experiment) for one in study.asked()}
    shown = written(study, Answers([], experiments))
    assert shown.titles[:3] == ("depth", "units", "parameters")
    (fifth,) = (cells for cells in shown.rows if cells[0] == "5")
    assert fifth == ["5", "1,000", "32.0 M / 22.0 M", "72.0 / 69.8", "–", "69.7 / 67.7 / 64.4", "–"]
    counts = [
        find(f"rhn_penn_treebank_depth5_{one}").paper_parameters for one in ("untied", "tied")
    ]
    assert counts == pytest.approx([32.0e6, 22.0e6], abs=0.05e6)


def test_the_caption_tells_the_passes_of_the_preset(monkeypatch):
    def changed(name):
        one = find(name)
        paper = one.preset("paper")
        config = override(paper.config, ["evaluation.mc_passes=1234"])
        return replace(one, presets={**one.presets, "paper": replace(paper, config=config)})

    monkeypatch.setattr(table, "find", changed)
    assert "1,234 passes" in tables()[1].caption


def test_the_readme_tells_of_depth_what_records_say():
    studies = depth_study.studies(find_records(RESULTS))
    (study,) = (one for one in studies if one.weights == "tied")
    found, published = study.perplexity(), study.published()
    depths = (1, 5, 8, 10)
    assert {len(study.depths[depth]) for depth in depths} == {3}
    gained = found[1].mean - min(one.mean for one in found.values())
    assert 0.9 < (found[1].mean - found[5].mean) / gained < 1
    first, *rest, last = (f"{found[depth].mean:.1f}" for depth in depths)
    printed = [published[depth].printed for depth in depths]
    told = " ".join((RESULTS.parent / "README.md").read_text(encoding="utf-8").split())
    assert (
        f"At the small size most of the gain comes by depth 5: test perplexity on Penn Treebank is "
        f"{first} at depth 1, {rest[0]} at 5, {rest[1]} at 8 and {last} at 10 (three seeds each; "
        f"published, at full size: {', '.join(printed[:3])} and {printed[3]})."
    ) in told
