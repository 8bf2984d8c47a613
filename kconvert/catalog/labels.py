"""Which labels a release has, and in which order: as its file lists them, or a file of the origin, or its lists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from kconvert.catalog.rows import LINE_END


@dataclass(frozen=True)
class LabelSource:
    """What says which labels there are. A list alone is the labels themselves; nothing, those of the lists of clips, or
    else of the folders."""

    SHORT_SCHEMA: ClassVar[Mapping[str, Any]] = {"type": "array", "items": {"type": "string"}}
    """What `from_short` takes."""

    known: tuple[str, ...] = ()
    """The labels."""
    path: str = ""
    """Of a file below the origin's base that lists them: one a line, perhaps with a number, or JSON."""
    pattern: str = ""
    """What of a line is the label: the first group; `""` for all of it."""
    order: Literal["sorted", "listed"] = "sorted"
    """Whether a label's id is its rank in the sorted list, or its place in the file."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other spellings, each with the label that is meant."""

    def __post_init__(self) -> None:
        for alias, label in self.aliases.items():
            if self.known and label not in self.known:
                raise ValueError(f"aliases: {alias!r} stands for {label!r}, which is no label")

    @classmethod
    def from_short(cls, listed: object) -> object:
        """What a list alone stands for."""
        return {"known": listed, "order": "listed"} if isinstance(listed, list) else {"path": listed}

    def ordered(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Labels in the order of their ids, each once."""
        unique = tuple(dict.fromkeys(label for label in labels if label))
        return unique if self.order == "listed" else tuple(sorted(unique))


def parse_labels(data: bytes, source: LabelSource) -> tuple[str, ...]:
    """The labels that a file lists, in its order. Raises `ValueError` if it lists none."""
    import re

    text = data.decode("utf-8-sig", "replace")
    if text.lstrip().startswith(("{", "[")):
        found = json.loads(text)
        if isinstance(found, dict):
            # Keyed by label, with its number, or the other way round.
            pairs = found.items()
            is_by_number = all(str(key).isdecimal() for key in found)
            by_number = {int(key if is_by_number else value): value if is_by_number else key for key, value in pairs}
            found = [by_number[number] for number in sorted(by_number)]
        labels = [str(label) for label in found]
    else:
        labels = [line.strip() for line in LINE_END.split(text) if line.strip()]
        if source.pattern:
            pattern = re.compile(source.pattern)
            matches = [pattern.fullmatch(line) for line in labels]
            if None in matches:
                raise ValueError(f"line {matches.index(None) + 1}: expected the form {source.pattern}")
            labels = [match[1] for match in matches if match is not None]
    if not labels:
        raise ValueError("expected a label a line at least")
    return tuple(labels)
