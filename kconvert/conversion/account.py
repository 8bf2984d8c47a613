"""The account: what becomes of every annotation row and every clip of a split, each in exactly one row.

Archives are admitted window by window. Of two clips with one name the first admitted counts and the other is a
`duplicate`: within a window that is the one in the earlier archive of the path list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from kconvert.catalog.labelling import Label, Labelling, LabelSource, MatchBy, UnlabelledPolicy
from kconvert.dataset.manifest import SplitCounts
from kconvert.dataset.table import StagedRows
from kconvert.video.verdict import rejecting_defect

MissingReason = Literal["archive_damaged", "archive_skipped", ""]


class Decision(NamedTuple):
    """What becomes of one clip."""

    name: str
    """The clip's official name."""
    status: Literal["written", "rejected", "missing"]
    """What becomes of it."""
    reason: str
    """Why it is rejected, or a `MissingReason`; else `""`."""
    label: str
    """`""` if it has none."""
    label_source: LabelSource
    """What says so; `""` if nothing does."""
    row_index: int | None
    """The staged row that its bytes are from; `None` if it is missing."""
    source: Literal["original", "replacement", ""]
    """Where its bytes are from; `""` if it is missing."""
    original: int | None
    """The staged row of the original that a replacement was taken for; `None` if there is none."""
    excluded_by: tuple[str, ...] = ()
    """The lists that it is excluded by; none if it is not."""

    @property
    def is_replacement_only(self) -> bool:
        """Whether no archive of the split holds it, and the replacement archive does."""
        return self.source == "replacement" and self.original is None

    @property
    def row(self) -> int:
        """The staged row of a clip that is not missing."""
        assert self.row_index is not None
        return self.row_index


@dataclass(frozen=True)
class Policy:
    """What a split's clips are judged by, beyond their defects."""

    dropped: frozenset[str]
    """The flags that reject a clip (see `CheckOptions.dropped`)."""
    unlabelled: UnlabelledPolicy
    """Whether clips are written that have no label, or none that counts (see `Labelling.counts`)."""
    match: MatchBy
    """What joins a clip and its annotation."""
    excluded_by: Callable[[str], tuple[str, ...]]
    """The lists that exclude the clip of an official name."""
    is_covered: Callable[[str], bool]
    """Whether all archives that could hold a clip with this label are read, so that it may be called missing."""


