"""Checking the members of an archive: each is a clip, which gets a row, or is counted as what it is instead."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from kconvert.catalog.names import is_video
from kconvert.conversion.preparing import Prepared, PreparedClip, Preparer, Preparing
from kconvert.dataset.staged_rows import SourceClip, StagedClip, StagedSound, StagedWriter
from kconvert.sources.archive import MAX_CLIP_BYTES
from kconvert.sources.members import Member
from kconvert.staging.journal import MAX_LISTED
from kconvert.staging.part import ClipSink
from kconvert.staging.source_stills import SourceStills
from kconvert.text import printable
from kconvert.video.metadata import MediaMetadata
from kconvert.video.verdict import CheckOptions, Fault, Probed, clean_detail, judge, rejecting_defect

OnClip = Callable[[tuple[str, ...]], None]
"""Is called with the defects of each clip."""
_MAX_NAME_CHARS = 1000
"""What is kept of a member's name; official ones have 20 to 100."""


@dataclass(frozen=True)
class _Begun:
    """A clip that is looked into."""

    name: str
    """The official one."""
    member: Member
    """That it is."""
    data: bytes
    """Its bytes; nothing if they were not loaded."""
    sha256: str
    """Of them; `""` if they were not loaded."""
    preparing: Preparing
    """Gives what became of it."""


class ClipChecking:
    """What becomes of each clip of an archive: a row, and its bytes in a sink if they are good.

    A clip is prepared while the next ones are read; rows and bytes come in the order of the archive.
    """

    def __init__(
        self, preparer: Preparer, options: CheckOptions, sink: ClipSink, rows: StagedWriter, on_clip: OnClip
    ) -> None:
        self._preparer = preparer
        self._options = options
        self._sink = sink
        self._rows = rows
        self._on_clip = on_clip
        self._begun: deque[_Begun] = deque()
        self._by_member: dict[str, StagedClip] = {}
        self.stills = SourceStills()
        """Of clips that something else is written for."""

    def begin(self, name: str, member: Member) -> None:
        """Loads a clip of an official name, and has it prepared; those before it get their rows, in time."""
        if member.size_bytes > MAX_CLIP_BYTES:
            detail = f"declares {member.size_bytes:,} bytes, more than the limit of {MAX_CLIP_BYTES:,}; not read"
            prepared = PreparedClip(Prepared(Probed(MediaMetadata(), Fault("unreadable", detail))))
            self._begun.append(_Begun(name, member, b"", "", lambda: prepared))
            return
        data = member.load()
        digest = hashlib.sha256(data).hexdigest()
        while not self._preparer.has_room(len(self._begun), sum(len(one.data) for one in self._begun)):
            self._finish_first()
        self._begun.append(_Begun(name, member, data, digest, self._preparer.begin(data, digest)))

    def finish(self) -> None:
        """Gives all clips their rows that have none yet. To be called once more after all of them."""
        while self._begun:
            self._finish_first()

    def _finish_first(self) -> None:
        begun = self._begun.popleft()
        clip = begun.preparing()
        probed = clip.about.probed
        verdict = judge(probed, self._options)
        is_good = not rejecting_defect(verdict.defects, self._options.dropped)
        row = StagedClip(
            name=begun.name,
            member=printable(begun.member.name, _MAX_NAME_CHARS),
            defects=verdict.defects,
            detail=verdict.detail,
            size_bytes=begun.member.size_bytes,
            sha256=begun.sha256,
            metadata=probed.metadata,
        )
        if is_good:
            row = self._staged(begun, clip, row)
        self._add(begun.member, row)

    def _staged(self, begun: _Begun, clip: PreparedClip, row: StagedClip) -> StagedClip:
        """Puts what is written into the sink; returns the row of that."""
        encoded, written = clip.about.encoded, clip.about.written
        row = replace(
            row,
            encoding=encoded.how,
            encoding_reasons=encoded.reasons,
            encoding_notes=encoded.notes,
            encoding_ssim=None if encoded.comparison is None else encoded.comparison.ssim,
        )
        data = begun.data
        if written is not None:
            data = clip.data
            row = replace(
                row,
                size_bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                metadata=written.metadata,
                source=SourceClip(begun.member.size_bytes, begun.sha256, clip.about.probed.metadata),
            )
        if encoded.comparison is not None:
            self.stills.add(begun.name, begun.sha256, encoded.comparison)
        staged = self._sink.append(data)
        row = replace(row, part_offset=staged.offset, crc32=staged.crc32)
        if encoded.sound is None:
            return row
        # Right behind the video.
        staged = self._sink.append(clip.sound)
        digest = hashlib.sha256(clip.sound).hexdigest()
        return replace(row, sound=StagedSound(encoded.sound, digest, staged.crc32))

    def is_clip(self, member_name: str) -> bool:
        """Whether a member of that name was a clip."""
        return member_name in self._by_member or any(one.member.name == member_name for one in self._begun)

    def add_link(self, name: str, member: Member) -> None:
        """Gives a clip its row whose bytes are those of an earlier one, by a hard link."""
        self.finish()
        shown = printable(member.name, _MAX_NAME_CHARS)
        self._add(member, replace(self._by_member[member.link], name=name, member=shown))

    def _add(self, member: Member, row: StagedClip) -> None:
        self._by_member[member.name] = row
        self._rows.add(row)
        self._on_clip(row.defects)


class MemberChecking:
    """The members of one archive, as they are read."""

    def __init__(
        self, checking: ClipChecking, clip_name: Callable[[str], str], is_selected: Callable[[str], bool]
    ) -> None:
        """`clip_name` gives the official name of the clip that a member is, or raises `ValueError`."""
        self._checking = checking
        self._clip_name = clip_name
        self._is_selected = is_selected
        self.refused: list[str] = []
        self.num_members = 0
        self.num_ignored = 0
        self.num_unparsed = 0
        self.num_unselected = 0

    def read(self, member: Member) -> None:
        """Sorts a member; if it is a clip, has it looked into.

        Raises: `ArchiveError` where its bytes cannot be read; it counts for nothing then.
        """
        self._sort(member)
        self.num_members += 1

    def _sort(self, member: Member) -> None:
        leaf = member.name.rstrip("/").rsplit("/", 1)[-1]
        is_clip = is_video(leaf)
        is_link = self._checking.is_clip(member.link)
        if not is_clip or (not member.is_file and not is_link):
            self.num_ignored += 1
            if is_clip:
                self._refuse(member, "not a file of its own (a link, a folder, a device, or sparse)")
            return
        try:
            name = self._clip_name(member.name)
        except ValueError as error:
            self.num_unparsed += 1
            self._refuse(member, str(error))
            return
        if not self._is_selected(name):
            self.num_unselected += 1
            return
        if is_link:
            self._checking.add_link(name, member)
        else:
            self._checking.begin(name, member)

    def _refuse(self, member: Member, why: str) -> None:
        if len(self.refused) < MAX_LISTED:
            self.refused.append(clean_detail(f"{printable(member.name, _MAX_NAME_CHARS)}: {why}"))
