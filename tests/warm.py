"""Runs that begin where their imports have been made, so that hundreds of short ones take a fraction.

A server of a process of its own makes the imports, and forks for each run, with words, environment, folder and streams
of its own. Of the command, what is run is the same `main`, and of programs that read with other libraries, which all
import torch and pandas, the same lines. Runs whose environment Python or a library reads as it starts, and all that a
test starts by itself, begin cold, as a user's do.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import pickle
import random
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_READ_AT_START = (
    "PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "GLIBC_", "TZ", "JE_", "OMP_", "OPENBLAS_", "MKL_", "ARROW_",
)  # fmt: skip
"""Beginnings of the names of what is read before the first line of ours."""
_TAKEN_LATER = {"PYTHONPATH", "PYTHONWARNINGS"}
"""What Python reads as it starts, and a fork can take over nevertheless; warnings, only where all are to be ignored."""
_MAX_REQUEST_BYTES = 1 << 20


Program = Literal["command", "python"]
"""What is run: kconvert, or Python with a script, or with `-c` and lines."""


@dataclass(frozen=True)
class Run:
    """How words are run."""

    environment: Mapping[str, str]
    """All of it."""
    folder: Path
    """The working one."""
    timeout: float
    """In seconds."""
    has_group: bool = False
    """Whether in a process group of its own."""


def cold(words: Sequence[str], run: Run) -> subprocess.CompletedProcess[str]:
    """Runs the words as a user does. Raises `subprocess.TimeoutExpired`, with the run killed, where it takes longer."""
    return subprocess.run(
        words, capture_output=True, text=True, check=False, env=run.environment, cwd=run.folder, timeout=run.timeout,
        start_new_session=run.has_group,
    )  # fmt: skip


class Warm:
    """A server that has all imports made."""

    def __init__(self, what: Program) -> None:
        self._folder = tempfile.mkdtemp(prefix="warm-")
        self._address = os.path.join(self._folder, "socket")
        self._environment = read_at_start(os.environ)
        words = [sys.executable, __file__, self._address, what]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        atexit.register(self.close)

    def takes(self, environment: Mapping[str, str]) -> bool:
        """Whether a run with that environment can begin here."""
        are_ignored = environment.get("PYTHONWARNINGS", "ignore") == "ignore"
        # What Python runs before the first line of ours.
        is_customized = any(Path(folder, "sitecustomize.py").exists() for folder in _python_path(environment))
        return are_ignored and not is_customized and read_at_start(environment) == self._environment

    def run(self, words: Sequence[str], run: Run) -> subprocess.CompletedProcess[str]:
        """Runs the words. Raises `subprocess.TimeoutExpired`, with the run killed, where it takes longer."""
        with (
            open(os.devnull, "rb") as nothing,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            socket.socket(socket.AF_UNIX) as connection,
        ):
            connection.connect(self._address)
            request = pickle.dumps((list(words), dict(run.environment), str(run.folder), run.has_group))
            assert len(request) < _MAX_REQUEST_BYTES
            socket.send_fds(connection, [request], [nothing.fileno(), out.fileno(), err.fileno()])
            connection.shutdown(socket.SHUT_WR)
            answers = connection.makefile("rb")
            pid = int(answers.readline())
            connection.settimeout(run.timeout)
            try:
                code = int(answers.readline())
            except TimeoutError as error:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(words), run.timeout) from error
            finally:
                answers.close()
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        return subprocess.CompletedProcess(list(words), code, *texts)

    def close(self) -> None:
        """Ends the server."""
        self._process.communicate()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._address)
        os.rmdir(self._folder)


_lock = threading.Lock()
_warm: dict[Program, Warm] = {}


def warm(what: Program) -> Warm:
    """The server of this process."""
    with _lock:
        if what not in _warm:
            _warm[what] = Warm(what)
        return _warm[what]


def read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """What of an environment is read before the first line of ours, and cannot be taken over later."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_READ_AT_START) and name not in _TAKEN_LATER
    }


def _python_path(environment: Mapping[str, str]) -> list[str]:
    return [folder for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if folder]


