"""Fetching, from a real server on loopback that is made to misbehave."""

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness import QUICK
from miniature.server import Handler, Server, serving

from kconvert.errors import FetchError, NotFoundError, SourceChangedError
from kconvert.sources.archive_cache import ArchiveCopies
from kconvert.sources.fetch.ahead import FETCHING, RANGE_BYTES
from kconvert.sources.fetch.open import describe, open_ahead, open_stream, read_small
from kconvert.sources.fetch.stream import FetchOptions, OnBytes, Remote
from kconvert.sources.origin import ArchiveRef

pytestmark = pytest.mark.server

DATA = bytes(range(256)) * 8192
"""Two megabytes."""
NAME = "400/train/part_0.tar.gz"


@contextmanager
def serving_data(root: Path, behave: Callable[[Any, str, bytes], None] | None = None) -> Iterator[Server]:
    """A server of `DATA`; `behave` takes the place of sending a body."""
    (root / NAME).parent.mkdir(parents=True, exist_ok=True)
    (root / NAME).write_bytes(DATA)

    class Misbehaving(Handler):
        def send_data(self, name: str, data: bytes) -> None:
            if behave is None:
                super().send_data(name, data)
            else:
                behave(self, name, data)

    with serving(root, Misbehaving) as http:
        yield http


def drop_after(num_bytes: int, times: int) -> Callable[[Any, str, bytes], None]:
    """Closes the connection after so many bytes, so many times."""
    left = [times]

    def behave(handler: Any, name: str, data: bytes) -> None:
        if left[0]:
            left[0] -= 1
            handler.wfile.write(data[:num_bytes])
            handler.wfile.flush()
            handler.close_connection = True
            handler.connection.close()
        else:
            handler.wfile.write(data)

    return behave


def read_all(url: str, options: FetchOptions = QUICK) -> bytes:
    with open_stream(url, options) as stream:
        return b"".join(map(bytes, iter(stream.read, b"")))


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


def kept_copy(url: str, folder: Path, name: str, options: FetchOptions, on_bytes: OnBytes) -> Path:
    return ArchiveCopies(folder).fetch(ArchiveRef(name, url), options, on_bytes)


