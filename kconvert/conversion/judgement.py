"""Judgement: what becomes of clips of which it is known which annotations they have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kconvert.catalog.joining import MatchBy, UnlabelledPolicy
from kconvert.catalog.labelling import Labelling, Labels
from kconvert.columns.column import Column
from kconvert.columns.combining import are_filled, are_first
from kconvert.conversion.decisions import Decisions
from kconvert.dataset.staged_rows import StagedRows
from kconvert.video.verdict import rejecting_defect

MissingReason = Literal["archive_damaged", "archive_skipped", ""]


@dataclass(frozen=True)
class Policy:
    """What a split's clips are judged by, beyond their defects."""

    dropped: frozenset[str]
    """The flags that reject a clip (see `CheckOptions.dropped`)."""
    unlabelled: UnlabelledPolicy
    """Whether clips are written that have no label, or none that counts (see `Labelling.counts`)."""
    match: MatchBy
    """What joins a clip and its annotation."""
    excluded_by: Callable[[str], tuple[str, ...]] | None
    """The lists that exclude the clip of an official name; `None` if nothing is excluded."""
    is_covered: Callable[[str], bool]
    """Whether all archives that could hold a clip with this label are read, so that it may be called missing."""


@dataclass(frozen=True)
class Window:
    """The clips of some archives, a row each."""

    names: Column
    """Official ones."""
    annotations: Column
    """Where the names are among the annotations; `None` where they are not."""
    archives: Column
    """That the clips are in."""
    folders: Column
    """The labels that their paths there say; `None` where they say none."""
    rows: Column
    """Theirs among all staged rows."""
    defects: Column
    """With commas between them."""


class Judge:
    """Judges the clips of one split."""

    def __init__(self, labelling: Labelling, policy: Policy) -> None:
        self._labelling = labelling
        self._policy = policy
        self._better = Column.of([])
        self._better_rows = Column.of([], "index")

    @property
    def good_replacements(self) -> Column:
        """The names of clips of which there are good replacements."""
        return self._better

    def add_replacements(self, rows: StagedRows) -> None:
        """Takes in the rows of the replacement archive, which are the first; of two of one name, the first good one
        counts."""
        are_good = rows.defects().each(self._rejecting).equals("")
        names, places = rows.column("name").where(are_good), are_good.indexes()
        is_first = are_first(names)
        self._better, self._better_rows = names.where(is_first), places.where(is_first)

    def hosted(self, window: Window, annotated: Column, are_duplicates: Column) -> tuple[Decisions, Labels]:
        """The decisions on clips that are there, and their labels; `annotated` says which annotation each has."""
        number = len(window.names)
        labels = self._labelling.of(annotated, window.archives, window.folders)
        excluded_by = self._excluded_by(window.names, ~are_duplicates)
        are_excluded = are_filled(excluded_by)
        better = self._replacing(window.names)
        are_replaced = better.is_known() & ~are_duplicates & ~are_excluded
        reason = are_replaced.choose(Column.constant("", number), window.defects.each(self._rejecting))
        are_unlabelled = reason.equals("") & self._are_unlabelled(labels)
        reason = are_unlabelled.choose(Column.constant("unlabelled", number), reason)
        reason = are_excluded.choose(Column.constant("excluded", number), reason)
        reason = are_duplicates.choose(Column.constant("duplicate", number), reason)
        nothing = Column.constant(None, number, "index")
        source = are_replaced.choose(Column.constant("replacement", number), Column.constant("original", number))
        decisions = Decisions(
            name=window.names,
            status=reason.each(_status).encoded(),
            reason=reason.encoded(),
            label=labels.texts.encoded(),
            label_source=labels.sources.encoded(),
            row=are_replaced.choose(better, window.rows),
            source=source.encoded(),
            original=are_replaced.choose(window.rows, nothing) if are_replaced.sum() else nothing,
            excluded_by=excluded_by,
            annotation=window.annotations,
        )
        return decisions, labels

    def absent(self, annotations: Column, reason_for_missing: Callable[[str], MissingReason]) -> Decisions:
        """The decisions on annotated clips that no archive holds, as far as one that is read could. The reason is asked
        for with a clip's label."""
        texts = self._labelling.annotations.texts
        annotations = annotations.where(texts.take(annotations).each(self._policy.is_covered, "flag"))
        names, texts = (column.take(annotations) for column in (self._labelling.annotations.names, texts))
        number = len(names)
        none, labels = Column.constant("", number), Labels.of_annotations(texts)
        better = self._replacing(names)
        are_missing = ~better.is_known()
        excluded_by = self._excluded_by(names, ~are_missing)
        reason = self._are_unlabelled(labels).choose(Column.constant("unlabelled", number), none)
        reason = are_filled(excluded_by).choose(Column.constant("excluded", number), reason)
        return Decisions(
            name=names,
            status=are_missing.choose(Column.constant("missing", number), reason.each(_status)),
            reason=are_missing.choose(texts.each(reason_for_missing), reason),
            label=labels.texts,
            label_source=labels.sources,
            row=better,
            source=are_missing.choose(none, Column.constant("replacement", number)),
            original=Column.constant(None, number, "index"),
            excluded_by=excluded_by,
            annotation=annotations,
        )

    def _replacing(self, names: Column) -> Column:
        """The staged rows of good replacements of the clips of these names; `None` where there is none."""
        return self._better_rows.take(self._better.find(names))

    def _excluded_by(self, names: Column, are_asked: Column) -> Column:
        """The lists that exclude clips, of those that are asked about."""
        of = self._policy.excluded_by
        if of is None:
            return Column.constant(None, len(names), "texts")
        pairs = zip(names, are_asked, strict=True)
        return Column.of([of(name) if is_asked else () for name, is_asked in pairs], "texts")

    def _rejecting(self, defects: str) -> str:
        return rejecting_defect(defects.split(","), self._policy.dropped)

    def _are_unlabelled(self, labels: Labels) -> Column:
        """Whether clips are rejected for their lack of a label."""
        if self._policy.unlabelled == "drop":
            return ~self._labelling.counts(labels)
        return Column.constant(False, len(labels.texts), "flag")


def _status(reason: str) -> str:
    return "rejected" if reason else "written"
