"""Rules: how a value is made of the columns of a row, such as a clip's name of a path."""

from __future__ import annotations

import functools
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

FILE = "file"
"""What the name of the list's file goes by among the columns."""


@dataclass(frozen=True)
class Rule:
    """How a value is made. Raises `ValueError` when built from what is no template or no pattern.

    In a release's file a text alone is a template if it holds `{`, else the name of a column.
    """

    SHORT_SCHEMA: ClassVar[Mapping[str, Any]] = {"type": "string"}
    """What `from_short` takes."""

    template: str
    """Holds columns, as `{id}_{start:06d}`; what is written as a number is one."""
    pattern: str = ""
    """What of that counts: the first group of this pattern of all of it; `""` for all."""
    first_id: int | None = None
    """The value is the number of a label, of which the first has this one; `None` if it is a label itself."""
    rewrite: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Patterns, each with what stands instead of what it finds."""

    def __post_init__(self) -> None:
        for pattern in (self.pattern, *self.rewrite):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"pattern {pattern!r}: {error}; expected a regular expression of Python") from error
        if self.pattern and re.compile(self.pattern).groups == 0:
            raise ValueError(f"pattern {self.pattern!r}: expected a group in it, as (.+)")
        try:
            _ = self.columns
        except ValueError as error:
            raise ValueError(f"template {self.template!r}: {error}; expected columns, as {{id}}_{{start}}") from error

    @classmethod
    def from_short(cls, text: object) -> object:
        """What a text alone stands for."""
        return {"template": text if "{" in text else f"{{{text}}}"} if isinstance(text, str) else text

    @functools.cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that it is made of."""
        return tuple(name for _, name, _, _ in string.Formatter().parse(self.template) if name)

    def apply(self, row: Mapping[str, str], labels: Sequence[str] = ()) -> str:
        """The value; `labels` are those that numbers stand for. Raises `ValueError` where there is none."""
        text = self.template.format_map({name: _number(row[name], self.template) for name in self.columns})
        if self._pattern is not None:
            match = self._pattern.fullmatch(text)
            if match is None:
                raise ValueError(f"{text!r} is not of the form {self.pattern}")
            text = match[1]
        for pattern, instead in self.rewrite.items():
            text = re.sub(pattern, instead, text)
        if self.first_id is None or not labels:
            return text
        number = int(text) - self.first_id if text.isdecimal() else -1
        if not 0 <= number < len(labels):
            raise ValueError(f"{text!r} is no number of a label, from {self.first_id} on")
        return labels[number]

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        return re.compile(self.pattern, re.DOTALL) if self.pattern else None


def _number(text: str, template: str) -> Any:
    """A whole number where the template may want to pad it, else the text as it is."""
    return int(text) if ":" in template and text.isdecimal() else text
