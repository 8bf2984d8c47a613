"""Frames of a video, decoded with PyAV here: for networks, not to judge a clip by (see `prober`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import av

from kconvert.video.child import Clip
from kconvert.video.opening import opened
from kconvert.video.shape import orientation_of
from kconvert.video.streams import best_video

if TYPE_CHECKING:
    import numpy


def decode(video: bytes | Clip) -> Iterator[av.VideoFrame]:
    """The frames of a video, in order, as they are coded (see `upright`).

    Raises `ValueError` if there are none, or one cannot be decoded.
    """
    try:
        with opened(Clip(video) if isinstance(video, bytes) else video) as container:
            stream = best_video(container)
            if stream is None:
                raise ValueError("no video stream")
            yield from container.decode(stream)
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"cannot be decoded: {error.strerror or error}") from error


def upright(frame: av.VideoFrame, width: int | None = None, height: int | None = None) -> numpy.ndarray[Any, Any]:
    """A frame as it is shown: height × width × 3, RGB, uint8, turned and mirrored as its display matrix says; scaled to
    that size before, if there is one."""
    import numpy

    # What threads of the scaler leave behind, a process that is forked off this one would wait for when it clears up.
    pixels: numpy.ndarray[Any, Any] = frame.to_ndarray(format="rgb24", width=width, height=height, threads=1)
    turn = orientation_of(frame)
    if turn.is_transposed:
        pixels = pixels.transpose(1, 0, 2)
    # Not a view: other libraries take none that goes backwards.
    return numpy.ascontiguousarray(pixels[:: -1 if turn.is_flipped else 1, :: -1 if turn.is_mirrored else 1])
