"""Probing: looking into a clip's bytes, by any of several tools that give the same facts and find the same faults.

A prober promises: it never raises for what a clip contains (that is a `Fault`), it makes the checks of `Depth` in
order and stops at the first fault, and equal bytes give equal answers, without addresses or paths in the messages.
A clip may still crash or hang the libraries. `libav` then takes its process with it; `isolated` turns that into a
fault, at the price of a process a clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from kconvert.verdict import CheckOptions, Probed


class Prober(Protocol):
    """One way to look into clips."""

    def probe(self, data: bytes) -> Probed:
        """The facts of a clip, and the first fault found at the prober's depth.

        Raises: `OutOfMemoryError` if the kernel killed what looked, for memory: that says nothing of the clip.
        """


def open_prober(options: CheckOptions) -> Prober:
    """The prober that the options ask for. Raises `UsageError` if it is not installed."""
    if options.prober == "ffprobe":
        from kconvert.probe.ffprobe import FfprobeProber

        return FfprobeProber(options)
    from kconvert.probe.libav import LibavProber

    return LibavProber(options)


def tool_versions(options: CheckOptions) -> Mapping[str, str]:
    """What judges the clips, with versions, for the manifest. Raises `UsageError` if it is not installed."""
    if options.prober == "ffprobe":
        from kconvert.probe import ffprobe

        return ffprobe.versions(options)
    from kconvert.probe import libav

    return libav.versions()
