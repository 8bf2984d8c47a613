"""Fetching from a local file."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from kconvert.errors import FetchError, NotFoundError
from kconvert.fetch import CHUNK_BYTES, ByteStream, OnBytes, Remote


class FileStream(ByteStream):
    """A local file."""

    def __init__(self, location: str, on_bytes: OnBytes) -> None:
        self.location = location
        self._on_bytes = on_bytes
        self._remote = describe_file(location)
        self._num_read = 0
        try:
            self._file: BinaryIO = open(location, "rb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise FetchError(location, error.strerror or str(error)) from error

    @property
    def remote(self) -> Remote:
        return self._remote

    def read(self) -> bytes:
        try:
            chunk = self._file.read(CHUNK_BYTES)
        except OSError as error:
            raise FetchError(self.location, error.strerror or str(error)) from error
        self._num_read += len(chunk)
        if not chunk and self._num_read != self._remote.size_bytes:
            raise FetchError(self.location, f"ended after {self._num_read:,} of {self._remote.size_bytes:,} bytes")
        self._on_bytes(len(chunk))
        return chunk

    def close(self) -> None:
        self._file.close()


def describe_file(location: str) -> Remote:
    try:
        state = Path(location).stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(location, "no such file") from error
    except OSError as error:
        raise FetchError(location, error.strerror or str(error)) from error
    return Remote(state.st_size, f"mtime-{state.st_mtime_ns}")
