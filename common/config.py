"""Configurations: frozen dataclasses, changed by typed `key=value` overrides, saved as JSON.

A string literal under a field is its docstring. What a difference in a setting means to whoever
compares two runs stands beside the setting too, as a `Meaning` among its annotations:

    epochs: Annotated[PositiveInt, Amount("epochs")] = 500

What fits badly together but is no error, a class says in a method `notes(usual)`, given the same
settings of the preset. Settings that nothing reads, given the others, are in its property `unread`,
key → why, for itself and the settings within: `override` doesn't change them.
"""

import ast
import dataclasses
import difflib
import functools
import inspect
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from common.error import ConfigError

T = TypeVar("T")

LARGEST = 10**9
"""Beyond any sensible count, and within what 32-bit indices hold."""

DEEPEST = 1000
"""Layers are built one by one: a model of more would take minutes to compile."""

Depth = Annotated[int, Field(gt=0, le=DEEPEST)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
PositiveInt = Annotated[int, Field(gt=0, le=LARGEST)]
NonNegativeInt = Annotated[int, Field(ge=0, le=LARGEST)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
DropoutRate = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Meaning:
    """What a difference in a setting means. A setting without one may change any result."""


@dataclass(frozen=True)
class Immaterial(Meaning):
    """It changes no result."""


@dataclass(frozen=True)
class OnlyFor(Meaning):
    """It changes the metrics of one split only."""

    split: str


@dataclass(frozen=True)
class Amount(Meaning):
    """How much of something there is: less of it is a run at a smaller scale."""

    noun: str
    """Of what, in the plural."""
    trains: bool = True
    """Whether the model depends on it; otherwise only how well it is measured."""


@dataclass(frozen=True)
class Dataset(Meaning):
    """The name of the data."""


@dataclass(frozen=True)
class Prefix(Meaning):
    """It cuts the data down to their first so many items; 0 is all of them."""

    noun: str
    """Which items, in the plural."""


IMMATERIAL, DATASET = Immaterial(), Dataset()


def to_dict(config: Any) -> dict[str, Any]:
    """Return the configuration as nested dictionaries of JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


checker: Callable[[Any], TypeAdapter[Any]] = functools.cache(TypeAdapter)
"""Type → what checks values against it. Making one takes far longer than a check."""


def from_dict(kind: type[T], values: Mapping[str, Any]) -> T:
    """Build a `kind` from nested dictionaries.

    Raises ConfigError, with a suggestion, on a key that `kind` doesn't have or a value of the
    wrong type or out of range.
    """
    _refuse_unknown_keys(kind, values, prefix="")
    try:
        return checker(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{key}={first['input']!r}: {first['msg']}.") from None


def fill(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dictionaries with the defaults of what they lack, unchecked.

    Args:
      kind: the class of the configuration.
      values: what there is of it; settings that `kind` doesn't have stay.
    """
    filled = dict(values)
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]) and isinstance(
            values.get(field.name), Mapping
        ):
            filled[field.name] = fill(hints[field.name], values[field.name])
        elif field.name not in values:
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            if default is not dataclasses.MISSING:
                filled[field.name] = json.loads(json.dumps(default, default=dataclasses.asdict))
    return filled


def override(config: T, assignments: Iterable[str]) -> T:
    """Return a copy of `config` with `a.b=value` assignments applied, in order.

    A value is read as its field's type demands: `3`, `1e-3`, `true`, `text`, `[1, 2]`. Raises
    ConfigError as `from_dict` does, and where another value of a setting would have no effect.
    """
    values, assignments = to_dict(config), list(assignments)
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
    changed = from_dict(type(config), values)
    for assignment in assignments:
        _require_read(config, changed, assignment.partition("=")[0].strip())
    return changed


def _require_read(old: Any, new: Any, key: str) -> None:
    before, value = (functools.reduce(getattr, key.split("."), one) for one in (old, new))
    if value != before and (why := _why_unread(new, key)):
        raise ConfigError(f"{key}={json.dumps(value)} has no effect: {why}.")


def _why_unread(config: Any, key: str) -> str:
    """Why nothing reads a setting; empty where something does. The outermost class that says what
    is unread decides."""
    if not dataclasses.is_dataclass(config):
        return ""
    if hasattr(config, "unread"):
        return str(config.unread.get(key, ""))
    first, _, rest = key.partition(".")
    return _why_unread(getattr(config, first), rest)


