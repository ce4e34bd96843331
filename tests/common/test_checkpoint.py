import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.checkpoint import Checkpoints, abstract, digest
from common.error import ConfigError, DataError
from common.open_folder import OpenFolder


class State(NamedTuple):
    params: dict
    key: jax.Array
    step: jax.Array


def make_state(step: int) -> State:
    return State(
        params={
            "kernel": jax.random.normal(jax.random.key(step), (40, 50)),
            "layers": {0: jnp.ones(3)},
        },
        key=jax.random.key(step),
        step=jnp.asarray(step, jnp.int32),
    )


def open_files(path: Path) -> list[Path]:
    """The files of a checkpoint, the largest (which holds the arrays) last."""
    return sorted((f for f in path.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)


@pytest.fixture
def checkpoints(tmp_path):
    opened = Checkpoints(tmp_path / "checkpoints")
    yield opened
    opened.close()


def test_the_whole_state_comes_back_bit_for_bit(checkpoints):
    state = make_state(7)
    checkpoints.save(state, {"seconds": 1.5, "rows": 3})
    restored, notes = checkpoints.restore_latest(abstract(state), pytest.fail)
    assert digest(restored) == digest(state)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert notes == {"seconds": 1.5, "rows": 3}
    np.testing.assert_array_equal(
        jax.random.uniform(restored.key, (3,)), jax.random.uniform(state.key, (3,))
    )


def test_nothing_saved_yet(checkpoints):
    assert checkpoints.restore_latest(abstract(make_state(0)), pytest.fail) is None


def test_the_best_and_the_latest_two_are_kept(checkpoints):
    for step, score in enumerate([5.0, 2.0, 3.0, None, 4.0, None]):
        checkpoints.save(make_state(step), {"step": step}, score)
    structure = abstract(make_state(0))
    assert digest(checkpoints.restore_best(structure, 2.0)) == digest(make_state(1))
    assert checkpoints.restore_latest(structure, pytest.fail)[1] == {"step": 5}
    kept = {path.name for path in checkpoints.directory.iterdir()}
    assert kept == {"1", "4", "5"}


def test_of_equal_scores_the_first_is_best(checkpoints):
    for step in range(2):
        checkpoints.save(make_state(step), {"step": step}, 1.0)
    best = checkpoints.restore_best(abstract(make_state(0)), 1.0)
    assert digest(best) == digest(make_state(0))


@pytest.mark.parametrize("name", ["arrays", "metadata"])
def test_no_other_checkpoint_passes_for_the_best(checkpoints, name):
    for step, score in enumerate([1.0, 2.0, 3.0]):
        checkpoints.save(make_state(step), {}, score)
    checkpoints.close()
    best = checkpoints.directory / "0"
    damaged = open_files(best)[-1] if name == "arrays" else best / "_CHECKPOINT_METADATA"
    damaged.write_bytes(b"")
    with pytest.raises(DataError, match="checkpoint"):
        Checkpoints(checkpoints.directory).restore_best(abstract(make_state(0)), 1.0)


def test_what_the_machine_lacks_is_not_blamed_on_the_file(checkpoints, monkeypatch):
    checkpoints.save(make_state(0), {})

    def fail(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(checkpoints._checkpointer, "load", fail)
    with pytest.raises(OSError, match="Too many open files"):
        checkpoints.restore_latest(abstract(make_state(0)), pytest.fail)
    assert (checkpoints.directory / "0").exists()


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip_a_bit, cut_in_half, Path.unlink])
def test_a_damaged_latest_checkpoint_gives_way_to_the_one_before(checkpoints, damage, tmp_path):
    for step in range(3):
        checkpoints.save(make_state(step), {"step": step}, float(step))
    checkpoints.close()
    damage(open_files(checkpoints.directory / "2")[-1])
    warnings: list[str] = []

    again = Checkpoints(checkpoints.directory)
    restored, notes = again.restore_latest(abstract(make_state(0)), warnings.append)
    assert notes == {"step": 1}
    assert digest(restored) == digest(make_state(1))
    assert len(warnings) == 1
    assert str(checkpoints.directory / "2") in warnings[0]
    assert (tmp_path / "damaged" / "2").is_dir()  # set aside, not deleted
    again.save(make_state(9), {"step": 9})
    assert again.restore_latest(abstract(make_state(0)), pytest.fail)[1] == {"step": 9}
    again.close()


