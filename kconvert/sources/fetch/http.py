"""Resources over HTTP: what is asked for, and what the answer means (RFC 9110, sections 13.1.5 and 14).

The rest of a version is asked for by `Range` with `If-Range`. It is never spliced from two versions: a server that
ignores the range, or that has another version by now, raises `SourceChangedError`.
"""

from __future__ import annotations

import email.utils
import time
from http import HTTPStatus

import requests

from kconvert.errors import FetchError, NotFoundError, SourceChangedError, UnreachableError
from kconvert.sources.fetch.connections import BROKEN, Body, is_nobody, reason_of, request
from kconvert.sources.fetch.resource import Answer, BrokenError, Resource, Span, changed
from kconvert.sources.fetch.stream import FetchOptions, Remote

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


class HttpResource(Resource):
    """What a URL names."""

    def describe(self) -> Remote:
        with self._request("HEAD", {}) as response:
            if response.status_code in (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED):
                return Remote(None, "")
            self._require_status(response, HTTPStatus.OK)
            return _remote(response)

    def ask(self, span: Span, known: Remote | None) -> Answer:
        response = self._request("GET", self._range_headers(span, known))
        try:
            answer = self._answer(response, span, known)
        except BaseException:
            response.close()
            raise
        if answer is None:
            response.close()
            return self.ask(Span(span.start, None), known)
        return answer

    def confirm(self, known: Remote) -> None:
        """Nothing is left to ask: each answer said of which version it was."""

    def _request(self, method: str, headers: dict[str, str]) -> requests.Response:
        try:
            return request(method, self.location, self.options, headers)
        except BROKEN as error:
            kind = UnreachableError if is_nobody(error) else FetchError
            raise BrokenError(reason_of(error), kind=kind) from error

    def _range_headers(self, span: Span, known: Remote | None) -> dict[str, str]:
        if span == (0, None):
            return {}
        wanted = {"Range": f"bytes={span.start}-{'' if span.end is None else span.end - 1}"}
        if span.start == 0:
            return wanted
        if known is None or not _names_version(known):
            raise self._changed("the server names no version to continue with")
        return wanted | {"If-Range": known.etag}

    def _answer(self, response: requests.Response, span: Span, known: Remote | None) -> Answer | None:
        """What a response is; `None` if the whole has to be asked for, as ranges of it are of no use."""
        start, total = _content_range(response)
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if known is not None:
                return self._end(response, total, span, known)
            if span.end is None:
                raise FetchError(self.location, "HTTP 416 for the whole, expected 200")
            # There is no first byte. Asked for the whole, the server says that without an error.
            return None
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            if start != span.start:
                got = response.headers.get("Content-Range", "no Content-Range")
                raise self._changed(f"asked for bytes from {span.start}, got {got}")
            remote = self._same(known, Remote(total, _version(response)))
            # Else the other ranges could not be known to be of the same version.
            is_useful = span.end is None or (total is not None and _names_version(remote))
            return _HttpAnswer(response, remote, self.options, span.end is not None) if is_useful else None
        self._require_status(response, HTTPStatus.OK)
        if span.start:
            raise self._changed("the server sent the whole again where the rest was asked for")
        return _HttpAnswer(response, self._same(known, _remote(response)), self.options, is_range=False)

    def _end(self, response: requests.Response, total: int | None, span: Span, known: Remote) -> Answer:
        """416: there is nothing at the offset that was asked for. That is right where it is the end."""
        if total is None or total != span.start or known.size_bytes not in (None, total):
            raise self._changed(f"the server has no byte {span.start:,} any more (it has {total or 0:,})")
        return _HttpAnswer(response, Remote(total, known.etag), self.options, is_range=True)

    def _same(self, known: Remote | None, found: Remote) -> Remote:
        """What is known of the resource with what was found; raises `SourceChangedError` if they differ."""
        if known is None or (known.size_bytes is None and known.etag in ("", found.etag)):
            return found
        if found != known:
            raise changed(self.location, known, found)
        return known

    def _require_status(self, response: requests.Response, expected: HTTPStatus) -> None:
        """Raises `BrokenError` for another status that passes, `FetchError` for one that does not."""
        if response.status_code == expected:
            return
        said = f"HTTP {response.status_code} {response.reason}".strip()
        if response.status_code in _FINAL:
            raise NotFoundError(self.location, said)
        if response.status_code not in _BUSY:
            raise FetchError(self.location, f"{said}, expected 200 or 206")
        raise BrokenError(said, _retry_after(response))

    def _changed(self, problem: str) -> SourceChangedError:
        return SourceChangedError(self.location, problem)


class _HttpAnswer(Answer):
    """A body, read in steps."""

    _MIN_STEP_BYTES = 1 << 12
    _MAX_STEP_BYTES = 1 << 20
    _FAST_STEP_SECONDS = 0.1

    def __init__(self, response: requests.Response, remote: Remote, options: FetchOptions, is_range: bool) -> None:
        super().__init__(remote, is_range)
        self._body = Body(response)
        self._options = options
        self._rate = _Rate(options)
        self._step_bytes = self._MIN_STEP_BYTES

    @property
    def is_end_sure(self) -> bool:
        return self._body.is_framed

    def read_into(self, buffer: memoryview) -> int:
        if self._rate.is_too_low:
            raise BrokenError(f"less than {self._options.min_rate} a second")
        start = time.monotonic()
        try:
            num = self._body.read_into(buffer[: self._step_bytes], 2 * self._options.read_seconds)
        except BROKEN as error:
            raise BrokenError(reason_of(error)) from error
        seconds = time.monotonic() - start
        # Waiting ends when a step is full, so that they are small where bytes come slowly.
        is_fast = seconds < self._FAST_STEP_SECONDS
        self._step_bytes = min(self._step_bytes * 4, self._MAX_STEP_BYTES) if is_fast else self._MIN_STEP_BYTES
        self._rate.add(num, seconds)
        return num

    def cut(self) -> None:
        self._body.cut()

    def close(self) -> None:
        self._body.close()


class _Rate:
    """How fast one connection is, by the time that was spent waiting for it: a slow reader is not its fault."""

    def __init__(self, options: FetchOptions) -> None:
        self._options = options
        self._waited_seconds = 0.0
        self._num_bytes = 0
        self.is_too_low = False
        """Whether the last whole span of `read_seconds` gave less than `min_rate`."""

    def add(self, num_bytes: int, waited_seconds: float) -> None:
        self._num_bytes += num_bytes
        self._waited_seconds += waited_seconds
        if self._waited_seconds >= self._options.read_seconds:
            self.is_too_low = self._num_bytes < self._options.min_rate * self._waited_seconds
            self._waited_seconds, self._num_bytes = 0.0, 0


def _remote(response: requests.Response) -> Remote:
    return Remote(_number(response.headers.get("Content-Length", "")), _version(response))


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