def test_a_kept_archive_is_reused_while_size_and_version_agree(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    told: list[int] = []
    with serving_data(tmp_path / "server") as http:
        path = kept_copy(http.url + NAME, folder, NAME, QUICK, told.append)
        assert path.read_bytes() == DATA
        assert sum(told) == len(DATA)
        kept_copy(http.url + NAME, folder, NAME, QUICK, told.append)
        assert http.requests["GET", NAME] == 1
        assert sum(told) == 2 * len(DATA)
        (tmp_path / "server" / NAME).write_bytes(DATA[::-1])
        assert kept_copy(http.url + NAME, folder, NAME, QUICK, told.append).read_bytes() == DATA[::-1]
    assert sorted(path.name for path in folder.rglob("part*")) == ["part_0.tar.gz", "part_0.tar.gz.etag"]


def test_a_kept_archive_goes_on_from_what_a_killed_run_left(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    sent: list[int] = []

    def behave(handler: Any, name: str, data: bytes) -> None:
        sent.append(len(data))
        drop_after(700_000, 1 if len(sent) <= 1 else 0)(handler, name, data)

    with serving_data(tmp_path / "server", behave) as http:
        with pytest.raises(FetchError):
            kept_copy(http.url + NAME, folder, NAME, replace(QUICK, max_retries=0), lambda num_bytes: None)
        assert (folder / f"{NAME}.partial").stat().st_size == 700_000
        path = kept_copy(http.url + NAME, folder, NAME, QUICK, lambda num_bytes: None)
    assert path.read_bytes() == DATA
    assert sent == [len(DATA), len(DATA) - 700_000]


def test_a_complete_partial_file_needs_no_further_byte(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with serving_data(tmp_path / "server") as http:
        path = kept_copy(http.url + NAME, folder, NAME, QUICK, lambda num_bytes: None)
        path.rename(path.with_name(path.name + ".partial"))
        path.with_name(path.name + ".etag").rename(path.with_name(path.name + ".partial.etag"))
        assert kept_copy(http.url + NAME, folder, NAME, QUICK, lambda num_bytes: None).read_bytes() == DATA
        assert http.requests["GET", NAME] == 1


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


def test_a_partial_file_is_given_up_where_the_server_does_not_go_on_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    drop = drop_after(700_000, 1)
    with serving_data(tmp_path / "server", drop) as http:
        http.RequestHandlerClass._range_start = lambda self, etag: None  # type: ignore[attr-defined]
        with pytest.raises(FetchError):
            kept_copy(http.url + NAME, folder, NAME, replace(QUICK, max_retries=0), lambda num_bytes: None)
        with pytest.raises(SourceChangedError):
            kept_copy(http.url + NAME, folder, NAME, QUICK, lambda num_bytes: None)
        assert kept_copy(http.url + NAME, folder, NAME, QUICK, lambda num_bytes: None).read_bytes() == DATA


def test_a_partial_file_of_another_version_is_not_gone_on_with_wherever_a_kill_came(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with serving_data(tmp_path / "server", drop_after(700_000, 1)) as http:
        with pytest.raises(FetchError):
            kept_copy(http.url + NAME, folder, NAME, replace(QUICK, max_retries=0), lambda num_bytes: None)
        (tmp_path / "server" / NAME).write_bytes(DATA[::-1])
        assert kept_copy(http.url + NAME, folder, NAME, QUICK, lambda num_bytes: None).read_bytes() == DATA[::-1]


@pytest.mark.parametrize("status", [405, 501])
def test_a_server_without_head_is_of_unknown_size(tmp_path: Path, status: int) -> None:
    class Headless(Handler):
        def do_HEAD(self) -> None:
            self._refuse(status, "MethodNotAllowed", False)

    (tmp_path / "x").write_bytes(DATA)
    with serving(tmp_path, Headless) as http:
        assert describe(http.url + "x", QUICK) == Remote(None, "")


BIG = random.Random(1).randbytes(5 * RANGE_BYTES // 2)
"""Two ranges and a half."""


def read_ahead(url: str, options: FetchOptions = QUICK) -> bytes:
    with open_ahead(url, options) as stream:
        return b"".join(map(bytes, iter(stream.read, b"")))


class Ranged(Handler):
    """Notes what is asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        type(self).asked.append(self.headers.get("Range", "all"))
        super().do_GET()


@contextmanager
def serving_big(root: Path, handler: type[Ranged] = Ranged) -> Iterator[Server]:
    handler.asked = []
    (root / "big").write_bytes(BIG)
    with serving(root, handler) as http:
        yield http


@pytest.mark.parametrize("connections", [1, 2, 7])
def test_a_big_resource_comes_in_ranges_over_several_connections(tmp_path: Path, connections: int) -> None:
    told: list[int] = []
    options = replace(QUICK, connections=connections)
    with serving_big(tmp_path) as http, open_ahead(http.url + "big", options, told.append) as stream:
        assert b"".join(map(bytes, iter(stream.read, b""))) == BIG
        assert stream.remote == Remote(len(BIG), http.etag(tmp_path / "big"))
    ends = [RANGE_BYTES, 2 * RANGE_BYTES, len(BIG)]
    starts = [0, *ends[:-1]]
    assert sorted(Ranged.asked) == sorted(f"bytes={start}-{end - 1}" for start, end in zip(starts, ends, strict=True))
    assert sum(told) == len(BIG)


def test_at_most_the_ring_is_fetched_ahead_of_the_reader(tmp_path: Path) -> None:
    with serving_big(tmp_path) as http:
        with open_ahead(http.url + "big", replace(QUICK, connections=1)) as stream:
            stream.read()
            time.sleep(1.0)
            assert len(Ranged.asked) == 2
            assert FETCHING in {thread.name for thread in threading.enumerate()}
        assert FETCHING not in {thread.name for thread in threading.enumerate()}


def test_every_range_survives_lost_connections(tmp_path: Path) -> None:
    class Dropping(Ranged):
        def send_data(self, name: str, data: bytes) -> None:
            is_dropped = len(type(self).asked) <= 8
            self.wfile.write(data[: 100_000 if is_dropped else None])
            self.wfile.flush()
            if is_dropped:
                self.close_connection = True

    with serving_big(tmp_path, Dropping) as http:
        assert read_ahead(http.url + "big") == BIG


def test_ranges_of_two_versions_are_never_spliced(tmp_path: Path) -> None:
    class Changing(Ranged):
        def send_data(self, name: str, data: bytes) -> None:
            super().send_data(name, data)
            (self.server.root / name).write_bytes(BIG[::-1])

    with serving_big(tmp_path, Changing) as http, pytest.raises(SourceChangedError):
        read_ahead(http.url + "big", replace(QUICK, connections=1))


def test_a_range_that_cannot_be_had_is_told_after_what_came_before_it(tmp_path: Path) -> None:
    class Failing(Ranged):
        def do_GET(self) -> None:
            if self.headers["Range"].startswith(f"bytes={RANGE_BYTES}-"):
                self.send_error(500)
            else:
                super().do_GET()

    got = 0
    with serving_big(tmp_path, Failing) as http, open_ahead(http.url + "big", QUICK) as stream:
        with pytest.raises(FetchError, match="HTTP 500"):
            while chunk := stream.read():
                got += len(chunk)
        assert got == RANGE_BYTES


@pytest.mark.parametrize("how", ["no ranges", "no version", "weak version", "no length"])
def test_where_ranges_cannot_be_trusted_it_comes_over_one_connection(tmp_path: Path, how: str) -> None:
    class Plain(Ranged):
        def _range_start(self, etag: str) -> int | None:
            return super()._range_start(etag) if how in ("no version", "weak version") else None

        def send_header(self, keyword: str, value: str) -> None:
            if keyword == "ETag" and how == "weak version":
                value = f"W/{value}"
            is_left_out = keyword == {"no version": "ETag", "no length": "Content-Length"}.get(how)
            if not is_left_out:
                super().send_header(keyword, value)

        def send_data(self, name: str, data: bytes) -> None:
            super().send_data(name, data)
            self.close_connection = True

    with serving_big(tmp_path, Plain) as http:
        assert read_ahead(http.url + "big") == BIG
    assert len(Plain.asked) == (1 if how in ("no ranges", "no length") else 2)


def test_an_empty_resource_is_empty_however_the_server_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    with serving(tmp_path) as http:
        assert read_ahead(http.url + "empty") == b""


def test_the_proxy_that_the_environment_names_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_big(tmp_path) as http:
        monkeypatch.setenv("http_proxy", http.url)
        assert read_ahead("http://kinetics.invalid/big") == BIG


def test_a_size_that_only_the_whole_tells_is_waited_for_and_nothing_is_lost(tmp_path: Path) -> None:
    class Unsized(Ranged):
        def send_header(self, keyword: str, value: str) -> None:
            if keyword == "Content-Range":
                value = value.partition("/")[0] + "/*"
            if not (self.command == "HEAD" and keyword == "Content-Length"):
                super().send_header(keyword, value)

    with serving_big(tmp_path, Unsized) as http:
        assert read_ahead(http.url + "big") == BIG
        kept = tmp_path / "kept"
        etag = http.etag(tmp_path / "big")
        kept.mkdir()
        (kept / "big.partial").write_bytes(BIG[:1000])
        (kept / "big.partial.etag").write_text(etag)
        assert kept_copy(http.url + "big", kept, "big", QUICK, lambda num_bytes: None).read_bytes() == BIG


def test_a_partial_file_that_is_too_long_is_given_up(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    with serving_data(tmp_path) as http:
        (kept / "part_0.partial").write_bytes(DATA + b"more")
        (kept / "part_0.partial.etag").write_text(http.etag(tmp_path / NAME))
        path = kept_copy(http.url + NAME, kept, "part_0", QUICK, lambda num_bytes: None)
    assert path.read_bytes() == DATA


def test_a_range_that_a_server_begins_and_then_gives_whole_is_started_again_or_mended(tmp_path: Path) -> None:
    class Turning(Ranged):
        def _range_start(self, etag: str) -> int | None:
            return super()._range_start(etag) if len(type(self).asked) == 1 else None

        def send_data(self, name: str, data: bytes) -> None:
            if len(type(self).asked) == 1:
                self.close_connection = True
            else:
                super().send_data(name, data)

    with serving_big(tmp_path, Turning) as http, pytest.raises(SourceChangedError):
        read_ahead(http.url + "big", replace(QUICK, connections=1))


def test_an_error_where_a_range_is_claimed_is_told_to_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory may run out in the thread that fetches, between two ranges: nobody would ever bring the next one."""

    class Exhausted(threading.Condition):
        def __enter__(self) -> bool:
            is_claiming = sys._getframe(1).f_code.co_name == "_claim"
            if is_claiming and threading.current_thread() is not threading.main_thread():
                raise MemoryError("no memory for the next range")
            return super().__enter__()

    monkeypatch.setattr("kconvert.sources.fetch.ahead.threading.Condition", Exhausted)
    got = 0
    with (
        serving_big(tmp_path) as http,
        open_ahead(http.url + "big", replace(QUICK, connections=1)) as stream,
        pytest.raises(MemoryError),
    ):
        while chunk := stream.read():
            got += len(chunk)
    assert got == RANGE_BYTES
