"""The account: what becomes of every annotation row and every clip of a split, each in exactly one row.

Archives are admitted window by window. Of two clips with one name the first admitted counts and the other is a
`duplicate`: within a window that is the one in the earlier archive of the path list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from kconvert.catalog.labelling import Labelling, Labels, MatchBy, UnlabelledPolicy
from kconvert.columns import Column
from kconvert.conversion.claims import Claims
from kconvert.conversion.decisions import Decisions
from kconvert.dataset.manifest import SplitCounts
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
class _Window:
    """The clips of a window."""

    names: Column
    """Official ones."""
    annotation: Column
    """Where the names are among the annotations; `None` where they are not."""
    archives: Column
    """That the clips are in."""
    members: Column
    """Their paths there."""
    rows: Column
    """Theirs among all staged rows."""
    defects: Column
    """With commas between them."""
    is_repeated: Column
    """Whether a clip of that name was admitted before."""


class Account:
    """Decides on the clips of one split."""

    def __init__(self, labelling: Labelling, policy: Policy) -> None:
        self._labelling = labelling
        self._annotated = labelling.annotations.names
        self._policy = policy
        names = labelling.names if policy.match == "id" else None
        self._claims = Claims(self._annotated, names)
        self._names: list[Column] = []
        self._defects: list[Column] = []
        self._replacements = Column.of([])
        self._good_replacements: dict[str, int] = {}
        self._decided: list[Decisions] = []
        self.other_folders: list[str] = []
        """Clips that lie in the folder of another label than theirs."""

    @property
    def decisions(self) -> Decisions:
        """All decisions so far; their order is that of admission."""
        self._decided = [Decisions.joined(self._decided)]
        return self._decided[0]

    @property
    def num_decisions(self) -> int:
        """How many there are so far."""
        return sum(map(len, self._decided))

    def add_replacements(self, rows: StagedRows) -> None:
        """Takes in the rows of the replacement archive; before any archive is admitted."""
        self._replacements, defects = rows.column("name"), rows.defects()
        self._defects.append(defects)
        for row, (name, found) in enumerate(zip(self._replacements, defects, strict=True)):
            if not self._rejecting(found):
                self._good_replacements.setdefault(name, row)
        self._claims.reserve(self._annotated.find(Column.of(self._good_replacements)))

    def admit(self, rows: StagedRows) -> None:
        """Decides on the clips of a window, in their order."""
        window = self._window(rows)
        proposed = self._claims.proposed(window.names, window.annotation)
        decisions, labels = self._decide(window, proposed)
        annotated = self._claims.settled(proposed, decisions)
        if annotated is not proposed:
            decisions, labels = self._decide(window, annotated)
        self._list_other_folders(window, labels)
        self._decided.append(decisions)

    def _window(self, rows: StagedRows) -> _Window:
        """Takes in the rows of a window."""
        names, defects = rows.column("name"), rows.defects()
        first = sum(map(len, self._defects))
        is_repeated = ~names.is_first()
        if self._names:
            is_repeated = is_repeated | names.is_in(Column.joined(self._names))
        self._names.append(names)
        self._defects.append(defects)
        return _Window(
            names=names,
            annotation=self._annotated.find(names),
            archives=rows.archives,
            members=rows.column("member"),
            rows=Column.numbers(first, first + len(names)),
            defects=defects,
            is_repeated=is_repeated,
        )

    def _decide(self, window: _Window, annotated: Column) -> tuple[Decisions, Labels]:
        """The decisions on the clips of a window of which it is known which annotations they have."""
        names, number = window.names, len(window.names)
        labels = self._labelling.of(annotated, window.archives, window.members)
        # Of one name, or of one annotation, there is one clip.
        is_duplicate = window.is_repeated | self._claims.are_taken(window.annotation)
        excluded_by = self._excluded_by(names, ~is_duplicate)
        is_excluded = excluded_by.are_filled() if excluded_by is not None else Column.constant(False, number, "flag")
        better = self._better(names)
        is_replaced = better.is_known() & ~is_duplicate & ~is_excluded
        reason = is_replaced.choose(Column.constant("", number), window.defects.each(self._rejecting))
        is_unlabelled = reason.equals("") & self._are_unlabelled(labels)
        reason = is_unlabelled.choose(Column.constant("unlabelled", number), reason)
        reason = is_excluded.choose(Column.constant("excluded", number), reason)
        reason = is_duplicate.choose(Column.constant("duplicate", number), reason)
        nothing = Column.constant(None, number, "index")
        decisions = Decisions(
            name=names,
            status=reason.each(lambda text: "rejected" if text else "written"),
            reason=reason,
            label=labels.texts,
            label_source=labels.sources,
            row=is_replaced.choose(better, window.rows),
            source=is_replaced.choose(Column.constant("replacement", number), Column.constant("original", number)),
            original=is_replaced.choose(window.rows, nothing),
            excluded_by=excluded_by if excluded_by is not None else Column.constant([], number, "texts"),
            annotation=window.annotation,
        )
        return decisions, labels

    def close(self, reason_for_missing: Callable[[str], MissingReason]) -> None:
        """Decides, after all archives, on the annotated clips that none of them holds. The reason is asked for with a
        clip's label."""
        self._claims.close()
        texts = self._labelling.annotations.texts
        places = (~self._claims.are_claimed() & texts.each(self._policy.is_covered, "flag")).indexes()
        names, texts, number = self._annotated.take(places), texts.take(places), len(places)
        none = Column.constant("", number)
        labels = Labels(texts, texts.each(lambda text: "annotation" if text else ""))
        better = self._better(names)
        is_missing = ~better.is_known()
        excluded_by = self._excluded_by(names, ~is_missing)
        is_excluded = excluded_by.are_filled() if excluded_by is not None else Column.constant(False, number, "flag")
        reason = self._are_unlabelled(labels).choose(Column.constant("unlabelled", number), none)
        reason = is_excluded.choose(Column.constant("excluded", number), reason)
        status = is_missing.choose(
            Column.constant("missing", number), reason.each(lambda text: "rejected" if text else "written")
        )
        self._decided.append(
            Decisions(
                name=names,
                status=status,
                reason=is_missing.choose(texts.each(reason_for_missing), reason),
                label=labels.texts,
                label_source=labels.sources,
                row=better,
                source=is_missing.choose(none, Column.constant("replacement", number)),
                original=Column.constant(None, number, "index"),
                excluded_by=excluded_by if excluded_by is not None else Column.constant([], number, "texts"),
                annotation=places,
            )
        )

    def unmatched_replacements(self) -> list[str]:
        """Replacements of clips that are neither annotated nor hosted."""
        found = self._replacements
        is_known = found.is_in(self._annotated) | found.is_in(self._admitted())
        return list(dict.fromkeys(found.where(~is_known)))

    def other_times(self) -> list[str]:
        """Clips that no annotation names, of videos that are annotated with other times and are missing."""
        admitted = self._admitted()
        unnamed = set(admitted.where(~admitted.is_in(self._annotated))) - self._claims.claimers()
        parts = self._labelling.names.parts
        ids = {parts(name).youtube_id for name in unnamed}
        if not ids:
            return []
        unread = self._annotated.where(~self._claims.are_claimed())
        absent = {youtube_id: name for name in unread if (youtube_id := parts(name).youtube_id) in ids}
        pairs = [(name, absent[found]) for name in unnamed if (found := parts(name).youtube_id) in absent]
        return [f"{name}, annotated as {other}" for name, other in sorted(pairs)]

    def _admitted(self) -> Column:
        return Column.joined(self._names)

    def _better(self, names: Column) -> Column:
        """The staged rows of good replacements of the clips of these names; `None` where there is none."""
        rows = Column.of(self._good_replacements.values(), "index")
        return rows.take(Column.of(self._good_replacements).find(names))

    def _excluded_by(self, names: Column, are_asked: Column) -> Column | None:
        """The lists that exclude clips, of those that are asked about; `None` if nothing is excluded."""
        of = self._policy.excluded_by
        if of is None:
            return None
        pairs = zip(names, are_asked, strict=True)
        return Column.of([of(name) if is_asked else () for name, is_asked in pairs], "texts")

    def _list_other_folders(self, window: _Window, labels: Labels) -> None:
        of_folder = self._labelling.folder_labels(window.members)
        differs = of_folder.is_known() & ~of_folder.equals(labels.texts) & ~labels.texts.equals("")
        columns = (column.where(differs) for column in (window.names, labels.texts, of_folder))
        for name, text, other in zip(*columns, strict=True):
            self.other_folders.append(f"{name}, {text}, in the folder of {other}")

    def _rejecting(self, defects: str) -> str:
        return rejecting_defect(defects.split(","), self._policy.dropped)

    def _are_unlabelled(self, labels: Labels) -> Column:
        """Whether clips are rejected for their lack of a label."""
        if self._policy.unlabelled == "drop":
            return ~self._labelling.counts(labels)
        return Column.constant(False, len(labels.texts), "flag")

    def counts(self, members: Mapping[str, int], num_shards: int, num_bytes: int) -> SplitCounts:
        """The counts for the manifest; `members` are those that the receipts of the split's archives add up to."""
        decisions, annotations = self.decisions, self._labelling.annotations
        written = decisions.where(decisions.are_written)
        missing = decisions.reason.where(decisions.status.equals("missing"))
        rejected = decisions.reason.where(decisions.status.equals("rejected")).counts()
        defects = Column.joined(self._defects).take(written.row).counts()
        flags: Counter[str] = Counter()
        for found, number in defects.items():
            flags.update(dict.fromkeys(found.split(","), number))
        is_read = ~decisions.reason.equals("duplicate")
        is_named = decisions.annotation.is_known() | decisions.name.is_in(Column.of(self._claims.claimers()))
        num_named = (is_read & is_named).sum()
        return SplitCounts(
            num_annotations=annotations.num_clips,
            num_repeated_annotations=len(annotations.repeated),
            num_malformed_annotations=len(annotations.malformed),
            num_unread_annotations=annotations.num_clips - num_named,
            num_unannotated=is_read.sum() - num_named,
            **members,
            num_written=len(written),
            num_flagged=len(written) - defects.get("", 0),
            num_short=flags["short"],
            num_few_frames=flags["few_frames"],
            num_replaced=written.source.equals("replacement").sum(),
            num_replacement_only=(decisions.source.equals("replacement") & ~decisions.original.is_known()).sum(),
            num_unmatched_replacements=len(self.unmatched_replacements()),
            num_rejected=dict(sorted(rejected.items())),
            num_excluded_by=dict(sorted(Counter(by for found in decisions.excluded_by for by in found).items())),
            num_missing=len(missing),
            num_missing_in_damaged=(~missing.equals("")).sum(),
            num_shards=num_shards,
            num_bytes=num_bytes,
        )
