"""Fetching over HTTP: a stream that survives.

One that breaks goes on at the byte it had (`Range` with `If-Range`, RFC 9110 sections 13.1.5 and 14). It is never
spliced from two versions: a server that ignores the range, or that has another version by now, raises
`SourceChangedError`, and whoever reads starts this resource again. Lengths are checked at the end.
"""

from __future__ import annotations

import email.utils
import functools
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from kconvert.errors import FetchError, NotFoundError, SourceChangedError, UnreachableError
from kconvert.sources.fetch.retry import Attempts
from kconvert.sources.fetch.stream import CHUNK_BYTES, FetchOptions, OnBytes, RangeStream, Remote
from kconvert.version import VERSION

_MIN_STEP_BYTES = 1 << 12
_MAX_STEP_BYTES = 1 << 20
_FAST_STEP_SECONDS = 0.1

_FINAL = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
"""Asking again does not help. S3 answers 403 to an anonymous request for what is not there."""
_REDIRECTS = {
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.SEE_OTHER,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
}
_MAX_REDIRECTS = 5
_BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError)
"""What the libraries raise for connections that break and for answers that are no HTTP."""
_BUSY = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}


def describe_url(location: str, options: FetchOptions) -> Remote:
    """Size and version of a resource, by a HEAD request. Raises `FetchError`; `NotFoundError` if it is not there."""
    attempts = Attempts(location, options, threading.Event())
    while True:
        try:
            with _request("HEAD", location, options, {}) as response:
                if response.status_code == HTTPStatus.OK:
                    return _remote(response)
                if response.status_code in (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED):
                    return Remote(None, "")
                _refused(attempts, response)
        except _BROKEN as error:
            attempts.failed(_reason(error))


def _refused(attempts: Attempts, response: requests.Response) -> None:
    """Waits if the status is one that passes. Raises `FetchError` if not."""
    said = f"HTTP {response.status_code} {response.reason}".strip()
    if response.status_code in _FINAL:
        raise NotFoundError(attempts.location, said)
    if response.status_code not in _BUSY:
        raise FetchError(attempts.location, f"{said}, expected 200 or 206")
    attempts.failed(said, _retry_after(response))


class _Rate:
    """How fast one connection is, by the time that was spent waiting for it: a slow reader is not its fault."""

    def __init__(self, options: FetchOptions) -> None:
        self._options = options
        self._waited_seconds = 0.0
        self._num_bytes = 0

    def is_too_low(self, num_bytes: int, waited_seconds: float) -> bool:
        """Takes in what has come; says so at the end of each span of `read_seconds`."""
        self._num_bytes += num_bytes
        self._waited_seconds += waited_seconds
        if self._waited_seconds < self._options.read_seconds:
            return False
        is_too_low = self._num_bytes < self._options.min_rate * self._waited_seconds
        self._waited_seconds, self._num_bytes = 0.0, 0
        return is_too_low


