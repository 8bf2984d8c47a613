"""Stills of a video, for people to look at; made in the video process, as they are of whatever a folder holds."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import av

from kconvert.video.child import Clip
from kconvert.video.frames import decode, upright
from kconvert.video.process import ClipFault, VideoProcess

STILL_PIXELS = 160
"""The width of what the report shows."""
_JPEG_QUALITY = 6
"""Of 2 to 31, where less is better."""
_MAX_SECONDS = 60.0


def stills(process: VideoProcess, video: bytes, width: int) -> list[bytes]:
    """The first, the middle and the last frame, as JPEG of that width in pixels.

    Raises `ValueError` if the video has none, or cannot be decoded.
    """
    try:
        return process.run(_stills, video, _MAX_SECONDS, width)
    except ClipFault as fault:
        raise ValueError(fault.detail) from fault


def still_at(process: VideoProcess, video: bytes, frame_index: int, width: int) -> bytes:
    """One frame, counted from 0 as they are shown, as JPEG of that width in pixels.

    Raises `ValueError` if the video has none of that index, or cannot be decoded so far.
    """
    try:
        return process.run(_still_at, video, _MAX_SECONDS, frame_index, width)
    except ClipFault as fault:
        raise ValueError(fault.detail) from fault


def _still_at(clip: Clip, report: Callable[[object], None], frame_index: int, width: int) -> bytes:
    for number, frame in enumerate(decode(clip)):
        if number == frame_index:
            return _jpeg(frame, width)
    raise ValueError(f"has no frame {frame_index}")


def _stills(clip: Clip, report: Callable[[object], None], width: int) -> list[bytes]:
    frames = list(range(sum(1 for _ in decode(clip))))
    if not frames:
        raise ValueError("has no frame")
    wanted = {frames[0], frames[len(frames) // 2], frames[-1]}
    return [_jpeg(frame, width) for number, frame in enumerate(decode(clip)) if number in wanted]


def _jpeg(frame: av.VideoFrame, width: int) -> bytes:
    return jpeg(av.VideoFrame.from_ndarray(upright(frame), format="rgb24"), width)


def jpeg(shown: av.VideoFrame, width: int) -> bytes:
    """A frame that is upright as JPEG of that width in pixels."""
    height = max(2, round(shown.height * width / shown.width / 2) * 2)
    small = shown.reformat(width, height, format="yuvj420p", threads=1)
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuvj420p", Fraction(1, 25)
    encoder.options = {"qscale": str(_JPEG_QUALITY)}
    small.pts = None
    return b"".join(bytes(packet) for packet in [*encoder.encode(small), *encoder.encode(None)])
