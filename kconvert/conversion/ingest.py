"""Ingesting: one archive becomes a part (its good clips, staged) and rows (what is known of each clip).

The archive is read once, as a stream; no clip is ever a file of its own. Only what the archive itself says is decided
here. What depends on others (labels, duplicates, replacements) is decided when all of them are known, by `account`.
"""

from __future__ import annotations

import functools
import hashlib
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from kconvert.catalog.clip import Clip
from kconvert.dataset.table import StagedClip, StagedWriter, staged_writer
from kconvert.errors import ArchiveError, OutOfMemoryError, SourceChangedError
from kconvert.events import Advance, Emit
from kconvert.sources.archive import MAX_CLIP_BYTES, ArchiveReader, Member
from kconvert.sources.archive_cache import discard, keep_archive
from kconvert.sources.fetch.open import open_ahead, open_stream
from kconvert.sources.fetch.stream import ByteStream, FetchOptions, is_remote
from kconvert.sources.origin import ArchiveRef
from kconvert.staging.journal import MAX_LISTED, ArchiveReceipt, SplitJournal, guarded
from kconvert.staging.part import PartWriter, part_writer
from kconvert.storage.folders import local
from kconvert.storage.store import StorePath
from kconvert.text import printable
from kconvert.video.metadata import MediaFacts
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
    archive_id: str
    """What its files in the journal go by."""
    journal: SplitJournal
    check: CheckOptions
    fetch: FetchOptions
    keep_folder: Path | None
    """Where archives are kept as files; `None` to stream them."""
    is_staged: bool
    """Whether clips are staged to be packed; else the kept archive is all that is wanted."""
    is_selective: bool
    """Whether only the clips that the journal's selection names are read."""

    @property
    def name(self) -> str:
        return self.archive.name


def ingest(task: IngestTask, emit: Emit) -> ArchiveReceipt:
    """Reads an archive; its part, its rows and then its receipt are in the journal when this returns.

    Raises: `ArchiveError` if it is damaged, `FetchError` if it cannot be had, `OutOfMemoryError` if there is too little
    memory to check its clips.
    """
    journal = task.journal
    receipt = journal.archive_receipt(task.archive_id)
    if receipt is not None and receipt.archive == task.name and is_there(task, receipt):
        # An engine may have begun this task twice, as where a machine was lost.
        return receipt
    prober = open_prober(task.check)
    for restart in range(task.fetch.max_restarts + 1):
        counted = _Counted(guarded(journal, emit))
        try:
            receipt = _read(task, journal, prober, counted)
        except SourceChangedError:
            if restart == task.fetch.max_restarts:
                raise
            counted.take_back()
        except OutOfMemoryError as error:
            raise OutOfMemoryError(task.name, error.limit) from error
        except ArchiveError:
            if task.keep_folder is not None and (is_remote(task.archive.location) or not task.is_staged):
                discard(task.keep_folder, task.archive.name)
            raise
        else:
            journal.set_archive_receipt(task.archive_id, receipt)
            return receipt
    raise AssertionError("unreachable")


def is_there(task: IngestTask, receipt: ArchiveReceipt) -> bool:
    """Whether what was made of a read archive is there: its part, or the archive itself."""
    if task.is_staged or task.keep_folder is None:
        return bool(task.journal.staged({task.archive_id: receipt}))
    return local(task.keep_folder / task.name).size_bytes() == receipt.size_bytes


def _read(task: IngestTask, journal: SplitJournal, prober: Prober, counted: _Counted) -> ArchiveReceipt:
    selection = _selection(journal.selection_path) if task.is_selective else None
    rows_path, part_path = journal.rows_path(task.archive_id), journal.part_path(task.archive_id)
    with (
        _open(task, counted) as stream,
        part_writer(part_path) if task.is_staged else nullcontext() as part,
        staged_writer(rows_path) as rows,
        ArchiveReader(stream, task.archive.name) as archive,
    ):
        reading = _Reading(task.check, prober, selection, _Staging(part, rows), counted)
        for member in archive:
            reading.read(member)
        remote = stream.remote
        rows_sha256 = rows.finish()
    return ArchiveReceipt(
        archive=task.archive.name,
        size_bytes=remote.size_bytes,
        etag=remote.etag,
        num_members=reading.num_members,
        num_ignored_members=reading.num_ignored,
        num_unparsed_members=reading.num_unparsed,
        num_unselected_members=reading.num_unselected,
        num_clips=rows.num_rows,
        refused=tuple(reading.refused),
        part_bytes=part.size_bytes if part is not None else 0,
        rows_sha256=rows_sha256,
    )


