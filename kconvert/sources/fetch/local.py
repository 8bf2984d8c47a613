"""Local files as resources."""

from __future__ import annotations

import errno
from io import FileIO
from pathlib import Path

from kconvert.errors import FetchError, NotFoundError
from kconvert.sources.fetch.resource import Answer, Resource, Span, changed
from kconvert.sources.fetch.stream import Remote


class FileResource(Resource):
    """A file of this machine. What it fails to give is not asked for again."""

    def describe(self) -> Remote:
        try:
            state = Path(self.location).stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(self.location, "no such file") from error
        except OSError as error:
            raise _unreadable(self.location, error) from error
        return Remote(state.st_size, f"mtime-{state.st_mtime_ns}")

    def ask(self, span: Span, known: Remote | None) -> Answer:
        remote = self.describe()
        if known is not None and remote != known:
            raise changed(self.location, known, remote)
        return _FileAnswer(self.location, remote, span)


class _FileAnswer(Answer):
    def __init__(self, location: str, remote: Remote, span: Span) -> None:
        super().__init__(remote, is_range=True)
        self._location = location
        self._offset = span.start
        try:
            self._file = FileIO(location)
            self._file.seek(span.start)
        except OSError as error:
            raise _unreadable(location, error) from error

    def read_into(self, buffer: memoryview) -> int:
        try:
            num = self._file.readinto(buffer)
        except OSError as error:
            raise _unreadable(self._location, error) from error
        self._offset += num
        if not num:
            raise FetchError(self._location, f"ended after {self._offset:,} of {self.remote.size_bytes:,} bytes")
        return num

    def close(self) -> None:
        self._file.close()


def _unreadable(location: str, error: OSError) -> FetchError:
    advice = "; make it readable for this user" if error.errno in (errno.EACCES, errno.EPERM) else ""
    return FetchError(location, f"{error.strerror or error}{advice}")
