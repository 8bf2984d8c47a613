"""Media metadata: what a container states of the video in it.

Both probers give the same metadata: durations and rates of the first video stream that is no cover picture, in the
units and under the names of ffprobe's `-show_streams`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

_MAX_JITTER = 0.01
"""Of the mean interval."""


@dataclass(frozen=True)
class MediaMetadata:
    """What the container states; `None` or `""` where it states nothing."""

    duration_seconds: float | None = None
    """The video stream's duration where the container states one, else the container's; whole microseconds."""
    num_frames: int | None = None
    """Frames of the video stream as the container counts them; not decoded."""
    fps: float | None = None
    """Average frame rate (`avg_frame_rate`)."""
    width: int | None = None
    """Coded width in pixels, before any rotation."""
    height: int | None = None
    """Coded height in pixels, before any rotation."""
    pix_fmt: str = ""
    """Pixel format, e.g. `yuv420p`."""
    video_codec: str = ""
    """Name of the video codec (not of a decoder), e.g. `h264`."""
    audio_codec: str = ""
    """Name of the first audio stream's codec; `""` without audio."""
    rotation_degrees: int | None = None
    """Rotation of the display matrix, -180 to 180, counter-clockwise; 0 where there is none."""
    bit_rate: int | None = None
    """Bits a second of the video stream where stated, else of the container."""
    sample_aspect_ratio: str = ""
    """Width to height of a pixel, e.g. `4:3` (ffprobe's `sample_aspect_ratio`); `""` where nothing says it."""
    is_variable_frame_rate: bool | None = None
    """Whether frames follow each other at differing intervals; `None` where that was not looked at: at depth `header`,
    and above `decode` where the container has no index of all frames."""
    num_decoded_frames: int | None = None
    """Frames that a full decode gave; `None` where none was made, or it ended at an error."""


def is_variable(times: Iterable[int]) -> bool | None:
    """Whether frames with these times, in units of their time base, follow each other at differing intervals; `None`
    if that cannot be said of so few.

    A rate that is no whole number of units gives intervals that differ by one, and recorders give some jitter: neither
    counts.
    """
    ordered = sorted(times)
    intervals = [later - earlier for earlier, later in itertools.pairwise(ordered)]
    if len(intervals) < 2:
        return None
    mean = (ordered[-1] - ordered[0]) / len(intervals)
    return max(intervals) - min(intervals) > max(2, _MAX_JITTER * mean)
