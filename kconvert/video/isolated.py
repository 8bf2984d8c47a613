"""A prober that has PyAV look in the video process, so that a clip can harm only itself."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from kconvert.video.child import Clip
from kconvert.video.limits import is_near_limit
from kconvert.video.metadata import MediaMetadata
from kconvert.video.prober import Prober, Probing
from kconvert.video.process import ClipFault, Looking, VideoProcess
from kconvert.video.verdict import CheckOptions, Fault, Probed

if TYPE_CHECKING:
    from kconvert.video.libav import LibavProber


class IsolatedProber(Prober):
    """Probes as the options say."""

    def __init__(self, options: CheckOptions, process: VideoProcess) -> None:
        self._options = options
        self._process = process

    def begin(self, data: bytes) -> Probing:
        if not data:
            return lambda: Probed(MediaMetadata(), Fault("empty", "0 bytes"))
        return functools.partial(_result, self._process.begin(_probe, data, self._options.timeout, self._options))


def _result(looking: Looking[Probed]) -> Probed:
    try:
        return looking.result()
    except ClipFault as fault:
        metadata = fault.interim if isinstance(fault.interim, MediaMetadata) else MediaMetadata()
        return Probed(metadata, Fault(fault.defect, fault.detail))


def _probe(clip: Clip, report: Callable[[object], None], options: CheckOptions) -> Probed:
    probed = _prober(options).probe(clip, report)
    if probed.fault is not None and is_near_limit():
        # The libraries may say of memory that is refused that there is nothing to be found.
        raise MemoryError
    return probed


@functools.lru_cache(maxsize=1)
def _prober(options: CheckOptions) -> LibavProber:
    from kconvert.video.libav import LibavProber

    return LibavProber(options)