def test_what_was_set_aside_before_stays(checkpoints, tmp_path):
    for earlier in ("1", "1.1"):
        (tmp_path / "damaged" / earlier).mkdir(parents=True)
        (tmp_path / "damaged" / earlier / "arrays").write_text(earlier)
    for step in range(2):
        checkpoints.save(make_state(step), {"step": step})
    checkpoints.close()
    flip_a_bit(open_files(checkpoints.directory / "1")[-1])
    warnings: list[str] = []
    again = Checkpoints(checkpoints.directory)
    assert again.restore_latest(abstract(make_state(0)), warnings.append)[1] == {"step": 0}
    again.close()
    assert str(tmp_path / "damaged" / "1.2") in warnings[0]
    assert open_files(tmp_path / "damaged" / "1.2")
    for earlier in ("1", "1.1"):
        assert (tmp_path / "damaged" / earlier / "arrays").read_text() == earlier


def test_when_every_checkpoint_is_damaged_it_says_so(checkpoints):
    for step in range(2):
        checkpoints.save(make_state(step), {})
    checkpoints.close()
    for number in ("0", "1"):
        for path in open_files(checkpoints.directory / number):
            path.write_bytes(b"")
    with pytest.raises(DataError, match=r"every checkpoint is damaged.*--fresh"):
        Checkpoints(checkpoints.directory).restore_latest(
            abstract(make_state(0)), lambda text: None
        )


def test_a_full_disk_is_named_and_the_checkpoints_before_stay(small_disk):
    checkpoints = Checkpoints(small_disk / "checkpoints")
    checkpoints.save(make_state(1), {"step": 1}, 1.0)
    noise = np.random.default_rng(0).integers(0, 2**31, 1_000_000)  # doesn't compress
    big = make_state(2)._replace(params={"kernel": jnp.asarray(noise, jnp.int32)})
    with pytest.raises(DataError, match=r"the disk is full.*\n.*run the same command again"):
        checkpoints.save(big, {"step": 2}, 0.5)
    checkpoints.close()  # says nothing more of it
    again = Checkpoints(small_disk / "checkpoints")
    restored, notes = again.restore_latest(abstract(make_state(0)), pytest.fail)
    assert (digest(restored), notes) == (digest(make_state(1)), {"step": 1})


def test_reading_a_finished_runs_checkpoint_moves_nothing(tmp_path):
    with pytest.raises(DataError, match="no checkpoint here"):
        Checkpoints(tmp_path / "none").read_latest({"w": jnp.zeros(3)})
    folder = tmp_path / "kept"
    kept = Checkpoints(folder)
    kept.save({"w": jnp.arange(3.0)}, {"name": "last"})
    kept.close()
    again = Checkpoints(folder)
    assert again.latest_notes() == {"name": "last"}
    state = again.read_latest(abstract({"w": jnp.zeros(3)}))
    np.testing.assert_array_equal(state["w"], [0, 1, 2])
    again.close()
    for path in folder.rglob("d/*"):
        if path.is_file():
            path.write_bytes(b"\0" * path.stat().st_size)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    damaged = Checkpoints(folder)
    with pytest.raises(DataError, match="this checkpoint"):
        damaged.read_latest(abstract({"w": jnp.zeros(3)}))
    damaged.close()
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_a_digest_tells_types_shapes_and_bits_apart():
    zeros = np.zeros(4, np.float32)
    same_bytes = [
        zeros,
        np.zeros(4, np.int32),
        np.zeros((2, 2), np.float32),
        np.zeros(2, np.float64),
        np.zeros(16, np.uint8),
    ]
    assert len({digest({"a": array}) for array in same_bytes}) == len(same_bytes)
    assert digest({"a": zeros}) == digest({"a": jnp.zeros(4)})
    other = zeros.copy()
    other[3] = -0.0
    assert digest({"a": zeros}) != digest({"a": other})


