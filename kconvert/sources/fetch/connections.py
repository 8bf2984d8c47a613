"""HTTP connections of this process: pooled, with the environment's proxies and certificates, and none that hangs.

The limits of sockets begin again with each byte, so that headers, or pieces of a body, that come byte by byte would
hold a reader for ever. A watchdog cuts such connections. For that, and to read bodies without the copies of the layers
above, this module knows how requests and urllib3 keep a connection; `tests/unit/sources/test_connections.py` says what
breaks if that changes.
"""

from __future__ import annotations

import functools
import http.client
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from kconvert.sources.fetch.stream import FetchOptions
from kconvert.version import VERSION

BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError)
"""What the libraries raise for connections that break and for answers that are no HTTP."""
_REDIRECTS = {
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.SEE_OTHER,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
}
_MAX_REDIRECTS = 5
_MIN_POOL = 16
"""Connections to a server that stay open between two requests: planning, too, asks for many things at once."""
_session: requests.Session | None = None


def request(method: str, url: str, options: FetchOptions, headers: Mapping[str, str]) -> requests.Response:
    """One HTTP request on this process's session; the body is left to be streamed, as it is stored. Raises `BROKEN`
    (`TooManyRedirects` is one of them)."""
    global _session
    if _session is None:
        _session = _Session()
        _session.headers.update({"Accept-Encoding": "identity", "User-Agent": f"kconvert/{VERSION}"})
        for scheme in ("http://", "https://"):
            # One that does not fit into the pool is closed after its request.
            _session.mount(scheme, _Adapter(pool_maxsize=max(_MIN_POOL, options.connections + 1)))
    timeout = (options.connect_seconds, options.read_seconds)
    for _ in range(_MAX_REDIRECTS + 1):
        prepared = _session.prepare_request(requests.Request(method, url, headers=dict(headers)))
        response = _session.send(prepared, timeout=timeout, allow_redirects=False, **_settings(*urlsplit(url)[:2]))
        target = response.headers.get("Location", "")
        if response.status_code not in _REDIRECTS or not target:
            return response
        response.close()
        url = urljoin(url, target)
    raise requests.TooManyRedirects(f"more than {_MAX_REDIRECTS} redirects")


class Body:
    """The body of a response, as it comes from its connection."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        # The body below the layers of the libraries, which would copy it twice; there is no `body` where another
        # library connects, as through a SOCKS proxy.
        raw: Any = response.raw
        self._body: http.client.HTTPResponse = getattr(raw.connection, "body", None) or raw._fp
        self._socket: socket.socket | None = getattr(raw.connection, "body_socket", None)
        self.is_framed = bool(getattr(raw, "chunked", False))
        """Whether its end is marked, though no length is stated."""

    def read_into(self, buffer: memoryview, max_seconds: float) -> int:
        """Fills the buffer, up to the end of the body; returns how many bytes. Raises `BROKEN`, also if it takes
        longer."""
        with _watchdog.limit(self._socket, max_seconds):
            return self._body.readinto(buffer)

    def cut(self) -> None:
        """Ends what is being waited for; called from another thread."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Leaves the connection for the next request if the body has come whole, else closes it."""
        if self._body.isclosed():
            self._response.raw.release_conn()
        else:
            self._response.close()


class _Session(requests.Session):
    """Leaves redirects to `request`: requests reads their bodies whole, however long they are."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


@functools.cache
def _settings(scheme: str, host: str) -> dict[str, Any]:
    """The proxies and certificates that the environment names for a server: looked up once, as that takes longer than
    a request."""
    assert _session is not None
    settings: dict[str, Any] = dict(_session.merge_environment_settings(f"{scheme}://{host}/", {}, True, None, None))
    return settings


class _Watchdog:
    """Cuts connections that take longer than they may. One thread watches all of them."""

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


def is_nobody(error: BaseException) -> bool:
    """Whether no connection could be made, as opposed to one that broke."""
    inner = error.args[0] if error.args else None
    cause = getattr(inner, "reason", inner)
    return isinstance(cause, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)


def reason_of(error: BaseException) -> str:
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
