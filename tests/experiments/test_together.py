"""Which seeds train together, given what was begun; found again in whatever order."""

from pathlib import Path

import pytest

from common.error import ConfigError
from experiments.together import group, joint_folder, same_set


def begun(root: Path, *names: str, rows: str = "{}\n") -> None:
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "metrics.jsonl").write_text(rows)


def finished(root: Path, *seeds: int) -> None:
    for seed in seeds:
        (root / f"seed{seed}").mkdir(exist_ok=True)
        (root / f"seed{seed}" / "record.json").touch()


@pytest.mark.parametrize(
    ("there", "done", "asked", "groups"),
    [
        ([], [], (0, 1), [(0, 1)]),
        ([], [], (1, 0), [(1, 0)]),
        (["seeds0-1"], [], (0, 1), [(0, 1)]),
        (["seeds0-1"], [], (1, 0), [(0, 1)]),
        (["seeds2-0-1"], [], (0, 1, 2), [(2, 0, 1)]),
        (["seeds0-1"], [], (0, 1, 2), [(0, 1), (2,)]),
        (["seeds0-1"], [], (3, 1, 2, 0), [(0, 1), (3, 2)]),
        (["seeds0-1", "seeds2-3"], [], (0, 1, 2, 3), [(0, 1), (2, 3)]),
        (["seeds0-1", "seeds0-1-2"], [], (0, 1, 2), [(0, 1, 2)]),
        (["seeds0-1-2"], [0], (1, 2), [(0, 1, 2)]),  # killed between two records
        (["seeds0-1"], [0, 1], (2, 3), [(2, 3)]),
        (["seed0"], [], (0, 1, 2), [(0,), (1, 2)]),
        (["seed0", "seeds0-1"], [], (0, 1), [(0,), (0, 1)]),
        (["seeds10-11"], [], (1, 0), [(1, 0)]),
        (["seedsx-1", "seeds0"], [], (0, 1), [(0, 1)]),
    ],
)
def test_begun_trainings_go_on(tmp_path, there, done, asked, groups):
    begun(tmp_path, *there)
    finished(tmp_path, *done)
    assert group(tmp_path, asked) == groups


def test_a_training_without_a_row_is_none(tmp_path):
    begun(tmp_path, "seeds0-1", "seed2", rows="")
    assert group(tmp_path, (0, 1, 2)) == [(0, 1, 2)]


@pytest.mark.parametrize("asked", [(0,), (0, 2), (2, 1, 0)])
def test_a_seed_that_is_not_asked_for_is_named(tmp_path, asked):
    begun(tmp_path, "seeds0-1-3")
    with pytest.raises(ConfigError) as refusal:
        group(tmp_path, asked)
    everyone = " ".join(map(str, sorted({0, 1, 3, *asked})))
    assert "seeds0-1-3: seeds 0, 1, 3 train together here, and stopped" in str(refusal.value)
    assert f"--seeds {everyone};" in str(refusal.value)
    assert "--fresh" in str(refusal.value)


def test_a_fresh_start_takes_the_place_of_the_same_seeds(tmp_path):
    begun(tmp_path, "seeds1-0")
    assert joint_folder(same_set(tmp_path, (0, 1))) == "seeds1-0"
    assert joint_folder(same_set(tmp_path, (0, 2))) == "seeds0-2"
