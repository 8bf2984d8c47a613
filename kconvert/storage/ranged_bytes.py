"""Bytes that are read as they are looked at: a part of a file of which only some is wanted."""

from __future__ import annotations

from kconvert.storage.store import StorePath

_BLOCK_BYTES = 1 << 16


class RangedBytes:
    """Some bytes of a file, as `bytes` as far as slices go; what was read is kept."""

    def __init__(self, path: StorePath, start: int, size: int) -> None:
        self._path = path
        self._start = start
        self._size = size
        self._blocks: dict[int, bytes] = {}

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: slice) -> bytes:
        """A slice without a step. Raises `OSError` if it cannot be read, or the file ends before."""
        start, end, _ = index.indices(self._size)
        if end <= start:
            return b""
        first, last = start // _BLOCK_BYTES, (end - 1) // _BLOCK_BYTES
        lacking = [number for number in range(first, last + 1) if number not in self._blocks]
        if lacking:
            self._read(lacking[0], lacking[-1])
        data = b"".join(self._blocks[number] for number in range(first, last + 1))
        return data[start - first * _BLOCK_BYTES : end - first * _BLOCK_BYTES]

    def _read(self, first: int, last: int) -> None:
        """Reads the blocks from one to another, both included."""
        start, end = first * _BLOCK_BYTES, min((last + 1) * _BLOCK_BYTES, self._size)
        data = self._path.read_range(self._start + start, self._start + end)
        if len(data) < end - start:
            raise OSError(f"{self._path}: ends after {self._start + start + len(data):,} bytes, inside a video")
        for number in range(first, last + 1):
            offset = (number - first) * _BLOCK_BYTES
            self._blocks[number] = data[offset : offset + _BLOCK_BYTES]
