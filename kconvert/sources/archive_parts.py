"""Archives in parts: files that are one archive when they are put one behind the other, as `split` makes them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from kconvert.catalog.names import Names
from kconvert.sources.access import ArchiveAccess
from kconvert.sources.archive import ArchiveReader
from kconvert.sources.bundle import Bundle
from kconvert.sources.fetch.open import describe, open_ahead
from kconvert.sources.fetch.stream import ByteStream, FetchOptions, OnBytes, Remote
from kconvert.sources.members import Members


@dataclass(frozen=True)
class ArchiveParts(Bundle):
    """An archive in parts."""

    name: str
    """What its parts are called but for what tells them apart."""
    locations: Sequence[str]
    """URLs or local paths of the parts, in their order."""
    names: Names
    """How the clips in it are called."""

    def describe(self, options: FetchOptions) -> Remote:
        return _together([describe(location, options) for location in self.locations])

    def open(self, access: ArchiveAccess, options: FetchOptions, on_bytes: OnBytes) -> Members:
        return ArchiveReader(_JoinedStream(self.locations, options, on_bytes), self.name)

    def discard(self, access: ArchiveAccess) -> None:
        """Nothing is kept."""

    def clip_name(self, member: str) -> str:
        return self.names.of_member(member).name


class _JoinedStream(ByteStream):
    """The bytes of the parts, one after the other."""

    def __init__(self, locations: Sequence[str], options: FetchOptions, on_bytes: OnBytes) -> None:
        self._locations = locations
        self._options = options
        self._on_bytes = on_bytes
        self._remotes = [describe(location, options) for location in locations]
        self._number = 0
        self._part = open_ahead(locations[0], options, on_bytes)

    @property
    def remote(self) -> Remote:
        return _together(self._remotes)

    @property
    def is_end_sure(self) -> bool:
        return self._part.is_end_sure

    def read(self) -> bytes | memoryview:
        while True:
            chunk = self._part.read()
            if len(chunk) or self._number == len(self._locations) - 1:
                return chunk
            self._part.close()
            self._number += 1
            self._part = open_ahead(self._locations[self._number], self._options, self._on_bytes)

    def close(self) -> None:
        self._part.close()


def _together(remotes: Sequence[Remote]) -> Remote:
    """Size and version of all parts together."""
    sizes = [remote.size_bytes for remote in remotes]
    versions = "\n".join(remote.etag for remote in remotes)
    size = None if None in sizes else sum(size or 0 for size in sizes)
    return Remote(size, f"parts-{hashlib.sha256(versions.encode()).hexdigest()[:32]}")
