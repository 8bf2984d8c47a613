"""Fetching from an object store: what `http` does for web servers, through the store's own library.

That tries again by itself what fails for a moment, and this does so beyond it. It cannot ask for parts of one version
only, so that whoever has read to the end asks whether the version is still the one of the beginning.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from kconvert.errors import NotFoundError, SourceChangedError
from kconvert.sources.fetch.retry import Attempts
from kconvert.sources.fetch.stream import CHUNK_BYTES, FetchOptions, OnBytes, RangeStream, Remote
from kconvert.storage.objects import object_path

Answer = TypeVar("Answer")


def describe_object(location: str, options: FetchOptions) -> Remote:
    """Size and version of an object. Raises `FetchError`; `NotFoundError` if it is not there."""
    return _describe(location, Attempts(location, options, threading.Event()))


def _describe(location: str, attempts: Attempts) -> Remote:
    info = _patiently(object_path(location).info, attempts)
    return Remote(info.size_bytes, info.version)


class ObjectStream(RangeStream):
    """An object, or a range of it."""

    def __init__(
        self,
        location: str,
        options: FetchOptions,
        on_bytes: OnBytes,
        offset: int = 0,
        remote: Remote | None = None,
        end: int | None = None,
        is_cancelled: threading.Event | None = None,
    ) -> None:
        self.location = location
        self._path = object_path(location)
        self._on_bytes = on_bytes
        self._attempts = Attempts(location, options, is_cancelled or threading.Event())
        self._known = remote or _describe(location, self._attempts)
        self._offset = offset
        size = self._known.size_bytes or 0
        self._end = size if end is None else min(end, size)
        self._chunk = memoryview(bytearray(CHUNK_BYTES))

    @property
    def remote(self) -> Remote:
        return self._known

    @property
    def is_range(self) -> bool:
        return True

    def read(self) -> memoryview:
        num = self.read_into(self._chunk)
        if not num:
            self.confirm()
        return self._chunk[:num]

    def read_into(self, buffer: memoryview) -> int:
        num = min(len(buffer), self._end - self._offset)
        if num <= 0:
            return 0
        data = _patiently(lambda: self._whole_range(self._offset, self._offset + num), self._attempts)
        buffer[:num] = data
        self._offset += num
        self._attempts.advanced(num)
        self._on_bytes(num)
        return num

    def _whole_range(self, start: int, end: int) -> bytes:
        data = self._path.read_range(start, end)
        if len(data) != end - start:
            raise OSError(f"gave {len(data):,} of the {end - start:,} bytes from {start:,} on")
        return data

    def confirm(self) -> None:
        found = _describe(self.location, self._attempts)
        if found != self._known:
            raise SourceChangedError(
                self.location,
                f"changed in the store: was {self._known.size_bytes} bytes {self._known.etag}, "
                f"is {found.size_bytes} bytes {found.etag}",
            )

    def cut(self) -> None:
        """What is being waited for comes to its end by itself."""

    def close(self) -> None:
        pass


def _patiently(ask: Callable[[], Answer], attempts: Attempts) -> Answer:
    """What a store answers, however often it has to be asked."""
    while True:
        try:
            return ask()
        except (FileNotFoundError, PermissionError) as error:
            raise NotFoundError(attempts.location, error.strerror or str(error)) from error
        except OSError as error:
            attempts.failed(error.strerror or str(error))
