"""A road to a server on loopback on which requests may come late."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass
class Road:
    """Passes on what comes to its own port, request by request."""

    url: str
    """To come by."""
    max_delay_seconds: float = 0.0
    """Each request comes up to so much later."""


@contextmanager
def slow_road(server: str) -> Iterator[Road]:
    """Leads to the server of that URL until the block ends."""
    address = (urlsplit(server).hostname or "", urlsplit(server).port or 80)
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listening:
        road = Road(f"http://127.0.0.1:{listening.getsockname()[1]}")
        threading.Thread(target=_accept, args=(road, listening, address), daemon=True).start()
        yield road
        # What waits for the next connection does not see that its socket is closed.
        listening.shutdown(socket.SHUT_RDWR)


def _accept(road: Road, listening: socket.socket, address: tuple[str, int]) -> None:
    with suppress(OSError):
        while True:
            client, _ = listening.accept()
            server = socket.create_connection(address)
            threading.Thread(target=_pass_requests, args=(road, client, server), daemon=True).start()


def _pass_requests(road: Road, client: socket.socket, server: socket.socket) -> None:
    """Until either end closes; what comes first after an answer is a request."""
    answered = threading.Event()
    answered.set()
    answering = threading.Thread(target=_pass_answers, args=(server, client, answered), daemon=True)
    answering.start()
    with suppress(OSError):
        while data := client.recv(1 << 16):
            if answered.is_set():
                answered.clear()
                time.sleep(random.random() * road.max_delay_seconds)
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)
    answering.join()
    client.close()
    server.close()


def _pass_answers(server: socket.socket, client: socket.socket, answered: threading.Event) -> None:
    with suppress(OSError):
        while data := server.recv(1 << 16):
            answered.set()
            client.sendall(data)
        client.shutdown(socket.SHUT_WR)