class _Server:
    def __init__(self, address: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen()
        self._waiting = selectors.DefaultSelector()
        self._waiting.register(self._listener, selectors.EVENT_READ)
        self._waiting.register(sys.stdin, selectors.EVENT_READ)
        self._running: dict[int, tuple[int, socket.socket]] = {}

    def serve(self) -> list[str] | None:
        """Serves until nobody is there to ask. In a process that is forked for a run: returns its words at once."""
        while True:
            for key, _ in self._waiting.select():
                if key.fileobj is sys.stdin:
                    self._forget()
                    return None
                if key.fileobj is not self._listener:
                    self._tell(key.fd)
                elif (words := self._fork()) is not None:
                    return words

    def _fork(self) -> list[str] | None:
        """Forks for who asks; returns the words in the new process, `None` in this one."""
        connection, _ = self._listener.accept()
        data, streams, _, _ = socket.recv_fds(connection, _MAX_REQUEST_BYTES, 3)
        while part := connection.recv(_MAX_REQUEST_BYTES):
            data += part
        words, environment, folder, has_group = pickle.loads(data)
        pid = os.fork()
        if not pid:
            self._forget()
            connection.close()
            _become(environment, folder, streams, has_group)
            return list(words)
        for stream in streams:
            os.close(stream)
        connection.sendall(b"%d\n" % pid)
        handle = os.pidfd_open(pid)
        self._running[handle] = pid, connection
        self._waiting.register(handle, selectors.EVENT_READ)
        return None

    def _tell(self, handle: int) -> None:
        """Tells of the end of a run."""
        self._waiting.unregister(handle)
        os.close(handle)
        pid, connection = self._running.pop(handle)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with connection, contextlib.suppress(BrokenPipeError):
            connection.sendall(b"%d\n" % code)

    def _forget(self) -> None:
        self._waiting.close()
        self._listener.close()
        for handle, (_, connection) in self._running.items():
            os.close(handle)
            connection.close()


def _become(environment: dict[str, str], folder: str, streams: Sequence[int], has_group: bool) -> None:
    """Has this process look as if it had been started with these."""
    if has_group:
        os.setsid()
    os.chdir(folder)
    kept = {"JE_ARROW_MALLOC_CONF": os.environ["JE_ARROW_MALLOC_CONF"]}
    os.environ.clear()
    os.environ.update(kept | environment)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    random.seed()
    sys.path[1:1] = _python_path(environment)
    if "PYTHONWARNINGS" in environment:
        warnings.simplefilter("ignore")


def _import_arrays() -> None:
    os.environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"
    for name in ("torch.utils.data", "pandas", "pyarrow.dataset", "pyarrow.parquet"):
        importlib.import_module(name)


def _run_python(words: list[str]) -> int:
    """Runs a script, or the lines behind `-c`, with the words after it."""
    # As `-W ignore` does.
    warnings.simplefilter("ignore")
    if words[0] != "-c":
        sys.argv = words
        sys.path[0] = str(Path(words[0]).parent)
        runpy.run_path(words[0], run_name="__main__")
        return 0
    sys.argv, sys.path[0] = ["-c", *words[2:]], ""
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(words[1], "<string>", "exec"), main.__dict__)
    return 0


def _import_command() -> None:
    """Makes the command's imports, and has the source read from which its words are explained."""
    from kconvert.engines.imports import without_arrays

    without_arrays()
    for name in ("cli.commands", "conversion.run", "conversion.verification", "video.libav"):
        importlib.import_module(f"kconvert.{name}")
    from kconvert.cli.arguments import conversion_parser

    conversion_parser("kconvert", "")
    # What a run with a bucket imports, the most of its time.
    importlib.import_module("s3fs")


def _run_command(words: list[str]) -> int:
    from kconvert.__main__ import main

    sys.argv = [str(Path(sys.executable).parent / "kconvert"), *words]
    return main()


_WAYS: Mapping[Program, tuple[Callable[[], None], Callable[[list[str]], int]]] = {
    "command": (_import_command, _run_command),
    "python": (_import_arrays, _run_python),
}
"""What each imports, and how it runs words."""


def _main() -> int:
    imports, runs = _WAYS[sys.argv[2]]  # type: ignore[index]
    imports()
    # What is here is not looked through at the end of each run.
    gc.collect()
    gc.freeze()
    # A process with threads, also those of libraries, cannot be forked.
    assert len(os.listdir("/proc/self/task")) == 1
    server = _Server(sys.argv[1])
    print("ready", flush=True)
    words = server.serve()
    return 0 if words is None else runs(words)


if __name__ == "__main__":
    sys.exit(_main())