@functools.lru_cache
def meanings(kind: Any) -> dict[str, Meaning]:
    """Return key → meaning of all settings that have one, nested ones included.

    Raises TypeError where a setting has several.
    """
    found = {}
    for key, owner, name in _fields(kind):
        annotation = get_type_hints(owner, include_extras=True)[name]
        marks = [one for one in getattr(annotation, "__metadata__", ()) if isinstance(one, Meaning)]
        if len(marks) > 1:
            raise TypeError(f"{owner.__name__}.{name} has {len(marks)} meanings; one is enough.")
        if marks:
            found[key] = marks[0]
    return found


def docstrings(kind: type) -> dict[str, str]:
    """Return key → docstring of all settings, nested ones included, read from their source.

    Where a class of settings occurs several times, its docstrings are under the first keys only.
    """
    found, told = {}, set()
    for key, owner, name in _fields(kind):
        text = _field_docstrings(owner).get(name)
        if text and (owner, name) not in told:
            found[key] = text
            told.add((owner, name))
    return found


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return `key: old → new` for every leaf in which two configurations (as dicts) differ."""
    flat_old, flat_new = flatten(old), flatten(new)
    keys = sorted(flat_old.keys() | flat_new.keys())
    return [
        f"{key}: {flat_old.get(key, '(absent)')} → {flat_new.get(key, '(absent)')}"
        for key in keys
        if flat_old.get(key, "(absent)") != flat_new.get(key, "(absent)")
    ]


def unread_by(core: str, readers: Mapping[str, str]) -> dict[str, str]:
    """Return what `unread` says of settings that one core alone reads.

    Args:
      core: the configured one's name.
      readers: setting → the core that reads it.
    """
    return {
        name: f"model.core={core} doesn't read it, only {reader} does"
        for name, reader in readers.items()
        if reader != core
    }


def notes(config: Any, usual: Any) -> list[str]:
    """Return what a user should know of settings before they are used, nested ones included.

    Args:
      config: settings.
      usual: those of the preset, of the same class.
    """
    found: list[str] = []
    for field in dataclasses.fields(config):
        inner = getattr(config, field.name)
        if dataclasses.is_dataclass(inner):
            found += notes(inner, getattr(usual, field.name))
    return found + (config.notes(usual) if hasattr(config, "notes") else [])


def material_differences(kind: type, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the `differences` of an old configuration and a new one of `kind` that may change a
    result; settings that came since have their defaults in the old one."""
    known = meanings(kind)
    each = [
        {k: v for k, v in flatten(one).items() if not isinstance(known.get(k), Immaterial)}
        for one in (fill(kind, old), new)
    ]
    return differences(*each)


def require_same_settings(where: Path, changed: Sequence[str], otherwise: str = "") -> None:
    """Refuse to begin a run where one of other settings lies.

    Args:
      where: its directory.
      changed: their `differences`.
      otherwise: what else can be done, a line of its own.

    Raises:
      ConfigError: there are any.
    """
    if changed:
        shown = "; ".join(changed[:3]) + ("; ..." if len(changed) > 3 else "")
        raise ConfigError(
            f"{where} holds a run with another configuration ({shown}).\n"
            "To continue it, leave its settings as they were, those before the arrows; or write "
            f"elsewhere with --out, or start over there with --fresh.{otherwise}"
        )


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one, its keys joined by dots."""
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


def _fields(kind: Any, prefix: str = "") -> Iterator[tuple[str, type, str]]:
    """The settings, nested ones included: the key, the class that has the field, its name."""
    for name, annotation in get_type_hints(kind).items():
        if dataclasses.is_dataclass(annotation):
            yield from _fields(annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, kind, name


def _leaves(kind: Any, prefix: str = "") -> list[str]:
    return [key for key, _, _ in _fields(kind, prefix)]


@functools.cache
def _field_docstrings(kind: type) -> dict[str, str]:
    """Field → the string literal under it, as one line; none where there is no source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):
        return {}
    (definition,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    found = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            found[field.target.id] = " ".join(below.value.value.split())
    return found


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
