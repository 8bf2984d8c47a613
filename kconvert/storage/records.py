"""Records: frozen dataclasses read back from JSON that somebody may have changed by hand."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

Record = TypeVar("Record")
LATER = {"later": True}
"""The metadata of a field that records of earlier versions lack; it has its default there."""


_BY_TYPE = (int, int | None, str)
"""Of which a value is right if its type is."""


def build(kind: type[Record], content: object) -> Record:
    """A dataclass from what `dataclasses.asdict` and JSON made of one, every field's type checked.

    Raises: `ValueError` that names the field.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"got {_shown(content)}, expected an object of {kind.__name__}")  # noqa: TRY004
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    later = {field.name for field in fields if field.metadata.get("later") and field.name not in content}
    names = {field.name for field in fields} - later
    if wrong := names.symmetric_difference(content):
        raise ValueError(f"{kind.__name__}: {', '.join(sorted(map(str, wrong)))} is missing or unknown")
    return kind(**{name: _value(hints[name], content[name], f"{kind.__name__}.{name}") for name in names})


def _value(hint: Any, value: object, where: str) -> Any:  # noqa: PLR0911
    """The value, checked against a type; one case a kind of type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return _value(next(one for one in arguments if one is not type(None)), value, where)
    if origin is tuple and isinstance(value, list):
        # Of thousands of numbers, one of each type is looked at.
        looked_at = {type(one): one for one in value}.values() if arguments[0] in _BY_TYPE else value
        checked = [_value(arguments[0], one, where) for one in looked_at]
        return tuple(value if arguments[0] in _BY_TYPE else checked)
    if origin is typing.Literal:
        if value in arguments and isinstance(value, str):
            return value
        raise ValueError(f"{where}: got {_shown(value)}, expected one of {', '.join(map(repr, arguments))}")
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {str(key): _value(arguments[1], one, where) for key, one in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise ValueError(f"{where}: got {_shown(value)}, expected {getattr(hint, '__name__', hint)}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
