"""Configurations: frozen dataclasses, changed by typed `key=value` overrides, saved as JSON."""

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from common.error import ConfigError

T = TypeVar("T")

LARGEST = 10**9
"""Beyond any sensible count, and within what 32-bit indices hold."""

PositiveInt = Annotated[int, Field(gt=0, le=LARGEST)]
NonNegativeInt = Annotated[int, Field(ge=0, le=LARGEST)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
DropoutRate = Annotated[float, Field(ge=0, lt=1)]


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as nested dictionaries of JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(kind: type[T], values: Mapping[str, Any]) -> T:
    """Builds a `kind` from nested dictionaries.

    Raises ConfigError, with a suggestion, on a key that `kind` doesn't have or a value of the
    wrong type or out of range.
    """
    _refuse_unknown_keys(kind, values, prefix="")
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{key}={first['input']!r}: {first['msg']}.") from None


def override(config: T, assignments: Iterable[str]) -> T:
    """A copy of `config` with `a.b=value` assignments applied, in order.

    A value is read as its field's type demands: `3`, `1e-3`, `true`, `text`, `[1, 2]`. Raises
    ConfigError as `from_dict` does.
    """
    values = to_dict(config)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {assignment}: expected key=value, as in model.depth=3.")
        *parents, last = key.strip().split(".")
        _require_leaf(type(config), key.strip())
        node = values
        for parent in parents:
            node = node[parent]
        node[last] = _parse(text.strip())
    return from_dict(type(config), values)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Lines `key: old → new` for every leaf in which two configurations (as dicts) differ."""
    flat_old, flat_new = flatten(old), flatten(new)
    keys = sorted(flat_old.keys() | flat_new.keys())
    return [
        f"{key}: {flat_old.get(key, '(absent)')} → {flat_new.get(key, '(absent)')}"
        for key in keys
        if flat_old.get(key, "(absent)") != flat_new.get(key, "(absent)")
    ]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, its keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def suggestion(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or where nothing is close the list of what is known."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" Known: {', '.join(known)}."


def _parse(text: str) -> Any:
    """Lists and null are JSON; a scalar stays text, which its field's type then reads."""
    if text.startswith(("[", "{")) or text == "null":
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text
    return text


def _leaves(kind: Any, prefix: str = "") -> list[str]:
    leaves: list[str] = []
    for name, annotation in get_type_hints(kind).items():
        if dataclasses.is_dataclass(annotation):
            leaves += _leaves(annotation, f"{prefix}{name}.")
        else:
            leaves.append(prefix + name)
    return leaves


def _require_leaf(kind: Any, key: str) -> None:
    leaves = _leaves(kind)
    if key in leaves:
        return
    inside = [leaf for leaf in leaves if leaf.startswith(key + ".")]
    if inside:
        raise ConfigError(f"'{key}' is a group of keys; set one of: {', '.join(inside)}.")
    raise ConfigError(f"unknown key '{key}'.{suggestion(key, leaves)}")


def _refuse_unknown_keys(kind: Any, values: Mapping[str, Any], prefix: str) -> None:
    fields = get_type_hints(kind)
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(
                f"unknown key '{prefix}{key}'.{suggestion(prefix + key, _leaves(kind, prefix))}"
            )
        if dataclasses.is_dataclass(fields[key]) and isinstance(value, Mapping):
            _refuse_unknown_keys(fields[key], value, f"{prefix}{key}.")
