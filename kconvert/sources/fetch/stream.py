"""Fetching: the bytes of one resource as a stream, from wherever it is.

A stream promises all bytes of one version of the resource, in order: it never splices two versions and never ends
early in silence. What can be mended by trying again is mended inside; what is left is an error that says so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from kconvert.storage.objects import is_object_url
from kconvert.units import ByteSize

CHUNK_BYTES = 1 << 18
"""What is read at a time."""


@dataclass(frozen=True)
class FetchOptions:
    """How fetching is retried."""

    connect_seconds: float = 10.0
    """A connection that takes longer to open has failed."""
    read_seconds: float = 60.0
    """A connection that is silent for longer has failed."""
    min_rate: ByteSize = ByteSize(1000)  # noqa: RUF009
    """A connection that gives less than so many bytes a second, over read_seconds of waiting, has failed; 0 allows
    any rate."""
    max_retries: int = 8
    """Failures in a row, with hardly a byte between them, after which an archive is given up until the next run."""
    min_backoff_seconds: float = 1.0
    """The pause after the first failure; it doubles with each further one."""
    max_backoff_seconds: float = 60.0
    """The longest pause; a Retry-After of the server is obeyed up to ten times this."""
    max_restarts: int = 3
    """How often an archive is started again because the server has another version of it by now, or no ranges."""
    connections: int = 4
    """How many connections an archive comes over at a time; each holds 8 MiB in memory."""

    def __post_init__(self) -> None:
        if self.connections < 1:
            raise ValueError(f"--fetch.connections {self.connections}: expected 1 or more")
        for name in ("connect_seconds", "read_seconds", "min_backoff_seconds", "max_backoff_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--fetch.{name} {getattr(self, name)}: expected more than 0 seconds")
        for name in ("min_rate", "max_retries", "max_restarts"):
            if getattr(self, name) < 0:
                raise ValueError(f"--fetch.{name} {getattr(self, name)}: expected 0 or more")


_MAX_EARLY_RETRIES = 3
_MAX_EARLY_BACKOFF_SECONDS = 5.0


def with_few_retries(options: FetchOptions) -> FetchOptions:
    """The same with few retries: before anything is running a person waits for the answer."""
    return replace(
        options,
        max_retries=min(options.max_retries, _MAX_EARLY_RETRIES),
        max_backoff_seconds=min(options.max_backoff_seconds, _MAX_EARLY_BACKOFF_SECONDS),
    )


@dataclass(frozen=True)
class Remote:
    """What a server, or a file system, says of a resource."""

    size_bytes: int | None
    """`None` where the server does not say."""
    etag: str
    """The version of the resource: an entity tag, else the time of change, else `""`."""


@dataclass(frozen=True)
class Start:
    """Where reading a resource begins."""

    offset: int = 0
    """The first byte that is wanted, from 0."""
    remote: Remote | None = None
    """The version that this is an offset in; `None` for whatever version there is, which only the first byte can be."""


OnBytes = Callable[[int], None]
"""Hears how many bytes have come."""


class ByteStream(ABC):
    """A resource being read, from its first byte to its last."""

    @property
    @abstractmethod
    def remote(self) -> Remote:
        """Size and version of the resource, as far as is known by now."""

    @abstractmethod
    def read(self) -> bytes | memoryview:
        """Some next bytes, which stay as they are until the next call; none at the end, and only if all have come.

        Raises: `FetchError` if they cannot be had, `SourceChangedError` if the resource must be started again.
        """

    @property
    def is_end_sure(self) -> bool:
        """Whether the end that `read` gives is known to be the end, and not a connection that broke."""
        return True

    @abstractmethod
    def close(self) -> None:
        """Frees what the stream holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_url(location: str) -> bool:
    """Whether a location is fetched over HTTP."""
    return location.startswith(("http://", "https://"))


def is_remote(location: str) -> bool:
    """Whether a location is fetched, over HTTP or from an object store; all others are local paths."""
    return is_url(location) or is_object_url(location)


def ignore(num_bytes: int) -> None:
    """Nobody wants to know."""
