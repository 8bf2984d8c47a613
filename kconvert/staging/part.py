"""Parts: the staged clips of one archive, one after the other in a file, each to be read back by its offset.

A part lives for minutes on a disk of ours, so that a CRC-32 guards each clip there: a fortieth of what a digest costs.
The space of clips that are in a shard is given back, where the disk can do that, before the rest of the part is done.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from kconvert.errors import StagingError
from kconvert.storage.compression import crc32
from kconvert.storage.digests import CountingFile
from kconvert.storage.store import Range, StorePath


@dataclass(frozen=True)
class StagedBytes:
    """Where the bytes of a clip are in a part."""

    offset: int
    """Of its first byte in the part; -1 if it is in none."""
    size: int
    """In bytes."""
    crc32: int
    """Of its bytes; 0 where nobody checks it."""

    @property
    def range(self) -> tuple[int, int]:
        """Its first byte, and the one after its last."""
        return self.offset, self.offset + self.size


class ClipSink(Protocol):
    """Takes the good clips of an archive."""

    @property
    def size_bytes(self) -> int:
        """Bytes staged so far."""

    def append(self, data: bytes) -> StagedBytes:
        """Takes a clip; returns where it is."""


NOT_STAGED = StagedBytes(-1, 0, 0)
"""Where a clip is that is in no part."""


class NoPart:
    """Takes clips that are only checked."""

    size_bytes = 0

    def append(self, data: bytes) -> StagedBytes:
        return NOT_STAGED


class PartWriter:
    """A part being written."""

    def __init__(self, file: CountingFile) -> None:
        self._file = file

    @property
    def size_bytes(self) -> int:
        return self._file.size_bytes

    def append(self, data: bytes) -> StagedBytes:
        staged = StagedBytes(self._file.size_bytes, len(data), crc32(data))
        self._file.write(data)
        return staged


@contextmanager
def part_writer(path: StorePath) -> Iterator[PartWriter]:
    """Opens a part for writing; it appears whole, when the block ends, or not at all."""
    with path.write_whole_undigested() as file:
        yield PartWriter(file)


def read_staged(clips: Iterable[tuple[StorePath, StagedBytes]]) -> Iterator[bytes]:
    """The bytes of clips, given by their part and their offset in it, in the same order.

    Raises: `StagingError` if a part is not what was written.
    """
    listed, ranges = itertools.tee(clips)
    data = _in_their_stores((path, Range(path.key, *staged.range)) for path, staged in ranges)
    for path, staged in listed:
        try:
            found = next(data)
        except FileNotFoundError as error:
            raise _gone(str(error.filename or path)) from error
        yield _checked(path, staged, found)


def _in_their_stores(ranges: Iterable[tuple[StorePath, Range]]) -> Iterator[bytes]:
    """The bytes of ranges; those that follow each other in one store are read together."""
    for store, group in itertools.groupby(ranges, lambda found: found[0].store):
        yield from store.read_ranges(wanted for _, wanted in group)


def free_staged(path: StorePath, clips: Iterable[StagedBytes]) -> None:
    """Gives the space of these clips of a part back, as nobody reads them any more."""
    path.free_ranges(clip.range for clip in clips)


def is_freed(path: StorePath, clips: Iterable[StagedBytes]) -> bool:
    """Whether the space of one of these clips of a part was given back."""
    return path.has_holes(clip.range for clip in clips)


def _gone(path: str) -> StagingError:
    return StagingError(f"{path}: is gone, or something in it; run again, its archive is then read again")


def _checked(path: StorePath, staged: StagedBytes, data: bytes) -> bytes:
    if len(data) != staged.size or crc32(data) != staged.crc32:
        raise StagingError(
            f"{path}: bytes {staged.offset:,} to {staged.offset + staged.size:,} are not what was staged; run again: "
            "its archive is then read again",
            path,
        )
    return data
