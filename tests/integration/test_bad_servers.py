"""Servers that misbehave, for archives, path lists and annotations alike: the result is the same, or what failed is
named, the rest is done, and a later run completes."""

import gzip
import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness import COMMAND, kconvert, one_line, tree
from miniature.build import OFFICIAL, write
from miniature.server import Handler, Server, serving

RESOURCES = {
    "archive": "400/val/part_1.tar.gz",
    "path list": "400/val/k400_val_path.txt",
    "annotations": "400/annotations/val.csv",
}
PATIENCE = (
    "--fetch.max_retries=3", "--fetch.min_backoff_seconds=0.01", "--fetch.max_backoff_seconds=0.05",
    "--fetch.read_seconds=0.6", "--fetch.min_rate=50kB",
)  # fmt: skip
Answer = Callable[[Any, bytes, int], None]
"""Answers a GET of the faulty resource: the handler, the file's bytes, and how often it was asked for before."""


def send(handler: Any, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    """A whole answer."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def begin(handler: Any, num_bytes: int, etag: str = "") -> None:
    """The headers of an answer of that length, with the file's own version if no other is given."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(num_bytes))
    handler.send_header("ETag", etag or handler.server.etag(handler.path_of(handler.resource)))
    handler.end_headers()


def hang_up(handler: Any) -> None:
    handler.wfile.flush()
    handler.close_connection = True
    handler.connection.close()


def drop(num_bytes: Callable[[bytes], int], times: int) -> Answer:
    """Hangs up after so many bytes of the body, so many times."""

    def answer(handler: Any, data: bytes, number: int) -> None:
        if number >= times:
            handler.answer_as_usual()
            return
        begin(handler, len(data))
        handler.wfile.write(data[: num_bytes(data)])
        hang_up(handler)

    return answer


def refuse(status: int, times: int, headers: Mapping[str, str] | None = None, reason: str = "") -> Answer:
    def answer(handler: Any, data: bytes, number: int) -> None:
        if number >= times:
            handler.answer_as_usual()
            return
        handler.responses = {**handler.responses, **({status: (reason, "")} if reason else {})}
        send(handler, status, b"", headers)

    return answer


def first(body: Callable[[bytes], bytes], status: int = 200, times: int = 1000) -> Answer:
    """Something else than the file, so many times."""

    def answer(handler: Any, data: bytes, number: int) -> None:
        if number >= times:
            handler.answer_as_usual()
        else:
            send(handler, status, body(data), {"ETag": '"something else"'})

    return answer


def silent(times: int) -> Answer:
    def answer(handler: Any, data: bytes, number: int) -> None:
        if number >= times:
            handler.answer_as_usual()
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:100])
        handler.wfile.flush()
        time.sleep(1.5)

    return answer


