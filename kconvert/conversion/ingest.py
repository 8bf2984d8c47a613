"""Ingesting: one archive becomes a part (its good clips, staged) and rows (what is known of each clip).

The archive is read once, as a stream; no clip is ever a file of its own. Only what the archive itself says is decided
here. What depends on others (labels, duplicates, replacements) is decided when all of them are known, by `account`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace

from kconvert.conversion.checking import ClipChecking, MemberChecking
from kconvert.conversion.damaged import DamagedAt, DamagedError, DamagedPolicy, damage, is_accepted
from kconvert.conversion.preparing import open_preparer
from kconvert.dataset.staged_rows import staged_writer
from kconvert.errors import ArchiveError, InstructionSetError, OutOfMemoryError, SourceChangedError
from kconvert.events import Advance, Emit
from kconvert.sources.access import ArchiveAccess
from kconvert.sources.bundle import Bundle
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.staging.claim import Claim
from kconvert.staging.finished import FinishedClips
from kconvert.staging.journal import ArchiveReceipt, Damage, SplitJournal, guarded, selection_line
from kconvert.staging.part import ClipSink, part_writer
from kconvert.staging.source_stills import stills_path
from kconvert.storage.store import StorePath
from kconvert.video.encoding.options import Encoding
from kconvert.video.encoding.tools import instruction_set
from kconvert.video.verdict import CheckOptions


@dataclass(frozen=True)
class ClipSelection:
    """Which clips of archives are read."""

    path: StorePath
    """Of a file of official names, one a line."""
    are_read: bool
    """Whether these are read, or all others."""


@dataclass(frozen=True)
class IngestTask:
    """One archive to be read."""

    bundle: Bundle
    """What is read."""
    archive_id: str
    """What its files in the journal go by."""
    journal: SplitJournal
    """Where rows, part and receipt go."""
    check: CheckOptions
    """What is looked for in its clips."""
    fetch: FetchOptions
    """How its bytes are fetched."""
    access: ArchiveAccess
    """How its bytes are had."""
    damaged: DamagedPolicy
    """What is made of it if it is damaged for good."""
    selection: ClipSelection | None = None
    """The clips that are read; `None` for all."""
    encoding: Encoding = field(default_factory=Encoding)
    """What becomes of its clips."""
    num_cores: int = 1
    """That it may use for that."""

    @property
    def name(self) -> str:
        return self.bundle.name

    @functools.cached_property
    def finished(self) -> FinishedClips:
        """Its clips that are finished, until all are."""
        return FinishedClips(self.journal.parts_folder, self.archive_id, self.journal.number)


def ingest(task: IngestTask, emit: Emit) -> ArchiveReceipt:
    """Reads an archive; its part, its rows and then its receipt are in the journal when this returns.

    Raises: as `read_archive`.
    """
    receipt = task.journal.archive_receipt(task.archive_id)
    is_done = receipt is not None and receipt.archive == task.name and is_accepted(receipt, task.damaged)
    if receipt is not None and is_done and task.journal.staged({task.archive_id: receipt}):
        # An engine may have begun this task twice, as where a machine was lost.
        return receipt
    return read_archive(task, emit, lambda: part_writer(task.journal.part_path(task.archive_id)))


def read_archive(
    task: IngestTask, emit: Emit, open_sink: Callable[[], AbstractContextManager[ClipSink]]
) -> ArchiveReceipt:
    """Reads an archive whose good clips go into a sink; its rows and then its receipt are in the journal when this
    returns.

    Raises: `ArchiveError` if it is damaged, and `task.damaged` is `fail`, or it is not damaged for good; `FetchError`
    if it cannot be had, `OutOfMemoryError` if there is too little memory to check its clips, `LostLockError` if another
    conversion has the folder, `InstructionSetError` if its sound cannot be made as that of the folder was.
    """
    receipt = _Ingest(task, open_sink, _Counted(guarded(task.journal, emit))).receipt()
    task.journal.set_archive_receipt(task.archive_id, receipt)
    if task.encoding.is_any:
        task.finished.forget()
    return receipt


@dataclass(frozen=True)
class _Ingest:
    """How an archive becomes rows and what is in a sink, in one reading or more."""

    task: IngestTask
    """What is read."""
    open_sink: Callable[[], AbstractContextManager[ClipSink]]
    """Opens where good clips go; what went there before is gone then."""
    counted: _Counted
    """Takes the progress."""

    def receipt(self) -> ArchiveReceipt:
        """Reads it as often as it takes. Raises as `read_archive`."""
        try:
            return self._read(self.task.check)
        except DamagedError as error:
            if self.task.damaged == "fail" or not error.place.is_certain:
                raise
            place = error.place
        self.counted.take_back()
        is_salvaged = self.task.damaged == "salvage"
        # Where only a checksum at the end is wrong, nothing but decoding shows which clips are.
        receipt = self._read(replace(self.task.check, depth="decode") if is_salvaged else self.task.check, place)
        if is_salvaged == (receipt.damage is not None):
            return receipt
        self.counted.take_back()
        # It is whole after all, or it is passed over.
        return self._read(self.task.check) if is_salvaged else self._pass_over(receipt)

    def _read(self, check: CheckOptions, place: DamagedAt | None = None) -> ArchiveReceipt:
        """Reads it once, to its end or up to that damaged place. Raises `DamagedError` if it is damaged elsewhere."""
        task = self.task
        for restart in range(task.fetch.max_restarts + 1):
            try:
                with self.open_sink() as sink:
                    return self._read_members(check, sink, place)
            except SourceChangedError:
                if restart == task.fetch.max_restarts:
                    raise
                self.counted.take_back()
            except OutOfMemoryError as error:
                raise OutOfMemoryError(task.name, error.limit) from error
            except ArchiveError:
                task.bundle.discard(task.access)
                raise
        raise AssertionError("unreachable")

    def _read_members(self, check: CheckOptions, sink: ClipSink, place: DamagedAt | None) -> ArchiveReceipt:
        task, damage = self.task, None
        # Once, however many of the clips ask for it.
        claim = functools.cache(self._claim)
        with (
            task.bundle.open(task.access, task.fetch, self.counted.bytes_read) as members,
            staged_writer(task.journal.rows_path(task.archive_id)) as rows,
            closing(open_preparer(check, task.encoding, task.num_cores, task.finished, claim)) as preparer,
        ):
            clips = ClipChecking(preparer, check, sink, rows, self.counted.clip_checked)
            checking = MemberChecking(clips, task.bundle.clip_name, _is_selected(task.selection))
            try:
                for member in members:
                    checking.read(member)
            except ArchiveError as error:
                damage = self._damage(error, DamagedAt.of(error, members), place)
            clips.finish()
            clips.stills.keep(stills_path(task.journal, task.archive_id))
            remote, rows_sha256 = members.remote, rows.finish()
        return ArchiveReceipt(
            archive=task.name,
            size_bytes=remote.size_bytes,
            etag=remote.etag,
            num_members=checking.num_members,
            num_ignored_members=checking.num_ignored,
            num_unparsed_members=checking.num_unparsed,
            num_unselected_members=checking.num_unselected,
            num_clips=rows.num_rows,
            refused=tuple(checking.refused),
            notes=tuple(members.notes),
            damage=damage,
            part_bytes=sink.size_bytes,
            rows_sha256=rows_sha256,
        )

    def _claim(self) -> None:
        """Has the folder's sound encoded, or decoded, by this instruction set. Raises `InstructionSetError` if other
        sound there was by another one."""
        self.task.journal.require_current()
        own = instruction_set()
        if (found := Claim(self.task.journal.folder.parent).make(own)) != own:
            raise InstructionSetError(self.task.name, found, own)

    def _damage(self, error: ArchiveError, found: DamagedAt, place: DamagedAt | None) -> Damage:
        """What is said of an archive that is damaged where it was before. Raises `DamagedError` if it is elsewhere."""
        if found != place:
            raise DamagedError(error.archive, error.problem, found, place) from error
        self.task.bundle.discard(self.task.access)
        return damage(self.task.damaged, found)

    def _pass_over(self, read: ArchiveReceipt) -> ArchiveReceipt:
        """The receipt of an archive of which nothing is taken, after it was read so."""
        with self.open_sink() as sink, staged_writer(self.task.journal.rows_path(self.task.archive_id)) as rows:
            return replace(
                read,
                num_members=0,
                num_ignored_members=0,
                num_unparsed_members=0,
                num_unselected_members=0,
                num_clips=0,
                refused=(),
                part_bytes=sink.size_bytes,
                rows_sha256=rows.finish(),
            )


def _is_selected(selection: ClipSelection | None) -> Callable[[str], bool]:
    """Says of an official name whether the clip is to be read."""
    if selection is None:
        return lambda name: True
    names, are_read = _names(selection.path), selection.are_read
    return lambda name: (selection_line(name) in names) == are_read


@functools.lru_cache(maxsize=2)
def _names(path: StorePath) -> frozenset[str]:
    return frozenset(path.read_bytes().decode().split("\n"))


@dataclass
class _Counted:
    """What was reported of the progress of one reading, so that it can be taken back."""

    emit: Emit
    """Takes the progress."""
    num_bytes: int = 0
    """Read so far."""
    num_clips: int = 0
    """Checked so far."""
    flagged: dict[str, int] = field(default_factory=dict)
    """Clips with a defect so far, by defect."""

    def bytes_read(self, num_bytes: int) -> None:
        self.num_bytes += num_bytes
        self.emit(Advance(num_bytes=num_bytes))

    def clip_checked(self, defects: tuple[str, ...]) -> None:
        self.num_clips += 1
        for defect in defects:
            self.flagged[defect] = self.flagged.get(defect, 0) + 1
        self.emit(Advance(num_clips=1, flagged=dict.fromkeys(defects, 1)))

    def take_back(self) -> None:
        flagged = {defect: -num for defect, num in self.flagged.items()}
        self.emit(Advance(-self.num_bytes, -self.num_clips, flagged))
        self.num_bytes, self.num_clips, self.flagged = 0, 0, {}
