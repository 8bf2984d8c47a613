"""Streams, from a real server on loopback that is made to misbehave."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness import QUICK
from miniature.server import Handler, serving
from serving import DATA, NAME, drop_after, read_all, serving_data

from kconvert.errors import FetchError, NotFoundError, SourceChangedError
from kconvert.sources.fetch.open import describe, open_stream, read_small
from kconvert.sources.fetch.stream import Remote

pytestmark = pytest.mark.server


def test_a_resource_is_read_whole_with_its_size_and_version(tmp_path: Path) -> None:
    with serving_data(tmp_path) as http, open_stream(http.url + NAME, QUICK) as stream:
        assert b"".join(map(bytes, iter(stream.read, b""))) == DATA
        assert stream.remote == Remote(len(DATA), http.etag(tmp_path / NAME))
        assert describe(http.url + NAME, QUICK) == stream.remote


@pytest.mark.parametrize("num_bytes", [0, 1, 511, 512, 262_144, 262_145, len(DATA) - 1])
def test_a_lost_connection_goes_on_at_the_byte_it_had(tmp_path: Path, num_bytes: int) -> None:
    sent: list[int] = []
    drop = drop_after(num_bytes, 3)

    def behave(handler: Any, name: str, data: bytes) -> None:
        sent.append(len(DATA) - len(data))
        drop(handler, name, data)

    with serving_data(tmp_path, behave) as http:
        assert read_all(http.url + NAME) == DATA
    assert sent == [min(number * num_bytes, len(DATA)) for number in range(4)] or num_bytes == len(DATA) - 1


def test_a_silent_server_is_left_and_asked_again(tmp_path: Path) -> None:
    asked: list[str] = []

    def behave(handler: Any, name: str, data: bytes) -> None:
        asked.append(name)
        handler.wfile.write(data[: 1000 if len(asked) == 1 else None])
        handler.wfile.flush()
        if len(asked) == 1:
            time.sleep(1.0)

    with serving_data(tmp_path, behave) as http:
        assert read_all(http.url + NAME, replace(QUICK, read_seconds=0.3)) == DATA
    assert len(asked) == 2


def test_a_connection_that_is_always_lost_is_given_up_with_what_was_read(tmp_path: Path) -> None:
    with serving_data(tmp_path, drop_after(0, 100)) as http, pytest.raises(FetchError) as caught:
        read_all(http.url + NAME)
    assert f"after 0 of {len(DATA):,} bytes" in str(caught.value)
    assert f"tried {QUICK.max_retries + 1} times" in str(caught.value)


def test_progress_between_failures_starts_the_count_again(tmp_path: Path) -> None:
    with serving_data(tmp_path, drop_after(100_000, 15)) as http:
        assert read_all(http.url + NAME) == DATA


def test_a_server_that_ignores_ranges_makes_it_start_again(tmp_path: Path) -> None:
    with serving_data(tmp_path, drop_after(1000, 1)) as http:
        http.RequestHandlerClass._range_start = lambda self, etag: None  # type: ignore[attr-defined]
        with pytest.raises(SourceChangedError, match="the whole again"):
            read_all(http.url + NAME)


def test_another_version_makes_it_start_again_and_is_never_spliced(tmp_path: Path) -> None:
    def behave(handler: Any, name: str, data: bytes) -> None:
        drop_after(1000, 1)(handler, name, data)
        (tmp_path / NAME).write_bytes(DATA[::-1])

    with serving_data(tmp_path, behave) as http, pytest.raises(SourceChangedError):
        read_all(http.url + NAME)


def test_a_small_file_is_started_again_by_itself(tmp_path: Path) -> None:
    changed: list[int] = []

    def behave(handler: Any, name: str, data: bytes) -> None:
        if changed:
            handler.wfile.write(data)
            return
        changed.append(1)
        drop_after(1000, 1)(handler, name, data)
        (tmp_path / NAME).write_bytes(DATA[::-1])

    with serving_data(tmp_path, behave) as http:
        assert read_small(http.url + NAME, QUICK, 10**8) == DATA[::-1]


def test_a_file_over_its_limit_is_not_read_on(tmp_path: Path) -> None:
    with serving_data(tmp_path) as http, pytest.raises(FetchError, match="larger than 1,000 bytes"):
        read_small(http.url + NAME, QUICK, 1000)


class Refusing(Handler):
    """Answers with a status, so many times."""

    status = 503
    headers_sent: dict[str, str] = {}  # noqa: RUF012
    left = 1

    def do_GET(self) -> None:
        cls = type(self)
        if cls.left:
            cls.left -= 1
            self.server.requests["refused", self.path] += 1
            self.send_response(cls.status)
            for name, value in cls.headers_sent.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            super().do_GET()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(tmp_path: Path, status: int) -> None:
    handler = type("Busy", (Refusing,), {"status": status, "left": 2})
    (tmp_path / "x").write_bytes(DATA)
    with serving(tmp_path, handler) as http:
        assert read_all(http.url + "x") == DATA


def test_retry_after_is_obeyed(tmp_path: Path) -> None:
    handler = type("Busy", (Refusing,), {"headers_sent": {"Retry-After": "1"}, "left": 1})
    (tmp_path / "x").write_bytes(DATA)
    start = time.monotonic()
    with serving(tmp_path, handler) as http:
        assert read_all(http.url + "x", replace(QUICK, max_backoff_seconds=0.2)) == DATA
    assert time.monotonic() - start >= 1.0


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_is_not_there_is_not_asked_for_again(tmp_path: Path, status: int) -> None:
    handler = type("Absent", (Refusing,), {"status": status, "left": 100})
    with serving(tmp_path, handler) as http:
        with pytest.raises(NotFoundError, match=str(status)):
            read_all(http.url + "x")
        assert sum(http.requests.values()) == 1


def test_an_unforeseen_status_is_an_error_that_names_it(tmp_path: Path) -> None:
    handler = type("Odd", (Refusing,), {"status": 418, "left": 100})
    with serving(tmp_path, handler) as http, pytest.raises(FetchError, match="418"):
        read_all(http.url + "x")


def test_a_server_that_is_not_there_is_given_up_with_the_reason() -> None:
    with pytest.raises(FetchError, match="[Rr]efused"):
        read_all("http://127.0.0.1:9/x")


def test_a_host_without_a_name_is_given_up_with_the_reason() -> None:
    with pytest.raises(FetchError, match=r"no-such-host\.invalid"):
        read_all("http://no-such-host.invalid/x", replace(QUICK, max_retries=0))


def test_416_at_the_end_is_the_end_and_elsewhere_a_change(tmp_path: Path) -> None:
    """A stream of unknown length that breaks exactly at its end asks for a range that is not there."""

    class Lengthless(Handler):
        def send_header(self, keyword: str, value: str) -> None:
            if keyword == "Content-Length" and self.command == "GET" and "Range" not in self.headers:
                super().send_header("Transfer-Encoding", "chunked")
            else:
                super().send_header(keyword, value)

        def send_data(self, name: str, data: bytes) -> None:
            is_chunked = "Range" not in self.headers
            self.wfile.write(b"%x\r\n" % len(data) + data + b"\r\n" if is_chunked else data)
            self.wfile.flush()
            # The last chunk, which would say that this was all, never comes.
            self.close_connection = True

    # What is read at a time ends with the last byte of the first, and not of the second.
    for num_bytes in (4096 + 16_384 + 65_536 + 5 * 262_144, len(DATA)):
        (tmp_path / "x").write_bytes(DATA[:num_bytes])
        with serving(tmp_path, Lengthless) as http:
            assert read_all(http.url + "x") == DATA[:num_bytes]


def test_a_local_file_is_read_and_an_absent_one_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(DATA)
    assert read_all(str(tmp_path / "x")) == DATA
    assert describe(str(tmp_path / "x"), QUICK).size_bytes == len(DATA)
    with pytest.raises(NotFoundError, match="absent"):
        read_all(str(tmp_path / "absent"))
    with pytest.raises(FetchError):
        read_all(str(tmp_path))


@pytest.mark.parametrize("status", [405, 501])
def test_a_server_without_head_is_of_unknown_size(tmp_path: Path, status: int) -> None:
    class Headless(Handler):
        def do_HEAD(self) -> None:
            self._refuse(status, "MethodNotAllowed", False)

    (tmp_path / "x").write_bytes(DATA)
    with serving(tmp_path, Headless) as http:
        assert describe(http.url + "x", QUICK) == Remote(None, "")
