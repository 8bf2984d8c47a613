"""Resources: what can be read from any byte on, wherever it is, one attempt at a time.

A resource never tries again by itself, and never gives bytes of another version than the known one. Whether an attempt
that failed is worth another one is said by its error: `BrokenError` if so, `FetchError` if not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from kconvert.errors import FetchError, SourceChangedError
from kconvert.sources.fetch.stream import FetchOptions, Remote


class BrokenError(Exception):
    """An attempt failed where another one may succeed. It never leaves this package (see `retry`)."""

    def __init__(self, reason: str, retry_after: float | None = None, kind: type[FetchError] = FetchError) -> None:
        super().__init__(reason, retry_after, kind)
        self.reason = reason
        self.retry_after = retry_after
        """Seconds that the server asks to wait; `None` if it does not."""
        self.kind = kind
        """What is raised once there have been enough attempts."""


class Span(NamedTuple):
    """The bytes of a resource that are asked for."""

    start: int
    """The first, from 0."""
    end: int | None
    """The one after the last; `None` for all that follow."""


class Answer(ABC):
    """What came of asking for a span: its bytes, once and in order."""

    def __init__(self, remote: Remote, is_range: bool) -> None:
        self.remote = remote
        """Size and version of the whole resource, as this answer says."""
        self.is_range = is_range
        """Whether it ends where the span ends; else all that follows is given, whatever was asked for."""

    @property
    def is_end_sure(self) -> bool:
        """Whether the end that `read_into` gives is known to be one, even where no length was stated."""
        return True

    @abstractmethod
    def read_into(self, buffer: memoryview) -> int:
        """Puts some next bytes into the beginning of a buffer; returns how many, 0 at the end.

        Raises: `BrokenError`, `FetchError`.
        """

    def cut(self) -> None:  # noqa: B027
        """Ends what is being waited for; called from another thread."""

    @abstractmethod
    def close(self) -> None:
        """Frees what the answer holds."""


class Resource(ABC):
    """Something at a location that can be read from any byte on."""

    def __init__(self, location: str, options: FetchOptions) -> None:
        self.location = location
        self.options = options

    @abstractmethod
    def describe(self) -> Remote:
        """Size and version, without reading. Raises `BrokenError`, `FetchError`; `NotFoundError` if it is not there."""

    @abstractmethod
    def ask(self, span: Span, known: Remote | None) -> Answer:
        """Asks for a span, which is of the version `known` unless that is `None`.

        Raises: `BrokenError`, `FetchError`; `SourceChangedError` if that version is not there any more, or nobody
        knows.
        """

    def confirm(self, known: Remote) -> None:
        """Asks whether all that was read of the resource is of that version, where answers alone do not show it.

        Raises: `BrokenError`, `FetchError`; `SourceChangedError` if it is not.
        """
        if (found := self.describe()) != known:
            raise changed(self.location, known, found)


def changed(location: str, known: Remote, found: Remote) -> SourceChangedError:
    """That a resource is not what it was."""
    return SourceChangedError(
        location,
        f"changed at its origin: was {known.size_bytes} bytes {known.etag}, is {found.size_bytes} bytes {found.etag}",
    )
