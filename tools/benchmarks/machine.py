"""What is measured while something runs: time, the machine's processors, memory, disk.

On a virtual machine the first touch of a page may be the host's work and cost ten times the copy that is measured, and
the host takes free pages back within seconds. `Reserve` makes it a machine that has its memory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 256; }}
http {{
  access_log {folder}/access.log; sendfile on; tcp_nopush on; etag on; keepalive_requests 1000000;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""
_INTERVAL_SECONDS = 0.5
_FEED_SECONDS = 0.05
_FEED_BYTES = 1 << 30
"""What the reserve is ahead of what is written: more than is written in that time."""


@dataclass
class Measured:
    """Of one run."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of the whole machine, the server's and the kernel's too, without the benchmark's."""
    server_seconds: float = 0.0
    """Of them, the server's."""
    memory_bytes: int = 0
    """The most that the processes held at a time, what they share counted once."""
    disk_bytes: int = 0
    """The most that the file system grew by, seen every 50 ms."""


@dataclass
class Server:
    """A web server that is not the bottleneck."""

    url: str
    process: psutil.Process
    log: Path = field(repr=False)

    def cpu_seconds(self) -> float:
        """What it has used by now."""
        times = [process.cpu_times() for process in (self.process, *self.process.children())]
        return float(sum(time.user + time.system for time in times))


@contextmanager
def serving(root: Path) -> Iterator[Server]:
    """nginx on loopback, with a root folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, root=root, port=port), "utf-8")
        os.chmod(folder, 0o755)
        command = ["nginx", "-p", folder, "-c", str(config), "-g", f"user {_user()};"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            if process.poll() is not None:
                raise SystemExit(f"nginx does not start: {(Path(folder) / 'nginx.err').read_text('utf-8')}")
            yield Server(f"http://127.0.0.1:{port}/", psutil.Process(process.pid), Path(folder) / "access.log")
        finally:
            process.terminate()
            process.wait()


def _user() -> str:
    return str(psutil.Process().username())


class Reserve:
    """Memory of a RAM disk that this machine has: a file that is cut by as much as a program writes, just before it
    does, so that it gets pages which are there."""

    def __init__(self, folder: Path, num_bytes: int) -> None:
        self._folder, self._path, self._size = folder, folder / "reserve", num_bytes
        chunk = bytes(1 << 24)
        with open(self._path, "wb", buffering=0) as file:
            for _ in range(-(-num_bytes // len(chunk))):
                file.write(chunk)
        self._used = _used_bytes(folder)

    def feed(self) -> int:
        """Cuts the file; returns the bytes that the program has written, and not removed, by now."""
        size = self._path.stat().st_size
        written = _used_bytes(self._folder) - self._used + self._size - size
        target = max(0, self._size - written - _FEED_BYTES)
        if target < size:
            os.truncate(self._path, target)
        return written

    def remove(self) -> None:
        """Frees what is left."""
        self._path.unlink()


def run(
    command: Sequence[object], folder: Path, server: Server | None = None, reserve_bytes: int = 0, **options: object
) -> Measured:
    """Runs a command to its end, and measures; ends everything if it fails."""
    measured = Measured()
    reserve = Reserve(folder, reserve_bytes)
    reserve.feed()
    own, busy, served = time.process_time(), _busy_seconds(), server.cpu_seconds() if server else 0.0
    start = time.monotonic()
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen([str(word) for word in command], stdout=printed, stderr=printed, **options)  # type: ignore[call-overload]
        over = threading.Event()
        watchers = [
            threading.Thread(target=_watch, args=(process.pid, measured, over)),
            threading.Thread(target=_feed, args=(reserve, measured, over)),
        ]
        for watcher in watchers:
            watcher.start()
        code = process.wait()
        measured.seconds = time.monotonic() - start
        over.set()
        for watcher in watchers:
            watcher.join()
        measured.cpu_seconds = _busy_seconds() - busy - (time.process_time() - own)
        measured.server_seconds = server.cpu_seconds() - served if server else 0.0
        reserve.remove()
        if code:
            printed.seek(0)
            raise SystemExit(f"{command} ended with {code}: {printed.read().decode(errors='replace')[-2000:]}")
    return measured


def _feed(reserve: Reserve, measured: Measured, over: threading.Event) -> None:
    while True:
        measured.disk_bytes = max(measured.disk_bytes, reserve.feed())
        if over.wait(_FEED_SECONDS):
            return


def _used_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).used


def _watch(pid: int, measured: Measured, over: threading.Event) -> None:
    while not over.wait(_INTERVAL_SECONDS):
        with suppress(psutil.Error):
            root = psutil.Process(pid)
            held = [_held(process) for process in (root, *root.children(recursive=True))]
            own, shared = sum(own for own, _ in held), max(shared for _, shared in held)
            measured.memory_bytes = max(measured.memory_bytes, own + shared)


def _held(process: psutil.Process) -> tuple[int, int]:
    """Bytes of a process's own, and those that it may share with others."""
    try:
        memory = process.memory_info()
    except psutil.Error:
        return 0, 0
    return memory.rss - memory.shared, memory.shared


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def existing_folder(text: str) -> Path:
    """A folder named on the command line."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: no such folder; give one with room for four times the clips")
    return path


def describe() -> str:
    """The machine, for the table's caption."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    gib = psutil.virtual_memory().total / (1 << 30)
    return f"{len(models)} cores ({models[0]}), {gib:.0f} GiB, Linux {os.uname().release}"
