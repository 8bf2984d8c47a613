"""Archives as bundles, and access to them: how the bytes of one are had, wherever they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from kconvert.catalog.names import Names
from kconvert.sources.archive import ArchiveReader
from kconvert.sources.bundle import Bundle
from kconvert.sources.fetch.open import describe, open_ahead
from kconvert.sources.fetch.stream import ByteStream, FetchOptions, OnBytes, Remote
from kconvert.sources.members import Members


@dataclass(frozen=True)
class ArchiveRef(Bundle):
    """An archive, and where it is."""

    name: str
    """Its official path below the base, e.g. `400/train/part_0.tar.gz`, whatever the origin."""
    location: str
    """URL or local path."""
    names: Names
    """How the clips in it are called."""

    def describe(self, options: FetchOptions) -> Remote:
        return describe(self.location, options)

    def open(self, access: ArchiveAccess, options: FetchOptions, on_bytes: OnBytes) -> Members:
        return ArchiveReader(access.open(self, options, on_bytes), self.name)

    def discard(self, access: ArchiveAccess) -> None:
        access.discard(self)

    def clip_name(self, member: str) -> str:
        return self.names.of_member(member).name


class ArchiveAccess(ABC):
    """Gives the bytes of archives. It can be sent to other processes."""

    @abstractmethod
    def open(self, archive: ArchiveRef, options: FetchOptions, on_bytes: OnBytes) -> ByteStream:
        """The bytes of an archive, from its first to its last.

        Raises: as `ByteStream.read` does; after a `SourceChangedError` the next call starts from the first byte.
        """

    @abstractmethod
    def discard(self, archive: ArchiveRef) -> None:
        """Forgets what is kept of an archive that turned out to be damaged, so that it is fetched anew."""


@dataclass(frozen=True)
class Streamed(ArchiveAccess):
    """Nothing is kept: an archive is streamed from its origin, ahead of its reader."""

    def open(self, archive: ArchiveRef, options: FetchOptions, on_bytes: OnBytes) -> ByteStream:
        return open_ahead(archive.location, options, on_bytes)

    def discard(self, archive: ArchiveRef) -> None:
        """Nothing is kept."""