def test_a_digest_does_not_depend_on_how_arrays_are_sharded():
    code = """
import jax, jax.numpy as jnp
jax.config.update("jax_num_cpu_devices", 2)
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from common.checkpoint import digest
mesh = Mesh(jax.devices(), ("x",))
array = jnp.arange(8.0).reshape(4, 2)
specs = (P(), P("x"), P(None, "x"))
found = {digest(jax.device_put(array, NamedSharding(mesh, spec))) for spec in specs}
assert found == {digest(array)}, found
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


NAMES = [
    *("a [x]", "st*r", "q?m", "back\\slash", "gs:", "a:b", "{a,b}", "%20", "#", "\"'", "new\nline"),
    *("-dash", "~x", "ünï中", "trailing ", "x" * 255, ".hid", "$HOME", "a&b|c;d", "\x01"),
    os.fsdecode(b"\xff\xfe"),
]
"""Of directories; the first ones broke Orbax or tensorstore."""


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_every_name_of_a_directory_works(tmp_path, name):
    folder = tmp_path / name / "checkpoints"
    state = make_state(1)
    opened = Checkpoints(folder)
    for step in range(2):
        opened.save(state, {"step": step}, float(step))
    opened.close()
    again = Checkpoints(folder)
    restored, notes = again.restore_latest(abstract(state), pytest.fail)
    assert (digest(restored), notes) == (digest(state), {"step": 1})
    assert digest(again.restore_best(abstract(state), 0.0)) == digest(state)
    again.close()
    assert sorted(os.listdir(folder)) == ["0", "1"]
    assert not (tmp_path / "gs:" / "gs:").exists()


def test_a_path_too_long_for_what_orbax_adds_works(tmp_path):
    folder = tmp_path.joinpath(*["x" * 200] * 18) / "checkpoints"
    opened = Checkpoints(folder)
    opened.save(make_state(0), {})
    assert opened.restore_latest(abstract(make_state(0)), pytest.fail) is not None
    opened.close()


def test_where_a_name_can_not_work_nothing_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(OpenFolder, "plain_path", lambda self: None)
    with pytest.raises(ConfigError, match="can't be written under a path with one of"):
        Checkpoints(tmp_path / "a [x]")


def as_float16(state: State) -> State:
    return state._replace(params=jax.tree.map(lambda x: x.astype(jnp.float16), state.params))


OTHERS = {
    "dtype": (as_float16, r"params.kernel is float32\[40, 50\], wanted is float16\[40, 50\]"),
    "shape": (
        lambda state: state._replace(step=jnp.zeros(2, jnp.int32)),
        r"step is int32\[\], wanted is int32\[2\]",
    ),
    "more": (
        lambda state: state._replace(params={**state.params, "bias": jnp.ones(1)}),
        r"params.bias is missing, wanted is float32\[1\]",
    ),
    "fewer": (
        lambda state: state._replace(params={"kernel": state.params["kernel"]}),
        r"params.layers.0 is float32\[3\], wanted is none",
    ),
    "random": (
        lambda state: state._replace(key=jax.random.key(0, impl="rbg")),
        r"key is uint32\[2\], wanted is uint32\[4\]",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_an_intact_checkpoint_of_other_settings_is_refused_and_stays(checkpoints, kind):
    other, words = OTHERS[kind]
    for step in range(2):
        checkpoints.save(make_state(step), {}, 1.0)
    before = sorted(checkpoints.directory.parent.rglob("*"))
    wanted = abstract(other(make_state(0)))
    for read in (
        lambda: checkpoints.restore_latest(wanted, pytest.fail),
        lambda: checkpoints.read_latest(wanted),
        lambda: checkpoints.restore_best(wanted, 1.0),
    ):
        with pytest.raises(ConfigError, match=words):
            read()
    assert sorted(checkpoints.directory.parent.rglob("*")) == before


def test_it_goes_on_refusing_once_all_were_set_aside(checkpoints):
    checkpoints.save(make_state(0), {})
    checkpoints.close()
    open_files(checkpoints.directory / "0")[-1].write_bytes(b"")
    for words in ("every checkpoint is damaged", "no checkpoint is left", "no checkpoint is left"):
        again = Checkpoints(checkpoints.directory)
        with pytest.raises(DataError, match=rf"(?s){words}.*--fresh"):
            again.restore_latest(abstract(make_state(0)), lambda text: None)
        again.close()


@pytest.mark.parametrize("folder", ["plain", "a [x]"])
def test_saved_checkpoints_that_are_gone_are_no_start(tmp_path, folder):
    opened = Checkpoints(tmp_path / folder)
    opened.save(make_state(0), {})
    shutil.rmtree(tmp_path / folder)
    with pytest.raises(DataError, match="deleted, moved or replaced"):
        opened.save(make_state(1), {})
    (tmp_path / folder).mkdir()  # another of the same name
    with pytest.raises(DataError, match="deleted, moved or replaced"):
        opened.save(make_state(1), {})
    opened.close()
    with pytest.raises(DataError, match="are gone"):
        Checkpoints(tmp_path / folder).restore_latest(abstract(make_state(0)), pytest.fail)
