"""Ingesting: one archive becomes a part (its good clips, staged) and rows (what is known of each clip).

The archive is read once, as a stream; no clip is ever a file of its own. Only what the archive itself says is decided
here. What depends on others (labels, duplicates, replacements) is decided when all of them are known, by `account`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from kconvert.catalog.clip import Clip
from kconvert.dataset.table import StagedClip, StagedWriter, staged_writer
from kconvert.errors import ArchiveError, OutOfMemoryError, SourceChangedError
from kconvert.events import Advance, Emit
from kconvert.sources.access import ArchiveAccess
from kconvert.sources.archive import MAX_CLIP_BYTES, ArchiveReader
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.sources.members import Member
from kconvert.sources.origin import ArchiveRef
from kconvert.staging.journal import MAX_LISTED, ArchiveReceipt, SplitJournal, guarded
from kconvert.staging.part import NOT_STAGED, ClipSink, part_writer
from kconvert.storage.store import StorePath
from kconvert.text import printable
from kconvert.video.metadata import MediaMetadata
from kconvert.video.open import open_prober
from kconvert.video.prober import Prober
from kconvert.video.verdict import CheckOptions, Fault, Probed, clean_detail, judge, rejecting_defect

_MAX_NAME_CHARS = 1000
"""What is kept of a member's name; official ones have 20 to 100."""
_VIDEO_ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".3gp", ".flv")


@dataclass(frozen=True)
class IngestTask:
    """One archive to be read."""

    archive: ArchiveRef
    """Its official name, and where it is."""
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
    selection: StorePath | None = None
    """The names of the clips that are read, in a file; `None` for all."""

    @property
    def name(self) -> str:
        return self.archive.name


def ingest(task: IngestTask, emit: Emit) -> ArchiveReceipt:
    """Reads an archive; its part, its rows and then its receipt are in the journal when this returns.

    Raises: as `read_archive`.
    """
    receipt = task.journal.archive_receipt(task.archive_id)
    if receipt is not None and receipt.archive == task.name and task.journal.staged({task.archive_id: receipt}):
        # An engine may have begun this task twice, as where a machine was lost.
        return receipt
    return read_archive(task, emit, lambda: part_writer(task.journal.part_path(task.archive_id)))


def read_archive(
    task: IngestTask, emit: Emit, open_sink: Callable[[], AbstractContextManager[ClipSink]]
) -> ArchiveReceipt:
    """Reads an archive whose good clips go into a sink; its rows and then its receipt are in the journal when this
    returns.

    Raises: `ArchiveError` if it is damaged, `FetchError` if it cannot be had, `OutOfMemoryError` if there is too little
    memory to check its clips, `LostLockError` if another conversion has the folder.
    """
    prober = open_prober(task.check)
    for restart in range(task.fetch.max_restarts + 1):
        counted = _Counted(guarded(task.journal, emit))
        try:
            with open_sink() as sink:
                receipt = _read(task, prober, sink, counted)
        except SourceChangedError:
            if restart == task.fetch.max_restarts:
                raise
            counted.take_back()
        except OutOfMemoryError as error:
            raise OutOfMemoryError(task.name, error.limit) from error
        except ArchiveError:
            task.access.discard(task.archive)
            raise
        else:
            task.journal.set_archive_receipt(task.archive_id, receipt)
            return receipt
    raise AssertionError("unreachable")


def _read(task: IngestTask, prober: Prober, sink: ClipSink, counted: _Counted) -> ArchiveReceipt:
    selected = None if task.selection is None else _names(task.selection)
    with (
        task.access.open(task.archive, task.fetch, counted.bytes_read) as stream,
        staged_writer(task.journal.rows_path(task.archive_id)) as rows,
        ArchiveReader(stream, task.name) as archive,
    ):
        reading = _Reading(_Checking(prober, task.check, sink, rows, counted), selected)
        for member in archive:
            reading.read(member)
        remote = stream.remote
        rows_sha256 = rows.finish()
    return ArchiveReceipt(
        archive=task.name,
        size_bytes=remote.size_bytes,
        etag=remote.etag,
        num_members=reading.num_members,
        num_ignored_members=reading.num_ignored,
        num_unparsed_members=reading.num_unparsed,
        num_unselected_members=reading.num_unselected,
        num_clips=rows.num_rows,
        refused=tuple(reading.refused),
        notes=tuple(archive.notes),
        part_bytes=sink.size_bytes,
        rows_sha256=rows_sha256,
    )


