"""Stills of clips as they were before they were encoded, for people to compare with what was written.

Those of two clips of each archive are kept, always the same ones.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from kconvert.staging.journal import SplitJournal
from kconvert.storage.records import build
from kconvert.storage.store import StorePath
from kconvert.video.encoding.encoded import Comparison

_MAX_CLIPS = 2


@dataclass(frozen=True)
class SourceStill:
    """Of one clip."""

    name: str
    """The clip's official name."""
    sha256: str
    """Of its bytes as they are hosted."""
    ssim: float
    """How near what was written is, up to 1 for equal."""
    frame_index: int
    """Which frame of what was written it was to become, from 0."""
    still: str
    """A JPEG in base64."""


class SourceStills:
    """Those of one archive."""

    def __init__(self) -> None:
        self._found: list[SourceStill] = []

    def add(self, name: str, sha256: str, comparison: Comparison) -> None:
        """Takes in the still of a clip; those of the smallest digests are kept."""
        still = SourceStill(name, sha256, comparison.ssim, comparison.frame_index, comparison.still)
        self._found = sorted([*self._found, still], key=lambda one: one.sha256)[:_MAX_CLIPS]

    def keep(self, path: StorePath) -> None:
        """Writes those that are kept, if there are any."""
        if self._found:
            path.write_bytes(json.dumps({"stills": [dataclasses.asdict(one) for one in self._found]}).encode())


@dataclass(frozen=True)
class _Kept:
    stills: tuple[SourceStill, ...]
    """Of an archive."""


def stills_path(journal: SplitJournal, archive_id: str) -> StorePath:
    """Where those of an archive are kept."""
    return journal.folder / "archives" / f"{archive_id}.stills"


def source_stills(path: StorePath) -> tuple[SourceStill, ...]:
    """What was kept there; nothing if that is gone, or was changed by hand."""
    try:
        return build(_Kept, json.loads(path.read_bytes())).stills
    except (FileNotFoundError, ValueError):
        return ()
