"""Gzip: the plain bytes of a stream, whether it is gzipped (RFC 1952) or not, and gzip's checksum."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from kconvert.errors import ArchiveError
from kconvert.sources.fetch.stream import ByteStream
from kconvert.storage.compression import GZIP_ERRORS, crc32, gunzipped

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

GZIP_MAGIC = b"\x1f\x8b"
_MIN_BYTES = 512
"""Of a tar: one block."""
_PIECE_BYTES = 1 << 20
VIDEOS_EXPANSION, TEXTS_EXPANSION = 1.5, 100.0
_MAX_EXPANSION_BYTES = 1 << 24
"""What unpacks to more than so many times what was read of it, and so many bytes, is no archive of videos, which do not
compress, or of texts."""


class InflatedStream:
    """The bytes of a stream, decompressed if its first bytes are gzip's.

    Raises `ArchiveError` if the stream begins with neither a gzip nor anything, or if the gzip is damaged anywhere: its
    checksums, its lengths, what follows it. Whatever the stream raises goes through.
    """

    def __init__(self, stream: ByteStream, name: str, max_expansion: float = VIDEOS_EXPANSION) -> None:
        self._name = name
        self._max_expansion = max_expansion
        self._packed = _Packed(stream)
        first = self._packed.peek(_MIN_BYTES)
        if not first:
            raise ArchiveError(name, "is empty (0 bytes), expected a gzip or a tar")
        self.is_gzip = first.startswith(GZIP_MAGIC)
        """Whether its end, and all before it, are checked by checksums."""
        if not self.is_gzip and not first[:_MIN_BYTES].strip(b"\0"):
            # By the letter an empty tar; in truth a file that was allocated and never filled.
            raise ArchiveError(name, "begins with zeros only, expected a gzip or a tar")
        if not self.is_gzip and len(first) < _MIN_BYTES:
            raise ArchiveError(name, f"is {first[:40]!r}, expected a gzip or a tar")
        self._plain: io.BufferedIOBase = gunzipped(self._packed) if self.is_gzip else io.BufferedReader(self._packed)
        self.num_read = 0
        """Plain bytes taken so far."""
        self.num_short = 0
        """How many bytes the last `take` lacked because the stream ended."""

    def take(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the checked end. Raises `ArchiveError` if it is damaged, or no
        archive of videos."""
        pieces: list[bytes] = []
        lacking = size
        try:
            # Never more than is asked for, so that what lies whole before a damage is had.
            while lacking and (piece := self._plain.read1(lacking)):
                pieces.append(piece)
                lacking -= len(piece)
        except EOFError as error:
            raise self._damaged(
                "ends early: the archive was cut, or something else follows the end of the gzip stream"
            ) from error
        except GZIP_ERRORS as error:
            raise self._damaged(f"is damaged ({error})") from error
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.num_read += len(data)
        self.num_short = size - len(data)
        if self.is_gzip and self.num_read > self._packed.num_read * self._max_expansion + _MAX_EXPANSION_BYTES:
            is_video = self._max_expansion == VIDEOS_EXPANSION
            why = "videos never do, as videos do not compress" if is_video else "texts never do"
            raise ArchiveError(
                self._name,
                f"its first {self._packed.num_read:,} bytes unpack to more than {self.num_read:,}, which those of "
                f"an archive of {why}; read no further",
            )
        return data

    @property
    def packed(self) -> tuple[int, int]:
        """How many bytes of the stream were read, as they came, and their CRC-32."""
        return self._packed.num_read, self._packed.crc32

    def skip(self, size: int, where: str) -> None:
        """Passes over bytes without keeping them. Raises `ArchiveError` if there are not as many."""
        while size:
            num = len(self.take(min(size, _PIECE_BYTES)))
            if not num:
                raise ArchiveError(self._name, f"ends {where}, {size:,} bytes too early: it was cut")
            size -= num

    def _damaged(self, problem: str) -> ArchiveError:
        return ArchiveError(self._name, f"the gzip stream {problem}, after {self.num_read:,} plain bytes")

    def close(self) -> None:
        """Frees what this holds, the stream included."""
        self._packed.close()


class _Packed(io.RawIOBase):
    """A stream as Python's files are."""

    def __init__(self, stream: ByteStream) -> None:
        super().__init__()
        self._stream = stream
        self._ready = memoryview(b"")
        self.num_read = 0
        """Bytes that were read from here."""
        self.crc32 = 0
        """Of these."""

    def peek(self, size: int) -> bytes:
        """At least the next `size` bytes, fewer only at the end; they stay."""
        data = bytes(self._ready)
        while len(data) < size and (more := self._stream.read()):
            data += more
        self._ready = memoryview(data)
        return data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fills the buffer, but at the end: where something damaged is found does not depend on what came when."""
        view, num_read = memoryview(buffer).cast("B"), 0
        while num_read < len(view) and (self._ready or self._fetch()):
            num = min(len(view) - num_read, len(self._ready))
            view[num_read : num_read + num] = self._ready[:num]
            self._ready = self._ready[num:]
            num_read += num
        self.num_read += num_read
        self.crc32 = crc32(view[:num_read], self.crc32)
        return num_read

    def _fetch(self) -> bool:
        """Takes the next bytes of the stream; whether there are any."""
        self._ready = memoryview(self._stream.read())
        return bool(self._ready)

    def close(self) -> None:
        self._stream.close()
        super().close()