def trickling(times: int) -> Answer:
    def answer(handler: Any, data: bytes, number: int) -> None:
        if number >= times:
            handler.answer_as_usual()
            return
        begin(handler, len(data))
        step = min(20, 1 + len(data) // 200)
        for start in range(0, len(data), step):
            time.sleep(0.02)
            handler.wfile.write(data[start : start + step])
            handler.wfile.flush()

    return answer


def no_ranges(handler: Any, data: bytes, number: int) -> None:
    """Hangs up once, and then answers to a range with the whole."""
    if number == 0:
        drop(lambda data: len(data) // 2, 1)(handler, data, 0)
    else:
        send(handler, 200, data, {"ETag": handler.server.etag(handler.path_of(handler.resource))})


def no_byte_there(handler: Any, data: bytes, number: int) -> None:
    """Hangs up once, and then finds the range wrong."""
    if number == 1 and "Range" in handler.headers:
        send(handler, 416, b"", {"Content-Range": f"bytes */{len(data)}"})
    else:
        drop(lambda data: len(data) // 2, 1)(handler, data, number)


def other_version(handler: Any, data: bytes, number: int) -> None:
    """The first answer is of another version, and cut."""
    if number == 0:
        begin(handler, len(data), '"of another version"')
        handler.wfile.write(data[: len(data) // 2])
        hang_up(handler)
    else:
        handler.answer_as_usual()


def other_length(handler: Any, data: bytes, number: int) -> None:
    """The first answer is longer than the file, and cut."""
    if number == 0:
        begin(handler, len(data) + 10)
        handler.wfile.write(data[: len(data) // 2])
        hang_up(handler)
    else:
        handler.answer_as_usual()


def gzipped(handler: Any, data: bytes, number: int) -> None:
    send(handler, 200, gzip.compress(data, mtime=0), {"Content-Encoding": "gzip"})


HTML = b"<!DOCTYPE html><html><body>Please log in to this hotel's network \x1b[31m</body></html>"
XML = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>SlowDown</Code></Error>'

HARMLESS: dict[str, Answer] = {
    "dropped at once": drop(lambda data: 0, 2),
    "dropped after a byte": drop(lambda data: 1, 2),
    "dropped after a block": drop(lambda data: min(512, len(data) // 2), 2),
    "dropped before the last byte": drop(lambda data: len(data) - 1, 2),
    "200 to a range": no_ranges,
    "416": no_byte_there,
    "another version": other_version,
    "another length": other_length,
    "429": refuse(429, 2),
    "503 with Retry-After": refuse(503, 1, {"Retry-After": "1"}),
    "503 with a date": refuse(503, 1, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "silence": silent(1),
    "a trickle": trickling(1),
}
GRAVE: dict[str, tuple[Answer, str]] = {
    "503 for ever": (refuse(503, 1000), "HTTP 503"),
    "silence for ever": (silent(1000), "timed out"),
    "a trickle for ever": (trickling(1000), "less than 50kB a second"),
    "an HTML page": (first(lambda data: HTML), "expected"),
    "an XML error": (first(lambda data: XML), "expected"),
    "wrong bytes of the right length": (first(lambda data: b"\xff" * len(data)), "expected"),
    "403": (refuse(403, 1000), "HTTP 403"),
    "404": (refuse(404, 1000), "HTTP 404"),
    "a reason with an escape": (refuse(418, 1000, reason="\x1b[31mI am a teapot"), "HTTP 418 \\x1b[31mI am"),
}


@dataclass
class Faulty:
    """How to serve a folder with resources whose answers are not usual."""

    root: Path
    resources: Sequence[str]
    answer: Answer

    def serving(self) -> AbstractContextManager[Server]:
        faulty = self

        class Misbehaving(Handler):
            def do_GET(self) -> None:
                self.resource = next((name for name in faulty.resources if self.path.endswith(name)), None)
                if self.resource is None:
                    super().do_GET()
                    return
                number = self.server.requests["FAULTY", self.resource]
                self.server.requests["FAULTY", self.resource] += 1
                faulty.answer(self, self.path_of(self.resource).read_bytes(), number)

            def path_of(self, name: str) -> Path:
                return self.server.root / name

            def answer_as_usual(self) -> None:
                super().do_GET()

        return serving(self.root, Misbehaving)


@pytest.fixture(scope="module")
def reference(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("reference") / "out"
    assert kconvert("k400", "--split", "val", "--out", out, "--origin", mini).code == 0
    return tree(out)


@pytest.mark.parametrize("fault", HARMLESS)
@pytest.mark.parametrize("kinds", [["archive"], ["path list", "annotations"]], ids=["archive", "texts"])
def test_what_can_be_mended_is_mended(
    mini: Path, reference: dict[str, bytes], tmp_path: Path, kinds: list[str], fault: str
) -> None:
    resources = [RESOURCES[kind] for kind in kinds]
    with Faulty(mini, resources, HARMLESS[fault]).serving() as http:
        ran = kconvert("k400", "--split", "val", "--out", tmp_path / "out", "--origin", http.url, *PATIENCE)
        assert all(http.requests["FAULTY", resource] >= 2 for resource in resources)
    assert ran.code == 0, ran.err
    assert tree(tmp_path / "out") == reference


@pytest.mark.parametrize("fault", GRAVE)
@pytest.mark.parametrize("kind", RESOURCES)
def test_what_cannot_be_mended_is_named_and_a_later_run_completes(
    mini: Path, reference: dict[str, bytes], tmp_path: Path, kind: str, fault: str
) -> None:
    out, (answer, said) = tmp_path / "out", GRAVE[fault]
    with Faulty(mini, [RESOURCES[kind]], answer).serving() as http:
        ran = kconvert("k400", "--split", "val", "--out", out, "--origin", http.url, *PATIENCE)
        asked = http.requests["FAULTY", RESOURCES[kind]]
        if kind == "archive":
            assert ran.code == 3, ran.err
            assert (out / ".kconvert/val/archives/000000.json").exists()
            line = next(line for line in ran.out.splitlines() if RESOURCES[kind] in line)
            assert RESOURCES[kind] in kconvert("status", out).out
        else:
            assert ran.code == 2, ran.err
            line = one_line(ran)
            assert http.url + RESOURCES[kind] in line or fault.startswith(("an HTML", "an XML", "wrong"))
            assert RESOURCES[kind] in line
            assert not out.exists() or not list(out.rglob("*.json"))
        assert said in line
        if fault in ("403", "404", "a reason with an escape"):
            assert asked == 1
        assert "\x1b" not in ran.out + ran.err
        assert not list(out.rglob("*.tar"))
    if kind == "archive":
        ran = kconvert("k400", "--split", "val", "--out", out, "--origin", mini)
        assert ran.code == 0, ran.err
        assert tree(out) == reference


@pytest.mark.parametrize("kind", ["path list", "annotations"])
def test_a_text_that_is_gzipped_unasked_is_read(
    mini: Path, reference: dict[str, bytes], tmp_path: Path, kind: str
) -> None:
    with Faulty(mini, [RESOURCES[kind]], gzipped).serving() as http:
        ran = kconvert("k400", "--split", "val", "--out", tmp_path / "out", "--origin", http.url)
    assert ran.code == 0, ran.err
    assert tree(tmp_path / "out") == reference


def test_an_archive_that_is_gzipped_once_more_is_named(mini: Path, reference: dict[str, bytes], tmp_path: Path) -> None:
    with Faulty(mini, [RESOURCES["archive"]], gzipped).serving() as http:
        ran = kconvert("k400", "--split", "val", "--out", tmp_path / "out", "--origin", http.url)
    assert ran.code == 3
    assert "is gzipped twice, perhaps by the server (Content-Encoding)" in ran.out
    assert kconvert("k400", "--split", "val", "--out", tmp_path / "out", "--origin", mini).code == 0
    assert tree(tmp_path / "out") == reference


def test_a_server_that_dies_fails_what_is_left_and_a_later_run_completes(
    mini: Path, reference: dict[str, bytes], tmp_path: Path
) -> None:
    class Dying(Handler):
        def send_data(self, name: str, data: bytes) -> None:
            if name.endswith("part_1.tar.gz"):
                self.wfile.write(data[:1000])
                self.wfile.flush()
                self.server.socket.close()
                hang_up(self)
            else:
                super().send_data(name, data)

    with serving(mini, Dying) as http:
        words = ("k400", "--split", "val", "--out", tmp_path / "out", "--origin", http.url, *PATIENCE)
        ran = kconvert(*words, "--workers", 1)
        assert ran.code == 3
        assert "refused after 1,000 of" in ran.out or "tried 4 times" in ran.out
        # The server is still gone: nothing is lost by trying.
        assert kconvert(*words).code in (2, 3)
    ran = kconvert("k400", "--split", "val", "--out", tmp_path / "out", "--origin", mini)
    assert ran.code == 0, ran.err
    assert tree(tmp_path / "out") == reference


def test_a_host_without_a_name_is_one_line(tmp_path: Path) -> None:
    ran = kconvert("k400", "--out", tmp_path / "out", "--origin", "http://no-such-host.invalid/", *PATIENCE)
    assert ran.code == 2
    assert "no-such-host.invalid" in one_line(ran)


def test_a_server_that_is_gone_stops_the_run_before_every_archive_has_waited_for_it(tmp_path: Path) -> None:
    names = [f"400/val/part_{number}.tar.gz" for number in range(40)]
    write(tmp_path / "origin/400/val/k400_val_path.txt", "".join(f"{OFFICIAL}{name}\n" for name in names).encode())
    row = "label,youtube_id,time_start,time_end,split\nzumba,0wR5jVB-WPk,0,10,val\n"
    write(tmp_path / "origin/400/annotations/val.csv", row.encode())
    for name in names:
        write(tmp_path / "origin" / name, b"?")

    class Dying(Handler):
        def do_GET(self) -> None:
            if self.server.socket.fileno() < 0:
                hang_up(self)
                return
            super().do_GET()
            if self.path.endswith("part_0.tar.gz"):
                self.server.socket.close()

    with serving(tmp_path / "origin", Dying) as http:
        words = ("k400", "--split", "val", "--out", tmp_path / "out", "--origin", http.url, *PATIENCE)
        ran = kconvert(*words, "--workers", 2, timeout=60)
    assert ran.code == 3, ran.err
    assert "val: stopped, as the origin does not answer; the next run resumes there" in ran.err
    assert 5 <= len(list((tmp_path / "out").rglob("*.failed"))) < 20


def test_archives_whose_connections_are_dropped_do_not_keep_the_others_from_being_read(
    mini: Path, tmp_path: Path
) -> None:
    """Somebody answers, and hangs up on some."""
    urls = [f"{OFFICIAL}400/val/part_{number}.tar.gz" for number in range(8)]
    write(tmp_path / "origin/400/val/k400_val_path.txt", "\n".join(urls).encode())
    row = "label,youtube_id,time_start,time_end,split\nzumba,0wR5jVB-WPk,0,10,val\n"
    write(tmp_path / "origin/400/annotations/val.csv", row.encode())
    for number in range(8):
        write(tmp_path / f"origin/400/val/part_{number}.tar.gz", (mini / "400/val/part_0.tar.gz").read_bytes())

    class Dropping(Handler):
        def do_GET(self) -> None:
            if self.path[-8] in "01234" and self.path.endswith("tar.gz"):
                hang_up(self)
            else:
                super().do_GET()

    with serving(tmp_path / "origin", Dropping) as http:
        words = ("k400", "--split", "val", "--out", tmp_path / "out", "--origin", http.url, *PATIENCE)
        ran = kconvert(*words, "--workers", 1)
    assert ran.code == 3, ran.err
    assert len(list((tmp_path / "out").rglob("archives/*.json"))) == 3


def test_headers_that_drip_for_ever_are_left(mini: Path, tmp_path: Path) -> None:
    def drip(handler: Any, data: bytes, number: int) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        for _ in range(200):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.2)

    with Faulty(mini, [RESOURCES["path list"]], drip).serving() as http:
        words = ("k400", "--split", "val", "--out", tmp_path / "out", "--origin", http.url, *PATIENCE)
        start = time.monotonic()
        ran = kconvert(*words)
    assert ran.code == 2
    assert time.monotonic() - start < 15


def test_a_redirect_is_followed_and_its_body_not_read(mini: Path, reference: dict[str, bytes], tmp_path: Path) -> None:
    def redirect(handler: Any, data: bytes, number: int) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"{other.url}{RESOURCES['path list']}")
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        with suppress(OSError):
            while True:
                handler.wfile.write(bytes(1 << 16))

    with serving(mini) as other, Faulty(mini, [RESOURCES["path list"]], redirect).serving() as http:
        ran = kconvert("k400", "--split", "val", "--out", tmp_path / "out", "--origin", http.url, *PATIENCE)
    assert ran.code == 0, ran.err
    assert tree(tmp_path / "out") == reference


@pytest.mark.parametrize(
    ("status", "header", "value"),
    [
        (302, "Location", "http://[bad"),
        (302, "Location", "http://\xff\xfe/"),
        (302, "Location", "file:///etc/passwd"),
        (503, "Retry-After", "Mon, 01 Jan 2024 00:00:00 +99999999999999"),
        (503, "Retry-After", "9" * 5000),
        (416, "Content-Range", "bytes */0"),
        (206, "Content-Range", "bytes \xb2-9/10"),
        (200, "Content-Length", "9" * 5000),
    ],
)
@pytest.mark.parametrize("kind", ["path list", "archive"])
def test_headers_that_make_no_sense_are_one_line(
    mini: Path, tmp_path: Path, kind: str, status: int, header: str, value: str
) -> None:
    def answer(handler: Any, data: bytes, number: int) -> None:
        handler.send_response(status)
        handler.send_header(header, value)
        handler.end_headers()
        hang_up(handler)

    with Faulty(mini, [RESOURCES[kind]], answer).serving() as http:
        words = ("k400", "--split", "val", "--out", tmp_path / "out", "--origin", http.url, *PATIENCE)
        ran = kconvert(*words)
    assert ran.code == (3 if kind == "archive" else 2), ran.err
    assert "Traceback" not in ran.err
    assert RESOURCES[kind] in ran.err


def test_a_list_without_a_stated_end_is_refused(mini: Path, tmp_path: Path) -> None:
    def unstated(handler: Any, data: bytes, number: int) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(data[: data.index(b"\n", 200) + 1])
        hang_up(handler)

    with Faulty(mini, [RESOURCES["annotations"]], unstated).serving() as http:
        ran = kconvert("k400", "--split", "val", "--out", tmp_path / "out", "--origin", http.url, *PATIENCE)
    assert ran.code == 2
    assert "the server states no length" in one_line(ran)


def test_a_plan_promises_no_disk_space_where_the_server_states_no_sizes(mini: Path, tmp_path: Path) -> None:
    class Unstated(Handler):
        def send_header(self, keyword: str, value: str) -> None:
            if not (keyword in ("Content-Length", "Content-Range") and self.path.endswith("part_1.tar.gz")):
                super().send_header(keyword, value)

    with serving(mini, Unstated) as http:
        command = ("plan", "k400", "--split", "val", "--out", tmp_path / "out", "--origin", http.url, *PATIENCE)
        plan = json.loads(kconvert(*command, "--json").out)
        assert plan["max_disk_bytes"] is None
        assert [disk["fits"] for disk in plan["disks"]] == [None]
        assert "and 1 archives whose size the origin does not state" in kconvert(*command).out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_while_archives_are_measured_ends_the_run(
    mini: Path, tmp_path: Path, number: signal.Signals
) -> None:
    asked = threading.Event()

    class Busy(Handler):
        def do_HEAD(self) -> None:
            asked.set()
            self._refuse(503, "SlowDown", False, {"Retry-After": "100000"})

    with serving(mini, Busy) as http:
        command = [str(COMMAND), "k400", "--split", "val", "--out", str(tmp_path / "out"), "--origin", http.url]
        run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert asked.wait(20)
        run.send_signal(number)
        _, err = run.communicate(timeout=5)
    assert run.returncode == 130
    assert "run the same command again" in err