def _open(task: IngestTask, counted: _Counted) -> ByteStream:
    location = task.archive.location
    if task.keep_folder is None:
        return open_ahead(location, task.fetch, counted.bytes_read)
    copies = not task.is_staged
    path = keep_archive(location, task.keep_folder, task.archive.name, task.fetch, counted.bytes_read, copies)
    return open_stream(str(path), task.fetch)


@functools.lru_cache(maxsize=2)
def _selection(path: StorePath) -> frozenset[str]:
    return frozenset(path.read_text().split())


@dataclass
class _Counted:
    """What was told of the progress of one reading, so that it can be taken back."""

    emit: Emit
    num_bytes: int = 0
    num_clips: int = 0
    flagged: dict[str, int] = field(default_factory=dict)

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


@dataclass
class _Staging:
    """Where the clips of one archive go."""

    part: PartWriter | None
    """`None` if they are only checked."""
    rows: StagedWriter


class _Reading:
    """The members of one archive, as they are read."""

    def __init__(
        self,
        options: CheckOptions,
        prober: Prober,
        selection: frozenset[str] | None,
        staging: _Staging,
        counted: _Counted,
    ) -> None:
        self._options = options
        self._prober = prober
        self._selection = selection
        self._staging = staging
        self._counted = counted
        self.refused: list[str] = []
        self.num_members = 0
        self.num_ignored = 0
        self.num_unparsed = 0
        self.num_unselected = 0

    def read(self, member: Member) -> None:
        """Sorts a member; if it is a clip, checks and stages it."""
        self.num_members += 1
        leaf = member.name.rstrip("/").rsplit("/", 1)[-1]
        is_video = leaf.lower().endswith(_VIDEO_ENDINGS) and not leaf.startswith("._")
        if not member.is_file or not is_video:
            self.num_ignored += 1
            if is_video:
                self._refuse(member, "not a file of its own (a link, a folder or a device)")
            return
        try:
            clip = Clip.from_name(leaf)
        except ValueError as error:
            self.num_unparsed += 1
            self._refuse(member, str(error))
            return
        if self._selection is not None and clip.name not in self._selection:
            self.num_unselected += 1
            return
        self._check(clip, member)

    def _refuse(self, member: Member, why: str) -> None:
        if len(self.refused) < MAX_LISTED:
            self.refused.append(clean_detail(f"{printable(member.name, _MAX_NAME_CHARS)}: {why}"))

    def _check(self, clip: Clip, member: Member) -> None:
        if member.size_bytes > MAX_CLIP_BYTES:
            detail = f"declares {member.size_bytes:,} bytes, more than the limit of {MAX_CLIP_BYTES:,}; not read"
            probed, data, digest = Probed(MediaFacts(), Fault("unreadable", detail)), b"", ""
        else:
            data = member.load()
            digest = hashlib.sha256(data).hexdigest()
            probed = self._prober.probe(data)
        verdict = judge(probed, self._options)
        staged = None
        if self._staging.part is not None and not rejecting_defect(verdict.defects, self._options.short):
            staged = self._staging.part.append(data)
        self._staging.rows.add(
            StagedClip(
                name=clip.name,
                member=printable(member.name, _MAX_NAME_CHARS),
                defects=verdict.defects,
                detail=verdict.detail,
                size_bytes=member.size_bytes,
                sha256=digest,
                facts=probed.facts,
                part_offset=staged.offset if staged else -1,
                crc32=staged.crc32 if staged else 0,
            )
        )
        self._counted.clip_checked(verdict.defects)
