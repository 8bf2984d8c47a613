"""Frames of a video, decoded with PyAV: for people and networks to look at, not to judge a clip by (see `probe`)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction

import av

_JPEG_QUALITY = 6
"""Of 2 to 31, where less is better."""


def decode(video: bytes) -> Iterator[av.VideoFrame]:
    """The frames of a video, in order. Raises `ValueError` if there are none, or one cannot be decoded."""
    try:
        with av.open(io.BytesIO(video), "r") as container:
            if not container.streams.video:
                raise ValueError("no video stream")
            yield from container.decode(video=0)
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"cannot be decoded: {error.strerror or error}") from error


def stills(video: bytes, width: int) -> list[bytes]:
    """The first, the middle and the last frame, as JPEG of that width in pixels. Raises `ValueError` as `decode`."""
    frames = list(range(sum(1 for _ in decode(video))))
    if not frames:
        raise ValueError("has no frame")
    wanted = {frames[0], frames[len(frames) // 2], frames[-1]}
    return [_jpeg(frame, width) for number, frame in enumerate(decode(video)) if number in wanted]


def _jpeg(frame: av.VideoFrame, width: int) -> bytes:
    height = max(2, round(frame.height * width / frame.width / 2) * 2)
    small = frame.reformat(width, height, format="yuvj420p")
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuvj420p", Fraction(1, 25)
    encoder.options = {"qscale": str(_JPEG_QUALITY)}
    small.pts = None
    return b"".join(bytes(packet) for packet in [*encoder.encode(small), *encoder.encode(None)])
