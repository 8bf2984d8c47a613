"""Fetching from a local file."""

from __future__ import annotations

import errno
from io import FileIO
from pathlib import Path

from kconvert.errors import FetchError, NotFoundError
from kconvert.sources.fetch.stream import CHUNK_BYTES, ByteStream, OnBytes, Remote


class FileStream(ByteStream):
    """A local file."""

    def __init__(self, location: str, on_bytes: OnBytes) -> None:
        self.location = location
        self._on_bytes = on_bytes
        self._remote = describe_file(location)
        self._num_read = 0
        self._chunk = memoryview(bytearray(CHUNK_BYTES))
        try:
            self._file = FileIO(location)
        except OSError as error:
            raise _unreadable(location, error) from error

    @property
    def remote(self) -> Remote:
        return self._remote

    def read(self) -> memoryview:
        try:
            num = self._file.readinto(self._chunk)
        except OSError as error:
            raise _unreadable(self.location, error) from error
        self._num_read += num
        if not num and self._num_read != self._remote.size_bytes:
            raise FetchError(self.location, f"ended after {self._num_read:,} of {self._remote.size_bytes:,} bytes")
        self._on_bytes(num)
        return self._chunk[:num]

    def close(self) -> None:
        self._file.close()


def describe_file(location: str) -> Remote:
    try:
        state = Path(location).stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(location, "no such file") from error
    except OSError as error:
        raise _unreadable(location, error) from error
    return Remote(state.st_size, f"mtime-{state.st_mtime_ns}")


def _unreadable(location: str, error: OSError) -> FetchError:
    advice = "; make it readable for this user" if error.errno in (errno.EACCES, errno.EPERM) else ""
    return FetchError(location, f"{error.strerror or error}{advice}")
