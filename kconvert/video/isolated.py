"""A prober that runs another one in a process of its own for every clip, so that a clip can harm only itself.

Used when a worker died: the clip that killed it gets its `crashed` or `timeout`, the others their usual verdicts.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection

from kconvert.errors import OutOfMemoryError, describe_exit
from kconvert.grants import MemoryKills
from kconvert.video.limits import SIGNAL
from kconvert.video.metadata import MediaFacts
from kconvert.video.open import open_prober
from kconvert.video.verdict import CheckOptions, Fault, Probed

_GRACE_SECONDS = 10.0
"""Beyond the timeout, for a process to start; then it is killed from outside."""


class IsolatedProber:
    """Probes as the options say, each clip in a fresh process."""

    def __init__(self, options: CheckOptions) -> None:
        self._options = options
        self._kills = MemoryKills()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["kconvert.video.libav"])

    def probe(self, data: bytes) -> Probed:
        receiver, sender = self._context.Pipe(duplex=False)
        with receiver:
            child = self._context.Process(target=_probe_in_child, args=(sender, data, self._options))
            child.start()
            sender.close()
            answered = receiver.poll(self._options.timeout + _GRACE_SECONDS)
            probed = _receive(receiver) if answered else None
            if not answered:
                child.kill()
            child.join()
            exit_code = child.exitcode or 0
            child.close()
        if probed is not None:
            return probed
        if answered and exit_code == -signal.SIGKILL and self._kills.is_another():
            raise OutOfMemoryError("the check of a clip", self._kills.limit())
        return Probed(MediaFacts(), self._fault(exit_code, overran=not answered))

    def _fault(self, exit_code: int, overran: bool) -> Fault:
        if overran or exit_code == -SIGNAL:
            return Fault("timeout", f"the check took longer than {self._options.timeout:g} s")
        return Fault("crashed", f"the check was ended by {describe_exit(exit_code)}")


def _receive(receiver: Connection) -> Probed | None:
    """The child's answer; `None` if it died without one."""
    try:
        probed: Probed = receiver.recv()
    except EOFError:
        return None
    return probed


def _probe_in_child(sender: Connection, data: bytes, options: CheckOptions) -> None:
    try:
        sender.send(open_prober(options).probe(data))
    except OutOfMemoryError:
        # As what it ran has died, so that there is one way to tell.
        os.kill(os.getpid(), signal.SIGKILL)
    sender.close()
