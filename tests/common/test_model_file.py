"""Models in files: equal to the bit, readable by others, and nothing else taken for one."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from common.error import DataError
from common.model_file import read_model, write_model

PARAMS = {
    "core": {
        "layers": {
            0: {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3) / 7},
            1: {"kernel": np.array([[-0.0, np.nan, np.inf]], np.float32)},
        }
    },
    "bias": jnp.float32(1 / 3),
    "count": np.array([1, 2], np.int32),
}
ABOUT = {"metrics": {"valid/loss": 0.1 + 0.2}, "commit": "abc", "overrides": ["a=ü"]}


@pytest.fixture
def file(tmp_path):
    write_model(tmp_path / "model.safetensors", PARAMS, ABOUT)
    return tmp_path / "model.safetensors"


def bits(array) -> tuple:
    return np.asarray(array).dtype, np.shape(array), np.asarray(array).tobytes()


def test_what_is_written_is_read_to_the_bit(file):
    params, about = read_model(str(file))
    assert about == ABOUT
    assert set(params) == set(PARAMS)
    for k in (0, 1):
        wanted = PARAMS["core"]["layers"][k]["kernel"]
        assert bits(params["core"]["layers"][k]["kernel"]) == bits(wanted)
    assert bits(params["bias"]) == bits(PARAMS["bias"])
    assert bits(params["count"]) == bits(PARAMS["count"])


def test_others_read_names_and_facts(file):
    with safe_open(str(file), framework="numpy") as opened:
        names = {"core.layers.0.kernel", "core.layers.1.kernel", "bias", "count"}
        assert set(opened.keys()) == names
        assert json.loads(opened.metadata()["metrics"]) == ABOUT["metrics"]


def test_every_flipped_byte_is_seen(file):
    """In lengths, names, facts and numbers alike."""
    whole = file.read_bytes()
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=str(file)):
            read_model(file)
    file.write_bytes(whole)
    assert read_model(file).about == ABOUT


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_file_cut_short(file, kept):
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DataError, match="damaged, or no safetensors file"):
        read_model(file)


def test_foreign_files(tmp_path):
    def refused(path, words):
        with pytest.raises(DataError, match=words) as caught:
            read_model(path)
        assert str(path) in str(caught.value)

    refused(tmp_path / "missing", "can't be read: No such file")
    refused(tmp_path, "can't be read: Is a directory")
    (tmp_path / "text").write_text("la la la la la la la la")
    refused(tmp_path / "text", "no safetensors file")
    save_file({"weight": np.zeros(2)}, tmp_path / "other")
    refused(tmp_path / "other", "not written by `export`")
    save_file({"weight": np.zeros(2)}, tmp_path / "new", {"format": "highway-tutor model 9"})
    refused(tmp_path / "new", "of the format 'highway-tutor model 9'")
