"""Which labels a release has, and in which order: as its file lists them, or a file of the origin, or its lists."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from kconvert.catalog.patterns import require_group
from kconvert.catalog.rows import lines_of


@dataclass(frozen=True)
class LabelList:
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
        require_group(self.pattern, "pattern")
        for alias, label in self.aliases.items():
            if self.known and label not in self.known:
                raise ValueError(f"aliases: {alias!r} stands for {label!r}, which is no label")

    @classmethod
    def from_short(cls, listed: object) -> object:
        """What a list alone stands for."""
        return {"known": listed, "order": "listed"} if isinstance(listed, list) else {"path": listed}

    def ordered(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Labels in the order of their ids, each once. Raises `ValueError` for what is no label."""
        unique = tuple(dict.fromkeys(label for label in labels if label))
        if odd := [label for label in unique if len(label.splitlines()) != 1 or label != label.strip()]:
            raise ValueError(f"label {odd[0]!r}: expected a text in one line, without space around it")
        return unique if self.order == "listed" else tuple(sorted(unique))


def parse_labels(data: bytes, source: LabelList) -> tuple[str, ...]:
    """The labels that a file lists, in its order. Raises `ValueError` if it lists none, or one twice."""
    text = data.decode("utf-8-sig", "replace")
    is_json = text.lstrip().startswith(("{", "["))
    labels = _from_json(json.loads(text)) if is_json else list(_from_lines(text, source.pattern))
    if not labels:
        raise ValueError("expected a label a line at least")
    if twice := [label for label, times in Counter(labels).items() if times > 1]:
        raise ValueError(f"{twice[0]!r} stands there twice")
    return tuple(labels)


def _from_lines(text: str, pattern: str) -> Iterator[str]:
    for number, line in enumerate(lines_of(text), start=1):
        if line.strip():
            match = re.fullmatch(pattern, line.strip()) if pattern else None
            if pattern and match is None:
                raise ValueError(f"line {number}: got {line.strip()!r}, expected the form {pattern}")
            yield line.strip() if match is None else str(match[1])


def _from_json(content: object) -> list[str]:
    """Labels of a list, or of an object that numbers them, in either direction."""
    if isinstance(content, dict):
        is_by_number = all(str(key).isdecimal() for key in content)
        pairs = [(key, value) if is_by_number else (value, key) for key, value in content.items()]
        if not all(str(number).isdecimal() for number, _ in pairs):
            raise ValueError("expected a number for each label")
        numbered = sorted((int(number), label) for number, label in pairs)
        first = numbered[0][0] if numbered else 0
        if [number for number, _ in numbered] != list(range(first, first + len(numbered))):
            raise ValueError("expected numbers without a gap, each once")
        content = [label for _, label in numbered]
    if not isinstance(content, list) or not all(isinstance(label, str) for label in content):
        raise ValueError("expected a list of labels, or an object that numbers them")
    return content
