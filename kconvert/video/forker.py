"""The forker: a process without threads that forks video processes, and ends them when its owner is gone.

It is forked itself where that is safe: from a process without threads. Elsewhere it begins afresh. Whoever has the
other end of its socket owns it: once that is closed, be it by death, the child is killed, whatever it hangs in, and the
forker ends. On Linux the child is also killed if the forker is.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import signal
import socket
import struct
import subprocess
import sys
import traceback
from contextlib import suppress

from kconvert.storage.threads import has_threads
from kconvert.video.child import serve_clips

_FORK, _END = b"f", b"e"
_MAX_HANDLES = 8
_STATUS = struct.Struct("i")
_PR_SET_PDEATHSIG = 1
"""Of linux/prctl.h."""
_READY_SECONDS = 120.0
"""For an answer: one that begins afresh has much to import."""


class Forker:
    """The owner's end. Methods raise `OSError` if the forker is gone."""

    def __init__(self, preload: tuple[str, ...]) -> None:
        """Starts it; it imports these modules before it forks anything."""
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._process: subprocess.Popen[bytes] | None = None
        self._process_id = 0
        with theirs:
            try:
                if has_threads():
                    self._process = _begun_afresh(theirs, preload)
                else:
                    self._process_id = _forked(theirs, preload)
            except BaseException:
                ours.close()
                raise

    def fork(self, handles: list[int]) -> None:
        """Forks a child that is given these handles: `child.serve_clips`. There is one at a time."""
        self._socket.settimeout(_READY_SECONDS)
        socket.send_fds(self._socket, [_FORK], handles)
        self._hear()

    def end(self) -> int:
        """Kills the child if it still lives; returns its exit code, 0 if there was none."""
        self._socket.settimeout(_READY_SECONDS)
        self._socket.sendall(_END)
        return self._hear()

    def _hear(self) -> int:
        said = self._socket.recv(_STATUS.size)
        if len(said) != _STATUS.size:
            raise ConnectionResetError("the forker is gone")
        found: int = _STATUS.unpack(said)[0]
        return found

    def abandon(self) -> None:
        """Leaves it to another process, which this one was forked off."""
        self._socket.close()
        if self._process is not None:
            # Not this one's to wait for.
            self._process.returncode = 0

    def close(self) -> None:
        """Ends it, and its child."""
        self._socket.close()
        if self._process is not None:
            self._process.wait()
        elif self._process_id:
            # Somebody else may have waited for it, as for all children.
            with suppress(ChildProcessError):
                os.waitpid(self._process_id, 0)
            self._process_id = 0


def _forked(theirs: socket.socket, preload: tuple[str, ...]) -> int:
    for name in preload:
        importlib.import_module(name)
    process_id = os.fork()
    if process_id:
        return process_id
    try:
        # What is inherited stays as it is: finalisers would close handles that are others' by then.
        gc.freeze()
        handle = os.dup(theirs.fileno())
        _close_others(handle)
        _serve(socket.socket(fileno=handle))
    finally:
        os._exit(0)


def _begun_afresh(theirs: socket.socket, preload: tuple[str, ...]) -> subprocess.Popen[bytes]:
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        f"from kconvert.video.forker import main; main({theirs.fileno()}, {preload!r})"
    )
    # As an isolated program: what begins with this process's own `-c` has no current folder in front.
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
    )


UNFORESEEN = 70
"""The exit code of a child that ends by a fault of ours (`EX_SOFTWARE` of sysexits.h)."""


def main(handle: int, preload: tuple[str, ...]) -> None:
    """The life of a forker that begins afresh."""
    for name in preload:
        importlib.import_module(name)
    gc.freeze()
    _serve(socket.socket(fileno=handle))


def _close_others(handle: int) -> None:
    """Closes all that is inherited but for one handle; what C libraries print is shown to nobody."""
    with open(os.devnull, "r+b") as nowhere:
        for stream in (0, 1, 2):
            os.dup2(nowhere.fileno(), stream)
    os.closerange(3, handle)
    os.closerange(handle + 1, os.sysconf("SC_OPEN_MAX"))


def _serve(control: socket.socket) -> None:
    """A forker's life: forks and ends what it is asked to, until nothing more can come."""
    # Sent to a whole group; those who own us end us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Ignored by whoever started us, the end of a child could not be waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = 0
    while True:
        try:
            word, handles, _, _ = socket.recv_fds(control, 1, _MAX_HANDLES)
        except OSError:
            word, handles = b"", []
        if word == _FORK:
            child = _child(control, list(handles))
            answer = 0
        else:
            answer, child = _ended(child), 0
        if not word:
            return
        try:
            control.sendall(_STATUS.pack(answer))
        except OSError:
            _ended(child)
            return


def _child(control: socket.socket, handles: list[int]) -> int:
    """Forks a child; returns its number."""
    forker = os.getpid()
    process_id = os.fork()
    if process_id:
        for handle in handles:
            os.close(handle)
        return process_id
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != forker:
            return 0
        control.close()
        serve_clips(handles)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(UNFORESEEN)
    finally:
        os._exit(0)


def _ended(child: int) -> int:
    """Kills a child, unless it is dead already; returns its exit code, 0 if there is none."""
    if not child:
        return 0
    # Nobody else has waited for it, so that its number is still its own.
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
