"""Claims: which clips have which annotations, where a clip may have that of another name.

By name, each clip has the annotation of its own name. By id, a clip that no annotation names has the one of its video,
if that is annotated once, no clip of the annotated name is there, and no other clip has it.
"""

from __future__ import annotations

from kconvert.catalog.names import Names
from kconvert.columns.column import Column
from kconvert.columns.combining import are_first, spread
from kconvert.conversion.decisions import Decisions


class Claims:
    """The claims of the clips of a split. An annotation goes by where it is among those of the split."""

    def __init__(self, annotated: Column, names: Names | None) -> None:
        """`annotated` are the names in the annotations; `names` is `None` if clips go by their names alone."""
        self._num_annotations = len(annotated)
        self._names = names
        self._ids, self._places = Column.of([]), Column.of([], "index")
        if names is not None:
            ids = annotated.rewritten(self._id)
            are_once = ~ids.is_in(ids.where(~are_first(ids)))
            self._ids, self._places = ids.where(are_once), are_once.indexes()
        self._reserved = Column.of([], "index")
        self._present: list[Column] = []
        self._claimers: dict[int, str] = {}
        """From annotations to the clips of other names that have them."""
        self._rejected: dict[int, str] = {}
        """From annotations to rejected clips of other names, which have them if no other clip has."""

    def reserve(self, annotations: Column) -> None:
        """Takes in annotations that no clip of another name may have."""
        self._reserved = annotations.where(annotations.is_known())

    def proposed(self, names: Column, annotations: Column) -> Column:
        """The annotation that each clip of a window has if no other clip takes it; `annotations` are those of the
        clips' own names."""
        self._present.append(annotations.where(annotations.is_known()))
        are_unnamed = ~annotations.is_known()
        if self._names is None or not are_unnamed.sum():
            return annotations
        found = self._places.take(self._ids.find(names.where(are_unnamed).rewritten(self._id)))
        is_free = found.is_known() & ~found.is_in(Column.joined([self._reserved, *self._present]))
        free = is_free.choose(found, Column.constant(None, len(found), "index"))
        return annotations.or_else(spread(free, are_unnamed))

    def settled(self, proposed: Column, decisions: Decisions) -> Column:
        """The annotation that each clip of a window has, as the first that is written takes it; `decisions` are those
        that hold if each has the proposed one."""
        are_claims = ~decisions.annotation.is_known() & proposed.is_known()
        if not are_claims.sum():
            return proposed
        lost = []
        claims = zip(are_claims.indexes(), proposed.where(are_claims), decisions.where(are_claims), strict=True)
        for place, annotation, (name, status, reason, *_) in claims:
            if self._claimers.get(annotation, name) != name:
                lost.append(place)
            elif reason != "duplicate":
                claimed = self._claimers if status == "written" else self._rejected
                claimed.setdefault(annotation, name)
        if not lost:
            return proposed
        rows = Column.numbers(0, len(proposed))
        return rows.is_in(Column.of(lost, "index")).choose(Column.constant(None, len(rows), "index"), proposed)

    def are_taken(self, annotations: Column) -> Column:
        """Whether a clip of another name has the annotation of each of these clips' own names."""
        return annotations.is_in(Column.of(self._claimers, "index"))

    def close(self) -> None:
        """Gives what is left to rejected clips; once all clips are here."""
        present = Column.joined(self._present, "index")
        left = Column.of(self._rejected, "index")
        for annotation in left.where(~left.is_in(present)):
            self._claimers.setdefault(annotation, self._rejected[annotation])

    def are_claimed(self) -> Column:
        """Whether a clip has each of the annotations."""
        claimed = Column.joined([*self._present, Column.of(self._claimers, "index")])
        return Column.numbers(0, self._num_annotations).is_in(claimed)

    def claimers(self) -> set[str]:
        """The clips of other names that have annotations."""
        return set(self._claimers.values())

    def _id(self, name: str) -> str:
        assert self._names is not None
        return self._names.parts(name).youtube_id
