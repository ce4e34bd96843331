"""report.html: what it shows is what the runs recorded, and it loads nothing from anywhere."""

import dataclasses
import itertools
import json
import re
import statistics

import pytest
from page_case import SAMPLE, Page, leave, make_runs
from report_case import MC, TEST, VALID, record, words

from common.error import DataError
from common.plot import learning_curves
from experiments import registry
from experiments.cli import main
from experiments.results.claim import shown
from experiments.results.collect import finished_runs
from experiments.results.html import page as page_module
from experiments.results.html import shown as shown_module
from experiments.results.html.media import Allowance
from experiments.results.html.page import MOST_BYTES, page_text, write_page
from experiments.results.html.prose import Prose

FAMILY = registry.Family((words(),), artefacts=("*.mid",))


@pytest.fixture(scope="module")
def patched():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "experiments", lambda: {"words": words()})
        patch.setattr(registry, "families", lambda: [FAMILY])
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def text(patched, runs, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("report")
    assert main(["report", "--runs", str(runs), "--out", str(out)]) == 0
    return (out / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_the_numbers_are_those_of_the_records(page):
    cells = page.texts("td")
    assert "66.83 [66.00, 68.00]" in cells
    assert "66.0 (source of 66.0)" in cells
    assert "matched" in cells
    assert any(cell.startswith("scaled down; ") for cell in cells)
    assert any(one.startswith("scaled down: 2.5 M of 21.0 M parameters") for one in page.texts("p"))
    recorded = next(json.loads(one) for one in page.texts("pre") if VALID in one)
    assert recorded == {TEST: [66, 66.5, 68], VALID: [70, 71, 72], "train/loss": [4.25] * 3}


def test_the_curve_is_read_at_every_step_with_its_seeds(page):
    (chart,) = [one for one in page.all("figure") if "data-readings" in one]
    shares, words_of_it = zip(*json.loads(chart["data-readings"]), strict=True)
    assert list(shares) == sorted(shares)
    assert 0 < shares[0] < shares[-1] < 1
    for step, told in zip((1, 2, 3), words_of_it, strict=True):
        values = [900 / step + seed for seed in range(3)]
        low, mean, high = min(values), statistics.fmean(values), max(values)
        assert told == f"step {100 * step}: valid {mean:.4g} (seeds {low:.4g} to {high:.4g})"
    assert page.texts("output") == [words_of_it[-1]]


def test_a_section_for_each_experiment_and_an_article_for_each_setting(page):
    assert page.texts("h3") == ["paper", "cpu, model.depth=2"]
    assert {"words", "how-to-read"} <= set(page.ids())
    targets = [one["href"].removeprefix("#") for one in page.all("a")]
    assert "words" in targets
    assert set(targets) <= set(page.ids())


def test_commands_configuration_and_manifest(page):
    buttons = [one["data-copy"] for one in page.all("button")]
    assert [page.text_of(name) for name in buttons] == [
        "python -m experiments run words --preset paper --seed 0",
        "python -m experiments run words --preset cpu --seed 0",
    ]
    shown = page.texts("pre")
    assert any("model.depth=2\n" in one for one in shown)
    assert any("model.depth: " in one for one in shown)
    (manifest, _) = [json.loads(one) for one in shown if '"commit"' in one]
    assert manifest["commit"] == "0123456789abcdef"
    assert manifest["sessions"] == [{"started": "at noon"}]
    assert "metrics" not in manifest


def test_pictures_melodies_and_samples_of_the_first_seed(page):
    assert len(page.all("img")) == 2
    assert next(one["alt"] for one in page.all("img")) == "curve: words, preset paper, seed 0"
    assert all(one["src"].startswith("data:audio/wav;base64,") for one in page.all("audio"))
    assert len(page.all("audio")) == 2
    (roll, _) = [one for one in page.all("svg") if "Piano roll" in one.get("aria-label", "")]
    assert roll["aria-label"].startswith("Piano roll of composition1: 12 notes from ")
    assert SAMPLE.strip() in page.texts("pre")


def test_what_describes_a_picture_is_there_for_those_who_cannot_see_it(tmp_path):
    told = "perplexity\nours: 90.5 at 1, 72.25 at 2\n" + ", ".join(f"{k} at {k}" for k in range(99))
    for name, description in (("short", "ours: 72.25"), ("long", told), ("none", "")):
        learning_curves(
            {"ours": [(1, 90.5), (2, 72.25)]}, tmp_path / f"{name}.png",
            x_label="x", y_label="y", title="t", description=description,
        )  # fmt: skip
    text = "".join(shown(tmp_path / f"{n}.png", tmp_path, n) + "\n" for n in ("short", "none"))
    page = Page(Prose(tmp_path, Allowance(1_000_000)).write(f"{text}See [perplexity](long.png)."))
    short, none, long = [one["alt"] for one in page.all("img")]
    assert (short, none) == ("short: ours: 72.25", "none")
    assert long.startswith("perplexity; ours: 90.5 at 1, 72.25 at 2; 0 at 0, 1 at 1")
    assert len(long) <= 240
    assert page.texts("figcaption") == ["short", "none", "perplexity"]
    assert told in [one.removeprefix("In words: perplexity") for one in page.texts("details")]


def test_whatever_runs_say_stays_text(page, runs, patched, tmp_path):
    assert len(page.all("script")) == 1
    evil = '"><img src=x onerror=alert(1)>'
    leave(tmp_path / "runs", record(words(), command=evil, overrides=[f"data.name={evil}"]))
    found, _ = finished_runs(tmp_path / "runs")
    odd = Page(page_text(found, {"words": words()}, tmp_path))
    assert all("onerror" not in one for one in odd.all("img"))
    assert evil in odd.texts("code")
    assert any(evil in title for title in odd.texts("h3"))


def test_it_loads_nothing(text, page):
    for _, attributes, _ in page.elements:
        for name in ("src", "xlink:href", "poster", "data", "action", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:")), attributes
    assert all(one["href"].startswith("#") for one in page.all("a"))
    assert not page.all("link", "iframe", "object", "embed", "base", "form")
    (style,) = page.texts("style")
    assert "@import" not in style
    assert not re.search(r"url\((?!#)", text)
    (policy,) = [one for one in page.all("meta") if "http-equiv" in one]
    assert policy["content"].startswith("default-src 'none'; ")
    (script,) = page.texts("script")
    assert not re.search(r"fetch|XMLHttp|import|https?:", script)


def test_everything_that_is_not_text_has_one(page):
    assert all(one["alt"] for one in page.all("img"))
    assert all(one["aria-label"] for one in page.all("audio", "input"))
    for one in page.all("svg"):
        assert one.get("aria-hidden") or (one["role"] == "img" and one["aria-label"])


def test_headings_are_in_order_and_names_unique(page):
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert len(page.ids()) == len(set(page.ids()))


def test_the_same_runs_give_the_same_bytes(runs, patched, tmp_path):
    found, _ = finished_runs(runs)
    once, again = (page_text(found, {"words": words()}, tmp_path) for _ in range(2))
    assert once == again


def test_what_has_no_room_is_named(runs, patched, tmp_path):
    made = record(words())
    leave(tmp_path, made)
    folder = tmp_path / "words/paper/seed0"
    for number in range(4):
        (folder / f"large{number}.png").write_bytes(bytes(1_200_000))
    found, _ = finished_runs(tmp_path)
    text = page_text(found, {"words": words()}, tmp_path)
    assert len(text.encode()) < MOST_BYTES
    assert "Not in this page, to keep it small: large2.png, large3.png." in text


def test_charts_of_many_groups_leave_room_for_sounds_and_pictures(tmp_path, monkeypatch):
    """The first of each before the second of any, be it of the last experiment."""
    monkeypatch.setattr(page_module, "MEDIA_BYTES", 120_000)
    monkeypatch.setattr(shown_module, "SOUND_BYTES", 45_000)
    monkeypatch.setattr(shown_module, "PICTURE_BYTES", 30_000)
    known = {name: words(name) for name in ("first", "last")}
    monkeypatch.setattr(registry, "experiments", lambda: known)
    monkeypatch.setattr(registry, "families", lambda: [FAMILY])
    curve = [{"step": k, TEST: 9.0, VALID: 9.0 + k, MC: 8.0} for k in (1, 2)]
    for name, experiment in known.items():
        for depth in range(2, 10 if name == "first" else 3):
            made = record(experiment, "cpu", 0, [f"model.depth={depth}"], curve=curve)
            leave(tmp_path / f"depth={depth}", made)
    found, _ = finished_runs(tmp_path)
    page = Page(page_text(found, known, tmp_path))
    assert "Not in this page" in " ".join(page.texts("p"))
    for name in known:
        (section,) = ["".join(t) for _, a, t in page.elements if a.get("aria-labelledby") == name]
        assert "Learning curves" in section
    assert page.all("audio")
    assert page.all("img")


def test_runs_with_settings_changed_are_lines_below_those_of_their_preset(patched, tmp_path):
    leave(tmp_path, record(words()))
    for depth in (2, 3):
        made = record(words(), overrides=[f"model.depth={depth}"], metrics={TEST: 60.0 + depth})
        leave(tmp_path / f"depth={depth}", made)
    found, _ = finished_runs(tmp_path)
    page = Page(page_text(found, {"words": words()}, tmp_path))
    assert page.texts("h3") == ["paper", "paper with settings changed"]
    changed = [a["data-label"] for _, a, _ in page.elements if a.get("data-label") == "changed"]
    assert len(changed) == 2
    assert {"model.depth=2", "62.00", "model.depth=3", "63.00"} <= set(page.texts("td"))


def test_charts_and_sounds_take_room_too(runs, patched, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "MEDIA_BYTES", 3_000)
    found, _ = finished_runs(runs)
    page = Page(page_text(found, {"words": words()}, tmp_path))
    assert not [one for one in page.all("figure") if "data-readings" in one]
    assert page.all("audio", "img") == []
    told = [one for one in page.texts("p") if one.startswith("Not in this page")]
    assert told[0] == "Not in this page, to keep it small: perplexity over training, curve.png."


def test_a_page_that_would_be_too_large_is_refused(runs, patched, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "MOST_BYTES", 10_000)
    found, _ = finished_runs(runs)
    with pytest.raises(DataError, match="Report on fewer of them"):
        write_page(found, {"words": words()}, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_diverged_seed_enters_no_curve(patched, tmp_path):
    curve = [{"step": 100, "valid/perplexity": 80.0}, {"step": 200, "valid/perplexity": 70.0}]
    leave(tmp_path, record(words(), metrics={TEST: 66.0, VALID: 70.0}, curve=curve))
    leave(tmp_path, record(words(), seed=1, status="diverged", metrics={}, curve=curve[:1]))
    found, _ = finished_runs(tmp_path)
    page = Page(page_text(found, {"words": words()}, tmp_path))
    assert page.texts("output") == ["step 200: valid 70"]
    assert any("1 of 2 seeds diverged" in cell for cell in page.texts("td"))
    assert "0; diverged: 1" in page.texts("dd")
    assert page.texts("p")[0].startswith("1 finished run of 1 experiment and 1 that diverged, ")


def test_seeds_trained_alike_stand_together_however_they_were_evaluated(tmp_path, monkeypatch):
    """As on RESULTS.md: a mean over all of what all have, and every evaluation of one seed."""
    experiment = words(passes=9)
    monkeypatch.setattr(registry, "experiments", lambda: {"words": experiment})
    monkeypatch.setattr(registry, "families", lambda: [registry.Family((experiment,))])
    curve = [{"step": step, VALID: 70.0 + step} for step in (1, 2)]
    for seed, value in enumerate((66.0, 66.5, 68.0)):
        overrides = ["evaluation.mc_passes=0"] * (seed > 0)
        metrics = {TEST: value} | ({} if seed else {MC: 61.25})
        leave(
            tmp_path / "a", record(experiment, "cpu", seed, overrides, metrics=metrics, curve=curve)
        )
    again = ["evaluation.mc_passes=20"]
    metrics = {TEST: 66.0, MC: 60.75}
    command = "python -m experiments run words --set evaluation.mc_passes=20"
    leave(
        tmp_path / "b",
        record(experiment, "cpu", 0, again, metrics=metrics, curve=curve, command=command),
    )
    found, _ = finished_runs(tmp_path)
    page = Page(page_text(found, {"words": experiment}, tmp_path))
    assert page.texts("h3") == ["cpu"]
    cells = page.texts("td")
    for value in ("66.83 [66.00, 68.00]", "61.25", "60.75", "MC dropout, 20 passes"):
        assert value in cells
    assert page.texts("output") == ["step 2: valid 72 (seeds 72 to 72)"]
    assert command in page.texts("code")
    assert "0, 1, 2" in page.texts("dd")


def test_the_interquartile_mean_is_shown_where_there_are_seeds_for_it(patched, tmp_path):
    values = (66.0, 66.0, 66.1, 66.2, 66.3, 66.4, 70.0, 90.0)
    for seed, value in enumerate(values):
        leave(tmp_path / "eight", record(words(), seed=seed, metrics={TEST: value}))
        if seed < 7:
            leave(tmp_path / "seven", record(words(), seed=seed, metrics={TEST: value}))
    eight, seven = (
        Page(page_text(finished_runs(tmp_path / name)[0], {"words": words()}, tmp_path))
        for name in ("eight", "seven")
    )
    middle = [one for one in eight.elements if one[1].get("data-label") == "interquartile mean"]
    ((_, _, texts),) = middle
    assert re.fullmatch(r"66\.25 \[66\.\d\d, \d\d\.\d\d\]", "".join(texts))
    assert "interquartile mean" not in seven.texts("th")


def test_every_point_of_a_grid_is_named_by_its_settings(patched, tmp_path):
    for point in ("model.tied=true", "model.tied=false"):
        leave(tmp_path / point, record(words(), "cpu", overrides=[point]))
    found, _ = finished_runs(tmp_path)
    page = page_text(found, {"words": words()}, tmp_path)
    titles = Page(page).texts("h3")
    assert sorted(titles) == ["cpu with settings changed", "cpu, model.tied=true"]
    assert "model.tied=false" in page.partition("cpu with settings changed")[2]


def test_runs_on_other_data_stand_apart(patched, tmp_path):
    for number, checksum in enumerate(("aa", "bb")):
        made = record(words())
        data = [dataclasses.replace(made.data[0], checksums={"file": checksum})]
        leave(tmp_path / f"{number}", dataclasses.replace(made, data=data))
    found, _ = finished_runs(tmp_path)
    titles = Page(page_text(found, {"words": words()}, tmp_path)).texts("h3")
    assert len(titles) == 2
    assert all(re.fullmatch(r"paper \[data [0-9a-f]{6}\]", title) for title in titles)