@functools.lru_cache(maxsize=2)
def _names(path: StorePath) -> frozenset[str]:
    return frozenset(path.read_bytes().decode().split())


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


@dataclass(frozen=True)
class _Checking:
    """What becomes of each clip of an archive: a row, and its bytes in a sink if they are good."""

    prober: Prober
    """Looks into clips."""
    options: CheckOptions
    """What is looked for."""
    sink: ClipSink
    """Takes the good ones."""
    rows: StagedWriter
    """Takes a row for each."""
    counted: _Counted
    """Takes the progress."""

    def check(self, clip: Clip, member: Member) -> StagedClip:
        """Checks a clip; returns its row."""
        if member.size_bytes > MAX_CLIP_BYTES:
            detail = f"declares {member.size_bytes:,} bytes, more than the limit of {MAX_CLIP_BYTES:,}; not read"
            probed, data, digest = Probed(MediaMetadata(), Fault("unreadable", detail)), b"", ""
        else:
            data = member.load()
            digest = hashlib.sha256(data).hexdigest()
            probed = self.prober.probe(data)
        verdict = judge(probed, self.options)
        is_good = not rejecting_defect(verdict.defects, self.options.short)
        staged = self.sink.append(data) if is_good else NOT_STAGED
        row = StagedClip(
            name=clip.name,
            member=printable(member.name, _MAX_NAME_CHARS),
            defects=verdict.defects,
            detail=verdict.detail,
            size_bytes=member.size_bytes,
            sha256=digest,
            metadata=probed.metadata,
            part_offset=staged.offset,
            crc32=staged.crc32,
        )
        self.add(row)
        return row

    def add(self, row: StagedClip) -> None:
        """Takes in the row of a clip."""
        self.rows.add(row)
        self.counted.clip_checked(row.defects)


class _Reading:
    """The members of one archive, as they are read: each is a clip, or is counted as what it is instead."""

    def __init__(self, checking: _Checking, selected: frozenset[str] | None) -> None:
        self._checking = checking
        self._selected = selected
        self._rows: dict[str, StagedClip] = {}
        """Of the clips so far, by the names of their members."""
        self.refused: list[str] = []
        self.num_members = 0
        self.num_ignored = 0
        self.num_unparsed = 0
        self.num_unselected = 0

    def read(self, member: Member) -> None:
        """Sorts a member; if it is a clip, checks it."""
        self.num_members += 1
        leaf = member.name.rstrip("/").rsplit("/", 1)[-1]
        is_video = leaf.lower().endswith(_VIDEO_ENDINGS) and not leaf.startswith("._")
        linked = self._rows.get(member.link)
        if not is_video or (not member.is_file and linked is None):
            self.num_ignored += 1
            if is_video:
                self._refuse(member, "not a file of its own (a link, a folder, a device, or sparse)")
            return
        try:
            clip = Clip.from_name(leaf)
        except ValueError as error:
            self.num_unparsed += 1
            self._refuse(member, str(error))
            return
        if self._selected is not None and clip.name not in self._selected:
            self.num_unselected += 1
            return
        if linked is None:
            self._rows[member.name] = self._checking.check(clip, member)
            return
        # A hard link: the bytes are those of an earlier member, which were looked into.
        self._rows[member.name] = replace(linked, name=clip.name, member=printable(member.name, _MAX_NAME_CHARS))
        self._checking.add(self._rows[member.name])

    def _refuse(self, member: Member, why: str) -> None:
        if len(self.refused) < MAX_LISTED:
            self.refused.append(clean_detail(f"{printable(member.name, _MAX_NAME_CHARS)}: {why}"))
