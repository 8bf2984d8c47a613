"""Objects of a store as resources: what `http` does for web servers, through the store's own library.

That tries again by itself what fails for a moment. It cannot ask for parts of one version only, so that whoever has
read to the end asks whether the version is still the one of the beginning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kconvert.errors import NotFoundError
from kconvert.sources.fetch.resource import Answer, BrokenError, Resource, Span
from kconvert.sources.fetch.stream import FetchOptions, Remote
from kconvert.storage.objects import object_path
from kconvert.storage.store import StorePath

Reply = TypeVar("Reply")


class ObjectResource(Resource):
    """An object of a bucket."""

    def __init__(self, location: str, options: FetchOptions) -> None:
        super().__init__(location, options)
        self._path = object_path(location)

    def describe(self) -> Remote:
        info = _asked(self.location, self._path.info)
        return Remote(info.size_bytes, info.version)

    def ask(self, span: Span, known: Remote | None) -> Answer:
        return _ObjectAnswer(self.location, self._path, span, known or self.describe())


class _ObjectAnswer(Answer):
    """A range is asked for each time that something is read."""

    def __init__(self, location: str, path: StorePath, span: Span, remote: Remote) -> None:
        super().__init__(remote, is_range=True)
        self._location = location
        self._path = path
        self._offset = span.start

    def read_into(self, buffer: memoryview) -> int:
        start, end = self._offset, self._offset + len(buffer)
        buffer[:] = _asked(self._location, lambda: self._whole_range(start, end))
        self._offset = end
        return end - start

    def _whole_range(self, start: int, end: int) -> bytes:
        data = self._path.read_range(start, end)
        if len(data) != end - start:
            raise OSError(f"gave {len(data):,} of the {end - start:,} bytes from {start:,} on")
        return data

    def close(self) -> None:
        pass


def _asked(location: str, ask: Callable[[], Reply]) -> Reply:
    """What a store replies."""
    try:
        return ask()
    except (FileNotFoundError, PermissionError) as error:
        raise NotFoundError(location, error.strerror or str(error)) from error
    except OSError as error:
        raise BrokenError(error.strerror or str(error)) from error
