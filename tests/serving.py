"""Servers on loopback that are made to misbehave, and what is read from them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import QUICK
from miniature.server import Handler, Server, serving

from kconvert.catalog.shelf import load_release
from kconvert.sources.access import ArchiveRef
from kconvert.sources.archive_cache import ArchiveCopies
from kconvert.sources.fetch.open import open_stream
from kconvert.sources.fetch.stream import FetchOptions, OnBytes

NAMES = load_release("k400").names

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


def kept_copy(url: str, folder: Path, name: str, options: FetchOptions, on_bytes: OnBytes) -> Path:
    return ArchiveCopies(folder).fetch(ArchiveRef(name, url, NAMES), options, on_bytes)
