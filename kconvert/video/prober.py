"""Probing: looking into a clip's bytes, by any of several tools that give the same metadata and find the same faults.

A prober promises: it never raises for what a clip contains (that is a `Fault`), it makes the checks of `Depth` in
order and stops at the first fault, and equal bytes give equal answers, without addresses or paths in the messages.
A clip that crashes or hangs the libraries has a `Fault`, too: they are kept in a process of their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from kconvert.video.verdict import Probed

Probing = Callable[[], Probed]
"""Gives what was found in a clip, to be called once, before another clip is begun.

Raises: `OutOfMemoryError` if the kernel killed what looked, for memory: that says nothing of the clip.
"""


class Prober(ABC):
    """One way to look into clips."""

    @abstractmethod
    def begin(self, data: bytes) -> Probing:
        """Begins to look into a clip; where that is another process, the caller goes on meanwhile."""

    def probe(self, data: bytes) -> Probed:
        """The metadata of a clip, and the first fault found at the prober's depth. Raises: as `Probing` does."""
        return self.begin(data)()
