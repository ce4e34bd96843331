from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from common.config import (
    IMMATERIAL,
    PositiveInt,
    differences,
    fill,
    from_dict,
    material_differences,
    override,
    to_dict,
)
from common.error import ConfigError


@dataclass(frozen=True)
class Inner:
    depth: PositiveInt = 3
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"
    tied: bool = True


@dataclass(frozen=True)
class Outer:
    model: Inner = field(default_factory=Inner)
    name: str = "x"


def test_overrides_are_typed_and_applied_in_order():
    changed = override(Outer(), ["model.depth=5", "model.rate=1e-3", "model.depth=7", "name=true"])
    assert changed == Outer(Inner(depth=7, rate=1e-3), name="true")
    assert override(Outer(), ["model.tied=false", "model.kind=b"]).model == Inner(
        tied=False, kind="b"
    )


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("model.dept=3", r"unknown key 'model.dept'. Did you mean 'model.depth'"),
        ("depth=3", r"unknown key 'depth'"),
        ("model=3", r"group of keys; set one of: model.depth"),
        ("model.depth", r"expected key=value"),
        ("=3", r"expected key=value"),
        ("model.depth=three", r"model.depth='three'.*integer"),
        ("model.depth=2.5", r"model.depth='2.5'.*integer"),
        ("model.depth=0", r"model.depth='0'.*greater than 0"),
        ("model.kind=c", r"model.kind='c'.*'a' or 'b'"),
        ("model.tied=perhaps", r"model.tied='perhaps'.*boolean"),
        ("model.depth.x=1", r"unknown key 'model.depth.x'"),
    ],
)
def test_bad_overrides_say_what_is_wrong(assignment, message):
    with pytest.raises(ConfigError, match=message):
        override(Outer(), [assignment])


def test_round_trip_through_json_values():
    config = Outer(Inner(depth=9), "y")
    assert from_dict(Outer, to_dict(config)) == config


def test_unknown_key_in_a_saved_configuration_is_refused():
    values = to_dict(Outer())
    values["model"]["deep"] = 1
    with pytest.raises(ConfigError, match=r"unknown key 'model.deep'"):
        from_dict(Outer, values)


def test_differences_name_every_leaf_that_changed():
    assert differences(to_dict(Outer()), to_dict(Outer(Inner(depth=4), "z"))) == [
        "model.depth: 3 → 4",
        "name: x → z",
    ]
    assert differences({"a": None}, {}) == ["a: None → (absent)"]


def test_filling_adds_defaults_and_checks_nothing():
    old = {"model": {"depth": -5, "gone": 1}}
    filled = fill(Outer, old)
    assert filled["model"] == {"depth": -5, "gone": 1, "rate": 0.5, "kind": "a", "tied": True}
    assert old == {"model": {"depth": -5, "gone": 1}}


def test_filling_adds_groups_that_came_since():
    assert fill(Outer, {"name": "y"}) == to_dict(Outer(name="y"))


def test_what_changes_no_result_is_no_material_difference():
    @dataclass(frozen=True)
    class Settings:
        rate: float = 0.5
        chunk: Annotated[int, IMMATERIAL] = 0
        late: int = 1

    old = {"rate": 0.5, "chunk": 3}
    assert material_differences(Settings, old, to_dict(Settings())) == []
    assert material_differences(Settings, old, to_dict(Settings(late=2))) == ["late: 1 → 2"]


def test_a_setting_that_nothing_reads_keeps_its_value():
    @dataclass(frozen=True)
    class Core:
        kind: Literal["a", "b"] = "a"
        rate: float = 0.5

        @property
        def unread(self) -> dict[str, str]:
            return {"rate": "only b reads it"} if self.kind == "a" else {}

    @dataclass(frozen=True)
    class Settings:
        core: Core = field(default_factory=Core)

    assert override(Settings(), ["core.rate=0.50"]) == Settings()
    assert override(Settings(), ["core.rate=1", "core.kind=b"]).core.rate == 1.0

    @dataclass(frozen=True)
    class Both(Settings):
        @property
        def unread(self) -> dict[str, str]:
            return {"core.kind": "both are used"}

    with pytest.raises(ConfigError, match=r"core\.rate=1\.0 has no effect: only b reads it\."):
        override(Settings(), ["core.rate=1"])
    assert override(Both(), ["core.rate=1"]).core.rate == 1.0
    with pytest.raises(ConfigError, match=r'core\.kind="b" has no effect: both are used\.'):
        override(Both(), ["core.kind=b"])
