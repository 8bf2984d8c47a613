"""Parts: the staged clips of one archive, one after the other in a file, each to be read back by its place.

A part lives for minutes on a disk of ours, so that a CRC-32 guards each clip there: a fortieth of what a digest costs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kconvert.errors import StagingError
from kconvert.files import CountingFile, remove, write_whole_undigested
from kconvert.inflate import crc32


@dataclass(frozen=True)
class StagedBytes:
    """Where the bytes of a clip are in a part."""

    offset: int
    size: int
    crc32: int


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
def part_writer(path: Path) -> Iterator[PartWriter]:
    """Opens a part for writing; it appears whole, when the block ends, or not at all."""
    with write_whole_undigested(path) as file:
        yield PartWriter(file)


def read_staged(path: Path, staged: StagedBytes) -> bytes:
    """The bytes of a clip. Raises `StagingError` if the part is not what was written; it is then removed."""
    try:
        with open(path, "rb", buffering=0) as file:
            data = os.pread(file.fileno(), staged.size, staged.offset)
    except FileNotFoundError as error:
        raise StagingError(f"{path}: is gone; run again, its archive is then read again") from error
    if len(data) != staged.size or crc32(data) != staged.crc32:
        remove(path)
        raise StagingError(
            f"{path}: bytes {staged.offset:,} to {staged.offset + staged.size:,} are not what was staged; run again: "
            "its archive is then read again"
        )
    return data