class Account:
    """Decides on the clips of one split."""

    def __init__(self, labelling: Labelling, policy: Policy) -> None:
        self._labelling = labelling
        self._labels = labelling.annotations.labels
        self._parts = labelling.names.parts
        self._policy = policy
        self._by_id = labelling.annotations.named_once(labelling.names) if policy.match == "id" else {}
        self._claimed: dict[str, str] = {}
        """From annotated names to the clips, perhaps of other names, that have these annotations."""
        self._exact: set[str] = set()
        """Annotated names that clips have, or good replacements: no clip of another name has their annotation."""
        self._rejected: dict[str, str] = {}
        """From annotated names to rejected clips of other names, which have these annotations if no other clip has."""
        self._names: list[str] = []
        self._defects: list[list[str]] = []
        self._replacement_names: list[str] = []
        self._good_replacements: dict[str, int] = {}
        self._admitted: set[str] = set()
        self.other_folders: list[str] = []
        """Clips that lie in the folder of another label than theirs."""
        self.decisions: list[Decision] = []
        """All decisions so far; their order is that of admission."""

    def add_replacements(self, rows: StagedRows) -> None:
        """Takes in the rows of the replacement archive; before any archive is admitted."""
        for row in self._add(rows):
            name = self._names[row]
            self._replacement_names.append(name)
            if not self._rejecting(row):
                self._good_replacements.setdefault(name, row)
        self._exact |= self._labels.keys() & self._good_replacements

    def admit(self, rows: StagedRows) -> Sequence[Decision]:
        """Decides on the clips of a window, in their order; returns the new decisions."""
        first = len(self.decisions)
        added = self._add(rows)
        self._exact |= self._labels.keys() & self._names[added.start : added.stop]
        self.decisions.extend(map(self._decide, added, rows.archive_column(), rows.column("member")))
        return self.decisions[first:]

    def _add(self, rows: StagedRows) -> range:
        """Appends rows; returns their indexes among all rows so far."""
        first = len(self._names)
        self._names.extend(rows.column("name"))
        self._defects.extend(rows.column("defects"))
        return range(first, len(self._names))

    def _decide(self, row: int, archive: str, member: str) -> Decision:
        name = self._names[row]
        annotated = self._annotated(name)
        label = self._labelling.of(annotated, archive, member)
        if (other := self._labelling.other_folder(label, member)) is not None:
            self.other_folders.append(f"{name}, {label.text}, in the folder of {other}")
        # Of one name, or of one annotation, there is one clip.
        if name in self._admitted or self._claimed.get(annotated, name) != name:
            return Decision(name, "rejected", "duplicate", *label, row, "original", None)
        self._admitted.add(name)
        decision = self._judge(name, label, row)
        if annotated in self._labels:
            is_claim = annotated == name or decision.status == "written"
            (self._claimed if is_claim else self._rejected).setdefault(annotated, name)
        return decision

    def _judge(self, name: str, label: Label, row: int) -> Decision:
        """The decision on a clip that is no duplicate."""
        if excluded_by := self._policy.excluded_by(name):
            return Decision(name, "rejected", "excluded", *label, row, "original", None, excluded_by)
        better = self._good_replacements.get(name)
        if better is not None:
            reason = self._unlabelled(label)
            return Decision(name, "rejected" if reason else "written", reason, *label, better, "replacement", row)
        reason = self._rejecting(row) or self._unlabelled(label)
        return Decision(name, "rejected" if reason else "written", reason, *label, row, "original", None)

    def close(self, reason_for_missing: Callable[[str], MissingReason]) -> Sequence[Decision]:
        """Decides, after all archives, on the annotated clips that none of them holds; returns these decisions. The
        reason is asked for with a clip's label."""
        first = len(self.decisions)
        self._claimed = self._rejected | self._claimed
        for name, text in self._labels.items():
            if name in self._claimed or not self._policy.is_covered(text):
                continue
            label = self._labelling.of(name, "", "")
            better = self._good_replacements.get(name)
            if better is None:
                self.decisions.append(Decision(name, "missing", reason_for_missing(text), *label, None, "", None))
                continue
            excluded_by = self._policy.excluded_by(name)
            reason = "excluded" if excluded_by else self._unlabelled(label)
            status: Literal["written", "rejected"] = "rejected" if reason else "written"
            self.decisions.append(Decision(name, status, reason, *label, better, "replacement", None, excluded_by))
        return self.decisions[first:]

    def _annotated(self, name: str) -> str:
        """The annotated name that a clip goes by; its own if there is none, or another clip has that annotation."""
        other = "" if name in self._labels else self._by_id.get(self._parts(name).youtube_id, "")
        is_free = other not in self._exact and self._claimed.get(other, name) == name
        return other if other and is_free else name

    def unmatched_replacements(self) -> list[str]:
        """Replacements of clips that are neither annotated nor hosted."""
        known = self._labels.keys() | self._admitted
        return [name for name in dict.fromkeys(self._replacement_names) if name not in known]

    def other_times(self) -> list[str]:
        """Clips that no annotation names, of videos that are annotated with other times and are missing."""
        absent = {self._parts(name).youtube_id: name for name in self._labels if name not in self._claimed}
        unnamed = ((self._parts(name), name) for name in self._admitted - set(self._claimed.values()))
        pairs = [(name, absent[clip.youtube_id]) for clip, name in unnamed if clip.youtube_id in absent]
        return [f"{name}, annotated as {other}" for name, other in sorted(pairs)]

    def _rejecting(self, row: int) -> str:
        return rejecting_defect(self._defects[row], self._policy.dropped)

    def _unlabelled(self, label: Label) -> str:
        is_dropped = self._policy.unlabelled == "drop" and not self._labelling.counts(label)
        return "unlabelled" if is_dropped else ""

    def counts(self, members: Mapping[str, int], num_shards: int, num_bytes: int) -> SplitCounts:
        """The counts for the manifest; `members` are those that the receipts of the split's archives add up to."""
        written = [one for one in self.decisions if one.status == "written"]
        missing = [one for one in self.decisions if one.status == "missing"]
        rejected = Counter(one.reason for one in self.decisions if one.status == "rejected")
        defects = [self._defects[one.row] for one in written]
        flags, named = Counter(flag for found in defects for flag in found), {*self._labels, *self._claimed.values()}
        are_named = [one.name in named for one in self.decisions if one.reason != "duplicate"]
        return SplitCounts(
            num_annotations=len(self._labels),
            num_repeated_annotations=len(self._labelling.annotations.repeated),
            num_malformed_annotations=len(self._labelling.annotations.malformed),
            num_unread_annotations=len(self._labels) - sum(are_named),
            num_unannotated=len(are_named) - sum(are_named),
            **members,
            num_written=len(written),
            num_flagged=sum(map(bool, defects)),
            num_short=flags["short"],
            num_few_frames=flags["few_frames"],
            num_replaced=sum(one.source == "replacement" for one in written),
            num_replacement_only=sum(one.is_replacement_only for one in self.decisions),
            num_unmatched_replacements=len(self.unmatched_replacements()),
            num_rejected=dict(sorted(rejected.items())),
            num_excluded_by=dict(sorted(Counter(by for one in self.decisions for by in one.excluded_by).items())),
            num_missing=len(missing),
            num_missing_in_damaged=sum(one.reason != "" for one in missing),
            num_shards=num_shards,
            num_bytes=num_bytes,
        )
