"""Decisions: what becomes of each clip of a split, in columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from kconvert.catalog.joining import LabelSource
from kconvert.columns.column import Column, Kind

Status = Literal["written", "rejected", "missing"]
ClipSource = Literal["original", "replacement", ""]


class Decision(NamedTuple):
    """What becomes of one clip."""

    name: str
    """The clip's official name."""
    status: Status
    """What becomes of it."""
    reason: str
    """Why it is rejected, or a `MissingReason`; else `""`."""
    label: str
    """`""` if it has none."""
    label_source: LabelSource
    """What says so; `""` if nothing does."""
    row: int | None
    """The staged row that its bytes are from; `None` if it is missing."""
    source: ClipSource
    """Where its bytes are from; `""` if it is missing."""
    original: int | None
    """The staged row of the original that a replacement was taken for; `None` if there is none."""
    excluded_by: Sequence[str] | None
    """The lists that it is excluded by; none, or `None`, if it is not."""
    annotation: int | None
    """Where its own name is among the annotations; `None` if it is not, also if it has that of another name, by id."""


_KINDS: dict[str, Kind] = {"row": "index", "original": "index", "excluded_by": "texts", "annotation": "index"}


@dataclass(frozen=True)
class Decisions:
    """What becomes of some clips, a row each."""

    name: Column
    """See `Decision.name`."""
    status: Column
    """See `Decision.status`."""
    reason: Column
    """See `Decision.reason`."""
    label: Column
    """See `Decision.label`."""
    label_source: Column
    """See `Decision.label_source`."""
    row: Column
    """See `Decision.row`."""
    source: Column
    """See `Decision.source`."""
    original: Column
    """See `Decision.original`."""
    excluded_by: Column
    """See `Decision.excluded_by`."""
    annotation: Column
    """See `Decision.annotation`."""

    @classmethod
    def merged(cls, parts: list[Decisions]) -> Decisions:
        """The decisions of these parts, one after the other; the list is empty then, so that no more than one column is
        in memory twice."""
        columns = {field.name: [getattr(part, field.name) for part in parts] for field in dataclasses.fields(cls)}
        parts.clear()
        return cls(**{name: Column.joined(columns.pop(name), _KINDS.get(name, "text")) for name in list(columns)})

    def __len__(self) -> int:
        return len(self.name)

    def __iter__(self) -> Iterator[Decision]:
        return (Decision(*row) for row in zip(*self._columns(), strict=True))

    def take(self, indexes: Column) -> Decisions:
        """Those at these indexes."""
        return self._each(lambda column: column.take(indexes))

    def where(self, mask: Column) -> Decisions:
        """Those where a flag is set."""
        return self._each(lambda column: column.where(mask))

    def slice(self, start: int) -> Decisions:
        """Those from `start` on, without a copy."""
        return self._each(lambda column: column.slice(start))

    @property
    def are_written(self) -> Column:
        """Whether each clip is written."""
        return self.status.equals("written")

    def _each(self, function: Callable[[Column], Column]) -> Decisions:
        return Decisions(*map(function, self._columns()))

    def _columns(self) -> list[Column]:
        return [getattr(self, field.name) for field in dataclasses.fields(self)]
