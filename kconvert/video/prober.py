"""Probing: looking into a clip's bytes, by any of several tools that give the same metadata and find the same faults.

A prober promises: it never raises for what a clip contains (that is a `Fault`), it makes the checks of `Depth` in
order and stops at the first fault, and equal bytes give equal answers, without addresses or paths in the messages.
A clip that crashes or hangs the libraries has a `Fault`, too: they are kept in a process of their own.
"""

from __future__ import annotations

from typing import Protocol

from kconvert.video.verdict import Probed


class Prober(Protocol):
    """One way to look into clips."""

    def probe(self, data: bytes) -> Probed:
        """The metadata of a clip, and the first fault found at the prober's depth.

        Raises: `OutOfMemoryError` if the kernel killed what looked, for memory: that says nothing of the clip.
        """
