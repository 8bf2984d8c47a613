"""Frames of a video, decoded with PyAV here: for networks, not to judge a clip by (see `prober`)."""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator

import av


def decode(video: bytes | mmap.mmap) -> Iterator[av.VideoFrame]:
    """The frames of a video, in order. Raises `ValueError` if there are none, or one cannot be decoded."""
    try:
        with av.open(io.BytesIO(video), "r") as container:
            if not container.streams.video:
                raise ValueError("no video stream")
            yield from container.decode(video=0)
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"cannot be decoded: {error.strerror or error}") from error
