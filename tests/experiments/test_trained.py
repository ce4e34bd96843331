"""Models of runs: every setting of their cores arrives, and what is saved is what is loaded."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from common.config import to_dict
from common.error import ConfigError
from common.record import DataUsed, Record, write_record
from experiments import trained
from experiments.melodies.domain import MELODIES
from experiments.trained import Trained
from tutor.config import SequenceModelConfig
from tutor.evaluation import Compositions, Policy
from tutor.size import parameter_count

DATA = DataUsed("songs", "1.0.0", "others", {"train": 5}, {"songs.zip": "0" * 64})
NOTES = {"swapped_specials": True}


def model(config: SequenceModelConfig = SequenceModelConfig(units=6)) -> Trained:  # noqa: B008 - immutable
    graph, params = trained.make_graph(config, MELODIES.num_events)
    tuned = jax.tree.map(lambda leaf: leaf + 1, params)
    return Trained(MELODIES, graph, Policy(tuned, params), config, "g", DATA, NOTES)


def initial(**settings) -> dict:
    return trained.make_graph(SequenceModelConfig(**settings), 5)[1]


def sizes(tree) -> dict[str, tuple[int, ...]]:
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in paths}


def test_settings_of_a_highway_core_reach_it():
    params = initial(core="rhn", depth=3, units=7, transform_bias=-3.5, initial_range=0.01)
    shapes = sizes(params)
    assert shapes["['core']['input_kernel']"] == (5, 2, 7)
    layers = params["core"]["layers"]
    assert len(layers) == 3
    for layer in layers.values():
        assert np.all(layer["bias"][1] == -3.5)
        assert 0.005 < np.abs(layer["kernel"]).max() <= 0.01


def test_settings_of_an_lstm_reach_it():
    params = initial(core="lstm", units=7, forget_bias=2.5, initial_range=0.01)
    assert sizes(params)["['core']['kernel']"] == (7, 4, 7)
    assert np.all(params["core"]["bias"][1] == 2.5)
    for array in (params["core"]["kernel"], params["core"]["input_kernel"]):
        assert 0.005 < np.abs(array).max() <= 0.01
    assert 0.005 < np.abs(params["output_kernel"]).max() <= 0.01


def test_a_core_is_made_by_its_name_and_never_counted_as_another():
    """A new core that settings already name, and tutor.size doesn't yet."""
    params = initial(core="dt_rnn", depth=2, units=7)
    assert sizes(params)["['core']['input_kernel']"] == (5, 1, 7)
    with pytest.raises(ValueError, match=r"the core dt_rnn in tutor/size\.py"):
        parameter_count(SequenceModelConfig(core="dt_rnn", units=7), 5)


@pytest.mark.parametrize("core", [{}, {"core": "rhn", "depth": 2}])
def test_parameters_are_counted_as_they_are_made(core):
    config = SequenceModelConfig(units=7, **core)
    made = sum(leaf.size for leaf in jax.tree.leaves(initial(units=7, **core)))
    assert parameter_count(config, 5) == made


@pytest.mark.parametrize("core", [{}, {"core": "rhn", "depth": 2}])
def test_what_is_saved_is_loaded(tmp_path, core):
    saved = model(SequenceModelConfig(units=6, **core))
    trained.save(tmp_path, saved)
    loaded = trained.load(str(tmp_path))
    jax.tree.map(np.testing.assert_array_equal, loaded.policy, saved.policy)
    assert loaded.domain is MELODIES
    assert (loaded.model, loaded.method, loaded.data) == (saved.model, "g", DATA)
    assert loaded.notes["swapped_specials"] is True
    assert loaded.graph == saved.graph


def notes_file(folder):
    (found,) = [p for p in folder.rglob("*") if p.is_file() and b"num_events" in p.read_bytes()]
    return found


def test_a_model_saved_without_its_domain_and_data_is_known_by_what_lies_beside_it(tmp_path):
    trained.save(tmp_path, model())
    file = notes_file(tmp_path)
    text = json.dumps(json.loads(file.read_text()))
    content = json.loads(text)

    def strip(node):
        if isinstance(node, dict):
            if "num_events" in node:
                del node["domain"], node["data"]
            for value in node.values():
                strip(value)

    strip(content)
    file.write_text(json.dumps(content))
    record = Record(
        experiment="note_rnn", preset="cpu", seed=0, status="done", command="", overrides=[],
        config=to_dict(SequenceModelConfig()), parameters=1, metrics={}, curve=[], seconds={},
        device={}, data=[replace(DATA, name="beside")], versions={}, commit="", commits=[],
        dirty=False, finished="",
    )  # fmt: skip
    part = trained.load(tmp_path)  # without a record beside it, as in a run of several parts
    assert part.data.name == "unknown"
    write_record(record, tmp_path)
    loaded = trained.load(tmp_path)
    assert loaded.domain is MELODIES
    assert loaded.data.name == "beside"


def test_a_model_of_an_unknown_domain_is_refused(tmp_path):
    trained.save(tmp_path, model()._replace(domain=replace(MELODIES, name="bird song")))
    with pytest.raises(ConfigError, match="bird song, a domain that isn't known"):
        trained.load(tmp_path)


def test_melodies_that_end_early_are_refused(tmp_path):
    one = np.zeros((2, 32), np.float32)
    counted = np.ones((2, 32), bool)
    counted[1, 9:] = False
    made = Compositions(one.astype(np.int32), one, one, one, one, counted)
    for use in (MELODIES.judge, lambda made: MELODIES.write(made, tmp_path, NOTES)):
        with pytest.raises(ValueError, match="end at different events"):
            use(made)
    assert not list(tmp_path.iterdir())
