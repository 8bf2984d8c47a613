"""Files that are counted, or counted and digested, as they are written or read."""

from __future__ import annotations

import hashlib
import io
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self, TypeVar

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_CHUNK_BYTES = 1 << 18


class CountingFile(io.RawIOBase):
    """A file being written: counts what passes through it. Closing it flushes `raw`; closing that is its opener's."""

    def __init__(self, raw: BinaryIO) -> None:
        super().__init__()
        self._raw = raw
        self.size_bytes = 0
        """Bytes written so far."""

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        num_bytes = self._raw.write(data)
        self.size_bytes += num_bytes
        return num_bytes

    def tell(self) -> int:
        return self.size_bytes

    def flush(self) -> None:
        self._raw.flush()

    def digest(self) -> str:
        """Hexadecimal sha256 of the bytes written so far; `""` if nobody digests them."""
        return ""


class DigestingFile(CountingFile):
    """A file being written: counts and digests what passes through it."""

    def __init__(self, raw: BinaryIO) -> None:
        super().__init__(raw)
        self._sha256 = hashlib.sha256()

    def write(self, data: ReadableBuffer) -> int:
        self._sha256.update(data)
        return super().write(data)

    def digest(self) -> str:
        return self.sha256

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the bytes written so far."""
        return self._sha256.hexdigest()


Written = TypeVar("Written", bound=CountingFile)


class DigestedReader:
    """A file being read from its beginning to its end: digests what passes. Closing it closes `file`."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._num_left = size_bytes
        self._sha256 = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """The next bytes; fewer than `size` only at the end."""
        # Whatever size somebody asks for, no more memory is taken than there are bytes.
        data = self._file.read(min(size, self._num_left))
        self._num_left -= len(data)
        self._sha256.update(data)
        return data

    def finish(self) -> str:
        """Reads what is left; returns the hexadecimal digest of the whole file."""
        while self.read(_CHUNK_BYTES):
            pass
        return self._sha256.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
