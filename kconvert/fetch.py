"""Fetching: the bytes of one resource, over HTTP or from a file, as a stream that survives.

An HTTP stream that breaks goes on at the byte it had (`Range` with `If-Range`, RFC 9110 sections 13.1.5 and 14). It is
never spliced from two versions: a server that ignores the range, or that has another version by now, raises
`SourceChangedError`, and whoever reads starts this resource again. Lengths are checked at the end.
"""

from __future__ import annotations

import email.utils
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

import requests
import urllib3

from kconvert.errors import FetchError, NotFoundError, SourceChangedError
from kconvert.version import VERSION

_log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 18
_FINAL = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
"""Asking again does not help. S3 answers 403 to an anonymous request for what is not there."""
_BUSY = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}


@dataclass(frozen=True)
class FetchOptions:
    """How patient fetching is."""

    connect_seconds: float = 10.0
    """A connection that takes longer to open has failed."""
    read_seconds: float = 60.0
    """A connection that is silent for longer has failed."""
    max_retries: int = 8
    """Failures in a row, without a byte between them, after which an archive is given up until the next run."""
    min_backoff_seconds: float = 1.0
    """The pause after the first failure; it doubles with each further one."""
    max_backoff_seconds: float = 60.0
    """The longest pause; a Retry-After of the server is obeyed up to ten times this."""
    max_restarts: int = 3
    """How often an archive is started again because the server has another version of it by now, or no ranges."""

    def __post_init__(self) -> None:
        for name in ("connect_seconds", "read_seconds", "min_backoff_seconds", "max_backoff_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--fetch.{name} {getattr(self, name)}: expected more than 0 seconds")
        for name in ("max_retries", "max_restarts"):
            if getattr(self, name) < 0:
                raise ValueError(f"--fetch.{name} {getattr(self, name)}: expected 0 or more")


_MAX_EARLY_RETRIES = 3


def without_patience(options: FetchOptions) -> FetchOptions:
    """The same with few retries: before anything is running a person waits for the answer."""
    return replace(options, max_retries=min(options.max_retries, _MAX_EARLY_RETRIES))


@dataclass(frozen=True)
class Remote:
    """What a server, or a file system, says of a resource."""

    size_bytes: int | None
    """`None` where the server does not say."""
    etag: str
    """The version of the resource: an entity tag, else the time of change, else `""`."""


OnBytes = Callable[[int], None]


class ByteStream(Protocol):
    """A resource being read, from its first byte to its last."""

    @property
    def remote(self) -> Remote:
        """Size and version of the resource, as far as the server said so far."""

    def read(self) -> bytes:
        """Some next bytes; `b""` at the end, and only if all have come.

        Raises: `FetchError` if they cannot be had, `SourceChangedError` if the resource must be started again.
        """

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def is_url(location: str) -> bool:
    """Whether a location is fetched over HTTP; all others are local paths."""
    return location.startswith(("http://", "https://"))


def _ignore(num_bytes: int) -> None:
    """Nobody wants to know."""


def open_stream(location: str, options: FetchOptions, on_bytes: OnBytes = _ignore) -> ByteStream:
    """Starts reading a URL or a local path; `on_bytes` hears of every chunk.

    Raises `FetchError`; `NotFoundError` if there is no such thing.
    """
    return _HttpStream(location, options, on_bytes) if is_url(location) else _FileStream(location, on_bytes)


def read_small(location: str, options: FetchOptions, max_bytes: int) -> bytes:
    """A whole small resource, such as a path list. Raises `FetchError`, also if it is over `max_bytes`."""
    for _ in range(options.max_restarts + 1):
        try:
            return _read_once(location, options, max_bytes)
        except SourceChangedError as error:
            last = error
    raise last


def _read_once(location: str, options: FetchOptions, max_bytes: int) -> bytes:
    with open_stream(location, options) as stream:
        data = bytearray()
        while chunk := stream.read():
            data += chunk
            if len(data) > max_bytes:
                raise FetchError(location, f"is larger than {max_bytes:,} bytes, which no such file is")
        return bytes(data)


def describe(location: str, options: FetchOptions) -> Remote:
    """Size and version of a resource, without reading it. Raises as `open_stream` does."""
    if not is_url(location):
        return _describe_file(location)
    attempts = _Attempts(location, options)
    while True:
        try:
            with _request("HEAD", location, options, {}) as response:
                if response.status_code == HTTPStatus.OK:
                    return _remote(response)
                attempts.refused(response)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            attempts.failed(_reason(error))


