"""Quickstart: two models of one size, run on what ships."""

from run_case import folder, record, run

from experiments.quickstart.catalogue import VOCABULARY
from experiments.registry import find
from highway.size import parameter_count


def test_the_smoke_preset_runs_on_what_ships(tmp_path):
    assert run(tmp_path, "quickstart") == 0
    made = record(tmp_path, "quickstart")
    for metric in find("quickstart").metrics:
        assert metric.name in made.metrics
    rhn, lstm = made.parameters["rhn"], made.parameters["lstm"]
    assert abs(rhn - lstm) < 0.02 * rhn
    assert "--- lstm ---" in (folder(tmp_path, "quickstart") / "sample.txt").read_text()


def test_both_models_have_the_same_size():
    config = find("quickstart").presets["cpu"].config
    sizes = [parameter_count(config.model(name).model, VOCABULARY) for name in ("rhn", "lstm")]
    assert abs(sizes[0] - sizes[1]) < 0.01 * sizes[0]
