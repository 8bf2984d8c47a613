"""Media metadata: what a container states of the video in it.

Both probers give the same metadata: durations and rates of the first video stream that is no cover picture, in the
units and under the names of ffprobe's `-show_streams`.
"""

from __future__ import annotations

from dataclasses import dataclass


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