def keep_archive(location: str, folder: Path, name: str, options: FetchOptions, on_bytes: OnBytes) -> Path:
    """Downloads an archive to `folder`/`name`, going on with what is there; reused if size and version still agree.

    While incomplete it is `name.partial`; the version that either has is kept beside it as `….etag`.
    Raises as `ByteStream.read` does.
    """
    if not is_url(location):
        return Path(location)
    path, partial = folder / name, folder / f"{name}.partial"
    path.parent.mkdir(parents=True, exist_ok=True)
    remote = describe(location, options)
    if _is_version(path, remote) and path.stat().st_size == remote.size_bytes:
        on_bytes(path.stat().st_size)
        return path
    offset = partial.stat().st_size if _is_version(partial, remote) else 0
    _etag_file(partial).write_text(remote.etag, "utf-8")
    with open(partial, "ab" if offset else "wb") as file:
        on_bytes(offset)
        with _HttpStream(location, options, on_bytes, offset, remote) as stream:
            while chunk := stream.read():
                file.write(chunk)
    partial.replace(path)
    _etag_file(partial).replace(_etag_file(path))
    return path


def _etag_file(path: Path) -> Path:
    return path.with_name(path.name + ".etag")


def _is_version(path: Path, remote: Remote) -> bool:
    """Whether `path` is there and was fetched, whole or in part, from this version."""
    etag = _etag_file(path)
    return path.is_file() and etag.is_file() and remote.etag != "" and etag.read_text("utf-8") == remote.etag


class _Attempts:
    """Counts failures in a row and waits between them: exponential back-off with full jitter."""

    def __init__(self, location: str, options: FetchOptions) -> None:
        self._location = location
        self._options = options
        self._num_failures = 0

    def succeeded(self) -> None:
        self._num_failures = 0

    def refused(self, response: requests.Response) -> None:
        """Waits if the status is one that passes. Raises `FetchError` if not."""
        said = f"HTTP {response.status_code} {response.reason}".strip()
        if response.status_code in _FINAL:
            raise NotFoundError(self._location, said)
        if response.status_code not in _BUSY:
            raise FetchError(self._location, f"{said}, expected 200 or 206")
        self.failed(said, _retry_after(response))

    def failed(self, reason: str, retry_after: float | None = None) -> None:
        """Waits before the next attempt. Raises `FetchError` when there have been enough."""
        if self._num_failures >= self._options.max_retries:
            raise FetchError(self._location, f"{reason} (tried {self._num_failures + 1} times)")
        limit = self._options.max_backoff_seconds
        pause = min(limit, self._options.min_backoff_seconds * 2**self._num_failures) * random.uniform(0.5, 1.0)
        if retry_after is not None:
            pause = min(max(pause, retry_after), 10 * limit)
        self._num_failures += 1
        _log.info("%s: %s; trying again in %.1f s", self._location, reason, pause)
        time.sleep(pause)


