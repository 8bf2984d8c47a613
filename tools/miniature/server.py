"""A server that answers as S3 does: Range, If-Range, ETag, 416 with an XML body, 403 for what is not there."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Server(ThreadingHTTPServer):
    """Serves a folder on loopback. `requests` counts what was asked for, `num_bytes` what was sent."""

    daemon_threads = True

    def __init__(self, root: Path, port: int = 0, handler: type[Handler] | None = None) -> None:
        super().__init__(("127.0.0.1", port), handler or Handler)
        self.root = root
        self.requests: Counter[tuple[str, str]] = Counter()
        self.num_bytes = 0
        self._etags: dict[tuple[Path, int], str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def etag(self, path: Path) -> str:
        """The entity tag of a file: another one as soon as it is replaced."""
        key = (path, path.stat().st_mtime_ns)
        if key not in self._etags:
            self._etags[key] = '"' + hashlib.md5(path.read_bytes()).hexdigest() + '"'
        return self._etags[key]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error of the server's."""


class Handler(BaseHTTPRequestHandler):
    """One connection. A test may override `send_data` to misbehave."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        name = unquote(urlsplit(self.path).path).lstrip("/")
        self.server.requests[self.command, name] += 1
        path = (self.server.root / name).resolve()
        # S3 refuses a request whose path is not percent-encoded, and one for what is not there.
        if not path.is_file() or not path.is_relative_to(self.server.root.resolve()) or " " in self.path:
            self._refuse(403, "AccessDenied", with_body)
            return
        data, etag = path.read_bytes(), self.server.etag(path)
        start = self._range_start(etag)
        if start is not None and start >= len(data):
            self._refuse(416, "InvalidRange", with_body, {"Content-Range": f"bytes */{len(data)}"})
            return
        end = len(data) if start is None else min(self._range_end(), len(data))
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.send_header("ETag", etag)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - (start or 0)))
        self.end_headers()
        if with_body:
            self.send_data(name, data[start or 0 : end])

    def _range_start(self, etag: str) -> int | None:
        wanted = self.headers.get("Range", "")
        if not wanted.startswith("bytes=") or self.headers.get("If-Range", etag) != etag:
            return None
        return int(wanted.removeprefix("bytes=").partition("-")[0])

    def _range_end(self) -> int:
        """The byte after the last that is asked for."""
        last = self.headers.get("Range", "").partition("-")[2]
        return int(last) + 1 if last else sys.maxsize

    def _refuse(self, status: int, code: str, with_body: bool, headers: dict[str, str] | None = None) -> None:
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>'.encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def send_data(self, name: str, data: bytes) -> None:
        """Sends the body of a file."""
        self.wfile.write(data)
        self.server.num_bytes += len(data)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@contextmanager
def serving(root: Path, handler: type[Handler] | None = None) -> Iterator[Server]:
    """A server in a thread, for the time of the block."""
    server = Server(root, handler=handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
