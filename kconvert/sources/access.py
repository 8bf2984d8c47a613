"""Access to archives: how the bytes of one are had, wherever they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from kconvert.sources.fetch.open import open_ahead
from kconvert.sources.fetch.stream import ByteStream, FetchOptions, OnBytes
from kconvert.sources.origin import ArchiveRef


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