class HttpStream(RangeStream):
    """A resource over HTTP, from `offset` on, which must then be a place in the version that `remote` names; up to
    `end`, if one is given and the server has ranges (see `is_range`). Gives up once `is_cancelled`."""

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
        self._options = options
        self._on_bytes = on_bytes
        self._offset = offset
        self._end = end
        self._attempts = Attempts(location, options, is_cancelled or threading.Event())
        self._response: requests.Response | None = None
        self._socket: socket.socket | None = None
        self._rate = _Rate(options)
        self._step_bytes = _MIN_STEP_BYTES
        self._chunk = memoryview(b"")
        self._known = remote
        if remote is None or remote.size_bytes is None or offset < remote.size_bytes:
            self._connect()

    @property
    def remote(self) -> Remote:
        assert self._known is not None
        return self._known

    @property
    def is_end_sure(self) -> bool:
        is_chunked = self._response is not None and getattr(self._response.raw, "chunked", False)
        return self.remote.size_bytes is not None or is_chunked

    @property
    def is_range(self) -> bool:
        """Whether this ends at the `end` that was asked for, or before it."""
        return self._end is not None

    def _limit(self) -> int | None:
        """Where this ends; `None` if the server does not say."""
        size = self.remote.size_bytes
        return size if self._end is None else min(self._end, size or self._end)

    def read(self) -> memoryview:
        if not self._chunk:
            self._chunk = memoryview(bytearray(CHUNK_BYTES))
        return self._chunk[: self.read_into(self._chunk)]

    def read_into(self, buffer: memoryview) -> int:
        """Puts some next bytes into the beginning of a buffer; returns how many, 0 at the end. Raises as `read`."""
        while True:
            size = self._limit()
            if size is not None and self._offset >= size:
                return 0
            try:
                if self._response is None:
                    self._connect()
                    continue
                start = time.monotonic()
                room = min(self._step_bytes, len(buffer), len(buffer) if size is None else size - self._offset)
                with _watchdog.limit(self._socket, 2 * self._options.read_seconds):
                    num = self._body(self._response).readinto(buffer[:room])
                if num:
                    self._take(num, time.monotonic() - start)
                    return num
                if size is None:
                    return 0
                reason = f"body ended after {self._offset:,} of {size:,} bytes"
            except _BROKEN as error:
                reason = f"{_reason(error)} after {self._offset:,} of {size or 0:,} bytes"
            self._disconnect()
            self._attempts.failed(reason)

    @staticmethod
    def _body(response: requests.Response) -> http.client.HTTPResponse:
        """The body below the layers of the libraries, which would copy it twice."""
        # There is no `body` where another library connects, as through a SOCKS proxy.
        raw: Any = response.raw
        body: http.client.HTTPResponse = getattr(raw.connection, "body", None) or raw._fp
        return body

    def _take(self, num_bytes: int, waited_seconds: float) -> None:
        """Accounts for bytes that have come; leaves a connection that is done, or too slow."""
        self._offset += num_bytes
        self._attempts.advanced(num_bytes)
        self._on_bytes(num_bytes)
        # Waiting ends when a step is full, so that they are small where bytes come slowly.
        is_fast = waited_seconds < _FAST_STEP_SECONDS
        self._step_bytes = min(self._step_bytes * 4, _MAX_STEP_BYTES) if is_fast else _MIN_STEP_BYTES
        is_too_slow = self._rate.is_too_low(num_bytes, waited_seconds)
        if self._offset == self._limit():
            self._release()
        elif is_too_slow:
            self._disconnect()
            limit = f"less than {self._options.min_rate} a second"
            self._attempts.failed(f"{limit} after {self._offset:,} bytes")

    def _release(self) -> None:
        """Leaves the connection for the next request, if its answer has come whole."""
        if self._response is not None and self._body(self._response).isclosed():
            self._response.raw.release_conn()
            self._response = None

    def _connect(self) -> None:
        """Opens the connection at the current offset, however often that takes."""
        while True:
            try:
                response = _request("GET", self.location, self._options, self._range_headers())
            except _BROKEN as error:
                self._attempts.failed(_reason(error), kind=UnreachableError if _is_nobody(error) else FetchError)
                continue
            self._response = response
            self._socket = getattr(response.raw.connection, "body_socket", None)
            self._rate = _Rate(self._options)
            self._step_bytes = _MIN_STEP_BYTES
            if response.status_code == HTTPStatus.OK:
                return self._accept_whole(response)
            if response.status_code == HTTPStatus.PARTIAL_CONTENT:
                return self._accept_part(response)
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return self._accept_end(response)
            self._disconnect()
            _refused(self._attempts, response)

    def _range_headers(self) -> dict[str, str]:
        if self._offset == 0 and self._end is None:
            return {}
        wanted = {"Range": f"bytes={self._offset}-{'' if self._end is None else self._end - 1}"}
        if self._offset == 0:
            return wanted
        if not _names_version(self.remote):
            raise self._changed("the server names no version to go on with")
        return wanted | {"If-Range": self.remote.etag}

    def _accept_whole(self, response: requests.Response) -> None:
        if self._offset:
            self._disconnect()
            raise self._changed("the server sent the whole again where the rest was asked for")
        self._end = None
        self._check_same(_remote(response))

    def _accept_part(self, response: requests.Response) -> None:
        start, total = _content_range(response)
        if start != self._offset:
            self._disconnect()
            got = response.headers.get("Content-Range", "no Content-Range")
            raise self._changed(f"asked for bytes from {self._offset}, got {got}")
        self._check_same(Remote(total, _version(response)))
        if self._end is not None and (total is None or not _names_version(self.remote)):
            # The other ranges could not be told to be of the same version.
            self._disconnect()
            self._end = None
            self._connect()

    def _accept_end(self, response: requests.Response) -> None:
        """416: there is nothing at the offset. That is right where the offset is the end."""
        _, total = _content_range(response)
        self._disconnect()
        if self._known is None and self._end is not None:
            # There is no first byte. Asked for the whole, the server says that without an error.
            self._end = None
            self._connect()
            return
        if self._known is None:
            raise FetchError(self.location, "HTTP 416 for the whole, expected 200")
        if total is None or total != self._offset or self.remote.size_bytes not in (None, total):
            raise self._changed(f"the server has no byte {self._offset:,} any more (it has {total or 0:,})")
        self._known = Remote(total, self.remote.etag)

    def _check_same(self, found: Remote) -> None:
        if self._known is None or (self._known.size_bytes is None and self._known.etag in ("", found.etag)):
            self._known = found
        elif found != self._known:
            self._disconnect()
            raise self._changed(
                f"changed on the server: was {self._known.size_bytes} bytes {self._known.etag}, "
                f"is {found.size_bytes} bytes {found.etag}"
            )

    def _changed(self, problem: str) -> SourceChangedError:
        """Why this cannot be gone on with, and what made that necessary."""
        broke = self._attempts.last_reason
        return SourceChangedError(self.location, f"{broke}; then {problem}" if broke else problem)

    def cut(self) -> None:
        """Ends what is being waited for; from another thread."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _disconnect(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def close(self) -> None:
        self._disconnect()


class _Session(requests.Session):
    """Leaves redirects to `_request`: requests reads their bodies whole, however long they are."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


