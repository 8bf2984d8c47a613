"""Checked values: frozen dataclasses made of what YAML holds, each problem with its line, and their JSON Schema.

The fields of a class, their types and defaults are all that either is made from.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kconvert.text import did_you_mean

Kind = TypeVar("Kind")
_MAX_SHOWN_CHARS = 60
KEY = "key"
"""In the metadata of a field: what it is called in YAML, if not as the field."""
_PLAIN: Mapping[Any, tuple[str, str]] = {
    str: ("a text", "string"),
    int: ("a whole number", "integer"),
    float: ("a number", "number"),
    bool: ("true or false", "boolean"),
}


@dataclass
class Problems:
    """What is wrong with a text, gathered."""

    lines: Mapping[str, int]
    """The line of each key, from 1, by its dotted name."""
    found: list[tuple[int, str]] = field(default_factory=list)
    """The line of each problem, and what it is."""

    def add(self, name: str, text: str) -> None:
        """Takes a problem with the value of that dotted name, or with what is below it."""
        above = name
        while above and above not in self.lines:
            above = above.rpartition(".")[0]
        self.found.append((self.lines.get(above, 1), f"{name or 'the file'}: {text}"))


def checked(kind: type[Kind], content: object, name: str, problems: Problems) -> Kind | None:
    """A dataclass of what stands under a dotted name; `None` if it cannot be made, as `problems` then says."""
    short = getattr(kind, "from_short", None)
    if short is not None and isinstance(content, str | list):
        content = short(content)
    if not isinstance(content, Mapping):
        problems.add(name, f"got {_shown(content)}, expected {_fields_text(kind)}")
        return None
    hints, fields = typing.get_type_hints(kind), {_key(one): one for one in dataclasses.fields(kind)}  # type: ignore[arg-type]
    num_before = len(problems.found)
    for key in content:
        if key not in fields:
            hint = did_you_mean(str(key), fields)
            text = f"unknown {str(key)!r}; {hint}" if hint else f"unknown {str(key)!r}, expected {_fields_text(kind)}"
            problems.add(_join(name, key), text)
    for key, one in fields.items():
        if _is_needed(one) and key not in content:
            problems.add(name, f"{key} is missing")
    values = {
        one.name: _value(hints[one.name], content[key], _join(name, key), problems)
        for key, one in fields.items()
        if key in content
    }
    if len(problems.found) > num_before:
        return None
    try:
        return kind(**values)
    except ValueError as error:
        problems.add(name, str(error))
        return None


def _value(hint: Any, value: object, name: str, problems: Problems) -> Any:  # noqa: PLR0911
    """The value, checked against a type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _value(_not_none(arguments), value, name, problems)
    if origin is tuple:
        listed = value if isinstance(value, list) else [value]
        return tuple(_value(arguments[0], one, _join(name, number), problems) for number, one in enumerate(listed))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if isinstance(value, Mapping):
            return {str(key): _value(arguments[1], one, _join(name, key), problems) for key, one in value.items()}
        problems.add(name, f"got {_shown(value)}, expected names, each with a value")
    elif origin is typing.Literal:
        if value in arguments:
            return value
        hint_text = did_you_mean(str(value), map(str, arguments))
        expected = f"expected one of {', '.join(map(str, arguments))}"
        problems.add(name, f"got {_shown(value)}, {expected}{f'; {hint_text}' if hint_text else ''}")
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return checked(hint, value, name, problems)
    elif isinstance(value, hint) and not (hint in (int, float) and isinstance(value, bool)):
        return value
    elif hint is str and isinstance(value, int) and not isinstance(value, bool):
        # As a fold, or a tag, that nobody would quote.
        return str(value)
    else:
        problems.add(name, f"got {_shown(value)}, expected {_PLAIN[hint][0]}")
    return None


def json_schema(kind: type[Any]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of what `checked` takes."""
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    found: dict[str, Any] = {
        "type": "object",
        "properties": {_key(one): _schema(hints[one.name]) for one in fields},
        "required": [_key(one) for one in fields if _is_needed(one)],
        "additionalProperties": False,
    }
    short = getattr(kind, "SHORT_SCHEMA", None)
    return found if short is None else {"anyOf": [short, found]}


def _schema(hint: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [_schema(_not_none(arguments)), {"type": "null"}]}
    if origin is tuple:
        inner = _schema(arguments[0])
        return {"anyOf": [inner, {"type": "array", "items": inner}]}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1])}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return json_schema(hint)
    return {"type": ["string", "integer"]} if hint is str else {"type": _PLAIN[hint][1]}


def _not_none(arguments: tuple[Any, ...]) -> Any:
    return next(one for one in arguments if one is not type(None))


def _key(one: dataclasses.Field[Any]) -> str:
    """What a field is called in YAML."""
    return str(one.metadata.get(KEY, one.name))


def _is_needed(one: dataclasses.Field[Any]) -> bool:
    return one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING


def _fields_text(kind: type[Any]) -> str:
    return ", ".join(map(_key, dataclasses.fields(kind)))


def _join(above: str, name: object) -> str:
    return f"{above}.{name}" if above else str(name)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARS else text[: _MAX_SHOWN_CHARS - 1] + "…"
