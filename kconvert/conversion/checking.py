"""Checking the members of an archive: each is a clip, which gets a row, or is counted as what it is instead."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from kconvert.catalog.clip import Clip
from kconvert.dataset.table import StagedClip, StagedWriter
from kconvert.sources.archive import MAX_CLIP_BYTES
from kconvert.sources.members import Member
from kconvert.staging.journal import MAX_LISTED
from kconvert.staging.part import NOT_STAGED, ClipSink
from kconvert.text import printable
from kconvert.video.metadata import MediaMetadata
from kconvert.video.prober import Prober
from kconvert.video.verdict import CheckOptions, Fault, Probed, clean_detail, judge, rejecting_defect

_MAX_NAME_CHARS = 1000
"""What is kept of a member's name; official ones have 20 to 100."""
_VIDEO_ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".3gp", ".flv")


@dataclass(frozen=True)
class ClipChecking:
    """What becomes of each clip of an archive: a row, and its bytes in a sink if they are good."""

    prober: Prober
    """Looks into clips."""
    options: CheckOptions
    """What is looked for."""
    sink: ClipSink
    """Takes the good ones."""
    rows: StagedWriter
    """Takes a row for each."""
    on_clip: Callable[[tuple[str, ...]], None]
    """Called with the defects of each."""

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
        is_good = not rejecting_defect(verdict.defects, self.options.dropped)
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
        self.on_clip(row.defects)


class MemberChecking:
    """The members of one archive, as they are read."""

    def __init__(self, checking: ClipChecking, is_selected: Callable[[str], bool]) -> None:
        self._checking = checking
        self._is_selected = is_selected
        self._rows: dict[str, StagedClip] = {}
        """Of the clips so far, by the names of their members."""
        self.refused: list[str] = []
        self.num_members = 0
        self.num_ignored = 0
        self.num_unparsed = 0
        self.num_unselected = 0

    def read(self, member: Member) -> None:
        """Sorts a member; if it is a clip, checks it.

        Raises: `ArchiveError` where its bytes cannot be read; it counts for nothing then.
        """
        self._sort(member)
        self.num_members += 1

    def _sort(self, member: Member) -> None:
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
        if not self._is_selected(clip.name):
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