class _HttpStream:
    """A resource over HTTP, from `offset` on, which must then be a place in the version that `remote` names."""

    def __init__(
        self,
        location: str,
        options: FetchOptions,
        on_bytes: OnBytes,
        offset: int = 0,
        remote: Remote | None = None,
    ) -> None:
        self.location = location
        self._options = options
        self._on_bytes = on_bytes
        self._offset = offset
        self._attempts = _Attempts(location, options)
        self._response: requests.Response | None = None
        self._known = remote
        if remote is None or remote.size_bytes is None or offset < remote.size_bytes:
            self._connect()

    @property
    def remote(self) -> Remote:
        assert self._known is not None
        return self._known

    def read(self) -> bytes:
        while True:
            size = self.remote.size_bytes
            if size is not None and self._offset >= size:
                return b""
            try:
                if self._response is None:
                    self._connect()
                    continue
                chunk = self._response.raw.read(CHUNK_BYTES, decode_content=False)
                if chunk:
                    self._offset += len(chunk)
                    self._attempts.succeeded()
                    self._on_bytes(len(chunk))
                    return bytes(chunk)
                if size is None:
                    return b""
                reason = f"body ended after {self._offset:,} of {size:,} bytes"
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                reason = f"{_reason(error)} after {self._offset:,} of {size or 0:,} bytes"
            self._disconnect()
            self._attempts.failed(reason)

    def _connect(self) -> None:
        """Opens the connection at the current offset, however often that takes."""
        while True:
            try:
                response = _request("GET", self.location, self._options, self._range_headers())
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                self._attempts.failed(_reason(error))
                continue
            self._response = response
            if response.status_code == HTTPStatus.OK:
                return self._accept_whole(response)
            if response.status_code == HTTPStatus.PARTIAL_CONTENT:
                return self._accept_part(response)
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return self._accept_end(response)
            self._disconnect()
            self._attempts.refused(response)

    def _range_headers(self) -> dict[str, str]:
        if self._offset == 0:
            return {}
        if not self.remote.etag or self.remote.etag.startswith("W/"):
            raise SourceChangedError(self.location, "the server names no version to go on with")
        return {"Range": f"bytes={self._offset}-", "If-Range": self.remote.etag}

    def _accept_whole(self, response: requests.Response) -> None:
        if self._offset:
            self._disconnect()
            raise SourceChangedError(self.location, "the server sent the whole again where the rest was asked for")
        self._check_same(_remote(response))

    def _accept_part(self, response: requests.Response) -> None:
        start, total = _content_range(response)
        if start != self._offset:
            self._disconnect()
            got = response.headers.get("Content-Range", "no Content-Range")
            raise SourceChangedError(self.location, f"asked for bytes from {self._offset}, got {got}")
        self._check_same(Remote(total, _version(response)))

    def _accept_end(self, response: requests.Response) -> None:
        """416: there is nothing at the offset. That is right where the offset is the end."""
        _, total = _content_range(response)
        self._disconnect()
        if total is None or total != self._offset or self.remote.size_bytes not in (None, total):
            raise SourceChangedError(
                self.location, f"the server has no byte {self._offset:,} any more (it has {total or 0:,})"
            )
        self._known = Remote(total, self.remote.etag)

    def _check_same(self, found: Remote) -> None:
        if self._known is None or (self._known.size_bytes is None and self._known.etag in ("", found.etag)):
            self._known = found
        elif found != self._known:
            self._disconnect()
            raise SourceChangedError(
                self.location,
                f"changed on the server: was {self._known.size_bytes} bytes {self._known.etag}, "
                f"is {found.size_bytes} bytes {found.etag}",
            )

    def _disconnect(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def close(self) -> None:
        self._disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _FileStream:
    """A local file."""

    def __init__(self, location: str, on_bytes: OnBytes) -> None:
        self.location = location
        self._on_bytes = on_bytes
        self.remote = _describe_file(location)
        self._num_read = 0
        try:
            self._file: BinaryIO = open(location, "rb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise FetchError(location, error.strerror or str(error)) from error

    def read(self) -> bytes:
        try:
            chunk = self._file.read(CHUNK_BYTES)
        except OSError as error:
            raise FetchError(self.location, error.strerror or str(error)) from error
        self._num_read += len(chunk)
        if not chunk and self._num_read != self.remote.size_bytes:
            raise FetchError(self.location, f"ended after {self._num_read:,} of {self.remote.size_bytes:,} bytes")
        self._on_bytes(len(chunk))
        return chunk

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _describe_file(location: str) -> Remote:
    try:
        state = Path(location).stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(location, "no such file") from error
    except OSError as error:
        raise FetchError(location, error.strerror or str(error)) from error
    return Remote(state.st_size, f"mtime-{state.st_mtime_ns}")


_session: requests.Session | None = None


def _request(method: str, url: str, options: FetchOptions, headers: dict[str, str]) -> requests.Response:
    """One HTTP request on this process's session; the body is left to be streamed, as it is stored."""
    global _session
    if _session is None:
        _session = requests.Session()
        _session.headers.update({"Accept-Encoding": "identity", "User-Agent": f"kconvert/{VERSION}"})
    timeout = (options.connect_seconds, options.read_seconds)
    return _session.request(method, url, headers=headers, stream=True, timeout=timeout)


def _remote(response: requests.Response) -> Remote:
    length = response.headers.get("Content-Length", "")
    return Remote(int(length) if length.isascii() and length.isdigit() else None, _version(response))


def _version(response: requests.Response) -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified") or ""


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """First byte and total size of `Content-Range: bytes 5-9/10` or `bytes */10`; `None` where unknown."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    start = span.partition("-")[0]
    if unit != "bytes":
        return None, None
    return (int(start) if start.isdigit() else None), (int(total) if total.isdigit() else None)


def _retry_after(response: requests.Response) -> float | None:
    """Seconds of a `Retry-After` header, which holds a number or a date; `None` without one."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _reason(error: BaseException) -> str:
    """What went wrong, from the innermost of the exceptions that the libraries wrap each other's in."""
    seen: list[BaseException] = []
    inner: BaseException | None = error
    while inner is not None and inner not in seen:
        seen.append(inner)
        reason = getattr(inner, "reason", None)
        inner = inner.__cause__ or inner.__context__ or (reason if isinstance(reason, BaseException) else None)
    innermost = seen[-1]
    text = getattr(innermost, "strerror", None) or str(innermost)
    return text or type(innermost).__name__
