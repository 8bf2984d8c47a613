"""Objects of a store as resources: what `http` does for web servers, through the store's own library.

That tries again by itself what fails for a moment. It cannot ask for parts of one version only, so that whoever has
read to the end asks whether the version is still the one of the beginning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kconvert.errors import FetchError, NotFoundError
from kconvert.sources.fetch.resource import Answer, BrokenError, Resource, Span
from kconvert.sources.fetch.stream import FetchOptions, Remote
from kconvert.storage.objects import object_path
from kconvert.storage.store import Info, Store, StorePath

Reply = TypeVar("Reply")


_REFUSING: set[Store] = set()
"""Buckets that refuse the environment's credentials, and are open to all."""


class ObjectResource(Resource):
    """An object of a bucket."""

    def __init__(self, location: str, options: FetchOptions) -> None:
        super().__init__(location, options)
        self._path = object_path(location)
        if self._path.store in _REFUSING:
            self._path = self._open_to_all() or self._path

    def describe(self) -> Remote:
        info = self._info()
        return Remote(info.size_bytes, info.version)

    def _info(self) -> Info:
        """Asks without credentials as well, where those of the environment are refused: they may be for another store,
        or have expired, and the official bucket is open to all."""
        try:
            return _asked(self.location, self._path.info)
        except NotFoundError as error:
            open_to_all = self._open_to_all() if isinstance(error.__cause__, PermissionError) else None
            if open_to_all is None:
                raise
            try:
                info = _asked(self.location, open_to_all.info)
            except FetchError as second:
                raise NotFoundError(
                    self.location, f"{error.problem}; and without the environment's credentials: {second.problem}"
                ) from error
        _REFUSING.add(self._path.store)
        self._path = open_to_all
        return info

    def _open_to_all(self) -> StorePath | None:
        """The object, to be asked for without credentials; `None` where it is asked for so already, or cannot be."""
        store = self._path.store.without_credentials()
        return None if store is None else StorePath(store, self._path.key)

    def ask(self, span: Span, known: Remote | None) -> Answer:
        remote = known or self.describe()
        return _ObjectAnswer(self.location, self._path, span, remote)


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
