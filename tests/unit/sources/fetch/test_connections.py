"""What connections take from the libraries below them, which promise none of it: here it is seen to hold."""

import http.client
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from harness import QUICK
from miniature.server import Handler, serving

from kconvert.sources.fetch import connections
from kconvert.sources.fetch.connections import BROKEN, Body, request

pytestmark = pytest.mark.server


def test_the_body_that_is_read_is_the_one_of_the_standard_library(tmp_path: Path) -> None:
    """If this fails, `Body` no longer finds what requests and urllib3 read from: see its constructor."""
    (tmp_path / "x").write_bytes(b"0123456789")
    with serving(tmp_path) as server:
        body = Body(request("GET", server.url + "x", QUICK, {}))
        assert type(body._body) is http.client.HTTPResponse
        assert isinstance(body._socket, socket.socket)
        buffer = memoryview(bytearray(100))
        assert body.read_into(buffer, 10.0) == 10
        assert bytes(buffer[:10]) == b"0123456789"
        body.close()


def test_a_connection_whose_answer_came_whole_is_used_again(tmp_path: Path) -> None:
    ports: list[int] = []

    class Noting(Handler):
        def do_GET(self) -> None:
            ports.append(self.client_address[1])
            super().do_GET()

    (tmp_path / "x").write_bytes(b"0123456789")
    with serving(tmp_path, Noting) as server:
        for _ in range(3):
            body = Body(request("GET", server.url + "x", QUICK, {}))
            while body.read_into(memoryview(bytearray(10)), 10.0):
                pass
            body.close()
        body = Body(request("GET", server.url + "x", QUICK, {}))
        body.close()
        Body(request("GET", server.url + "x", QUICK, {})).close()
    assert len(set(ports[:4])) == 1
    # One that is left before its end is not used again: the rest would be taken for the next answer.
    assert ports[4] != ports[3]


def test_as_many_connections_as_were_asked_for_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pools of requests keep ten; the others would connect anew for each range."""
    options = replace(QUICK, connections=20)
    ports: set[int] = set()
    all_done = threading.Barrier(options.connections, timeout=30)
    all_at_it = threading.Barrier(options.connections, timeout=30)

    class Noting(Handler):
        def do_GET(self) -> None:
            ports.add(self.client_address[1])
            all_at_it.wait()
            super().do_GET()

    def read_some(_: int) -> None:
        for _ in range(3):
            body = Body(request("GET", server.url + "x", options, {}))
            while body.read_into(memoryview(bytearray(10)), 10.0):
                pass
            body.close()
            all_done.wait()

    monkeypatch.setattr(connections, "_session", None)
    (tmp_path / "x").write_bytes(b"0123456789")
    with serving(tmp_path, Noting) as server, ThreadPoolExecutor(options.connections) as threads:
        assert len(list(threads.map(read_some, range(options.connections)))) == options.connections
    assert len(ports) == options.connections


def test_a_body_that_comes_byte_by_byte_is_cut(tmp_path: Path) -> None:
    is_over = threading.Event()

    class Trickling(Handler):
        def send_data(self, name: str, data: bytes) -> None:
            for number in range(len(data)):
                if is_over.wait(0.05):
                    break
                self.wfile.write(data[number : number + 1])
                self.wfile.flush()
            self.close_connection = True

    (tmp_path / "x").write_bytes(bytes(1000))
    with serving(tmp_path, Trickling) as server:
        body = Body(request("GET", server.url + "x", QUICK, {}))
        start = time.monotonic()
        with suppress(*BROKEN):
            assert body.read_into(memoryview(bytearray(1000)), 1.0) < 1000
        assert time.monotonic() - start < 10
        is_over.set()
        body.close()


def test_somebody_else_can_end_what_is_waited_for(tmp_path: Path) -> None:
    is_over = threading.Event()

    class Silent(Handler):
        def send_data(self, name: str, data: bytes) -> None:
            is_over.wait(30)
            self.close_connection = True

    (tmp_path / "x").write_bytes(bytes(1000))
    with serving(tmp_path, Silent) as server:
        body = Body(request("GET", server.url + "x", QUICK, {}))
        threading.Timer(0.3, body.cut).start()
        start = time.monotonic()
        with suppress(*BROKEN):
            assert body.read_into(memoryview(bytearray(1000)), 60.0) == 0
        assert time.monotonic() - start < 10
        is_over.set()
        body.close()