_session: requests.Session | None = None


def _request(method: str, url: str, options: FetchOptions, headers: dict[str, str]) -> requests.Response:
    """One HTTP request on this process's session; the body is left to be streamed, as it is stored."""
    global _session
    if _session is None:
        _session = _Session()
        _session.headers.update({"Accept-Encoding": "identity", "User-Agent": f"kconvert/{VERSION}"})
        for scheme in ("http://", "https://"):
            _session.mount(scheme, _Adapter())
    timeout = (options.connect_seconds, options.read_seconds)
    for _ in range(_MAX_REDIRECTS + 1):
        prepared = _session.prepare_request(requests.Request(method, url, headers=headers))
        response = _session.send(prepared, timeout=timeout, allow_redirects=False, **_settings(*urlsplit(url)[:2]))
        target = response.headers.get("Location", "")
        if response.status_code not in _REDIRECTS or not target:
            return response
        response.close()
        url = urljoin(url, target)
    raise requests.TooManyRedirects(f"more than {_MAX_REDIRECTS} redirects")


@functools.cache
def _settings(scheme: str, host: str) -> dict[str, Any]:
    """The proxies and certificates that the environment names for a server: looked up once, as that takes longer than
    a request."""
    assert _session is not None
    settings: dict[str, Any] = dict(_session.merge_environment_settings(f"{scheme}://{host}/", {}, True, None, None))
    return settings


def _is_nobody(error: BaseException) -> bool:
    """Whether no connection could be made, as opposed to one that broke."""
    inner = error.args[0] if error.args else None
    cause = getattr(inner, "reason", inner)
    return isinstance(cause, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)


class _Watchdog:
    """Cuts connections on which headers, or pieces of a body, come byte by byte, for ever.

    The limits of sockets do not help there: they begin again with each byte. One thread watches all connections.
    """

    _LOOK_SECONDS = 0.5

    def __init__(self) -> None:
        self._ends: dict[socket.socket, float] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def limit(self, connection: socket.socket | None, seconds: float) -> Iterator[None]:
        """Cuts the connection if the block takes longer."""
        if connection is None:
            yield
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        self._ends[connection] = time.monotonic() + seconds
        try:
            yield
        finally:
            self._ends.pop(connection, None)

    def _watch(self) -> None:
        while True:
            time.sleep(self._LOOK_SECONDS)
            # Other threads come and go meanwhile: it looks again in a moment.
            with suppress(RuntimeError):
                for connection, end in list(self._ends.items()):
                    if time.monotonic() > end:
                        with suppress(OSError):
                            connection.shutdown(socket.SHUT_RDWR)


_watchdog = _Watchdog()


class _Watched:
    """A connection that the watchdog looks after, and that keeps the body that is read from it."""

    body: http.client.HTTPResponse
    body_socket: socket.socket
    """Of that body; a connection that is for one request only forgets it."""

    def getresponse(self) -> Any:
        with _watchdog.limit(self.sock, 2 * float(self.timeout or 0)):  # type: ignore[attr-defined]
            return super().getresponse()  # type: ignore[misc]

    def response_class(self, sock: socket.socket, *words: Any, **options: Any) -> http.client.HTTPResponse:
        self.body_socket = sock
        self.body = http.client.HTTPResponse(sock, *words, **options)
        return self.body


class _HttpConnection(_Watched, urllib3.connection.HTTPConnection):  # type: ignore[misc]
    pass


class _HttpsConnection(_Watched, urllib3.connection.HTTPSConnection):  # type: ignore[misc]
    pass


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


_POOLS = {"http": _HttpPool, "https": _HttpsPool}


class _Adapter(requests.adapters.HTTPAdapter):
    """Has the watchdog look after every connection."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager: Any = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def _remote(response: requests.Response) -> Remote:
    length = response.headers.get("Content-Length", "")
    return Remote(_number(length), _version(response))


def _number(text: str) -> int | None:
    """A number of a header; `None` if it is none, or longer than any that makes sense."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _version(response: requests.Response) -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified") or ""


def _names_version(remote: Remote) -> bool:
    """Whether parts can be asked for that are sure to be of this version (RFC 9110, 13.1.5)."""
    return remote.etag != "" and not remote.etag.startswith("W/")


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """First byte and total size of `Content-Range: bytes 5-9/10` or `bytes */10`; `None` where unknown."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    start = span.partition("-")[0]
    if unit != "bytes":
        return None, None
    return _number(start), _number(total)


def _retry_after(response: requests.Response) -> float | None:
    """Seconds of a `Retry-After` header, which holds a number or a date; `None` without one."""
    value = response.headers.get("Retry-After", "").strip()
    seconds = _number(value)
    if seconds is not None:
        return float(seconds)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
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
