"""Fetching ahead, from a real server on loopback that is made to misbehave."""

import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from harness import QUICK
from miniature.server import Handler, Server, serving
from serving import kept_copy

from kconvert.errors import FetchError, SourceChangedError
from kconvert.sources.fetch.ahead import FETCHING, RANGE_BYTES
from kconvert.sources.fetch.open import open_ahead
from kconvert.sources.fetch.stream import FetchOptions, Remote

pytestmark = pytest.mark.server


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
