"""Rules: how a value is made of the columns of a row, such as a clip's name of a path."""

from __future__ import annotations

import functools
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from kconvert.catalog.patterns import checked_pattern, require_group

_SPEC = re.compile("(?:0?[1-9][0-9]?d)?")
"""How numbers may be written."""


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
    separator: str = ""
    """Of labels: what stands between several that a clip has; `""` if it has one."""
    rewrite: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Patterns, each with what stands instead of what it finds."""

    def __post_init__(self) -> None:
        require_group(self.pattern, f"pattern {self.pattern!r}")
        for pattern in self.rewrite:
            checked_pattern(pattern, f"pattern {pattern!r}")
        try:
            specs = [spec or "" for _, name, spec, _ in string.Formatter().parse(self.template) if name is not None]
        except ValueError as error:
            raise ValueError(f"template {self.template!r}: {error}; expected columns, as {{id}}_{{start}}") from error
        if odd := [spec for spec in specs if not _SPEC.fullmatch(spec)]:
            raise ValueError(f"template {self.template!r}: got {odd[0]!r}, expected as {{start:06d}}, or nothing")

    @classmethod
    def from_short(cls, text: object) -> object:
        """What a text alone stands for."""
        return {"template": text if "{" in text else f"{{{text}}}"} if isinstance(text, str) else text

    @functools.cached_property
    def _pieces(self) -> tuple[tuple[str, str, str], ...]:
        """The template: texts, each with the column behind it and how that is written; `""` for none."""
        found = string.Formatter().parse(self.template)
        return tuple((before, name or "", spec or "") for before, name, spec, _ in found)

    def _filled(self, name: str, spec: str, row: Mapping[str, str]) -> str:
        text = row[name] if name else ""
        return format(int(text), spec) if spec and text.isdecimal() else text

    def apply(self, row: Mapping[str, str], labels: Sequence[str] = ()) -> str:
        """The value; `labels` are those that numbers stand for.

        Raises: `ValueError` where there is none, `KeyError` for a column that is not there.
        """
        text = "".join(before + self._filled(name, spec, row) for before, name, spec in self._pieces)
        if self._pattern is not None:
            match = self._pattern.fullmatch(text)
            if match is None or match[1] is None:
                raise ValueError(f"{text!r} is not of the form {self.pattern}")
            text = match[1]
        for pattern, instead in self.rewrite.items():
            try:
                text = re.sub(pattern, instead, text)
            except re.error as error:
                raise ValueError(f"rewrite {instead!r}: {error}") from error
        if self.first_id is None or not labels:
            return text
        number = int(text) - self.first_id if text.isdecimal() else -1
        if not 0 <= number < len(labels):
            raise ValueError(f"{text!r} is no number of a label, from {self.first_id} on")
        return labels[number]

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        return re.compile(self.pattern, re.DOTALL) if self.pattern else None
