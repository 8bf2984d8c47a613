"""Parts: the staged clips of one archive, one after the other in a file, each to be read back by its place.

A part lives for minutes on a disk of ours, so that a CRC-32 guards each clip there: a fortieth of what a digest costs.
The room of clips that are in a shard is given back, where the disk can do that, before the rest of the part is done.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kconvert.errors import StagingError
from kconvert.storage.compression import crc32
from kconvert.storage.files import AnyPath, CountingFile, free_ranges, has_holes, write_whole_undigested
from kconvert.storage.objects import ObjectPath

_AHEAD_BYTES = 32 << 20
"""What is read at once from a store, where each question takes its time."""


@dataclass(frozen=True)
class StagedBytes:
    """Where the bytes of a clip are in a part."""

    offset: int
    size: int
    crc32: int

    @property
    def range(self) -> tuple[int, int]:
        """Its first byte, and the one after its last."""
        return self.offset, self.offset + self.size


class PartWriter:
    """A part being written."""

    def __init__(self, file: CountingFile) -> None:
        self._file = file

    @property
    def size_bytes(self) -> int:
        """Bytes written so far."""
        return self._file.size_bytes

    def append(self, data: bytes) -> StagedBytes:
        """Stages a clip."""
        staged = StagedBytes(self._file.size_bytes, len(data), crc32(data))
        self._file.write(data)
        return staged


@contextmanager
def part_writer(path: AnyPath) -> Iterator[PartWriter]:
    """Opens a part for writing; it appears whole, when the block ends, or not at all."""
    with write_whole_undigested(path) as file:
        yield PartWriter(file)


def read_staged(clips: Iterable[tuple[AnyPath, StagedBytes]]) -> Iterator[bytes]:
    """The bytes of clips, given by their part and their place in it, in the same order.

    Raises: `StagingError` if a part is not what was written.
    """
    ahead: list[tuple[ObjectPath, StagedBytes]] = []
    for path, staged in clips:
        if not isinstance(path, ObjectPath):
            yield _checked(path, staged, _read(path, staged))
            continue
        ahead.append((path, staged))
        if sum(staged.size for _, staged in ahead) >= _AHEAD_BYTES:
            yield from _read_objects(ahead)
            ahead = []
    yield from _read_objects(ahead)


def free_staged(path: AnyPath, clips: Iterable[StagedBytes]) -> None:
    """Gives the room of these clips of a part back, as nobody reads them any more; in a store nothing can be done."""
    if isinstance(path, Path):
        free_ranges(path, (clip.range for clip in clips))


def is_freed(path: AnyPath, clips: Iterable[StagedBytes]) -> bool:
    """Whether the room of one of these clips of a part was given back."""
    return isinstance(path, Path) and has_holes(path, (clip.range for clip in clips))


def _read(path: Path, staged: StagedBytes) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return os.pread(file.fileno(), staged.size, staged.offset)
    except FileNotFoundError as error:
        raise _gone(path) from error


def _read_objects(clips: list[tuple[ObjectPath, StagedBytes]]) -> Iterator[bytes]:
    if not clips:
        return
    first = clips[0][0]
    try:
        data = first.read_ranges([(path, *staged.range) for path, staged in clips])
    except FileNotFoundError as error:
        raise _gone(first.parent) from error
    for (path, staged), found in zip(clips, data, strict=True):
        yield _checked(path, staged, found)


def _gone(path: AnyPath) -> StagingError:
    return StagingError(f"{path}: is gone, or something in it; run again, its archive is then read again")


def _checked(path: AnyPath, staged: StagedBytes, data: bytes) -> bytes:
    if len(data) != staged.size or crc32(data) != staged.crc32:
        raise StagingError(
            f"{path}: bytes {staged.offset:,} to {staged.offset + staged.size:,} are not what was staged; run again: "
            "its archive is then read again",
            path,
        )
    return data
