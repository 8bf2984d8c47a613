"""The account: what becomes of every annotation row and every clip of a split, each in exactly one row.

Archives are admitted window by window. Of two clips with one name the first admitted counts and the other is a
`duplicate`: within a window that is the one in the earlier archive of the path list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kconvert.catalog.labelling import Labelling, Labels
from kconvert.columns.column import Column, give_back
from kconvert.columns.combining import are_first, counts, values_of
from kconvert.conversion.claims import Claims
from kconvert.conversion.decisions import Decisions
from kconvert.conversion.flags import flag_counts
from kconvert.conversion.judgement import Judge, MissingReason, Policy, Window
from kconvert.dataset.manifest import SplitCounts
from kconvert.dataset.staged_rows import StagedRows


class Account:
    """Decides on the clips of one split."""

    def __init__(self, labelling: Labelling, policy: Policy) -> None:
        self._labelling = labelling
        self._annotated = labelling.annotations.names
        self._judge = Judge(labelling, policy)
        self._claims = Claims(self._annotated, labelling.names if policy.match == "id" else None)
        self._defects = Column.of([])
        """Of all staged rows so far, with commas between them."""
        self._replacements = Column.of([])
        self._decided: list[Decisions] = []
        self.other_folders: list[str] = []
        """Clips that lie in the folder of another label than theirs."""

    @property
    def decisions(self) -> Decisions:
        """All decisions so far; their order is that of admission."""
        if len(self._decided) != 1:
            self._decided = [Decisions.merged(self._decided)]
        return self._decided[0]

    @property
    def num_decisions(self) -> int:
        """How many there are so far."""
        return sum(map(len, self._decided))

    def add_replacements(self, rows: StagedRows) -> None:
        """Takes in the rows of the replacement archive; before any archive is admitted."""
        self._replacements = rows.column("name")
        self._defects = rows.defects()
        self._judge.add_replacements(rows)
        self._claims.reserve(self._annotated.find(self._judge.good_replacements))

    def admit(self, rows: StagedRows) -> None:
        """Decides on the clips of a window, in their order; their rows are taken to follow those so far."""
        window = self._window(rows)
        # Of one name, or of one annotation, there is one clip.
        are_repeated = ~are_first(window.names) | window.names.is_in(self.decisions.name)
        are_duplicates = are_repeated | self._claims.are_taken(window.annotations)
        proposed = self._claims.proposed(window.names, window.annotations)
        decisions, labels = self._judge.hosted(window, proposed, are_duplicates)
        annotated = self._claims.settled(proposed, decisions)
        if annotated is not proposed:
            decisions, labels = self._judge.hosted(window, annotated, are_duplicates)
        self._list_other_folders(window, labels)
        self._decided.append(decisions)
        give_back()

    def close(self, reason_for_missing: Callable[[str], MissingReason]) -> None:
        """Decides, after all archives, on the annotated clips that none of them holds. The reason is asked for with a
        clip's label."""
        self._claims.close()
        self._decided.append(self._judge.absent((~self._claims.are_claimed()).indexes(), reason_for_missing))

    def _window(self, rows: StagedRows) -> Window:
        names, defects, first = rows.column("name"), rows.defects(), len(self._defects)
        self._defects = Column.joined([self._defects, defects])
        return Window(
            names=names,
            annotations=self._annotated.find(names),
            archives=rows.archives,
            folders=self._labelling.folder_labels(rows.column("member")),
            rows=Column.numbers(first, first + len(names)),
            defects=defects,
        )

    def unmatched_replacements(self) -> list[str]:
        """Replacements of clips that are neither annotated nor hosted."""
        found = self._replacements
        is_known = found.is_in(self._annotated) | found.is_in(self.decisions.name)
        return list(dict.fromkeys(found.where(~is_known)))

    def other_times(self) -> list[str]:
        """Clips that no annotation names, of videos that are annotated with other times and are missing."""
        decisions = self.decisions
        unnamed = set(decisions.name.where(~decisions.annotation.is_known())) - self._claims.claimers()
        parts = self._labelling.names.parts
        ids = {parts(name).youtube_id for name in unnamed}
        if not ids:
            return []
        unread = self._annotated.where(~self._claims.are_claimed())
        absent = {youtube_id: name for name in unread if (youtube_id := parts(name).youtube_id) in ids}
        pairs = [(name, absent[found]) for name in unnamed if (found := parts(name).youtube_id) in absent]
        return [f"{name}, annotated as {other}" for name, other in sorted(pairs)]

    def _list_other_folders(self, window: Window, labels: Labels) -> None:
        differs = window.folders.is_known() & ~window.folders.equals(labels.texts) & ~labels.texts.equals("")
        columns = (column.where(differs) for column in (window.names, labels.texts, window.folders))
        for name, text, other in zip(*columns, strict=True):
            self.other_folders.append(f"{name}, {text}, in the folder of {other}")

    def counts(self, members: Mapping[str, int], num_shards: int, num_bytes: int) -> SplitCounts:
        """The counts for the manifest; `members` are those that the receipts of the split's archives add up to."""
        decisions, annotations = self.decisions, self._labelling.annotations
        are_written = decisions.are_written
        missing = decisions.reason.where(decisions.status.equals("missing"))
        rejected = counts(decisions.reason.where(decisions.status.equals("rejected")))
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
            num_written=are_written.sum(),
            **flag_counts(self._defects.take(decisions.row.where(are_written))),
            num_replaced=(are_written & decisions.source.equals("replacement")).sum(),
            num_replacement_only=(decisions.source.equals("replacement") & ~decisions.original.is_known()).sum(),
            num_unmatched_replacements=len(self.unmatched_replacements()),
            num_rejected=dict(sorted(rejected.items())),
            num_excluded_by=dict(sorted(counts(values_of(decisions.excluded_by)).items())),
            num_missing=len(missing),
            num_missing_in_damaged=(~missing.equals("")).sum(),
            num_shards=num_shards,
            num_bytes=num_bytes,
        )
