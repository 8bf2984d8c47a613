"""Gzip and its checksum, by Intel's library: ten times as fast as the standard one."""

from __future__ import annotations

import io

from isal import igzip, isal_zlib


def crc32(data: bytes | memoryview, before: int = 0) -> int:
    """The CRC-32, as gzip has it, of some bytes that follow others which have the given one."""
    return int(isal_zlib.crc32(data, before))


GZIP_ERRORS: tuple[type[Exception], ...] = (igzip.BadGzipFile, isal_zlib.error)  # type: ignore[assignment]
"""What a damaged stream raises."""


def gunzipped(file: io.RawIOBase) -> igzip.IGzipFile:
    """A file that is read decompressed. Reading raises one of `GZIP_ERRORS` where it is damaged, `EOFError` if cut."""
    return igzip.IGzipFile(fileobj=file, mode="rb")  # type: ignore[no-untyped-call]
