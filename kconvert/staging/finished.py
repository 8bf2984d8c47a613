"""Finished clips of an archive that is still being read: kept as they are made, where that takes long, so that a task
that is killed finds them again and does only the others.

They stand beside the parts, in pieces of a few seconds' work: the bytes as in a part, and a record of what is in it.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from kconvert.errors import StagingError
from kconvert.staging.part import NOT_STAGED, StagedBytes, part_writer, read_staged
from kconvert.storage.store import StorePath

_PIECE_SECONDS = 5.0
_PIECE_BYTES = 64 << 20
_BYTES, _RECORD = ".finished", ".finished.json"


@dataclass(frozen=True)
class FinishedClip:
    """What became of a clip."""

    about: Mapping[str, Any]
    """All that is known of it, as JSON."""
    data: bytes
    """What is written of it."""


@dataclass(frozen=True)
class _Kept:
    about: Mapping[str, Any]
    """All that is known of it, as JSON."""
    path: StorePath
    """Of the piece that it is in."""
    staged: StagedBytes
    """Where it is there."""


class FinishedClips:
    """Those of one archive, by the sha256 of the clips as they are hosted."""

    def __init__(self, folder: StorePath, archive_id: str, number: str) -> None:
        """`number` is that of the conversion; what another one has left counts for nothing."""
        self._folder = folder
        self._prefix = f"{archive_id}."
        self._number = number
        self._kept: dict[str, _Kept] | None = None
        self._pending: dict[str, FinishedClip] = {}
        self._since = time.monotonic()

    def get(self, sha256: str) -> FinishedClip | None:
        """What became of a clip; `None` if nobody knows it, or it is not what it was."""
        if self._kept is None:
            self._kept = self._found()
        kept = self._kept.get(sha256)
        if kept is None:
            return None
        if kept.staged.offset < 0:
            return FinishedClip(kept.about, b"")
        try:
            return FinishedClip(kept.about, next(read_staged([(kept.path, kept.staged)])))
        except (StagingError, OSError):
            return None

    def add(self, sha256: str, clip: FinishedClip) -> None:
        """Takes one in; it is kept within seconds."""
        self._pending[sha256] = clip
        is_large = sum(len(one.data) for one in self._pending.values()) >= _PIECE_BYTES
        if is_large or time.monotonic() - self._since >= _PIECE_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Keeps all that were taken in."""
        pending, self._pending = self._pending, {}
        self._since = time.monotonic()
        if not pending:
            return
        name = f"{self._prefix}{uuid.uuid4().hex}"
        with part_writer(self._folder / f"{name}{_BYTES}") as part:
            staged = {sha: part.append(clip.data) if clip.data else NOT_STAGED for sha, clip in pending.items()}
        clips = {sha: {"about": clip.about, "staged": astuple(staged[sha])} for sha, clip in pending.items()}
        content = {"number": self._number, "clips": clips}
        (self._folder / f"{name}{_RECORD}").write_bytes(json.dumps(content).encode())

    def forget(self) -> None:
        """Removes all of the archive: they are in its part."""
        self._pending = {}
        for name in self._names(_RECORD, _BYTES):
            (self._folder / name).remove()

    def _names(self, *endings: str) -> list[str]:
        names = self._folder.children()
        return sorted(name for name in names if name.startswith(self._prefix) and name.endswith(endings))

    def _found(self) -> dict[str, _Kept]:
        found: dict[str, _Kept] = {}
        for name in self._names(_RECORD):
            content = json.loads((self._folder / name).read_bytes())
            path = self._folder / name.removesuffix(".json")
            if content["number"] == self._number:
                for sha, clip in content["clips"].items():
                    found[sha] = _Kept(clip["about"], path, StagedBytes(*clip["staged"]))
        return found
